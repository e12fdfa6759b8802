//! The state that a channel's calls share with its driver, above all the published picker.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use meshless_core::{
    ChannelState, ConnectionId, ConnectivityState, EmptyAnswers, EndpointId, OutcomeReport, Picker, Rng,
    WaitingLine,
};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tonic::Status;

use super::hidden_endpoints::hide_endpoints;
use super::method::Methods;
use super::retries::Retries;
use crate::client::connection::{self, ConnectError, Connection};
use crate::client::metrics::ChannelMetrics;

/// The state that a channel's calls share with its driver.
pub(crate) struct ChannelShared {
    /// As the user wrote it, for statuses.
    pub(crate) target: String,
    /// The same, shortened: names the channel in logs.
    pub(crate) label: String,
    pub(crate) settings: CallSettings,
    pub(super) retries: Retries,
    pub(crate) metrics: ChannelMetrics,
    pub(super) empty_answers: EmptyAnswers,
    picker: ArcSwap<Picker<Connection>>,
    /// A new picker was published. Wakes every waiting call, since each may have to fail.
    pub(super) published: Notify,
    /// A call has ended while others waited. Wakes the head of the queue.
    pub(super) room: Notify,
    /// The head of the queue of waiting calls. Only it looks for a place, and passes the head on
    /// when it has one.
    pub(super) head: Mutex<()>,
    /// The head of the queue found no room. Freed room belongs to it, not to a new call.
    contended: AtomicBool,
    line: WaitingLine,
    /// Calls begun so far. Numbers their random streams, and tells the driver if the channel is in
    /// use.
    calls: AtomicU64,
    seed: u64,
    events: mpsc::UnboundedSender<DriverEvent>,
    /// The channel's state when its driver ended.
    last_state: OnceLock<ChannelState>,
    /// The text of the panic that ended its driver, if one did. Set before `last_state`.
    panic: OnceLock<String>,
}

/// The settings that all calls of a channel share.
#[derive(Debug)]
pub(crate) struct CallSettings {
    /// `:scheme` of requests.
    pub(crate) scheme: Scheme,
    /// `:authority` of requests.
    pub(crate) authority: Authority,
    pub(crate) user_agent: HeaderValue,
    /// The settings that depend on the method.
    pub(crate) methods: Methods,
    /// How many calls may wait for a backend at a time.
    pub(crate) waiting_max: usize,
    /// True if statuses made by the channel may name endpoints.
    pub(crate) shows_endpoints: bool,
}

impl CallSettings {
    /// Returns a status of the channel as its caller gets it.
    pub(super) fn shown(&self, status: Status) -> Status {
        if self.shows_endpoints { status } else { hide_endpoints(status) }
    }
}

/// An event for the driver. Their number is limited: a few per connection, one at a time per
/// waiting call, and one per run of failures.
#[derive(Debug)]
pub(crate) enum DriverEvent {
    /// A call waits, and the channel is idle.
    CallWaits,
    /// A call found every connection full, also those of this endpoint.
    Full(EndpointId),
    /// A call has ended in a way that concerns the balancer.
    Outcome(OutcomeReport),
    /// An attempt to connect has ended.
    Connected(ConnectionId, Result<Connection, ConnectError>),
    /// The health service of a connection's server reports that it serves, or why not.
    Health(ConnectionId, Result<(), String>),
    /// A connection's server sends no load reports in a separate stream.
    NoLoadReports(ConnectionId),
    /// Something happened on a connection.
    Connection(ConnectionId, connection::Event),
    /// The channel's state is requested.
    StateWanted(oneshot::Sender<ChannelState>),
    /// The last handle on the channel was dropped.
    Dropped,
}

impl ChannelShared {
    pub(crate) fn new(
        target: String,
        settings: CallSettings,
        retries: Retries,
        metrics: ChannelMetrics,
        seed: u64,
        events: mpsc::UnboundedSender<DriverEvent>,
    ) -> Self {
        Self {
            label: label(&target),
            target,
            settings,
            retries,
            metrics,
            empty_answers: EmptyAnswers::default(),
            picker: ArcSwap::from_pointee(Picker::idle()),
            published: Notify::new(),
            room: Notify::new(),
            head: Mutex::new(()),
            contended: AtomicBool::new(false),
            line: WaitingLine::default(),
            calls: AtomicU64::new(0),
            seed,
            events,
            last_state: OnceLock::new(),
            panic: OnceLock::new(),
        }
    }

