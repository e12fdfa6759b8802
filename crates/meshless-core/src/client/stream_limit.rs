//! The streams that calls hold on one connection, within the peer's MAX_CONCURRENT_STREAMS.
//!
//! Calls reserve and release streams on any thread, without a lock. Two wake-ups must not be lost:
//! a call that found the connection full hears of room, and a connection that drains hears of the
//! end of its last call. `loom_models.rs` tries every order of events for both.

use crate::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// Counts the streams of one connection. It begins with a limit of 0, and accepting calls.
#[derive(Debug)]
pub struct StreamLimit {
    /// Streams that calls hold or have reserved; and [`CLOSED`], set by whichever comes first:
    /// GOAWAY read, drain asked for, connection ended. One word, so that whoever changes one part
    /// learns of the other.
    open: AtomicU32,
    /// Of these, streams that are no calls.
    beside_calls: AtomicU32,
    /// The peer's limit as last applied.
    max: AtomicU32,
    /// A call was turned away because the connection was full, and wants to hear when it no longer
    /// is.
    room_wanted: AtomicBool,
}

/// What a change of the count or of the limit means to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "somebody may wait for it"]
pub enum Freed {
    /// Nobody waits for it.
    Nothing,
    /// A call that was turned away finds room now.
    Room,
    /// The connection accepts no calls, and the last one has ended.
    LastCall,
}

impl StreamLimit {
    /// A connection whose peer has not announced its limit yet.
    pub fn new() -> Self {
        Self {
            open: AtomicU32::new(0),
            beside_calls: AtomicU32::new(0),
            max: AtomicU32::new(0),
            room_wanted: AtomicBool::new(false),
        }
    }

    /// Takes one stream out of the limit. Returns `false` if the connection is full or accepts no
    /// calls.
    #[inline]
    pub fn reserve(&self) -> bool {
        if self.take() {
            return true;
        }
        if !self.is_accepting() {
            return false;
        }
        // Set before the second try: a stream that is freed after that try sees the wish, and one
        // that is freed before it is taken.
        self.room_wanted.store(true, SeqCst);
        self.take()
    }

    /// Returns what [`reserve`](Self::reserve) took.
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

    /// A reserved stream is no call: a connection that drains does not wait for it.
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

    /// Tells whether a call that was turned away finds room now. Asked after the limit was raised.
    pub fn room_after_raise(&self) -> Freed {
        self.room_for_one_more(self.open())
    }

    /// Turns new calls away from now on. Returns `true` the first time: then the caller looks
    /// whether [`calls`](Self::calls) is 0 already.
    pub fn stop_accepting(&self) -> bool {
        self.open.fetch_or(CLOSED, SeqCst) & CLOSED == 0
    }

    /// True if new calls may reserve streams.
    #[inline]
    pub fn is_accepting(&self) -> bool {
        self.open.load(SeqCst) & CLOSED == 0
    }

    /// Streams that are reserved or open.
    #[inline]
    pub fn open(&self) -> u32 {
        self.open.load(SeqCst) & !CLOSED
    }

    /// The calls among them.
    pub fn calls(&self) -> u32 {
        self.open().saturating_sub(self.beside_calls.load(SeqCst))
    }

    /// The peer's limit as last applied.
    #[inline]
    pub fn max(&self) -> u32 {
        self.max.load(SeqCst)
    }

    #[inline]
    fn take(&self) -> bool {
        // No limit reaches the bit of a closed connection, so there is no room on one.
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
