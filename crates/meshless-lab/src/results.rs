//! What a run measured: the types behind `results.json`, whose schema is `schema.json` beside
//! `Cargo.toml`.
//!
//! Made by `compare`, read by every part of `report`. Durations are milliseconds as decimal
//! numbers, because their readers are people and scripts. Failed calls never enter a latency.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that one `meshless compare` measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// Version of this layout; it changes when a field changes its meaning or goes.
    pub schema_version: u32,
    /// The command line that makes this run again.
    pub command: String,
    /// Seed of every random choice of the lab: arrivals, the virtual address, the order of DNS
    /// answers.
    pub seed: u64,
    /// When the run began, UTC, RFC 3339.
    pub started_at: String,
    /// How long the whole run took, in seconds.
    pub took_s: f64,
    /// False if it was interrupted; what is here was measured all the same.
    pub complete: bool,
    /// Versions of what took part: `meshless`, `tonic`, `hyper`, `h2`, a proxy's own.
    pub versions: BTreeMap<String, String>,
    /// What lay between the processes: `loopback`, `kernel` for a namespace per pod and nftables
    /// between them, or `kubernetes` for a cluster.
    pub network: String,
    /// Where it ran.
    pub machine: Machine,
    /// What the run was asked for.
    pub settings: Settings,
    /// One row per strategy and number of calls.
    pub burst: Vec<BurstRow>,
    /// One row per strategy.
    pub spread: Vec<SpreadRow>,
    /// One row per strategy and event.
    pub churn: Vec<ChurnRow>,
    /// The events of `churn`, in the order in which they were made.
    pub events: Vec<EventNote>,
    /// One row per strategy, without levelling and with it.
    pub levelling: Vec<LevellingRow>,
    /// One row per strategy and kind of server.
    pub bounce: Vec<BounceRow>,
    /// What was left out, and what a reader must know beside the numbers: one sentence each.
    pub notes: Vec<String>,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system and kernel.
    pub os: String,
    /// Model of the processor, as the system names it.
    pub cpu: String,
    /// Processors that the run could use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Share of processor time that the hypervisor gave to others during the run, if the system
    /// tells.
    pub steal_fraction: Option<f64>,
    /// Limit of open file descriptors per process that the run had.
    pub file_descriptors: u64,
}

/// What a run was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// How long the server works on a call.
    pub service_time_ms: f64,
    /// How long a client waits for a call, from the moment it begins it.
    pub deadline_ms: f64,
    /// Rounds of each burst.
    pub rounds: u32,
    /// Backends of the spread experiment.
    pub backends: usize,
    /// Calls per second of the spread experiment.
    pub rate: f64,
    /// Length of the spread experiment in seconds.
    pub seconds: f64,
    /// `MaxConnectionAge` of the strategies that age, ± 10 % per connection.
    pub max_connection_age_ms: f64,
    /// `MaxConnectionAgeGrace` of the same.
    pub max_connection_age_grace_ms: f64,
    /// Of the churn experiment.
    pub churn: ChurnSettings,
}

/// What the churn experiment was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChurnSettings {
    /// Calls per second of each strategy's client.
    pub rate: f64,
    /// How long a server works on a call.
    pub service_time_ms: f64,
    /// How long a client waits for a call.
    pub deadline_ms: f64,
    /// How long most events are watched, in seconds.
    pub seconds: f64,
    /// `MaxConnectionAge` of the strategies that age, in events that do not age connections quickly
    /// themselves; there it is that of the other experiments, for every strategy.
    pub max_connection_age_ms: f64,
}

/// N calls at once, some rounds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BurstRow {
    /// Name of the strategy.
    pub strategy: String,
    /// Calls at once in each round.
    pub calls: u64,
    /// Rounds that were measured.
    pub rounds: u32,
    /// What became of the calls, all rounds together.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Error rate of each round, in order.
    pub error_rate_by_round: Vec<f64>,
    /// How far apart the calls of one round began: the last start after the first, mean of the
    /// rounds.
    pub start_spread_ms: f64,
}

