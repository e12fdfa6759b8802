//! Which connections a server lets in: not more than a number at once, and not more than so many in
//! a second.
//!
//! The two limits answer differently. A connection above the number is accepted and told to go
//! (GOAWAY, last stream 0), so that its client tries another backend at once; left in the kernel's
//! backlog it would look connected, and its calls would wait until their deadlines. A connection
//! that comes too soon waits in the backlog, for a moment: all clients of a server that has
//! restarted come together, and sending them away would only bring them back.
//!
//! Called by the accept loop.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::Rate;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::LINGER;
use super::wire::go_away;

/// The limits of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionLimits {
    pub(super) max: usize,
    pub(super) per_second: Option<NonZeroU32>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max: CONNECTIONS_MAX, per_second: None }
    }
}

/// The door of a running server.
#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// New connections, and what one of them costs.
    rate: Option<(Rate, Duration)>,
}

/// What becomes of an accepted connection.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It is served, as long as this is held.
    Serve(OwnedSemaphorePermit),
    /// It is told to go, by [`refuse`].
    Refuse(OwnedSemaphorePermit),
    /// It is closed: many are being told to go already.
    Close,
}

impl Admission {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.max.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            // A second's worth may come at once. The next one waits until there is room for it.
            rate: limits
                .per_second
                .map(|rate| BUCKET / rate.get())
                .map(|cost| (Rate::new(BUCKET - cost), cost)),
        }
    }

    /// Waits until another connection may be accepted. Loses nothing when it is dropped.
    pub(super) async fn ready(&self) {
        if let Some(ready_at) = self.rate.as_ref().and_then(|(rate, _)| rate.ready_at()) {
            tokio::time::sleep_until(Instant::from_std(ready_at)).await;
        }
    }

    /// A connection was accepted.
    pub(super) fn admit(&mut self) -> Admitted {
        if let Some((rate, cost)) = &mut self.rate {
            rate.spend(Instant::now().into_std(), *cost);
        }
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Admitted::Serve(place);
        }
        match self.refusals.clone().try_acquire_owned() {
            Ok(refusal) => Admitted::Refuse(refusal),
            Err(_) => Admitted::Close,
        }
    }
}

/// Tells a client to go: whatever it has asked for was not processed, and is safe to ask of
/// another.
pub(super) async fn refuse<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, refusal: OwnedSemaphorePermit) {
    let linger_close = async {
        let words = [&EMPTY_SETTINGS[..], &go_away(0, NO_ERROR, "max_connections")].concat();
        if io.write_all(&words).await.is_err() || io.shutdown().await.is_err() {
            return;
        }
        // Closed with unread bytes, the socket would answer with a reset, and the words might be
        // lost.
        let mut discarded = [0; 1024];
        while matches!(io.read(&mut discarded).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(LINGER, linger_close).await;
    drop(refusal);
}

/// How long a rate may be made use of in advance. An interval is never longer.
const BUCKET: Duration = Duration::from_secs(1);

/// SETTINGS must be a server's first frame (RFC 9113 §3.4).
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 0x4, 0, 0, 0, 0, 0];

/// NO_ERROR (RFC 9113 §7): a client repeats what an orderly GOAWAY left behind.
const NO_ERROR: u32 = 0;

/// Ten thousand connections hold some hundred megabytes while idle, and as many descriptors: more
/// than a pod's clients are.
const CONNECTIONS_MAX: usize = 10_000;

/// How many connections are told to go at a time; those beyond are closed without a word.
const REFUSALS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seconds_worth_comes_at_once_and_the_rest_at_the_rate() {
        let limits = ConnectionLimits { max: 1000, per_second: NonZeroU32::new(10) };
        let mut admission = Admission::new(limits);
        let start = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..30 {
            admission.ready().await;
            assert!(matches!(admission.admit(), Admitted::Serve(_)));
            seconds.push(start.elapsed().as_secs_f64());
        }
        assert!(seconds[..10].iter().all(|at| *at == 0.0), "{seconds:?}");
        assert!((1.99..2.05).contains(&seconds[29]), "{seconds:?}");
    }

    #[tokio::test]
    async fn beyond_the_number_clients_are_told_to_go_and_beyond_that_they_are_closed() {
        let mut admission = Admission::new(ConnectionLimits { max: 1, per_second: None });
        let Admitted::Serve(place) = admission.admit() else { panic!("the first has a place") };
        let refusals: Vec<_> = (0..REFUSALS_MAX).map(|_| admission.admit()).collect();
        assert!(refusals.iter().all(|admitted| matches!(admitted, Admitted::Refuse(_))));
        assert!(matches!(admission.admit(), Admitted::Close));
        drop(place);
        assert!(matches!(admission.admit(), Admitted::Serve(_)));
    }
}
