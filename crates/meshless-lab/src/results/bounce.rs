//! The rows of the bounce.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

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
