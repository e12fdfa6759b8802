//! The streams that calls hold on one connection, within the peer's MAX_CONCURRENT_STREAMS.
//!
//! Calls reserve and release streams on any thread, without a lock. Two wake-ups must not be lost.
//! A call that found the connection full is told when there is room. A draining connection is told
//! when its last call ends. `loom_models.rs` tries every order of events for both.

use crate::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// Counts the streams of one connection. At first its limit is 0 and it accepts calls.
#[derive(Debug)]
pub struct StreamLimit {
    /// Streams that calls hold or have reserved, and [`CLOSED`]. The first of these sets it: a
    /// GOAWAY was read, a drain began, the connection ended. It is one word, so a change of one
    /// part sees the other.
    open: AtomicU32,
    /// Of these, streams that are not calls.
    beside_calls: AtomicU32,
    /// The peer's limit as last applied.
    max: AtomicU32,
    /// A call was refused because the connection was full, and wants to be told of room.
    room_wanted: AtomicBool,
}

/// What others must be told after a change of the count or of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "somebody may wait for it"]
pub enum Freed {
    /// Nobody waits for the change.
    Nothing,
    /// A call that was refused finds room now.
    Room,
    /// The connection accepts no calls, and the last one has ended.
    LastCall,
}

impl StreamLimit {
    /// Creates the count for a connection whose peer has not announced its limit yet.
    pub fn new() -> Self {
        Self {
            open: AtomicU32::new(0),
            beside_calls: AtomicU32::new(0),
            max: AtomicU32::new(0),
            room_wanted: AtomicBool::new(false),
        }
    }

    /// Reserves one stream. Returns `false` if the connection is full or accepts no calls.
    #[inline]
    pub fn reserve(&self) -> bool {
        if self.take() {
            return true;
        }
        if !self.is_accepting() {
            return false;
        }
        // Set before the second try. A stream released after that try sees the flag; the try finds
        // one that was released before it.
        self.room_wanted.store(true, SeqCst);
        self.take()
    }

    /// Releases a stream of [`reserve`](Self::reserve).
    #[inline]
    pub fn release(&self) -> Freed {
        let left = self.open.fetch_sub(1, SeqCst) - 1;
        if left & CLOSED == 0 {
            self.room_for_one_more(left)
        } else if left & !CLOSED <= self.beside_calls.load(SeqCst) {
            Freed::LastCall
        } else {
            Freed::Nothing
        }
    }

    /// Marks a reserved stream as not a call: a draining connection does not wait for it.
    pub fn begin_beside_calls(&self) {
        self.beside_calls.fetch_add(1, SeqCst);
    }

    /// Undoes [`begin_beside_calls`](Self::begin_beside_calls), before the stream is released.
    pub fn end_beside_calls(&self) {
        self.beside_calls.fetch_sub(1, SeqCst);
    }

    /// Sets the limit. Returns what it was before.
    pub fn set_max(&self, max: u32) -> u32 {
        self.max.swap(max, SeqCst)
    }

    /// Tells if a call that was refused finds room now. Called after the limit was raised.
    pub fn room_after_raise(&self) -> Freed {
        self.room_for_one_more(self.open())
    }

    /// Refuses new calls from now on. Returns `true` the first time: the caller then checks if
    /// [`calls`](Self::calls) is 0 already.
    pub fn stop_accepting(&self) -> bool {
        self.open.fetch_or(CLOSED, SeqCst) & CLOSED == 0
    }

    /// Returns true if new calls may reserve streams.
    #[inline]
    pub fn is_accepting(&self) -> bool {
        self.open.load(SeqCst) & CLOSED == 0
    }

    /// Returns the number of streams that are reserved or open.
    #[inline]
    pub fn open(&self) -> u32 {
        self.open.load(SeqCst) & !CLOSED
    }

    /// Returns the number of calls among them.
    pub fn calls(&self) -> u32 {
        self.open().saturating_sub(self.beside_calls.load(SeqCst))
    }

    /// Returns the peer's limit as last applied.
    #[inline]
    pub fn max(&self) -> u32 {
        self.max.load(SeqCst)
    }

    #[inline]
    fn take(&self) -> bool {
        // The limit stays below the bit of a closed connection, so a closed one has no room.
        let max = self.max().min(CLOSED);
        self.open.fetch_update(SeqCst, SeqCst, |open| (open < max).then_some(open + 1)).is_ok()
    }

    #[inline]
    fn room_for_one_more(&self, open: u32) -> Freed {
        if open < self.max() && self.room_wanted.swap(false, SeqCst) { Freed::Room } else { Freed::Nothing }
    }
}

impl Default for StreamLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// The top bit: there are fewer streams than that (RFC 9113 §5.1.1).
const CLOSED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_taken_up_to_the_limit() {
        let streams = StreamLimit::new();
        assert!(!streams.reserve(), "the peer has not said how many");
        assert_eq!(streams.set_max(2), 0);
        assert_eq!(streams.room_after_raise(), Freed::Room);
        assert!(streams.reserve() && streams.reserve());
        assert_eq!(streams.release(), Freed::Nothing, "nobody was turned away since");
        assert!(streams.reserve() && !streams.reserve());
        assert_eq!((streams.release(), streams.open()), (Freed::Room, 1));
        streams.set_max(u32::MAX);
        assert!(streams.reserve());
    }

    #[test]
    fn a_closed_connection_waits_for_its_last_call() {
        let streams = StreamLimit::new();
        streams.set_max(u32::MAX);
        assert!((0..3).all(|_| streams.reserve()));
        streams.begin_beside_calls();
        assert!(streams.stop_accepting() && !streams.stop_accepting());
        assert!(!streams.reserve() && !streams.is_accepting());
        assert_eq!((streams.release(), streams.calls()), (Freed::Nothing, 1));
        assert_eq!((streams.release(), streams.calls()), (Freed::LastCall, 0));
        streams.end_beside_calls();
        assert_eq!((streams.release(), streams.open()), (Freed::LastCall, 0));
    }
}
