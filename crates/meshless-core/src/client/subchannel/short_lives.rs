//! How long to wait before the next connection to an endpoint whose connections end early, or
//! flood.
//!
//! A connection that lasts resets the backoff, and is replaced at once when it ends: servers age
//! their connections, and pods are replaced. Two kinds of servers cause a loop, in which each turn
//! costs a handshake and a new picker:
//!
//! - one that ends each connection soon after it was made (a crash loop, a proxy without a
//!   backend): the pause doubles with each connection in a row that lived less than 0.8 s and
//!   answered few calls;
//! - one that sends frames without end until the client closes (`frame budget`): the pause grows
//!   with each such connection, also with long-lived ones.
//!
//! A subchannel owns it, and takes the later of this pause and its backoff.

use std::time::Duration;

use crate::rng::Rng;

/// Consecutive connections that were not worth their handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct ShortLives {
    short: u32,
    floods: u32,
}

impl ShortLives {
    /// A connection has ended after `life`, and had answered `answers` calls. Returns the pause
    /// before the next one.
    pub(super) fn ended(&mut self, life: Duration, answers: u64, rng: &mut Rng) -> Option<Duration> {
        if life >= FLOOD_FORGIVEN {
            self.floods = 0;
        }
        if life >= SHORT || answers >= ANSWERS_WORTH_A_CONNECT {
            self.short = 0;
            return None;
        }
        self.short = self.short.saturating_add(1);
        Some(pause(self.short.checked_sub(FREE + 1)?, FIRST_PAUSE, PAUSE_MAX, rng))
    }

    /// Returns true if this causes the pause before the next connection.
    pub(super) fn pauses(&self) -> bool {
        self.short > FREE || self.floods > 0
    }

    /// A connection was closed because its server sent too many frames without content. Returns the
    /// pause before the next one.
    pub(super) fn flooded(&mut self, rng: &mut Rng) -> Duration {
        self.floods = self.floods.saturating_add(1);
        pause(self.floods - 1, FLOOD_FIRST_PAUSE, FLOOD_PAUSE_MAX, rng)
    }
}

fn pause(doublings: u32, first: Duration, max: Duration, rng: &mut Rng) -> Duration {
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    rng.jittered(first.saturating_mul(factor).min(max), JITTER)
}

/// Below the life of connections that end by age: the shortest in use is 1 s, less 10 % of jitter.
/// Otherwise a server of that age with less than a hundred calls a second would cause pauses.
const SHORT: Duration = Duration::from_millis(800);

/// A connect costs both sides as much as about a hundred calls. A TLS handshake takes about 1 ms, a
/// call about 10 µs.
const ANSWERS_WORTH_A_CONNECT: u64 = 100;

/// Short lives without a pause. A restart can cause two by chance: one with the old process just
/// before its end, one with the new process before it is ready.
const FREE: u32 = 2;

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Not the backoff's two minutes: the endpoint does serve, although briefly.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// As the backoff's first and last delay (connection-backoff.md).
const FLOOD_FIRST_PAUSE: Duration = Duration::from_secs(1);
const FLOOD_PAUSE_MAX: Duration = Duration::from_secs(120);

/// A connection that lived so long without a flood shows that the server has changed.
const FLOOD_FORGIVEN: Duration = Duration::from_secs(600);

const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_millis(25);

    #[test]
    fn the_pause_doubles_from_the_third_short_life_on() {
        let (mut lives, mut rng) = (ShortLives::default(), Rng::new(1, 1));
        assert_eq!([lives.ended(LIFE, 0, &mut rng), lives.ended(LIFE, 3, &mut rng)], [None, None]);
        for millis in [50u64, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let pause = lives.ended(LIFE, 0, &mut rng).unwrap().as_millis() as f64;
            assert!((0.8..=1.2).contains(&(pause / millis as f64)), "{pause} for {millis}");
        }
    }

    #[test]
    fn a_connection_that_was_worth_it_ends_the_row() {
        for (life, answers) in [(SHORT, 0), (LIFE, ANSWERS_WORTH_A_CONNECT)] {
            let (mut lives, mut rng) = (ShortLives::default(), Rng::new(1, 1));
            for _ in 0..10 {
                let _ = lives.ended(LIFE, 0, &mut rng);
            }
            assert_eq!(lives.ended(life, answers, &mut rng), None);
            assert_eq!(lives.ended(LIFE, 0, &mut rng), None, "it begins anew");
        }
    }

    #[test]
    fn floods_are_remembered_beyond_connections_that_last() {
        let (mut lives, mut rng) = (ShortLives::default(), Rng::new(1, 1));
        for expected in [1.0, 2.0, 4.0] {
            assert!((0.8..=1.2).contains(&(lives.flooded(&mut rng).as_secs_f64() / expected)));
            assert_eq!(lives.ended(Duration::from_secs(20), 0, &mut rng), None);
        }
        assert_eq!(lives.ended(FLOOD_FORGIVEN, 0, &mut rng), None);
        assert!(lives.flooded(&mut rng).as_secs_f64() < 1.3);
    }
}
