//! The callers: unary and streaming calls at random instants, most with a generous deadline, some
//! with a short one, some cancelled.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use meshless::{Channel, WaitForReady};
use meshless_core::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::body::Body;
use tower_service::Service;

use crate::backend::{ID, MESSAGES};
use crate::log::{Call, CallEnd, Log};
use crate::scenario::ms;

/// Makes calls until `end`, and waits until each of them has ended.
pub(crate) async fn run(channel: Channel, rate: f64, mut rng: Rng, log: Arc<Log>, end: Instant) {
    let mut calls = JoinSet::new();
    let mut id = 0;
    while Instant::now() < end {
        // Sums of exponential pauses: calls come as from many independent callers.
        sleep(Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / rate)).await;
        id += 1;
        let (channel, log, rng) = (channel.clone(), Arc::clone(&log), Rng::new(rng.next_u64(), id));
        calls.spawn(async move {
            let call = call(channel, id, rng).await;
            log.notes().calls.push(call);
        });
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

async fn call(mut channel: Channel, id: u64, mut rng: Rng) -> Call {
    let streaming = rng.below(8) == 0;
    let wait_for_ready = rng.below(4) == 0;
    let deadline = if rng.below(6) == 0 { ms(1 + rng.below(1000) as u64) } else { GENEROUS };
    let cancel_after = (rng.below(30) == 0).then(|| ms(rng.below(500) as u64));
    let message = message(if rng.below(10) == 0 && !streaming { rng.below(1000) } else { 8 });
    let mut request =
        http::Request::post(if streaming { "/sim.Backend/Stream" } else { "/sim.Backend/Unary" })
            .header(ID, id)
            .header("grpc-timeout", format!("{}m", deadline.as_millis()))
            .header("content-type", "application/grpc")
            .body(Body::new(Full::new(message.clone())))
            .unwrap();
    request.extensions_mut().insert(WaitForReady(wait_for_ready));
    let begun = Instant::now();
    let exchange = async move {
        let (head, body) = channel.call(request).await?.into_parts();
        let collected = body.collect().await?;
        // A refusal has its status where others have their headers ("Trailers-Only").
        let trailers = collected.trailers().cloned().unwrap_or(head.headers);
        let status = tonic::Status::from_header_map(&trailers);
        let status = status.unwrap_or_else(|| tonic::Status::unknown("an answer without a status"));
        if status.code() == Code::Ok { Ok(collected.to_bytes()) } else { Err(status) }
    };
    let end = match timeout(cancel_after.unwrap_or(Duration::MAX / 4), exchange).await {
        Err(_) => CallEnd::Cancelled,
        Ok(Err(status)) => CallEnd::Failed(status.code(), status.message().to_owned()),
        Ok(Ok(bytes)) if bytes == message.repeat(if streaming { MESSAGES } else { 1 }) => CallEnd::Answered,
        Ok(Ok(bytes)) => CallEnd::Failed(Code::DataLoss, format!("{} bytes came", bytes.len())),
    };
    Call { id, streaming, wait_for_ready, begun, ended: Instant::now(), deadline, end }
}

fn message(length: usize) -> Bytes {
    let mut message = BytesMut::with_capacity(5 + length);
    message.put_u8(0);
    message.put_u32(u32::try_from(length).unwrap());
    message.put_bytes(7, length);
    message.freeze()
}

/// Room for an attempt on each of five backends, each of them a black hole that is left after some
/// seconds.
pub(crate) const GENEROUS: Duration = ms(40_000);
