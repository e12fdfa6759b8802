//! What a channel's calls and its driver know in common: the picker that the one publishes and the
//! others read.

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
    /// The same, cut: names the channel in logs.
    pub(crate) label: String,
    pub(crate) settings: CallSettings,
    pub(super) retries: Retries,
    pub(crate) metrics: ChannelMetrics,
    pub(super) empty_answers: EmptyAnswers,
    picker: ArcSwap<Picker<Connection>>,
    /// A new picker was published. Wakes every call that waits: each must hear that it fails.
    pub(super) published: Notify,
    /// A call has ended while others waited. Wakes the one at the head of the line.
    pub(super) room: Notify,
    /// The head of the line of calls that wait: it alone looks for a place, and hands the head on
    /// when it has one.
    pub(super) head: Mutex<()>,
    /// The head found no room. What becomes free is its own, not that of a call that comes by.
    contended: AtomicBool,
    line: WaitingLine,
    /// Calls begun so far: numbers their random streams, and tells the driver whether the channel
    /// is in use.
    calls: AtomicU64,
    seed: u64,
    events: mpsc::UnboundedSender<DriverEvent>,
    /// What the channel was doing when its driver ended.
    last_state: OnceLock<ChannelState>,
    /// The text of the panic that ended its driver, if one did. Set before `last_state`.
    panic: OnceLock<String>,
}

/// What is the same for every call of a channel.
#[derive(Debug)]
pub(crate) struct CallSettings {
    /// `:scheme` of requests.
    pub(crate) scheme: Scheme,
    /// `:authority` of requests.
    pub(crate) authority: Authority,
    pub(crate) user_agent: HeaderValue,
    /// What depends on the method.
    pub(crate) methods: Methods,
    /// How many calls may wait for a backend at a time.
    pub(crate) waiting_max: usize,
    /// Whether statuses that the channel makes may name endpoints.
    pub(crate) shows_endpoints: bool,
}

impl CallSettings {
    /// A status that the channel has made, as its caller gets it.
    pub(super) fn shown(&self, status: Status) -> Status {
        if self.shows_endpoints { status } else { hide_endpoints(status) }
    }
}

/// What the driver is told. Their number is bounded: a few per connection, one at a time per
/// waiting call, and one per run of failures.
#[derive(Debug)]
pub(crate) enum DriverEvent {
    /// A call waits, and the channel is idle.
    CallWaits,
    /// A call found every connection full, this endpoint's among them.
    Full(EndpointId),
    /// A call has ended in a way that decides about its endpoint.
    Outcome(OutcomeReport),
    /// An attempt to connect has ended.
    Connected(ConnectionId, Result<Connection, ConnectError>),
    /// The health service at the other end of a connection says that it serves, or why not.
    Health(ConnectionId, Result<(), String>),
    /// The server at the other end of a connection does not report its load apart from calls.
    NoLoadReports(ConnectionId),
    /// Something happened on a connection.
    Connection(ConnectionId, connection::Event),
    /// Somebody asks for the channel's state.
    StateWanted(oneshot::Sender<ChannelState>),
    /// The last handle on the channel is gone.
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

    /// Makes `picker` the one that calls use from now on.
    pub(crate) fn publish(&self, picker: Arc<Picker<Connection>>) {
        self.picker.store(picker);
        self.published.notify_waiters();
    }

    /// A call that waits for room may try again.
    pub(crate) fn announce_room(&self) {
        if self.line.must_wake() {
            self.room.notify_one();
        }
    }

    /// Tells the driver. After its end there is nothing left that needs telling.
    pub(crate) fn tell(&self, event: DriverEvent) {
        let _ = self.events.send(event);
    }

    /// The driver has ended: because nobody holds the channel any more, with its runtime, or with
    /// this panic.
    pub(crate) fn end(&self, last_state: ChannelState, panic: Option<String>) {
        if let Some(panic) = panic {
            let _ = self.panic.set(panic);
        }
        let _ = self.last_state.set(last_state);
        self.published.notify_waiters();
    }

    /// What the channel was doing when its driver ended, if it has.
    pub(super) fn last_state(&self) -> Option<&ChannelState> {
        self.last_state.get()
    }

    /// Why no call can succeed any more; `None` while the driver runs.
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

    /// Calls begun since the channel was made.
    pub(crate) fn calls_begun(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that wait for a backend.
    pub(crate) fn calls_waiting(&self) -> usize {
        self.line.len()
    }

    /// Counts a call, and gives it a random stream of its own.
    pub(super) fn begin_call(&self) -> Rng {
        Rng::new(self.seed, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// The random stream of the `nth` thing, from 1 on, that is no call.
    pub(crate) fn random_stream(&self, nth: u64) -> Rng {
        // Calls count upwards, and the balancer has the last one.
        Rng::new(self.seed, u64::MAX - nth)
    }

    pub(super) fn picker(&self) -> arc_swap::Guard<Arc<Picker<Connection>>> {
        self.picker.load()
    }

    pub(super) fn connectivity(&self) -> ConnectivityState {
        self.picker.load().connectivity()
    }

    /// Returns when it is another than `last`, or when the driver has ended.
    pub(super) async fn wait_for_state_change(&self, last: ConnectivityState) -> ConnectivityState {
        loop {
            let mut published = pin!(self.published.notified());
            // From here on no publication is missed, so the look comes after it.
            published.as_mut().enable();
            let state = self.connectivity();
            if state != last || self.last_state().is_some() {
                return state;
            }
            published.await;
        }
    }

    /// Whether room that becomes free is spoken for.
    pub(super) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::SeqCst)
    }

    /// The head of the line has found room, or found none.
    pub(super) fn set_contended(&self, contended: bool) {
        self.contended.store(contended, Ordering::SeqCst);
    }

    /// A place among those that wait, if there is one left.
    pub(super) fn start_waiting(&self) -> Option<Waiting<'_>> {
        let before = self.line.enter();
        self.metrics.calls_waiting(1);
        let waiting = Waiting { shared: self };
        (before < self.settings.waiting_max).then_some(waiting)
    }
}

/// A call's place among those that wait for a backend.
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

/// A target such as `kubernetes:///orders.shop.svc.cluster.local:50051` is named whole; a list of
/// addresses is not.
const LABEL_CHARS_MAX: usize = 64;