    /// Makes `picker` the one that calls use from now on, and wakes the waiting calls.
    pub(crate) fn publish(&self, picker: Arc<Picker<Connection>>) {
        self.picker.store(picker);
        self.published.notify_waiters();
    }

    /// Wakes a call that waits for room to try again.
    pub(crate) fn announce_room(&self) {
        if self.line.must_wake() {
            self.room.notify_one();
        }
    }

    /// Sends an event to the driver. After the driver's end no event matters.
    pub(crate) fn tell(&self, event: DriverEvent) {
        let _ = self.events.send(event);
    }

    /// The driver has ended: the last handle was dropped, the runtime ended, or it panicked with
    /// this text.
    pub(crate) fn end(&self, last_state: ChannelState, panic: Option<String>) {
        if let Some(panic) = panic {
            let _ = self.panic.set(panic);
        }
        let _ = self.last_state.set(last_state);
        self.published.notify_waiters();
    }

    /// Returns the channel's state when its driver ended, if it has.
    pub(super) fn last_state(&self) -> Option<&ChannelState> {
        self.last_state.get()
    }

    /// Returns why every call fails from now on; `None` while the driver runs.
    pub(super) fn end_status(&self) -> Option<Status> {
        self.last_state()?;
        let target = &self.target;
        Some(match self.panic.get() {
            None => Status::unavailable(format!(
                "{target}: the channel has ended together with the tokio runtime that it was made in"
            )),
            Some(panic) => Status::internal(format!(
                "{target}: the channel has ended because its task panicked; make a new one; the panic: {panic}"
            )),
        })
    }

    /// Returns how many calls were begun since the channel was made.
    pub(crate) fn calls_begun(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns how many calls wait for a backend.
    pub(crate) fn calls_waiting(&self) -> usize {
        self.line.len()
    }

    /// Counts a call, and returns its own random stream.
    pub(super) fn begin_call(&self) -> Rng {
        Rng::new(self.seed, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the random stream of the `nth` user, from 1 on, that is not a call.
    pub(crate) fn random_stream(&self, nth: u64) -> Rng {
        // Calls count upwards from 0, and the balancer has `u64::MAX`.
        Rng::new(self.seed, u64::MAX - nth)
    }

    pub(super) fn picker(&self) -> arc_swap::Guard<Arc<Picker<Connection>>> {
        self.picker.load()
    }

    pub(super) fn connectivity(&self) -> ConnectivityState {
        self.picker.load().connectivity()
    }

    /// Returns when the state differs from `last`, or when the driver has ended.
    pub(super) async fn wait_for_state_change(&self, last: ConnectivityState) -> ConnectivityState {
        loop {
            let mut published = pin!(self.published.notified());
            // From here on no publication is missed, so look after it.
            published.as_mut().enable();
            let state = self.connectivity();
            if state != last || self.last_state().is_some() {
                return state;
            }
            published.await;
        }
    }

    /// Returns true if freed room belongs to a waiting call.
    pub(super) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::SeqCst)
    }

    /// The head of the queue has found room, or none.
    pub(super) fn set_contended(&self, contended: bool) {
        self.contended.store(contended, Ordering::SeqCst);
    }

    /// Returns a place in the queue of waiting calls, if there is one left.
    pub(super) fn start_waiting(&self) -> Option<Waiting<'_>> {
        let before = self.line.enter();
        self.metrics.calls_waiting(1);
        let waiting = Waiting { shared: self };
        (before < self.settings.waiting_max).then_some(waiting)
    }
}

/// A call's place in the queue.
pub(super) struct Waiting<'a> {
    shared: &'a ChannelShared,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.line.leave();
        self.shared.metrics.calls_waiting(-1);
    }
}

fn label(target: &str) -> String {
    match target.char_indices().nth(LABEL_CHARS_MAX) {
        None => target.to_owned(),
        Some((at, _)) => format!("{}…", &target[..at]),
    }
}

/// A target such as `kubernetes:///orders.shop.svc.cluster.local:50051` is not shortened; a list of
/// addresses is.
const LABEL_CHARS_MAX: usize = 64;
