//! A server with more calls than workers: some wait, the others are sent away, or bounced to another server.

use std::time::{Duration, Instant};

use meshless::{CallLimit, Channel, Server};
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Running, start};
use crate::raw_peer::{END_STREAM, RESET_STREAM, RawPeer, Received, request};

/// Keeps a server's only worker busy until it is reset on stream 1.
async fn busy(server: &Running) -> RawPeer<TcpStream> {
    let mut peer = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
    peer.call(1, "/test.Stuck/Stream").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, end: false, .. }));
    peer
}

/// The peer's next frame is the whole answer to `stream`, with this status.
async fn assert_status(peer: &mut RawPeer<TcpStream>, stream: u32, status: [u8; 2]) {
    let Received::Headers { stream: of, block, end: true } = peer.next().await else { panic!("no trailers") };
    assert_eq!(of, stream);
    assert!(block.windows(2).any(|pair| pair == status), "{block:?}");
}

/// A header's value of one digit, Huffman coded (RFC 7541 Appendix B), after its length.
const DEADLINE_EXCEEDED: [u8; 2] = [0x81, 0b0110_1011];
const RESOURCE_EXHAUSTED: [u8; 2] = [0x81, 0b0111_1011];

/// Opens a stream that the server answers when it has a worker for it, and ends when the response is dropped.
async fn open_stream(mut channel: Channel) -> Result<http::Response<meshless::ResponseBody>, tonic::Status> {
    let request = http::Request::post("/test.Stuck/Stream").header("content-type", "application/grpc");
    channel.call(request.header("te", "trailers").body(tonic::body::Body::empty()).unwrap()).await
}

const UNARY: &str = "/test.Stuck/Unary";
const MARK: (&str, &str) = ("meshless-bounced", "1");

#[tokio::test]
async fn calls_beyond_the_workers_wait_and_those_beyond_the_queue_are_shed() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(1)), 1);
    let mut peer = busy(&server).await;
    peer.call(3, "/test.Stuck/Stream").await;
    peer.call(5, "/test.Stuck/Stream").await;
    assert_status(&mut peer, 5, RESOURCE_EXHAUSTED).await;
    // The one that waits takes the place of the one that goes.
    peer.reset(1, 8).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, end: false, .. }));
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_waits_ends_with_its_deadline_and_makes_room() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(1)), 1);
    let mut peer = busy(&server).await;
    let deadline = &[("grpc-timeout", "20m")][..];
    peer.send(&request(3, UNARY, deadline, END_STREAM)).await;
    assert_status(&mut peer, 3, DEADLINE_EXCEEDED).await;
    // It left the queue: there is room for another, which would else be shed at once.
    let begun = Instant::now();
    peer.send(&request(5, UNARY, deadline, END_STREAM)).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 5, end: true, .. }));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_health_check_is_answered_however_much_there_is_to_do() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(0).bounce()), 1);
    let mut peer = busy(&server).await;
    peer.call(3, "/grpc.health.v1.Health/Check").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, .. }));
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_first_attempt_bounces_off_a_busy_server_and_a_marked_one_waits() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(1).bounce()), 1);
    let mut peer = busy(&server).await;
    peer.call(3, "/test.Stuck/Stream").await;
    assert_eq!(peer.next().await, Received::Other { kind: RESET_STREAM, stream: 3 });
    peer.send(&request(5, "/test.Stuck/Stream", &[MARK], END_STREAM)).await;
    let attempts = ("grpc-previous-rpc-attempts", "1");
    peer.send(&request(7, "/test.Stuck/Stream", &[attempts], END_STREAM)).await;
    assert_status(&mut peer, 7, RESOURCE_EXHAUSTED).await;
    peer.reset(1, 8).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 5, end: false, .. }));
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_channel_takes_a_bounced_call_to_the_server_that_is_free() {
    let limit = CallLimit::new(1).bounce();
    let servers = [
        start(Server::builder().max_concurrent_calls(limit), 1),
        start(Server::builder().max_concurrent_calls(limit), 1),
    ];
    let busy = busy(&servers[0]).await;
    let target = format!("ipv4:{},{}", servers[0].addrs[0], servers[1].addrs[0]);
    let channel = Channel::builder(&target).policy(meshless::Policy::RoundRobin).connect().await.unwrap();
    for _ in 0..20 {
        // Dropped, and so reset, as soon as it is answered.
        open_stream(channel.clone()).await.unwrap();
    }
    drop((channel, busy));
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_channel_that_is_refused_twice_waits_at_the_second_server() {
    let limit = CallLimit::new(1).bounce();
    let servers = [
        start(Server::builder().max_concurrent_calls(limit), 1),
        start(Server::builder().max_concurrent_calls(limit), 1),
    ];
    let mut workers = [busy(&servers[0]).await, busy(&servers[1]).await];
    let target = format!("ipv4:{},{}", servers[0].addrs[0], servers[1].addrs[0]);
    let channel = Channel::builder(&target).policy(meshless::Policy::RoundRobin).connect().await.unwrap();
    let call = tokio::spawn(async move { open_stream(channel).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished(), "it waits for a worker");
    for worker in &mut workers {
        worker.reset(1, 8).await;
    }
    call.await.unwrap().unwrap();
    drop(workers);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stream_holds_its_worker_until_it_ends() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(0)), 1);
    let mut peer = busy(&server).await;
    peer.call(3, UNARY).await;
    assert_status(&mut peer, 3, RESOURCE_EXHAUSTED).await;
    peer.reset(1, 8).await;
    let served = async {
        let mut stream = 5;
        loop {
            peer.call(stream, "/test.Stuck/Stream").await;
            if matches!(peer.next().await, Received::Headers { end: false, .. }) {
                break;
            }
            stream += 2;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.unwrap();
    drop(peer);
    server.stop().await;
}
