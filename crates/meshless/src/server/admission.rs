//! The door of a running server: it counts who is inside, waits until another connection may come,
//! and tells those that find no place to go. The core decides ([`Admission`]).
//!
//! Called by the accept loop.

use std::sync::Arc;

use meshless_core::{Admission, Admitted, ConnectionLimits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::LINGER;
use super::wire::go_away;

/// Who is inside, and who may come in.
#[derive(Debug)]
pub(super) struct Admitting {
    admission: Admission,
    serving: Places,
    refusing: Places,
}

/// An accepted connection, as long as it lasts.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is served.
    Serve(Place),
    /// It is told to go, by [`refuse`].
    Refuse(Place),
    /// It is closed.
    Close,
}

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _counted: Arc<()>,
}

/// Counts places by their clones.
#[derive(Debug, Default)]
struct Places(Arc<()>);

impl Places {
    fn taken(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    fn take(&self) -> Place {
        Place { _counted: Arc::clone(&self.0) }
    }
}

impl Admitting {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self { admission: Admission::new(limits), serving: Places::default(), refusing: Places::default() }
    }

    /// Waits until another connection may be accepted. Loses nothing when it is dropped.
    pub(super) async fn ready(&self) {
        if let Some(ready_at) = self.admission.ready_at() {
            tokio::time::sleep_until(Instant::from_std(ready_at)).await;
        }
    }

    /// A connection was accepted.
    pub(super) fn admit(&mut self) -> Entry {
        let now = Instant::now().into_std();
        match self.admission.admit(now, self.serving.taken(), self.refusing.taken()) {
            Admitted::Serve => Entry::Serve(self.serving.take()),
            Admitted::Refuse => Entry::Refuse(self.refusing.take()),
            Admitted::Close => Entry::Close,
        }
    }
}

/// Tells a client to go: whatever it has asked for was not processed, and is safe to ask of
/// another.
pub(super) async fn refuse<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, place: Place) {
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
    drop(place);
}

/// SETTINGS must be a server's first frame (RFC 9113 §3.4).
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 0x4, 0, 0, 0, 0, 0];

/// NO_ERROR (RFC 9113 §7): a client repeats what an orderly GOAWAY left behind.
const NO_ERROR: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_has_ended() {
        let mut door = Admitting::new(ConnectionLimits { max: 1, per_second: None });
        let Entry::Serve(place) = door.admit() else { panic!("the first has a place") };
        let mut refused: Vec<_> = (0..256).map(|_| door.admit()).collect();
        assert!(refused.iter().all(|entry| matches!(entry, Entry::Refuse(_))));
        assert!(matches!(door.admit(), Entry::Close));
        refused.pop();
        assert!(matches!(door.admit(), Entry::Refuse(_)), "one has gone");
        drop(place);
        assert!(matches!(door.admit(), Entry::Serve(_)));
    }
}