/// Open-loop load on several backends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SpreadRow {
    /// Name of the strategy.
    pub strategy: String,
    /// Backends that stood ready.
    pub backends: usize,
    /// Calls that were scheduled.
    pub calls: u64,
    /// What became of the calls.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Calls answered by each backend.
    pub share: BTreeMap<String, u64>,
    /// Calls of the busiest backend over the mean, whole run.
    pub max_over_mean: f64,
    /// The same second by second.
    pub max_over_mean_per_second: PerSecond,
    /// Connections that the servers closed because of their age.
    pub rotations: u64,
    /// Latest start after its schedule, 99th percentile over the calls: what the generator itself
    /// was late.
    pub start_lag_ms_p99: f64,
    /// One entry per second of the run.
    pub timeline: Vec<Second>,
    /// When rotations began, in ms from the start of the load.
    pub rotations_at_ms: Vec<f64>,
    /// Latency of the calls around a rotation, all rotations laid over each other.
    pub around_rotation: Vec<AroundRotation>,
}

/// What became of a set of calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Calls that were answered in time.
    pub ok: u64,
    /// Calls that were not.
    pub failed: u64,
    /// `failed` over all calls, 0 to 1.
    pub error_rate: f64,
    /// Failed calls by the gRPC status that the client's caller saw (`DEADLINE_EXCEEDED`,
    /// `UNAVAILABLE`…).
    pub statuses: BTreeMap<String, u64>,
    /// Failed calls by what happened to them.
    pub causes: Causes,
    /// Calls that servers began to execute more than once.
    pub duplicated: u64,
    /// Calls that servers executed though the caller was told of a failure.
    pub executed_though_failed: u64,
    /// Latency of the answered calls, from their scheduled start.
    pub latency_ms: Latency,
    /// Processor time per scheduled call.
    pub cpu_us_per_call: Cpu,
    /// Connections that the client opened.
    pub connections_opened: u64,
    /// GOAWAY frames that the client received.
    pub goaways_seen: u64,
}

/// Failed calls by cause; the four add up to `failed`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Causes {
    /// The deadline passed.
    pub deadline: u64,
    /// No byte of the call left the client: no connection, or one that was closing. Safe to send
    /// again.
    pub never_sent: u64,
    /// The call may have left the client, but no server began to execute it. Safe to send again, if
    /// the client only knew.
    pub sent_not_processed: u64,
    /// A server began to execute it, and the answer was lost.
    pub processed: u64,
}

/// Quantiles of a latency in ms. All are 0 where no call was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

/// Processor time in µs per call, user and system together.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// Of the client's process.
    pub client: f64,
    /// Of the servers' processes.
    pub server: f64,
}

/// A figure taken each second.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PerSecond {
    /// Median over the full seconds of the run.
    pub p50: f64,
    /// Largest.
    pub max: f64,
}

/// One second of a spread run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Second {
    /// Calls answered in this second by each backend, by scheduled start.
    pub share: BTreeMap<String, u64>,
    /// Calls scheduled in this second that failed.
    pub failed: u64,
}

/// One slice of time relative to a rotation, over all rotations of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AroundRotation {
    /// Begin of the slice in ms from the server's first GOAWAY; negative before it.
    pub offset_ms: f64,
    /// Answered calls that were scheduled in the slice.
    pub ok: u64,
    /// Failed calls that were scheduled in the slice.
    pub failed: u64,
    /// Median latency of the answered ones.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// What one event did to the calls of one strategy, which has backends of its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChurnRow {
    /// Name of the strategy.
    pub strategy: String,
    /// Name of the event.
    pub event: String,
    /// Calls that ended after the event had begun.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// `failed` over `calls`, 0 to 1.
    pub error_rate: f64,
    /// Failed calls by what happened to them.
    pub failed_by_cause: Causes,
    /// Failed calls by the gRPC status that the client's caller saw.
    pub statuses: BTreeMap<String, u64>,
    /// Calls that servers began to execute more than once.
    pub duplicated: u64,
    /// Calls that servers executed though the caller was told of a failure.
    pub executed_though_failed: u64,
    /// How often a call was sent, mean over all calls of the run, those before the event among
    /// them: below 1 where calls never left the client, above 1 where they were sent again. What a
    /// server turned away before its handler counts. None for `tonic-balance`, which makes its own
    /// connections.
    pub attempts_per_call: Option<f64>,
    /// Connections that a client opened, from its start to the end of the run: a client of n
    /// backends opens n at first, and needs one more for each that is replaced. Mean over the
    /// clients. None for `tonic-balance`, which makes its own connections.
    pub connections_per_client: Option<f64>,
    /// Whether the event is one that a client can get over.
    pub converges: bool,
    /// How long that took, as [`EventNote::converged_when`] defines it. None if it did not happen
    /// while the event was watched, or if the event does not converge.
    pub converged_ms: Option<f64>,
    /// Latest start after its schedule, 99th percentile over the calls: what the generator itself
    /// was late.
    pub start_lag_ms_p99: f64,
    /// Latency of the answered calls.
    pub latency_ms: BeforeAfter,
    /// Moments of the event.
    pub marks: Vec<Mark>,
    /// One entry per tenth of a second.
    pub timeline: Vec<ChurnSlice>,
}

