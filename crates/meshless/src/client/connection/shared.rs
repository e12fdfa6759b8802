//! The state that the calls on a connection, its task and its byte stream share.
//!
//! All that a call needs to start is an atomic here. So a GOAWAY whose header the byte stream has
//! just read stops the very next call, on any thread. The only lock guards the handle that opens
//! streams; the task takes that handle out to stop new streams.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use meshless_core::{Address, Freed, Received, StreamLimit};
use tokio::sync::Notify;

use super::event::{CloseReason, Event, Report};
use super::header_limit::{HeaderLimit, LongBlocks};

/// The common state of one connection.
pub(super) struct ConnectionShared {
    pub(super) address: Address,
    /// Opens streams. `None` before the handshake, and again once no call may start.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// The streams that are open, and their limit.
    pub(super) streams: StreamLimit,
    /// Streams that may still be opened before the ids run out.
    ids_left: AtomicU32,
    /// The highest stream whose HEADERS were passed to the byte stream, completely or in part.
    written_up_to: AtomicU32,
    /// True once our acknowledgement of the server's SETTINGS was written: they were received and
    /// applied.
    settled: AtomicBool,
    /// True if bytes were read since the last call of [`take_read`](Self::take_read).
    read: AtomicBool,
    /// True if HEADERS or DATA are among them.
    answered: AtomicBool,
    goaway_read: AtomicBool,
    /// Empty messages beyond the first of a call, until the byte stream pays for them.
    empty_messages: AtomicU32,
    flooded: AtomicBool,
    many_errors: AtomicBool,
    /// Streams that were cancelled and wait for the task to let them go.
    left: Mutex<Vec<LeftStream>>,
    any_left: AtomicBool,
    /// h2 has something to write before it may read.
    write_first: AtomicBool,
    /// The byte stream takes no bytes for now.
    full: AtomicBool,
    abort: AtomicBool,
    pub(super) header_limit: HeaderLimit,
    pub(super) long_blocks: LongBlocks,
    /// The peer's MAX_HEADER_LIST_SIZE; `u32::MAX` if it has none.
    peer_header_list_max: AtomicU32,
    /// Wakes the task for events that it does not notice by polling the connection.
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
            many_errors: AtomicBool::new(false),
            left: Mutex::new(Vec::new()),
            any_left: AtomicBool::new(false),
            write_first: AtomicBool::new(false),
            full: AtomicBool::new(false),
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

/// Methods for calls.
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

    /// Releases a reserved stream.
    pub(super) fn release(&self) {
        self.announce(self.streams.release());
    }

    /// Returns a handle for opening one stream; `None` if the connection accepts no more.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        // After the last id h2 refuses every request. So stop a little before it: a call that has
        // passed this check must still find an id.
        if self.ids_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
            self.stop_accepting();
        }
        // A clone: the original would keep a reference to a stream that the peer's limit delays,
        // and so the stream itself after its call was dropped.
        if self.is_accepting() { self.lock_sender().clone() } else { None }
    }

    /// Hands what is left of a cancelled stream to the task.
    pub(super) fn let_go(&self, stream: LeftStream) {
        let mut left = self.lock_left();
        // If no task takes it, it is dropped after the lock.
        if self.closed.get().is_none() {
            left.push(stream);
            self.any_left.store(true, SeqCst);
            self.wake.notify_one();
        }
    }

    fn lock_left(&self) -> MutexGuard<'_, Vec<LeftStream>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, freed: Freed) {
        match freed {
            Freed::Nothing => {}
            Freed::Room => (self.report)(Event::StreamsAvailable),
            Freed::LastCall => self.wake.notify_one(),
        }
    }
}

/// Methods for the byte stream.
impl ConnectionShared {
    pub(super) fn note_empty_messages(&self, messages: u32) {
        self.empty_messages.fetch_add(messages, SeqCst);
    }

    pub(super) fn take_empty_messages(&self) -> u32 {
        self.empty_messages.swap(0, SeqCst)
    }

    /// The server has overdrawn its budget of frames without content.
    pub(super) fn handle_flood(&self) {
        self.streams.stop_accepting();
        self.flooded.store(true, SeqCst);
    }

    /// h2 has counted many errors of the server, and would end the connection some day.
    pub(super) fn handle_many_errors(&self) {
        self.many_errors.store(true, SeqCst);
        self.stop_accepting();
    }

