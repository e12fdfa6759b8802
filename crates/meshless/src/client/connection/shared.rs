//! What the calls on a connection, its task and its byte stream know in common.
//!
//! Everything that a call needs in order to start is an atomic here, so that a GOAWAY whose header
//! the byte stream has just read turns away the very next call, whichever thread it is on. The one
//! lock guards the handle that opens streams; taking that handle out is how the task closes the
//! door.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use meshless_core::{Address, Received};
use tokio::sync::Notify;

use super::header_limit::{HeaderLimit, LongBlocks};
use super::{CloseReason, Event, Report};

/// The common state of one connection.
pub(super) struct ConnectionShared {
    pub(super) address: Address,
    /// Opens streams. `None` before the handshake, and again once no call may start any more.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Cleared by whichever comes first: GOAWAY read, drain asked for, connection ended. Never set
    /// again.
    accepting: AtomicBool,
    /// Streams that calls hold or have reserved.
    open: AtomicU32,
    /// Of these, streams that are no calls.
    beside_calls: AtomicU32,
    /// The peer's MAX_CONCURRENT_STREAMS as last applied.
    max_streams: AtomicU32,
    /// A call was turned away because the connection was full, and wants to hear when it no longer
    /// is.
    room_wanted: AtomicBool,
    /// Streams that may still be opened before the ids run out.
    ids_left: AtomicU32,
    /// The highest stream whose HEADERS were handed to the byte stream, in whole or in part.
    written_up_to: AtomicU32,
    /// Our acknowledgement of the server's SETTINGS was written: they have been received and
    /// applied.
    settled: AtomicBool,
    /// Bytes were read since this was last asked.
    read: AtomicBool,
    /// HEADERS or DATA among them.
    answered: AtomicBool,
    goaway_read: AtomicBool,
    /// Empty messages beyond the first of a call, until the byte stream pays for them.
    empty_messages: AtomicU32,
    flooded: AtomicBool,
    abort: AtomicBool,
    pub(super) header_limit: HeaderLimit,
    pub(super) long_blocks: LongBlocks,
    /// The peer's MAX_HEADER_LIST_SIZE; `u32::MAX` if it has none.
    peer_header_list_max: AtomicU32,
    /// Wakes the task for what it would not notice by polling the connection.
    pub(super) wake: Notify,
    closed: OnceLock<CloseReason>,
    report: Report,
}

impl ConnectionShared {
    pub(super) fn new(address: Address, header_limit: HeaderLimit, report: Report) -> Arc<Self> {
        Arc::new(Self {
            address,
            sender: Mutex::new(None),
            accepting: AtomicBool::new(true),
            open: AtomicU32::new(0),
            beside_calls: AtomicU32::new(0),
            max_streams: AtomicU32::new(0),
            room_wanted: AtomicBool::new(false),
            ids_left: AtomicU32::new(STREAM_IDS - STREAM_ID_MARGIN),
            written_up_to: AtomicU32::new(0),
            settled: AtomicBool::new(false),
            read: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            goaway_read: AtomicBool::new(false),
            empty_messages: AtomicU32::new(0),
            flooded: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            header_limit,
            long_blocks: LongBlocks::default(),
            peer_header_list_max: AtomicU32::new(u32::MAX),
            wake: Notify::new(),
            closed: OnceLock::new(),
            report,
        })
    }
}

/// What calls ask.
impl ConnectionShared {
    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.load(SeqCst)
    }

    pub(super) fn open_streams(&self) -> u32 {
        self.open.load(SeqCst)
    }

    /// Calls that hold or have reserved a stream.
    pub(super) fn calls(&self) -> u32 {
        self.open_streams().saturating_sub(self.beside_calls.load(SeqCst))
    }

    pub(super) fn begin_beside_calls(&self) {
        self.beside_calls.fetch_add(1, SeqCst);
    }

    pub(super) fn end_beside_calls(&self) {
        self.beside_calls.fetch_sub(1, SeqCst);
    }

    pub(super) fn max_streams(&self) -> u32 {
        self.max_streams.load(SeqCst)
    }

    pub(super) fn peer_header_list_max(&self) -> u32 {
        self.peer_header_list_max.load(SeqCst)
    }

    pub(super) fn written_up_to(&self) -> u32 {
        self.written_up_to.load(SeqCst)
    }

    pub(super) fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.get()
    }

    /// Takes one stream out of the peer's limit. `false` means full or not accepting.
    pub(super) fn reserve(&self) -> bool {
        if !self.is_accepting() {
            return false;
        }
        if self.take_stream() {
            return true;
        }
        // Set before the second try: a stream freed after that try sees the wish, one freed before
        // it is taken.
        self.room_wanted.store(true, SeqCst);
        self.take_stream()
    }

    /// Returns what [`reserve`](Self::reserve) took.
    pub(super) fn release(&self) {
        let left = self.open.fetch_sub(1, SeqCst) - 1;
        if self.is_accepting() {
            self.announce_room(left);
        } else if left <= self.beside_calls.load(SeqCst) {
            self.wake.notify_one();
        }
    }

    /// A handle for opening one stream; `None` once the connection accepts no more.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        // After the last id h2 refuses every request. Stop a little before: a call that is past
        // this check must still find one.
        if self.ids_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
            self.stop_accepting();
        }
        // A clone, because the original would keep a reference to a stream that the peer's limit
        // holds back, and with it the stream itself after its call was dropped.
        if self.is_accepting() { self.lock_sender().clone() } else { None }
    }

    fn take_stream(&self) -> bool {
        let max = self.max_streams();
        self.open.fetch_update(SeqCst, SeqCst, |open| (open < max).then_some(open + 1)).is_ok()
    }

    fn announce_room(&self, open: u32) {
        if open < self.max_streams() && self.room_wanted.swap(false, SeqCst) {
            (self.report)(Event::StreamsAvailable);
        }
    }
}

