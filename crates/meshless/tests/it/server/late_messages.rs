//! Messages of a client that cross the early end of their calls: h2 charges each, and gives nothing
//! back over the life of the connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshless::Server;
use meshless::server::{ConnectionConfig, RequestBody};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use super::pipes::{Piped, check};
use crate::raw_peer::{DATA, RESET_STREAM, RawPeer, Received, frame, go_away, request};

const MESSAGE: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

/// Waits until the other end has reset this stream.
async fn was_reset(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    loop {
        match peer.next().await {
            Received::Other { kind: RESET_STREAM, stream: reset } if reset == stream => return,
            closed @ (Received::Closed | Received::GoAway { .. }) => panic!("{closed:?}"),
            _ => {}
        }
    }
}

/// Opens a call that the server answers at once, and waits until the server has reset its stream.
async fn answered_early(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    peer.send(&request(stream, "/no.Such/Call", &[], 0)).await;
    was_reset(peer, stream).await;
}

/// 200 000 of them at 10 000 a second, where h2 alone bears 17 000.
#[tokio::test(start_paused = true)]
async fn messages_that_cross_an_early_answer_end_no_connection() {
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    for call in 0..200 {
        let stream = 2 * call + 1;
        answered_early(&mut peer, stream).await;
        peer.send(&frame(DATA, 0, stream, &MESSAGE).repeat(1000)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(check(&mut peer, 1001).await, 1, "SERVING");
}

/// At a rate that no client needs it is a flood.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_after_an_early_answer_is_cut() {
    let server = Piped::start(Server::builder().max_concurrent_streams(100));
    let mut peer = server.connect().await;
    answered_early(&mut peer, 1).await;
    let (read, mut write) = tokio::io::split(peer.io);
    let mut sent = 0;
    let flood = async {
        let messages = frame(DATA, 0, 1, &MESSAGE).repeat(100);
        loop {
            // The server reads on after its last word, for a second that does not pass here.
            write.write_all(&messages).await.unwrap();
            sent += 100;
        }
    };
    let mut peer = RawPeer { io: tokio::io::join(read, tokio::io::sink()) };
    let cut = async {
        loop {
            if let goaway @ Received::GoAway { .. } = peer.next().await {
                return goaway;
            }
        }
    };
    let goaway = tokio::select! {
        goaway = cut => goaway,
        () = flood => unreachable!("it has no end"),
    };
    assert_eq!(goaway, go_away(1, 11, "too_many_control_frames"));
    assert!((90_000..120_000).contains(&sent), "{sent} messages");
}

/// Drops the requests of `/deaf`, keeps those of others, and answers when it is told to; `/now` at
/// once.
#[derive(Clone)]
struct Gated(Arc<Notify>);

impl tower_service::Service<http::Request<RequestBody>> for Gated {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        let gate = self.0.clone();
        let (head, body) = request.into_parts();
        let kept = (head.uri.path() != "/deaf").then_some(body);
        Box::pin(async move {
            if head.uri.path() != "/now" {
                gate.notified().await;
            }
            drop(kept);
            Ok(http::Response::new("answer".into()))
        })
    }
}

/// A connection with this service, and what makes it answer.
async fn serve_gated() -> (RawPeer<DuplexStream>, Arc<Notify>) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let gate = Arc::new(Notify::new());
    let service = Gated(gate.clone());
    tokio::spawn(async move {
        let config = ConnectionConfig::default();
        meshless::serve_connection(server, service, &config, std::future::pending()).await
    });
    (RawPeer::connect(client).await, gate)
}

async fn answered(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    loop {
        match peer.next().await {
            Received::Data { stream: answered, payload } if answered == stream => {
                return assert_eq!(payload, b"answer");
            }
            closed @ (Received::Closed | Received::GoAway { .. }) => panic!("{closed:?}"),
            _ => {}
        }
    }
}

/// A handler that does not listen to its client, and is not done with its response.
#[tokio::test(start_paused = true)]
async fn messages_for_a_handler_that_has_dropped_its_request_end_no_connection() {
    let (mut peer, gate) = serve_gated().await;
    peer.send(&request(1, "/deaf", &[], 0)).await;
    for _ in 0..200 {
        peer.send(&frame(DATA, 0, 1, &MESSAGE).repeat(1000)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    peer.call(3, "/now").await;
    answered(&mut peer, 3).await;
    gate.notify_one();
    answered(&mut peer, 1).await;
    was_reset(&mut peer, 1).await;
}

/// Messages that arrive before the server has written the reset.
#[tokio::test(start_paused = true)]
async fn messages_that_come_with_the_end_of_their_call_end_no_connection() {
    let (mut peer, gate) = serve_gated().await;
    for call in 0..300 {
        let stream = 2 * call + 1;
        peer.send(&request(stream, "/kept", &[], 0)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.notify_one();
        // The handler is woken first, and the connection then finds both.
        peer.send(&frame(DATA, 0, stream, &MESSAGE).repeat(700)).await;
        answered(&mut peer, stream).await;
        was_reset(&mut peer, stream).await;
    }
    peer.call(1001, "/now").await;
    answered(&mut peer, 1001).await;
}
