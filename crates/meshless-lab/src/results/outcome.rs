//! What became of calls: in the rows of several experiments.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
