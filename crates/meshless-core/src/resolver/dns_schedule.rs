//! When to ask DNS for a name.
//!
//! ```text
//!              handle_timeout            handle_success: clamp(TTL) ± 20 %
//!   ┌─────────┐ ──────────▶ ┌─────────┐ ───────────────────────────────▶ ┌─────────┐
//!   │ waiting │             │ looking │                                  │ waiting │
//!   └─────────┘ ◀────────── └─────────┘  handle_failure: backoff ± 20 %  └─────────┘
//!        ▲ │     the wait ends
//!        └─┘ hint: the wait gets shorter, within bounds
//! ```
//!
//! The task that owns a name drives it. Only one lookup runs at a time: while it runs there is no
//! timeout. Hints are kept until it ends, since its answer may be older than the reason for the
//! hint.

use std::time::{Duration, Instant};

use crate::backoff::{Backoff, BackoffConfig};
use crate::client::balancer::ResolveHint;
use crate::rate::Rate;
use crate::rng::Rng;

/// The next lookup of one name.
#[derive(Debug)]
pub struct DnsSchedule {
    config: DnsScheduleConfig,
    rng: Rng,
    phase: Phase,
    /// When the last lookup began.
    started: Option<Instant>,
    backoff: Backoff,
    /// The waits while one address family does not answer.
    incomplete: Backoff,
    /// True if the last lookup failed.
    failing: bool,
    /// Lookups that do not wait for the minimum interval.
    urgent: Rate,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { until: Instant },
    Looking { hint: Option<ResolveHint> },
}

impl DnsSchedule {
    /// The first lookup is due at once.
    pub fn new(config: DnsScheduleConfig, rng: Rng, now: Instant) -> Self {
        let backoff = Backoff::new(config.backoff(BACKOFF_MAX.min(config.poll_ceiling)));
        let incomplete = Backoff::new(config.backoff(config.poll_ceiling));
        Self {
            config,
            rng,
            phase: Phase::Waiting { until: now },
            started: None,
            backoff,
            incomplete,
            failing: false,
            urgent: Rate::new(config.refill_time() * TOKENS_MAX),
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout); `None` while a lookup runs.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Looking { .. } => None,
        }
    }

    /// Returns true if a lookup must begin now. Report its end.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                self.phase = Phase::Looking { hint: None };
                self.started = Some(now);
                true
            }
            _ => false,
        }
    }

    /// The lookup gave addresses that live for `ttl`. It is not `complete` if one address family
    /// has not answered: that one is asked for again soon, then more and more rarely.
    pub fn handle_success(&mut self, ttl: Duration, complete: bool, now: Instant) {
        self.failing = false;
        self.backoff.reset();
        let wait = ttl.clamp(self.config.poll_floor, self.config.poll_ceiling);
        let mut wait = self.rng.jittered(wait, JITTER);
        if complete {
            self.incomplete.reset();
        } else {
            wait = wait.min(self.incomplete.advance(&mut self.rng));
        }
        self.wait(wait, now);
    }

    /// The lookup failed, or gave no address.
    pub fn handle_failure(&mut self, now: Instant) {
        self.failing = true;
        let wait = self.backoff.advance(&mut self.rng);
        self.wait(wait, now);
    }

    /// Someone asks for an early lookup. It comes at most a minimum interval after the last one, or
    /// without that wait if all addresses failed. A failing name keeps its backoff, unless someone
    /// new waits for it.
    pub fn handle_hint(&mut self, hint: ResolveHint, now: Instant) {
        let until = match &mut self.phase {
            Phase::Looking { hint: kept } => {
                *kept = (*kept).max(Some(hint));
                return;
            }
            Phase::Waiting { until } => *until,
        };
        let soonest = self.soonest(now);
        let mut is_urgent = || self.urgent.take(now, self.config.refill_time()).is_ok();
        let until = match hint {
            ResolveHint::AllFailed if until > now && is_urgent() => now,
            ResolveHint::Newcomer => until.min(soonest),
            ResolveHint::Stale | ResolveHint::AllFailed if !self.failing => until.min(soonest),
            ResolveHint::Stale | ResolveHint::AllFailed => until,
        };
        self.phase = Phase::Waiting { until };
    }

    fn wait(&mut self, wait: Duration, now: Instant) {
        let hint = match self.phase {
            Phase::Looking { hint } => hint,
            Phase::Waiting { .. } => None,
        };
        self.phase = Phase::Waiting { until: (now + wait).max(self.soonest(now)) };
        if let Some(hint) = hint {
            self.handle_hint(hint, now);
        }
    }

    /// Returns when the minimum interval since the last lookup is over.
    fn soonest(&self, now: Instant) -> Instant {
        self.started.map_or(now, |started| now.max(started + self.config.min_interval))
    }
}

/// How often a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnsScheduleConfig {
    poll_floor: Duration,
    poll_ceiling: Duration,
    min_interval: Duration,
}

impl DnsScheduleConfig {
    /// The shortest wait between two lookups by polling, for any TTL. Each wait is made longer or
    /// shorter by up to 20 %. Default 2 s. A ceiling below it is raised to it.
    pub fn poll_floor(mut self, floor: Duration) -> Self {
        self.poll_floor = floor.clamp(LEAST, MOST);
        self.poll_ceiling = self.poll_ceiling.max(self.poll_floor);
        self
    }

    /// The longest wait between two lookups by polling. Default 30 s. A floor above it is lowered
    /// to it.
    pub fn poll_ceiling(mut self, ceiling: Duration) -> Self {
        self.poll_ceiling = ceiling.clamp(LEAST, MOST);
        self.poll_floor = self.poll_floor.min(self.poll_ceiling);
        self
    }

    /// The shortest time between two lookups on demand; also the first backoff of a failing name.
    /// Default 1 s.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval.clamp(LEAST, MOST);
        self
    }

    /// Waits that grow from the minimum interval to `max`.
    fn backoff(&self, max: Duration) -> BackoffConfig {
        let first = self.min_interval.min(max);
        BackoffConfig::new(first, BACKOFF_MULTIPLIER, JITTER, max)
            .expect("the first wait is at least 10 ms and at most the longest")
    }

    /// Returns how long it takes until an urgent lookup is allowed again.
    fn refill_time(&self) -> Duration {
        self.min_interval * REFILL_INTERVALS
    }
}

impl Default for DnsScheduleConfig {
    fn default() -> Self {
        Self {
            poll_floor: Duration::from_secs(2),
            poll_ceiling: Duration::from_secs(30),
            min_interval: Duration::from_secs(1),
        }
    }
}

/// Spreads the clients of one name; otherwise a rollout would synchronise them.
const JITTER: f64 = 0.2;
/// Lookups at once for a channel that has lost every address. After that the minimum interval holds
/// for it, too.
const TOKENS_MAX: u32 = 3;
/// Minimum intervals until one of them comes back.
const REFILL_INTERVALS: u32 = 5;

/// A failing name is asked again within this time, give or take the jitter. Calls wait for new
/// addresses, and a recovered name server can take a query each 5 s from each process: TTLs of 5 s
/// cause as many.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// As for gRPC's connections.
const BACKOFF_MULTIPLIER: f64 = 1.6;
/// The shortest of all waits, for any setting.
const LEAST: Duration = Duration::from_millis(10);
/// The longest of all waits. Sums of instants then do not overflow.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
