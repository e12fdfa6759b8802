//! When to list the EndpointSlices of a Service, when to watch them, and when to go on after a
//! failure.
//!
//! ```text
//!            ┌──────┐  resourceVersion   ┌───────┐ ─┐ ended, broken, silent: on from the last version
//!   start ─▶ │ list │ ─────────────────▶ │ watch │ ◀┘
//!            └──────┘ ◀───────────────── └───────┘
//!                      410 Gone, an event that cannot be read, two watches in a row that brought nothing
//! ```
//!
//! How old what is known can be: while the API server answers lists, 2.7 times
//! [`watch_timeout`](WatchScheduleConfig::watch_timeout), since whatever is wrong with watches, the
//! second one that brings nothing is followed by a list.
//!
//! Driven by the task that reads a Service. It knows of versions and failures, not of slices.

mod config;

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::rng::Rng;
use config::JITTER;
pub use config::WatchScheduleConfig;

/// The reading of one Service.
#[derive(Debug)]
pub struct WatchSchedule {
    config: WatchScheduleConfig,
    rng: Rng,
    /// Where the next watch goes on; `None` if a list has to come first.
    version: Option<String>,
    /// Watches in a row that brought nothing, not even a bookmark.
    barren: u32,
    /// Whether there was an event since the last failure.
    progress: bool,
    /// Failures in a row.
    failures: u32,
    backoff: Backoff,
    /// Whether the last failure was a refusal.
    is_denied: bool,
    /// When slices may be listed because endpoints have failed.
    next_doubt: Instant,
}

/// What to ask the API server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceRequest {
    /// All slices.
    List,
    /// What changes from now on.
    Watch {
        /// The `resourceVersion` to go on from.
        version: String,
        /// How long the API server is told to let it last.
        lasts: Duration,
        /// How long from its beginning it may take until its end is read. After that it is dead.
        silence_max: Duration,
    },
}

/// Why reading has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFailure {
    /// What is known is too old to go on from.
    Outdated,
    /// There is no cluster to ask.
    NoCluster,
    /// The API server refuses this client.
    Denied,
    /// The API server cannot be reached, or answers nonsense.
    Failed,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchRetry {
    /// How long nothing is asked.
    pub pause: Duration,
    /// Which failure in a row it is, from 1 on.
    pub failures: u32,
    /// Whether the channels are told. A watch that breaks is the API server's daily life; only what
    /// does not come back is worth a word.
    pub is_told: bool,
    /// Whether the failure before was a refusal as well.
    pub was_denied: bool,
}

impl WatchSchedule {
    /// Begins with a list.
    pub fn new(config: WatchScheduleConfig, rng: Rng, now: Instant) -> Self {
        Self {
            config,
            rng,
            version: None,
            barren: 0,
            progress: false,
            failures: 0,
            backoff: Backoff::new(config.backoff()),
            is_denied: false,
            // A doubt may be older than a list that is under way, so the first one may come as soon
            // as anything is known.
            next_doubt: now,
        }
    }

    /// The next request. The end of a watch must be told.
    pub fn next_request(&mut self) -> SliceRequest {
        let Some(version) = self.version.clone() else { return SliceRequest::List };
        self.barren = self.barren.saturating_add(1);
        let lasts = self.rng.jittered(self.config.watch_timeout, JITTER).max(Duration::from_secs(1));
        SliceRequest::Watch { version, lasts, silence_max: lasts + lasts / SILENCE_FRACTION }
    }

    /// A list was read. Returns false if its version is none that a watch can go on from.
    #[must_use]
    pub fn handle_list(&mut self, version: Option<String>) -> bool {
        self.version = version.filter(|version| is_version(version));
        self.barren = 0;
        self.version.is_some()
    }

    /// An event or a bookmark was read. Its version is ignored if it is none.
    pub fn handle_event(&mut self, version: Option<String>) {
        self.progress = true;
        self.barren = 0;
        if let Some(version) = version.filter(|version| is_version(version)) {
            self.version = Some(version);
        }
    }

    /// An event could not be read or used, so a list comes next.
    pub fn handle_missed(&mut self) {
        self.version = None;
    }

    /// A watch has ended, by itself or with a failure that follows.
    pub fn handle_watch_end(&mut self) {
        // Whatever the reason is, it may be that watches from here never bring anything again.
        if self.barren >= BARREN_WATCHES_MAX {
            self.version = None;
        }
    }

    /// Returns true if a watch that has ended by itself after so long was ended by something in
    /// between, and would be again.
    pub fn is_cut_short(lasted: Duration) -> bool {
        lasted < SHORTEST_WATCH
    }

    /// Reading has ended. `knows_any` is true if there was ever a list.
    pub fn handle_failure(&mut self, failure: WatchFailure, knows_any: bool) -> WatchRetry {
        if std::mem::take(&mut self.progress) {
            self.failures = 0;
            self.backoff.reset();
        }
        self.failures = self.failures.saturating_add(1);
        if failure == WatchFailure::Outdated {
            self.version = None;
        }
        let pause = match failure {
            WatchFailure::Denied => self.config.denied_interval,
            WatchFailure::NoCluster | WatchFailure::Outdated | WatchFailure::Failed => {
                self.backoff.advance(&mut self.rng)
            }
        };
        let was_denied = std::mem::replace(&mut self.is_denied, failure == WatchFailure::Denied);
        let is_told = self.failures > 1 || failure != WatchFailure::Failed || !knows_any;
        WatchRetry { pause, failures: self.failures, is_told, was_denied }
    }

    /// From when on a doubt counts: every endpoint that the slices name has failed.
    pub fn next_doubt(&self) -> Instant {
        self.next_doubt
    }

    /// Whether a doubt ends the pause after a failure. A client that may not read is no nearer to
    /// it for having doubts.
    pub fn doubts_end_pause(&self) -> bool {
        !self.is_denied
    }

    /// A doubt, at [`next_doubt`](Self::next_doubt) or later: a list comes next.
    pub fn handle_doubt(&mut self, now: Instant) {
        self.next_doubt = now + DOUBT_INTERVAL;
        self.version = None;
    }

    /// How long the changes of a Service with so many endpoints are gathered: each channel goes
    /// through all endpoints when it is told of one that has changed.
    pub fn gathering(&self, endpoints: usize) -> Duration {
        let endpoints = u32::try_from(endpoints).unwrap_or(u32::MAX);
        self.config.debounce + GATHERING_PER_ENDPOINT.saturating_mul(endpoints)
    }
}

/// "Opaque", says Kubernetes, and is a number. One of nothing would be watched from anywhere, and
/// what is longer than any name would not fit into a request.
fn is_version(version: &str) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&version.len())
}

/// One part of a watch's duration is what its end may be late by.
const SILENCE_FRACTION: u32 = 10;
/// No API server ends a watch as soon.
const SHORTEST_WATCH: Duration = Duration::from_millis(500);
/// One may be chance: a connection that broke. API servers send a bookmark each minute.
const BARREN_WATCHES_MAX: u32 = 2;
const VERSION_BYTES_MAX: usize = 253;
/// A channel takes 0.5 µs per endpoint to choose from 100 and 1.1 µs from 5 000 (3 µs from 50 000,
/// whose names no cache holds), and its balancer some more. So a Service that never comes to rest
/// costs about a tenth of a core, whatever its size. With 5 000 endpoints the debounce is 100 ms
/// longer.
const GATHERING_PER_ENDPOINT: Duration = Duration::from_micros(20);
/// The shortest time between two lists that channels ask for: a fleet whose backends are all gone
/// must not take the API server along.
const DOUBT_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