    pub(super) fn has_many_errors(&self) -> bool {
        self.many_errors.load(SeqCst)
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(SeqCst)
    }

    /// It takes no bytes for now, or some again.
    pub(super) fn handle_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    /// Whether h2 has to write before it reads, once.
    pub(super) fn take_write_first(&self) -> bool {
        self.write_first.load(SeqCst) && self.write_first.swap(false, SeqCst)
    }

    pub(super) fn handle_read(&self) {
        self.read.store(true, SeqCst);
    }

    /// HEADERS or DATA were read. Called before the bytes themselves are noted.
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

    /// The peer announces the longest header list that it accepts.
    pub(super) fn handle_header_list_max(&self, max: u32) {
        self.peer_header_list_max.store(max, SeqCst);
    }

    pub(super) fn handle_settings_acknowledged(&self) {
        self.settled.store(true, SeqCst);
    }
}

/// Methods for the task and the handle.
impl ConnectionShared {
    pub(super) fn set_sender(&self, sender: SendRequest<Bytes>) {
        *self.lock_sender() = Some(sender);
    }

    /// Takes away the handle that opens streams. Without it h2 closes the connection after the last
    /// stream.
    pub(super) fn take_sender(&self) -> Option<SendRequest<Bytes>> {
        self.lock_sender().take()
    }

    pub(super) fn peek_sender(&self) -> Option<SendRequest<Bytes>> {
        self.lock_sender().clone()
    }

    /// Sets the limit of the server's first SETTINGS.
    pub(super) fn init_max_streams(&self, max: usize) {
        self.streams.set_max(clamp(max));
    }

    /// Sets the limit of the server's later SETTINGS.
    pub(super) fn set_max_streams(&self, max: usize) {
        let max = clamp(max);
        let before = self.streams.set_max(max);
        if before == max || !self.is_accepting() {
            return;
        }
        (self.report)(Event::StreamLimit(max));
        self.announce(self.streams.room_after_raise());
    }

    /// Refuses new calls, and lets the task check if there are old ones to wait for.
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

    /// Lets the streams of cancelled calls go, unless h2 could not write their resets now. Returns
    /// true if h2 has to write them before it reads.
    pub(super) fn drop_left(&self) -> bool {
        let droppable = self.has_droppable_left();
        if droppable {
            self.any_left.store(false, SeqCst);
            self.drop_all_left();
            self.write_first.store(true, SeqCst);
        }
        droppable
    }

    /// Whether it would do so.
    pub(super) fn has_droppable_left(&self) -> bool {
        self.any_left.load(SeqCst) && !self.full.load(SeqCst)
    }

    /// The same when the connection has ended, whatever the byte stream takes.
    pub(super) fn drop_all_left(&self) {
        let left = std::mem::take(&mut *self.lock_left());
        drop(left);
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

    /// Returns what was read since the last call, if anything.
    pub(super) fn take_read(&self) -> Option<Received> {
        let read = self.read.swap(false, SeqCst);
        let answered = self.answered.swap(false, SeqCst);
        read.then_some(if answered { Received::Answer } else { Received::Bytes })
    }

    /// Returns how many streams were opened so far.
    pub(super) fn streams_opened(&self) -> u32 {
        STREAM_IDS - STREAM_ID_MARGIN - self.ids_left.load(SeqCst)
    }

    /// Records why the connection ended, before the calls on it fail.
    pub(super) fn set_closed(&self, reason: CloseReason) {
        self.streams.stop_accepting();
        // The first reason stays: later ones follow from it.
        let _ = self.closed.set(reason);
    }

    pub(super) fn report(&self, event: Event) {
        (self.report)(event);
    }

    fn lock_sender(&self) -> MutexGuard<'_, Option<SendRequest<Bytes>>> {
        // Nothing panics while the lock is held, and an `Option` is never half changed.
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clamp(streams: usize) -> u32 {
    u32::try_from(streams).unwrap_or(u32::MAX)
}

/// The last handle of a stream, of whichever kind it is. Dropping it cancels the stream.
pub(super) type LeftStream = Box<dyn Send>;

/// Ids that a client may give: the odd ones below 2³¹ (RFC 9113 §5.1.1). At 1 000 calls/s they last
/// twelve days.
const STREAM_IDS: u32 = 1 << 30;

/// Ids left unused, for calls that are being opened while the last ids are assigned.
const STREAM_ID_MARGIN: u32 = 1 << 10;
