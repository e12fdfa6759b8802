//! What a run measured: the types behind `results.json`, whose schema is `schema.json` beside
//! `Cargo.toml`. The rows of each experiment have a file.
//!
//! Made by `compare`, read by every part of `report`. Durations are milliseconds as decimal
//! numbers, because their readers are people and scripts. Failed calls never enter a latency.

mod bounce;
mod burst;
mod churn;
mod levelling;
mod outcome;
mod spread;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bounce::BounceRow;
pub use burst::BurstRow;
pub use churn::{BeforeAfter, ChurnRow, ChurnSlice, EventNote, Mark};
pub use levelling::{LevellingRow, LevellingSample};
pub use outcome::{Causes, Cpu, Latency, Outcome};
pub use spread::{AroundRotation, PerSecond, Second, SpreadRow};

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
