//! When to ask DNS: a machine without clock or I/O.
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
//! Driven by the task that owns a name. One lookup runs at a time by construction: while one runs there is no
//! timeout, and hints are kept until it ends, because its answer may be older than the reason for the hint.

use std::time::{Duration, Instant};

use meshless_core::{Backoff, Rng};

use super::config::DnsConfig;

/// The next lookup of one name.
#[derive(Debug)]
pub(super) struct Schedule {
    config: DnsConfig,
    rng: Rng,
    state: State,
    /// When the last lookup began.
    started: Option<Instant>,
    backoff: Backoff,
    /// The waits while one family does not answer.
    incomplete: Backoff,
    /// Whether the last lookup failed.
    failing: bool,
    tokens: Tokens,
}

/// Why someone wants a lookup before its time. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// The set may be out of date. A name that fails is left to its backoff.
    Stale,
    /// Someone new waits for an answer: backoff or not, at most a minimum interval from the last lookup.
    Newcomer,
    /// Every known address failed: at once, as long as tokens last.
    AllFailed,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting { until: Instant },
    Looking { wish: Option<Wish> },
}

impl Schedule {
    /// The first lookup is due at once.
    pub(super) fn new(config: DnsConfig, rng: Rng, now: Instant) -> Self {
        let tokens = Tokens { left: TOKENS_MAX, refilled: now };
        let backoff = Backoff::new(config.backoff());
        let incomplete = Backoff::new(config.backoff_up_to(config.poll_ceiling));
        Self {
            config,
            rng,
            state: State::Waiting { until: now },
            started: None,
            backoff,
            incomplete,
            failing: false,
            tokens,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while a lookup runs.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Looking { .. } => None,
        }
    }

    /// Whether to begin a lookup now. If so, its end must be told.
    #[must_use]
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Looking { wish: None };
                self.started = Some(now);
                true
            }
            _ => false,
        }
    }

    /// The lookup gave addresses that live for `ttl`. If one family has not answered, it is not `complete`, and it is
    /// asked for again soon, then more and more rarely.
    pub(super) fn handle_success(&mut self, ttl: Duration, complete: bool, now: Instant) {
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
    pub(super) fn handle_failure(&mut self, now: Instant) {
        self.failing = true;
        let wait = self.backoff.advance(&mut self.rng);
        self.wait(wait, now);
    }

    /// Someone wants a lookup before its time.
    pub(super) fn handle_wish(&mut self, wish: Wish, now: Instant) {
        let until = match &mut self.state {
            State::Looking { wish: kept } => {
                *kept = (*kept).max(Some(wish));
                return;
            }
            State::Waiting { until } => *until,
        };
        let soonest = self.soonest(now);
        let until = match wish {
            Wish::AllFailed if until > now && self.tokens.take(now, self.config.min_interval) => now,
            Wish::Newcomer => until.min(soonest),
            Wish::Stale | Wish::AllFailed if !self.failing => until.min(soonest),
            Wish::Stale | Wish::AllFailed => until,
        };
        self.state = State::Waiting { until };
    }

    fn wait(&mut self, wait: Duration, now: Instant) {
        let wish = match self.state {
            State::Looking { wish } => wish,
            State::Waiting { .. } => None,
        };
        self.state = State::Waiting { until: (now + wait).max(self.soonest(now)) };
        if let Some(wish) = wish {
            self.handle_wish(wish, now);
        }
    }

    /// When the minimum interval since the last lookup is over.
    fn soonest(&self, now: Instant) -> Instant {
        self.started.map_or(now, |started| now.max(started + self.config.min_interval))
    }
}

/// Lookups that do not wait for the minimum interval.
#[derive(Debug)]
struct Tokens {
    left: u32,
    refilled: Instant,
}

impl Tokens {
    fn take(&mut self, now: Instant, min_interval: Duration) -> bool {
        let period = min_interval * REFILL_INTERVALS;
        while self.left < TOKENS_MAX && self.refilled + period <= now {
            self.left += 1;
            self.refilled += period;
        }
        if self.left == TOKENS_MAX {
            self.refilled = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// Spreads the clients of one name, which a rollout would otherwise keep in step.
pub(super) const JITTER: f64 = 0.2;
/// Lookups at once for a channel that has lost every address, before the minimum interval holds for it too.
const TOKENS_MAX: u32 = 3;
/// Minimum intervals until one of them comes back.
const REFILL_INTERVALS: u32 = 5;

#[cfg(test)]
mod tests;
