//! The rows of the churn, and its events.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::{Causes, Latency};

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
