//! The rows of the spread.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

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
