//! Which connections a server lets in: not more than a number at once, and not more than so many in
//! a second.
//!
//! The two limits answer differently. A connection above the number is accepted and told to go
//! (GOAWAY, last stream 0), so that its client tries another backend at once; left in the kernel's
//! backlog it would look connected, and its calls would wait until their deadlines. A connection
//! that comes too soon waits in the backlog, for a moment: all clients of a server that has
//! restarted come together, and sending them away would only bring them back.
//!
//! Asked by the accept loop, which knows how many connections there are.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::rate::Rate;

/// The limits of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How many are served at once.
    pub max: usize,
    /// How many are accepted in a second; `None` for any number.
    pub per_second: Option<NonZeroU32>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max: CONNECTIONS_MAX, per_second: None }
    }
}

/// The door of a running server.
#[derive(Debug)]
pub struct Admission {
    max: usize,
    /// New connections, and what one of them costs.
    rate: Option<(Rate, Duration)>,
}

/// What becomes of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is served.
    Serve,
    /// It is told to go.
    Refuse,
    /// It is closed: many are being told to go already.
    Close,
}

impl Admission {
    /// The door of a server that has no connection.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            max: limits.max,
            // A second's worth may come at once. The next one waits until there is room for it.
            rate: limits
                .per_second
                .map(|rate| BUCKET / rate.get())
                .map(|cost| (Rate::new(BUCKET - cost), cost)),
        }
    }

    /// When another connection may be accepted, if there is a limit. May be in the past.
    #[must_use]
    pub fn ready_at(&self) -> Option<Instant> {
        self.rate.as_ref().and_then(|(rate, _)| rate.ready_at())
    }

    /// A connection was accepted, while so many are served and so many are being told to go.
    #[must_use]
    pub fn admit(&mut self, now: Instant, serving: usize, refusing: usize) -> Admitted {
        if let Some((rate, cost)) = &mut self.rate {
            rate.spend(now, *cost);
        }
        match (serving < self.max, refusing < REFUSALS_MAX) {
            (true, _) => Admitted::Serve,
            (false, true) => Admitted::Refuse,
            (false, false) => Admitted::Close,
        }
    }
}

/// How long a rate may be made use of in advance. An interval is never longer.
const BUCKET: Duration = Duration::from_secs(1);

/// Ten thousand connections hold some hundred megabytes while idle, and as many descriptors: more
/// than a pod's clients are.
const CONNECTIONS_MAX: usize = 10_000;

/// How many connections are told to go at a time; those beyond are closed without a word.
const REFUSALS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    #[test]
    fn a_seconds_worth_comes_at_once_and_the_rest_at_the_rate() {
        let limits = ConnectionLimits { max: 1000, per_second: NonZeroU32::new(10) };
        let mut admission = Admission::new(limits);
        let (mut now, mut seconds) = (epoch(), Vec::new());
        for serving in 0..30 {
            now = admission.ready_at().map_or(now, |at| at.max(now));
            assert_eq!(admission.admit(now, serving, 0), Admitted::Serve);
            seconds.push((now - epoch()).as_secs_f64());
        }
        assert!(seconds[..10].iter().all(|at| *at == 0.0), "{seconds:?}");
        assert!((1.99..2.05).contains(&seconds[29]), "{seconds:?}");
    }

    #[test]
    fn beyond_the_number_clients_are_told_to_go_and_beyond_that_they_are_closed() {
        let mut admission = Admission::new(ConnectionLimits { max: 1, per_second: None });
        let mut admit = |serving, refusing| admission.admit(epoch(), serving, refusing);
        assert_eq!(admit(0, 0), Admitted::Serve);
        assert_eq!(admit(0, REFUSALS_MAX), Admitted::Serve);
        assert_eq!(admit(1, 0), Admitted::Refuse);
        assert_eq!(admit(1, REFUSALS_MAX - 1), Admitted::Refuse);
        assert_eq!(admit(1, REFUSALS_MAX), Admitted::Close);
        assert_eq!(admission.ready_at(), None);
    }
}
