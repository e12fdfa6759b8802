//! Moves the frames of a streaming request into an HTTP/2 stream, as fast as flow control allows.
//!
//! Until the response's headers have come, the attempt polls the pump itself: the request stays in
//! the caller's task and can be taken back for another attempt. After that a separate task polls it
//! ([`PumpTask`]). The caller may hold the response without reading it while its request goes on.
//! If it waits for room in a channel that feeds the request, it would otherwise wait for ever.
//! tonic's own channel behaves the same.
//!
//! A unary call has no pump.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::outgoing::{RequestStream, WHOLE_MAX};
use crate::client::connection::StreamPermit;
use crate::shared::catch_panic::catch_panic;

/// The sending half of one attempt.
pub(super) struct Pump {
    sink: SendStream<Bytes>,
    /// Taken from the body, but not within the peer's windows yet.
    waiting: Bytes,
    body_ended: bool,
}

impl Pump {
    pub(super) fn new(sink: SendStream<Bytes>) -> Self {
        Self { sink, waiting: Bytes::new(), body_ended: false }
    }

    /// Sends what can be sent. Ready when all was sent, or when the peer wants no more.
    ///
    /// # Errors
    /// The body's own error; the stream has then been reset.
    pub(super) fn poll(
        &mut self,
        source: &mut RequestStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Status>> {
        loop {
            // Polled in every round, since it also wakes the pump when the stream ends while the
            // body is silent.
            if self.sink.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if !self.waiting.is_empty() {
                match ready!(self.poll_capacity(cx)) {
                    Some(capacity) => {
                        let part = self.waiting.split_to(capacity.min(self.waiting.len()));
                        self.body_ended = self.waiting.is_empty() && source.is_end();
                        let sent = self.sink.send_data(part, self.body_ended);
                        if sent.is_err() || self.body_ended {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    None => return Poll::Ready(Ok(())),
                }
                continue;
            }
            match ready!(source.poll_bytes(cx)) {
                Some(Ok(bytes)) => self.waiting = bytes,
                Some(Err(status)) => {
                    self.sink.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(status));
                }
                None => {
                    // Fails only if the stream has ended; the error is then not needed.
                    let _ = self.sink.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Returns how many bytes may be sent now; `None` if none may ever again.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        // In parts, since h2 counts windows in 32 bits.
        self.sink.reserve_capacity(self.waiting.len().min(WHOLE_MAX));
        loop {
            // `poll_capacity` reports only increases, so the present capacity is read first.
            let capacity = self.sink.capacity();
            if capacity > 0 {
                return Poll::Ready(Some(capacity));
            }
            match ready!(self.sink.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

/// A pump in its own task. Dropping this handle ends the task.
pub(super) struct PumpTask {
    task: JoinHandle<Result<(), Status>>,
    slot: Arc<StreamPermit>,
}

impl PumpTask {
    /// Runs the pump without the attempt, until the call's deadline. No other code checks the time
    /// while the response is not read. The permit stays taken until the pump has released the
    /// stream, too.
    pub(super) fn spawn(
        mut pump: Pump,
        mut source: RequestStream,
        slot: StreamPermit,
        deadline: Option<Instant>,
    ) -> Self {
        let slot = Arc::new(slot);
        let held = Arc::clone(&slot);
        let task = tokio::spawn(async move {
            let sending = async {
                let sent = catch_panic(poll_fn(|cx| pump.poll(&mut source, cx))).await;
                // Otherwise the server would wait for the rest of the request, and the caller for
                // its answer.
                sent.unwrap_or_else(|text| {
                    pump.sink.send_reset(Reason::CANCEL);
                    Err(Status::internal(format!("the request's stream panicked: {text}")))
                })
            };
            let result = match deadline {
                None => sending.await,
                Some(at) => match timeout_at(at, sending).await {
                    Ok(result) => result,
                    Err(_) => {
                        pump.sink.send_reset(Reason::CANCEL);
                        Err(Status::deadline_exceeded(format!(
                            "{}: the deadline passed while the request was sent",
                            held.address()
                        )))
                    }
                },
            };
            drop(pump);
            drop(held);
            result
        });
        Self { task, slot }
    }

    pub(super) fn slot(&self) -> &StreamPermit {
        &self.slot
    }

    /// Returns the error of the request's body, if that ended the stream. Call it only after this
    /// side has reset the stream: it is then ready soon.
    pub(super) fn poll_body_error(&mut self, cx: &mut Context<'_>) -> Poll<Option<Status>> {
        Pin::new(&mut self.task).poll(cx).map(|ended| ended.ok().and_then(Result::err))
    }
}

impl Drop for PumpTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}
