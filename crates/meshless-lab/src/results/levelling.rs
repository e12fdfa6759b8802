//! The rows of the levelling.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
