//! The one task of a connection: drives h2, watches the peer's limit and GOAWAY, pings, and closes.
//!
//! `establish` spawns it, and it ends with the connection. It waits without limit only for the peer
//! and for the calls. Once the last call has ended, closing may take [`CLOSE_TIMEOUT`].

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong, Reason};
use meshless_core::{Liveness, LivenessAction, LivenessConfig};
use tokio::time::{Instant, sleep_until};

use super::event::{CloseReason, Event, GoingAway};
use super::http2_error::debug_data;
use super::shared::ConnectionShared;
use super::wire::ClientWire;
use crate::shared::catch_panic::catch_panic;

/// The task's state.
pub(super) struct Task {
    http2: h2::client::Connection<ClientWire, Bytes>,
    ping_pong: Option<PingPong>,
    keepalive: Option<Liveness>,
    stall: Option<Liveness>,
    /// Opened streams that the liveness machines were told of.
    streams_seen: u32,
    shared: Arc<ConnectionShared>,
    going_away_reported: bool,
    /// h2 was last polled to write the resets of cancelled calls.
    writes_first: bool,
    /// When to stop waiting for h2's farewell.
    close_by: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        mut http2: h2::client::Connection<ClientWire, Bytes>,
        shared: Arc<ConnectionShared>,
        keepalive: Option<LivenessConfig>,
        stall: Option<LivenessConfig>,
    ) -> Self {
        let liveness = |config| Liveness::new(config, Instant::now().into_std());
        Self {
            ping_pong: http2.ping_pong(),
            http2,
            keepalive: keepalive.map(liveness),
            stall: stall.map(liveness),
            streams_seen: 0,
            shared,
            going_away_reported: false,
            writes_first: false,
            close_by: None,
        }
    }

    /// Runs the connection until it ends.
    pub(super) async fn run(mut self) {
        let reason = catch_panic(self.drive()).await.unwrap_or_else(CloseReason::Panicked);
        let Self { http2, shared, .. } = self;
        // The order matters: first no new call; then the reason, for calls that fail now; then
        // dropping the connection, which fails them; then the driver's event.
        shared.set_closed(reason.clone());
        shared.take_sender();
        // h2 panics here if it has panicked before: the driver must still be told of the end.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(move || drop(http2)));
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| shared.drop_all_left()));
        shared.report(Event::Closed(reason));
    }

    async fn drive(&mut self) -> CloseReason {
        let shared = Arc::clone(&self.shared);
        loop {
            let deadline = self.poll_timeout();
            tokio::select! {
                biased;
                reason = poll_fn(|cx| self.poll_http2(cx, deadline)) => {
                    if let Some(reason) = reason {
                        return reason;
                    }
                }
                () = shared.wake.notified() => {
                    if shared.abort_requested() {
                        return CloseReason::Aborted;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if let Some(reason) = self.handle_timeout(Instant::now()) {
                        return reason;
                    }
                }
            }
        }
    }

    /// Drives h2 as far as possible. Ready with a reason when the connection has ended. Ready
    /// without one when the deadline of the task's sleep has become earlier.
    fn poll_http2(&mut self, cx: &mut Context<'_>, armed: Option<Instant>) -> Poll<Option<CloseReason>> {
        // Not twice in a row: a storm of cancellations must not keep h2 from reading.
        self.writes_first = !self.writes_first && self.shared.drop_left();
        let polled = Pin::new(&mut self.http2).poll(cx);
        if self.shared.has_droppable_left() {
            cx.waker().wake_by_ref();
        }
        self.shared.set_max_streams(self.http2.max_concurrent_send_streams());
        self.note_traffic(cx);
        self.report_going_away();
        match polled {
            Poll::Ready(Ok(())) if self.close_by.is_some() => Poll::Ready(Some(CloseReason::Drained)),
            Poll::Ready(Ok(())) if self.drained() => Poll::Ready(Some(CloseReason::Drained)),
            Poll::Ready(Ok(())) => Poll::Ready(Some(CloseReason::Server)),
            Poll::Ready(Err(_)) if self.shared.is_flooded() => Poll::Ready(Some(CloseReason::Flooded)),
            Poll::Ready(Err(error)) => Poll::Ready(Some(self.close_reason(error))),
            Poll::Pending => {
                if self.drained() && self.close_by.is_none() {
                    // Without a handle that could open another stream, h2 sends GOAWAY, flushes and
                    // closes. After the server's GOAWAY it does so by itself, so the handle must
                    // first be asked for the reason.
                    if self.going_away_reported || !self.shared.goaway_read() {
                        self.shared.take_sender();
                    }
                    self.close_by = Some(Instant::now() + CLOSE_TIMEOUT);
                }
                match self.poll_timeout() {
                    Some(deadline) if armed.is_none_or(|armed| deadline < armed) => Poll::Ready(None),
                    _ => Poll::Pending,
                }
            }
        }
    }

    fn close_reason(&self, error: h2::Error) -> CloseReason {
        // h2's words for a list of headers, or its frames, that is several times too long.
        let too_long = ["header_list_way_too_large", "too_many_continuations"];
        if error.is_library() && too_long.contains(&&*debug_data(&error)) {
            return CloseReason::HeadersTooLong { max: self.shared.header_limit.max() };
        }
        CloseReason::Http2(Arc::new(error))
    }

    fn drained(&self) -> bool {
        !self.shared.is_accepting() && self.shared.streams.calls() == 0
    }

    fn note_traffic(&mut self, cx: &mut Context<'_>) {
        if let Some(read) = self.shared.take_read() {
            let now = Instant::now().into_std();
            if let Some(keepalive) = &mut self.keepalive {
                keepalive.handle_received(now, read);
            }
            if self.stall.as_mut().is_some_and(|stall| stall.handle_received(now, read)) {
                self.shared.report(Event::Silent(false));
            }
        }
        // After the read: h2 reads before it writes, so streams opened by now are younger than
        // these bytes.
        let streams_opened = self.shared.streams_opened();
        if std::mem::replace(&mut self.streams_seen, streams_opened) != streams_opened
            && let Some(stall) = &mut self.stall
        {
            stall.handle_call(Instant::now().into_std());
        }
        if let Some(ping_pong) = &mut self.ping_pong {
            // The answer already counted when its bytes were read. This only lets h2 send the next
            // PING.
            let _ = ping_pong.poll_pong(cx);
        }
    }

    /// Tells the driver that no calls can start, unless the driver asked for it.
    fn report_going_away(&mut self) {
        if self.going_away_reported || self.shared.is_accepting() {
            return;
        }
        let going_away = if self.shared.goaway_read() {
            // The header was seen before h2 has the whole frame; until then h2 knows no reason.
            let Some(Poll::Ready(Err(error))) = self
                .shared
                .peek_sender()
                .map(|mut sender| sender.poll_ready(&mut Context::from_waker(Waker::noop())))
            else {
                return;
            };
            let debug_data = debug_data(&error);
            GoingAway::Server {
                code: error.reason().unwrap_or(Reason::NO_ERROR),
                too_many_pings: error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
                    && debug_data.contains("too_many_pings"),
                debug_data,
            }
        } else if self.shared.ids_exhausted() {
            GoingAway::StreamIdsExhausted
        } else if self.shared.has_many_errors() {
            GoingAway::ManyErrors
        } else {
            return;
        };
        self.going_away_reported = true;
        self.shared.report(Event::GoingAway(going_away));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let calls_open = self.shared.streams.calls() > 0;
        let silence = [&self.keepalive, &self.stall].into_iter().flatten();
        let deadlines = silence.filter_map(|liveness| liveness.poll_timeout(calls_open));
        deadlines.map(Instant::from_std).chain(self.close_by).min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        if self.close_by.is_some_and(|close_by| now >= close_by) {
            return Some(CloseReason::Drained);
        }
        if let Some(stall) = self.check_silence(now, |task| &mut task.stall) {
            return Some(CloseReason::Silent(stall.limit()));
        }
        let keepalive = self.check_silence(now, |task| &mut task.keepalive)?;
        Some(CloseReason::Keepalive(keepalive.patience()))
    }

    /// Carries out what is due in a silence. Returns the settings of the machine that closes the
    /// connection, if one does.
    fn check_silence(
        &mut self,
        now: Instant,
        of: fn(&mut Self) -> &mut Option<Liveness>,
    ) -> Option<LivenessConfig> {
        let calls_open = self.shared.streams.calls() > 0;
        let liveness = of(self).as_mut()?;
        match liveness.handle_timeout(now.into_std(), calls_open)? {
            LivenessAction::Ping => self.ping(),
            LivenessAction::Suspect => self.shared.report(Event::Silent(true)),
            LivenessAction::Close => return Some(*liveness.config()),
        }
        None
    }

    fn ping(&mut self) {
        if let Some(ping_pong) = &mut self.ping_pong {
            // Refused only while an earlier PING is unanswered, and that one suffices.
            let _ = ping_pong.send_ping(Ping::opaque());
        }
    }
}

/// The longest time that h2's GOAWAY, the flush and the close may take on a connection without
/// calls.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
