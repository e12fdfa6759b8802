//! The rows of the burst.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

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
