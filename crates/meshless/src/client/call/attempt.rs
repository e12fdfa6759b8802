//! Runs a call once, on one connection, up to the response's headers.
//!
//! The channel calls it for each attempt. It decides nothing: a failure comes back with its
//! meaning, and the request stays in [`Outgoing`]. Dropping the future cancels the attempt: h2
//! sends RST_STREAM(CANCEL) when the last handle to a stream is dropped, and the permit is released
//! after that.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use tonic::Status;

use super::failure::Failure;
use super::not_grpc;
use super::outgoing::{Outgoing, Payload};
use super::pump::{Pump, PumpTask};
use super::response::{AttemptBody, Held};
use super::response_head::{self, Follows};
use crate::client::connection::StreamPermit;

/// Sends the request into `slot`, and waits for the response's headers.
///
/// # Errors
/// If no response came; `outgoing` then says if it can be sent again.
pub(crate) async fn attempt(
    slot: StreamPermit,
    outgoing: &mut Outgoing,
) -> Result<http::Response<AttemptBody>, Failure> {
    let (response, mut pump) = poll_fn(|cx| Poll::Ready(start(&slot, outgoing, cx))).await?;
    let mut awaited = Awaited { response: Some(response), slot: &slot };
    let received = poll_fn(|cx| {
        if let (Some(sending), Some(source)) = (&mut pump, outgoing.stream())
            && let Poll::Ready(sent) = sending.poll(source, cx)
        {
            pump = None;
            if let Err(status) = sent {
                return Poll::Ready(Err(Failure::from_body(status, &slot)));
            }
        }
        awaited.poll(cx)
    })
    .await?;
    drop(awaited);
    let (mut head, mut stream) = received.into_parts();
    if let Err(too_long) = slot.check_headers(&head.headers) {
        slot.leave(stream);
        return Err(Failure::too_long(too_long, &slot));
    }
    let body = match response_head::read(&mut head, stream.is_end_stream(), outgoing) {
        Follows::Messages => {
            let deadline = outgoing.deadline();
            let held = match (pump, outgoing.commit()) {
                (Some(pump), Some(source)) => Held::Pumped(PumpTask::spawn(pump, source, slot, deadline)),
                _ => Held::StreamPermit(slot),
            };
            AttemptBody::new(stream, held)
        }
        // The server wants no more of the request, and a retry policy may need all of it again.
        Follows::Nothing => AttemptBody::ended(),
        Follows::NotGrpc => {
            drop(pump);
            let (code, cause) = Box::pin(not_grpc::describe(head, &mut stream)).await;
            slot.leave(stream);
            return Err(Failure::not_grpc(code, cause, &slot));
        }
    };
    Ok(http::Response::from_parts(head, body))
}

/// A response that has not come. If it is not waited for any longer, its stream is left to the
/// connection.
struct Awaited<'a> {
    /// `None` once it has come.
    response: Option<ResponseFuture>,
    slot: &'a StreamPermit,
}

impl Awaited<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::Response<RecvStream>, Failure>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        let result = ready!(Pin::new(&mut *response).poll(cx));
        let stream_id = response.stream_id().as_u32();
        self.response = None;
        Poll::Ready(result.map_err(|error| Failure::from_stream(&error, stream_id, self.slot)))
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(response) = self.response.take() {
            self.slot.leave(response);
        }
    }
}

/// Opens the stream, and queues as much of the body as is at hand: for a unary call all of it, in
/// the same turn as the headers, so that both leave in one write.
fn start(
    slot: &StreamPermit,
    outgoing: &mut Outgoing,
    cx: &mut Context<'_>,
) -> Result<(ResponseFuture, Option<Pump>), Failure> {
    let open = |outgoing: &mut Outgoing, end_of_stream: bool| {
        slot.open(|| outgoing.take_head(), end_of_stream).map_err(|error| Failure::from_open(error, slot))
    };
    match outgoing.payload(cx) {
        Payload::Whole(bytes) => match open(outgoing, bytes.is_empty()) {
            Ok((response, sink)) => {
                outgoing.sent_whole(&bytes);
                send_whole(sink, bytes);
                Ok((response, None))
            }
            Err(failure) => {
                outgoing.take_back(bytes);
                Err(failure)
            }
        },
        Payload::Stream => {
            let (response, sink) = open(outgoing, false)?;
            Ok((response, Some(Pump::new(sink))))
        }
        Payload::Failed(status) => Err(Failure::from_body(status, slot)),
        Payload::Gone => Err(Failure::from_body(
            Status::internal("the request was sent before and was too long to be kept for another attempt"),
            slot,
        )),
    }
}

/// Passes the whole body to h2, which sends it as the peer's windows allow. Waiting for the windows
/// here is useless: the bytes are in memory either way.
fn send_whole(mut sink: SendStream<Bytes>, bytes: Bytes) {
    if !bytes.is_empty() {
        // Fails only if the stream has ended; the response then says how.
        let _ = sink.send_data(bytes, true);
    }
}
