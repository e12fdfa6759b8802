//! What a fleet is asked for: a load, what servers are like meanwhile, and what happens to them.

use std::time::Duration;

use crate::event::Event;
use crate::request::CompareRequest;
use crate::strategy::Strategy;

/// What servers are like and how long clients wait, whatever the strategy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) deadline: Duration,
    pub(crate) service_time: Duration,
    /// Of the strategies that age.
    pub(crate) max_age: Duration,
    pub(crate) max_age_grace: Duration,
}

/// Open-loop load of some strategies.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// In words, for the progress and for names.
    pub(crate) name: &'static str,
    pub(crate) strategies: Vec<Strategy>,
    /// Servers that it begins with.
    pub(crate) backends: usize,
    /// Calls per second of a strategy, all its clients together.
    pub(crate) rate: f64,
    pub(crate) length: Duration,
    pub(crate) conditions: Conditions,
}

/// An event in the course of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happening {
    pub(crate) event: Event,
    /// How long the load goes on before it, for comparison.
    pub(crate) before: Duration,
    /// The measure of the event's own moments.
    pub(crate) watch: Duration,
    /// How long the load goes on from its begin.
    pub(crate) watched: Duration,
}

impl Conditions {
    /// Those that were asked for.
    pub(crate) fn of(request: &CompareRequest) -> Self {
        Self {
            deadline: request.deadline,
            service_time: request.service_time,
            max_age: request.max_connection_age,
            max_age_grace: request.max_connection_age_grace,
        }
    }
}
