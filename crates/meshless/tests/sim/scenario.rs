//! What one seed stands for: the options of a run, drawn once and printed when it fails.

use std::time::Duration;

use meshless::{HedgingPolicy, Policy, RetryPolicy};
use meshless_core::Rng;
use tonic::Code;

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
    /// Nothing goes wrong but that backends drain, restart and are replaced, and that the resolver
    /// fails: then what the channel connects is counted.
    pub(crate) restarts_only: bool,
    /// Backends at the beginning; replacements come and go.
    pub(crate) backends: usize,
    /// Zero: connections do not age.
    pub(crate) age: Duration,
    pub(crate) grace: Duration,
    /// Zero: no limit.
    pub(crate) idle: Duration,
    pub(crate) streams_max: u32,
    pub(crate) repeat: Repeat,
    pub(crate) ejects: bool,
    pub(crate) watches_health: bool,
    /// Calls per second.
    pub(crate) rate: f64,
    /// What a handler takes.
    pub(crate) service_time: Duration,
    /// Mean time between two faults.
    pub(crate) fault_interval: Duration,
    /// Those that happen in this run.
    pub(crate) faults: Vec<Fault>,
}

/// What the channel does with a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Only what needs no policy.
    Never,
    OnUnavailable,
    Hedge,
}

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; the process is back later.
    Crash,
    /// Packets stop, both ways; later they pass again.
    Partition,
    /// The node is gone while packets stop; it comes back as new.
    NodeLoss,
    /// Packets take longer.
    Latency,
    /// The process drains, and is started again after a while.
    Drain,
    /// A new backend takes an old one's place: listed, unlisted and drained in the order of a
    /// rolling update.
    Replace,
    /// The process drains and is followed by a new one at once, many times in a row.
    GoAwayStorm,
    /// The resolver fails.
    ResolverError,
    /// The resolver's answer is empty.
    ResolverEmpty,
    /// The resolver forgets backends for a moment.
    ResolverFlap,
    Slow,
    Failing(Code),
    Hanging,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let mut faults = Vec::from(Fault::ALL);
        rng.shuffle(&mut faults);
        faults.truncate(1 + rng.below(Fault::ALL.len()));
        let drawn = Self {
            seed,
            restarts_only: false,
            policy: Policy::ALL[rng.below(Policy::ALL.len())],
            backends: 1 + rng.below(5),
            age: ms([0, 0, 200, 1000, 5000, 20_000][rng.below(6)]),
            grace: ms([3000, 10_000][rng.below(2)]),
            idle: ms([0, 0, 0, 500][rng.below(4)]),
            streams_max: [20, 100, 10_000][rng.below(3)],
            repeat: [Repeat::Never, Repeat::OnUnavailable, Repeat::OnUnavailable, Repeat::Hedge]
                [rng.below(4)],
            ejects: rng.below(3) > 0,
            watches_health: rng.below(3) == 0,
            rate: [5.0, 20.0, 40.0][rng.below(3)],
            service_time: ms([0, 5, 50][rng.below(3)]),
            fault_interval: ms([500, 2000, 5000][rng.below(3)]),
            faults,
        };
        if seed % 4 == 3 { drawn.with_restarts_only() } else { drawn }
    }

    /// A dozen backends that do not age. A connection ends only with its process, or because it is
    /// no longer listed.
    fn with_restarts_only(self) -> Self {
        Self {
            restarts_only: true,
            backends: 12,
            age: Duration::ZERO,
            idle: Duration::ZERO,
            streams_max: 10_000,
            watches_health: false,
            // Each backend's share of the quiet time is some fifty calls.
            rate: 40.0,
            faults: vec![
                Fault::Drain,
                Fault::Replace,
                Fault::GoAwayStorm,
                Fault::ResolverError,
                Fault::ResolverEmpty,
            ],
            ..self
        }
    }

    pub(crate) fn retry_policy() -> RetryPolicy {
        RetryPolicy::new(5, [meshless::retry::Code::Unavailable]).unwrap()
    }

    pub(crate) fn hedging_policy() -> HedgingPolicy {
        HedgingPolicy::new(HEDGES, ms(300)).unwrap().with_non_fatal([meshless::retry::Code::Unavailable])
    }
}

impl Fault {
    const ALL: [Self; 14] = [
        Self::Crash,
        Self::Partition,
        Self::NodeLoss,
        Self::Latency,
        Self::Drain,
        Self::Replace,
        Self::GoAwayStorm,
        Self::ResolverError,
        Self::ResolverEmpty,
        Self::ResolverFlap,
        Self::Slow,
        Self::Failing(Code::Unavailable),
        Self::Failing(Code::Internal),
        Self::Hanging,
    ];
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Attempts of a hedged call, the first included.
pub(crate) const HEDGES: u32 = 3;