/// What the byte stream notices.
impl ConnectionShared {
    pub(super) fn note_empty_messages(&self, messages: u32) {
        self.empty_messages.fetch_add(messages, SeqCst);
    }

    pub(super) fn take_empty_messages(&self) -> u32 {
        self.empty_messages.swap(0, SeqCst)
    }

    /// The server has overdrawn its budget of frames that carry nothing.
    pub(super) fn handle_flood(&self) {
        self.accepting.store(false, SeqCst);
        self.flooded.store(true, SeqCst);
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(SeqCst)
    }

    pub(super) fn handle_read(&self) {
        self.read.store(true, SeqCst);
    }

    /// Noted before the bytes themselves are.
    pub(super) fn handle_answer(&self) {
        self.answered.store(true, SeqCst);
    }

    pub(super) fn handle_goaway_header(&self) {
        self.accepting.store(false, SeqCst);
        self.goaway_read.store(true, SeqCst);
    }

    pub(super) fn handle_headers_written(&self, stream_id: u32) {
        self.written_up_to.fetch_max(stream_id, SeqCst);
    }

    /// The peer announces the longest header list that it takes.
    pub(super) fn handle_header_list_max(&self, max: u32) {
        self.peer_header_list_max.store(max, SeqCst);
    }

    pub(super) fn handle_settings_acknowledged(&self) {
        self.settled.store(true, SeqCst);
    }
}

/// What the task and the handle do.
impl ConnectionShared {
    pub(super) fn set_sender(&self, sender: SendRequest<Bytes>) {
        *self.lock_sender() = Some(sender);
    }

    /// Takes the handle that opens streams away. Without it h2 closes the connection after the last
    /// stream.
    pub(super) fn take_sender(&self) -> Option<SendRequest<Bytes>> {
        self.lock_sender().take()
    }

    pub(super) fn peek_sender(&self) -> Option<SendRequest<Bytes>> {
        self.lock_sender().clone()
    }

    /// What the server's first SETTINGS allow.
    pub(super) fn init_max_streams(&self, max: usize) {
        self.max_streams.store(clamp(max), SeqCst);
    }

    /// What its SETTINGS allow now.
    pub(super) fn set_max_streams(&self, max: usize) {
        let max = clamp(max);
        let before = self.max_streams.swap(max, SeqCst);
        if before == max || !self.is_accepting() {
            return;
        }
        (self.report)(Event::StreamLimit(max));
        self.announce_room(self.open_streams());
    }

    /// Turns new calls away, and lets the task look whether there is an old one to wait for.
    pub(super) fn stop_accepting(&self) {
        if self.accepting.swap(false, SeqCst) {
            self.wake.notify_one();
        }
    }

    pub(super) fn request_abort(&self) {
        self.abort.store(true, SeqCst);
        self.accepting.store(false, SeqCst);
        self.wake.notify_one();
    }

    pub(super) fn abort_requested(&self) -> bool {
        self.abort.load(SeqCst)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(SeqCst)
    }

    pub(super) fn ids_exhausted(&self) -> bool {
        self.ids_left.load(SeqCst) == 0
    }

    pub(super) fn goaway_read(&self) -> bool {
        self.goaway_read.load(SeqCst)
    }

    /// What was read since the last call, if anything.
    pub(super) fn take_read(&self) -> Option<Received> {
        let read = self.read.swap(false, SeqCst);
        let answered = self.answered.swap(false, SeqCst);
        read.then_some(if answered { Received::Answer } else { Received::Bytes })
    }

    /// Streams opened so far.
    pub(super) fn streams_opened(&self) -> u32 {
        STREAM_IDS - STREAM_ID_MARGIN - self.ids_left.load(SeqCst)
    }

    /// Records why the connection ended, before the calls on it hear that it did.
    pub(super) fn set_closed(&self, reason: CloseReason) {
        self.accepting.store(false, SeqCst);
        // The first reason stays: what follows is its consequence.
        let _ = self.closed.set(reason);
    }

    pub(super) fn report(&self, event: Event) {
        (self.report)(event);
    }

    fn lock_sender(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        // Nothing panics while it is held, and an `Option` has no half-changed state.
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clamp(streams: usize) -> u32 {
    u32::try_from(streams).unwrap_or(u32::MAX)
}

/// Ids that a client may give: the odd ones below 2³¹ (RFC 9113 §5.1.1). At 1 000 calls/s they last
/// twelve days.
const STREAM_IDS: u32 = 1 << 30;

/// Ids left unused, for calls that are being opened while the last ones are given out.
const STREAM_ID_MARGIN: u32 = 1 << 10;