/// Latency before an event, and from its begin on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BeforeAfter {
    /// Of the calls that ended before it.
    pub before: Latency,
    /// Of the others.
    pub after: Latency,
}

/// A moment of an event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// Since the event began.
    pub at_ms: f64,
    /// What happens.
    pub name: String,
}

/// A tenth of a second of an event, by the moment calls were due.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChurnSlice {
    /// Begin of the slice since the event began; negative before it.
    pub at_ms: f64,
    /// Answered calls.
    pub ok: u64,
    /// Failed calls.
    pub failed: u64,
    /// Answered calls that went to the backends the event is about: the hurt one, or the new ones.
    pub concerned: u64,
    /// Median latency of the answered ones.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// What an event is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventNote {
    /// Its name.
    pub event: String,
    /// What happens.
    pub story: String,
    /// From when to when convergence is measured.
    pub converged_when: String,
    /// How long it was watched.
    pub watched_ms: f64,
}

/// Many clients of one connection each, on servers that age connections, level their ages or not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LevellingRow {
    /// Name of the strategy.
    pub strategy: String,
    /// Exponent of the levelling; 0 without it.
    pub exponent: u32,
    /// Servers.
    pub backends: usize,
    /// Clients, each on one connection through a virtual address.
    pub clients: usize,
    /// `MaxConnectionAge` of the servers.
    pub max_connection_age_ms: f64,
    /// How many such ages the row was measured for.
    pub ages: f64,
    /// Connections that a server served, mean.
    pub connections: f64,
    /// Standard deviation of the servers' numbers of connections at a moment over their mean; root
    /// of the mean square over all moments.
    pub deviation: f64,
    /// The same, as the closed form has it for `connections`.
    pub deviation_expected: f64,
    /// Connections of the fullest server over the mean, mean over all moments.
    pub max_over_mean: f64,
    /// How often a connection was ended for its age, per mean age.
    pub rotations_per_age: f64,
    /// Connections that clients opened in the whole run.
    pub connections_opened: u64,
    /// Calls that were scheduled.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Calls that servers began to execute more than once.
    pub duplicated: u64,
    /// Connections that each server served, moment by moment.
    pub timeline: Vec<LevellingSample>,
}

/// A moment of a levelling run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LevellingSample {
    /// Since the load began.
    pub at_ms: f64,
    /// Connections that each server served.
    pub connections: BTreeMap<String, u64>,
}

/// Open-loop load near the capacity of the servers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BounceRow {
    /// Name of the strategy.
    pub strategy: String,
    /// Whether servers refuse a call that would have to wait, so that its client tries another.
    pub bounces: bool,
    /// Servers.
    pub backends: usize,
    /// Calls that each works on at a time; the others wait in its queue.
    pub workers: usize,
    /// Clients, each of which knows its own calls only.
    pub clients: usize,
    /// Mean of the exponentially distributed service times that was asked for.
    pub service_time_ms: f64,
    /// The mean that was had.
    pub service_time_ms_measured: f64,
    /// Work that arrived over what the servers can do, 0 to 1.
    pub load: f64,
    /// Calls that were scheduled.
    pub calls: u64,
    /// Calls that were answered in time, per second.
    pub goodput: f64,
    /// How often a call was sent, mean: 1 and its refusals.
    pub attempts_per_call: f64,
    /// Latest start after its schedule, 99th percentile over the calls: what the generator itself
    /// was late.
    pub start_lag_ms_p99: f64,
    /// What became of the calls.
    #[serde(flatten)]
    pub outcome: Outcome,
}
