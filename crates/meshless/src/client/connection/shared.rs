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
use meshless_core::{Address, Freed, Received, StreamLimit};
use tokio::sync::Notify;

use super::header_limit::{HeaderLimit, LongBlocks};
use super::{CloseReason, Event, Report};

/// The common state of one connection.
pub(super) struct ConnectionShared {
    pub(super) address: Address,
    /// Opens streams. `None` before the handshake, and again once no call may start any more.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Who may open streams, and how many.
    pub(super) streams: StreamLimit,
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
            streams: StreamLimit::new(),
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
        self.streams.is_accepting()
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

    /// Returns a stream that was reserved.
    pub(super) fn release(&self) {
        self.announce(self.streams.release());
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

    fn announce(&self, freed: Freed) {
        match freed {
            Freed::Nothing => {}
            Freed::Room => (self.report)(Event::StreamsAvailable),
            Freed::LastCall => self.wake.notify_one(),
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
        self.streams.stop_accepting();
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
        self.streams.stop_accepting();
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
        self.streams.set_max(clamp(max));
    }

    /// What its SETTINGS allow now.
    pub(super) fn set_max_streams(&self, max: usize) {
        let max = clamp(max);
        let before = self.streams.set_max(max);
        if before == max || !self.is_accepting() {
            return;
        }
        (self.report)(Event::StreamLimit(max));
        self.announce(self.streams.room_after_raise());
    }

    /// Turns new calls away, and lets the task look whether there is an old one to wait for.
    pub(super) fn stop_accepting(&self) {
        if self.streams.stop_accepting() {
            self.wake.notify_one();
        }
    }

    pub(super) fn request_abort(&self) {
        self.abort.store(true, SeqCst);
        self.streams.stop_accepting();
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
        self.streams.stop_accepting();
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
