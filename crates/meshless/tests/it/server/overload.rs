//! A server with more calls than workers: some wait, the others are sent away, or bounced to
//! another server.

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
/// Of two digits.
const UNAVAILABLE: [u8; 2] = [0x82, 0b0000_1011];

/// Opens a stream that the server answers when it has a worker for it, and ends when the response
/// is dropped.
async fn open_stream(
    mut channel: Channel,
) -> Result<http::Response<meshless::client::ResponseBody>, tonic::Status> {
    let request = http::Request::post("/test.Stuck/Stream").header("content-type", "application/grpc");
    channel.call(request.header("te", "trailers").body(tonic::body::Body::empty()).unwrap()).await
}

const UNARY: &str = "/test.Stuck/Unary";
const MARK: (&str, &str) = ("meshless-bounced", "1");
const MARK_AGAIN: (&str, &str) = ("meshless-bounced", "2");

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

/// Keeps a server's only worker busy, and lets one call wait: it answers a marked one with a
/// refusal.
async fn crowded(server: &Running) -> RawPeer<TcpStream> {
    let mut peer = busy(server).await;
    peer.send(&request(3, "/test.Stuck/Stream", &[MARK], END_STREAM)).await;
    peer.send(&request(5, "/test.Stuck/Stream", &[MARK], END_STREAM)).await;
    assert_status(&mut peer, 5, UNAVAILABLE).await;
    peer
}

#[tokio::test]
async fn a_second_attempt_bounces_off_a_long_queue_and_a_third_one_waits() {
    let server = start(Server::builder().max_concurrent_calls(CallLimit::new(1).queue(2).bounce()), 1);
    let mut peer = crowded(&server).await;
    peer.send(&request(7, "/test.Stuck/Stream", &[MARK_AGAIN], END_STREAM)).await;
    // A retry policy's attempt does not know such an answer.
    let attempts = ("grpc-previous-rpc-attempts", "1");
    peer.send(&request(9, "/test.Stuck/Stream", &[MARK, attempts], END_STREAM)).await;
    assert_status(&mut peer, 9, RESOURCE_EXHAUSTED).await;
    for (ends, begins) in [(1, 3), (3, 7)] {
        peer.reset(ends, 8).await;
        let Received::Headers { stream, end: false, .. } = peer.next().await else { panic!("no head") };
        assert_eq!(stream, begins);
    }
    drop(peer);
    server.stop().await;
}

#[tokio::test]
async fn a_channel_takes_a_call_that_was_refused_twice_to_a_third_server() {
    let limit = CallLimit::new(1).queue(2).bounce();
    let servers = [(); 3].map(|()| start(Server::builder().max_concurrent_calls(limit), 1));
    let peers = [crowded(&servers[0]).await, crowded(&servers[1]).await];
    let addrs = servers.each_ref().map(|server| server.addrs[0].to_string()).join(",");
    let target = format!("ipv4:{addrs}");
    let channel = Channel::builder(&target).policy(meshless::Policy::RoundRobin).connect().await.unwrap();
    let mut refused_twice = 0;
    for _ in 0..60 {
        let before = channel.retry_stats().transparent_retries;
        // One that goes back to the first server waits there, and is given up.
        let call = tokio::time::timeout(Duration::from_millis(30), open_stream(channel.clone())).await;
        let refusals = channel.retry_stats().transparent_retries - before;
        assert!(refusals <= 2, "{refusals} refusals");
        refused_twice += u32::from(refusals == 2 && matches!(call, Ok(Ok(_))));
    }
    // One attempt in three begins at the first, goes on to the second, and the third is as likely
    // free as the first.
    assert!(refused_twice > 0);
    drop((channel, peers));
    for server in servers {
        server.stop().await;
    }
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
