//! Clients that mean harm: each is cut or held within its bounds, and calls on other connections go
//! on.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use meshless::server::{CloseReason, ConnectionChange, ConnectionConfig, ConnectionSummary, LifetimeConfig};
use meshless::{CallContext, Server};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{check, start};
use crate::raw_peer::{
    DATA, END_STREAM, HEADERS, PING, RESET_STREAM, RawPeer, Received, WINDOW_UPDATE, frame, go_away, request,
};

const SECOND: Duration = Duration::from_secs(1);
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// Answers `/message` with a message, `/never` never, and `/ending` when the stream should end.
async fn answer(
    request: http::Request<meshless::server::RequestBody>,
) -> Result<http::Response<String>, Infallible> {
    match request.uri().path() {
        "/never" => std::future::pending().await,
        "/ending" => request.extensions().get::<CallContext>().unwrap().stream_ending().await,
        _ => {}
    }
    Ok(http::Response::new("message".into()))
}

/// A connection over a pipe whose clock is virtual.
fn serve(config: ConnectionConfig) -> (DuplexStream, JoinHandle<ConnectionSummary>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let service = Answer;
    let connection = tokio::spawn(async move {
        meshless::serve_connection(server, service, &config, std::future::pending()).await
    });
    (client, connection)
}

#[derive(Clone)]
struct Answer;

impl tower_service::Service<http::Request<meshless::server::RequestBody>> for Answer {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<meshless::server::RequestBody>) -> Self::Future {
        Box::pin(answer(request))
    }
}

/// Sends `hostile` to a server on one connection, while another calls. Returns why the first was
/// closed.
async fn attack(server: Server, hostile: Vec<u8>) -> CloseReason {
    let server = start(server, 1);
    let addr = server.addrs[0];
    let mut peer = RawPeer::connect(TcpStream::connect(addr).await.unwrap()).await;
    // The server must have seen the preface, so that the first connection is the hostile one.
    peer.send(&frame(PING, 0, 0, &[7; 8])).await;
    assert!(matches!(peer.next().await, Received::Ping { ack: true, .. }));
    let (mut read, mut write) = tokio::io::split(peer.io);
    let reader = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    let writer = tokio::spawn(async move {
        // An error: it was cut already.
        let _ = write.write_all(&hostile).await;
        write
    });
    // In parallel with the attack, and after it.
    check(addr).await;
    let ended = tokio::time::timeout(SECOND * 20, async {
        let _ = reader.await;
        drop(writer.await);
    });
    ended.await.expect("the hostile connection is closed");
    check(addr).await;
    let events = server.stop().await;
    let closed = events.iter().find_map(|event| match &event.change {
        ConnectionChange::Closed(reason) if event.connection == 0 => Some(reason.clone()),
        _ => None,
    });
    closed.expect("it is reported")
}

#[tokio::test]
async fn rapid_reset_in_one_go_is_cut() {
    let mut hostile = Vec::new();
    for stream in (1..20_000).step_by(2) {
        hostile.extend(request(stream, "/test.Stuck/Unary", &[], END_STREAM));
        hostile.extend(frame(RESET_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    match attack(Server::builder().max_concurrent_streams(100), hostile).await {
        // By h2, which accepts none before it has read all; or by the budget, if it comes to accept
        // some.
        CloseReason::Failed(error) => assert!(error.contains("excessive load"), "{error}"),
        reason => assert_eq!(reason, CloseReason::FrameFlood),
    }
}

#[tokio::test(start_paused = true)]
async fn rapid_reset_that_lets_each_call_begin_is_cut_when_its_budget_is_spent() {
    let config = ConnectionConfig::default().max_concurrent_streams(100);
    let (client, connection) = serve(config);
    let mut peer = RawPeer::connect(client).await;
    let mut sent = 0;
    for stream in (1..10_000).step_by(2) {
        peer.call(stream, "/never").await;
        tokio::task::yield_now().await;
        if peer.io.write_all(&frame(RESET_STREAM, 0, stream, &[0, 0, 0, 8])).await.is_err()
            || connection.is_finished()
        {
            break;
        }
        tokio::task::yield_now().await;
        sent += 1;
        if sent > 1_500 {
            break;
        }
    }
    let rest = peer.rest().await;
    let [.., Received::GoAway { code: 11, debug_data, .. }, Received::Closed] = &rest[..] else {
        panic!("{rest:?}")
    };
    assert_eq!(debug_data, "too_many_control_frames");
    drop(peer);
    let summary = connection.await.unwrap();
    assert_eq!(summary.reason, CloseReason::FrameFlood);
    // The bucket holds a thousand; the first SETTINGS cost ten.
    assert!((980..=1000).contains(&summary.calls), "{} calls", summary.calls);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cancels_many_calls_at_once_and_now_and_then_is_borne() {
    let (client, connection) = serve(ConnectionConfig::default().max_concurrent_streams(1000));
    let mut peer = RawPeer::connect(client).await;
    let mut stream = 1;
    for _ in 0..5 {
        let first = stream;
        for _ in 0..900 {
            peer.call(stream, "/never").await;
            stream += 2;
        }
        tokio::time::sleep(SECOND).await;
        for stream in (first..stream).step_by(2) {
            peer.reset(stream, 8).await;
        }
    }
    peer.call(stream, "/message").await;
    assert!(matches!(peer.next().await, Received::Headers { .. }));
    assert!(!connection.is_finished());
}

/// Deadlines that pass in bulk, with as many calls as the defaults allow at once; and once more
/// behind a server that read nothing meanwhile, so that calls and resets come in one go.
#[tokio::test(start_paused = true)]
async fn a_storm_of_deadlines_is_borne() {
    let (client, connection) = serve(ConnectionConfig::default());
    let mut peer = RawPeer::connect(client).await;
    let streams = |storm: u32| (20_000 * storm + 1..20_000 * (storm + 1)).step_by(2);
    let calls =
        |storm| streams(storm).flat_map(|stream| request(stream, "/never", &[], END_STREAM)).collect();
    let resets = |storm| streams(storm).flat_map(|stream| frame(RESET_STREAM, 0, stream, &[0, 0, 0, 8]));
    let [first, second]: [Vec<u8>; 2] = [calls(0), calls(1)];
    peer.send(&first).await;
    tokio::time::sleep(SECOND / 3).await;
    peer.send(&resets(0).collect::<Vec<_>>()).await;
    tokio::time::sleep(SECOND).await;
    peer.send(&second.into_iter().chain(resets(1)).collect::<Vec<_>>()).await;
    tokio::time::sleep(SECOND).await;
    peer.call(40_001, "/message").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 40_001, .. }));
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn a_flood_of_settings_is_cut() {
    let settings = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &70_000u32.to_be_bytes()].concat();
    let hostile = frame(SETTINGS, 0, 0, &settings).repeat(50_000);
    let reason = attack(Server::builder().max_concurrent_streams(100), hostile).await;
    assert_eq!(reason, CloseReason::FrameFlood);
}

#[tokio::test]
async fn a_flood_of_pings_is_cut() {
    let hostile = frame(PING, 0, 0, &[1; 8]).repeat(50_000);
    let reason = attack(Server::builder(), hostile).await;
    assert_eq!(reason, CloseReason::TooManyPings);
}

/// Where pings are free (`ping_enforcement` off, or responses in between), their number is still
/// bounded.
#[tokio::test]
async fn a_flood_of_pings_that_are_allowed_is_cut() {
    let hostile = frame(PING, 0, 0, &[1; 8]).repeat(500_000);
    let server = Server::builder().ping_enforcement(Duration::ZERO, true).max_concurrent_streams(100);
    assert_eq!(attack(server, hostile).await, CloseReason::FrameFlood);
}

#[tokio::test]
async fn floods_of_frames_that_change_nothing_are_cut() {
    let open = request(1, "/test.Stuck/Stream", &[], 0);
    let floods = [
        ("PRIORITY", frame(0x2, 0, 3, &[0, 0, 0, 1, 7])),
        ("an unknown type", frame(0xbe, 0, 0, b"grease")),
        ("an unknown type of a stream", frame(0xbe, 0, 1, &[])),
        ("SETTINGS acknowledged", frame(SETTINGS, 0x1, 0, &[])),
        ("PING acknowledged", frame(PING, 0x1, 0, &[9; 8])),
        ("window of the connection", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("window of a stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("GOAWAY", frame(0x7, 0, 0, &[0; 8])),
    ];
    for (name, flood) in floods {
        let hostile = [&open[..], &flood.repeat(50_000)].concat();
        let reason = attack(Server::builder().max_concurrent_streams(100), hostile).await;
        match reason {
            CloseReason::FrameFlood => {}
            // What h2 itself takes for an error, or an end: at the first one.
            CloseReason::Failed(_) if ["SETTINGS acknowledged", "empty DATA"].contains(&name) => {}
            CloseReason::Client if name == "GOAWAY" => {}
            reason => panic!("{name}: {reason:?}"),
        }
    }
}

/// As nghttp2 does, which is below grpc-js: one of each for every 16 KiB, and more than a bucket
/// full of them.
#[tokio::test(start_paused = true)]
async fn a_client_that_gives_back_the_window_of_what_it_reads_is_borne() {
    let (client, connection) = serve(ConnectionConfig::default().max_concurrent_streams(100));
    let mut peer = RawPeer::connect(client).await;
    for stream in (1..20_000).step_by(2) {
        peer.call(stream, "/message").await;
        while !matches!(peer.next().await, Received::Data { .. }) {}
        peer.window(stream, 7).await;
        peer.window(0, 7).await;
    }
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn continuations_without_end_are_cut() {
    let mut hostile = frame(HEADERS, END_STREAM, 1, &[0x83, 0x86]);
    // Literals without indexing, which end within their frame.
    let piece = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(100);
    hostile.extend(frame(CONTINUATION, 0, 1, &piece).repeat(1000));
    let reason = attack(Server::builder(), hostile).await;
    assert!(matches!(reason, CloseReason::Failed(_)), "{reason:?}");
}

/// One large entry in the table, and thousands of references to it of one byte each.
#[tokio::test(start_paused = true)]
async fn a_header_bomb_is_refused_or_cut() {
    let (client, _connection) = serve(ConnectionConfig::default());
    let mut peer = RawPeer::connect(client).await;
    let mut block = vec![0x83, 0x86, 0x44, 1, b'/', 0x40, 1, b'x', 0x7f, 0xa1, 0x17];
    block.extend([b'y'; 3104]);
    block.extend([0xbe; 8000]);
    peer.send(&frame(HEADERS, END_STREAM | 0x4, 1, &block)).await;
    match peer.next().await {
        // 431, as a literal.
        Received::Headers { stream: 1, .. } | Received::Other { kind: RESET_STREAM, .. } => {}
        received => assert!(matches!(received, Received::GoAway { code: 9 | 11, .. }), "{received:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_preface_that_trickles_in_is_cut() {
    let (mut client, connection) = serve(ConnectionConfig::default());
    let begun = Instant::now();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0" {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(SECOND).await;
    }
    drop(client);
    let summary = connection.await.unwrap();
    assert_eq!(summary.reason, CloseReason::HandshakeTimeout);
    assert!(begun.elapsed() < SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_no_window_is_cut_after_the_slow_reader_timeout() {
    let lifetime = LifetimeConfig::default().slow_reader_timeout(SECOND * 100);
    let (client, connection) = serve(ConnectionConfig::default().lifetime(lifetime));
    let mut peer = RawPeer::connect(client).await;
    peer.settings(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.call(1, "/message").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, end: false, .. }));
    let blocked = Instant::now();
    // A window for another stream is no help, and neither is a sign of life.
    peer.call(3, "/message").await;
    tokio::time::sleep(SECOND * 50).await;
    peer.send(&frame(PING, 0, 0, &[7; 8])).await;
    while peer.next().await != Received::Closed {}
    assert_eq!(blocked.elapsed().as_secs(), 100);
    drop(peer);
    assert_eq!(connection.await.unwrap().reason, CloseReason::SlowReader);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_little_at_a_time_is_borne() {
    let lifetime = LifetimeConfig::default().slow_reader_timeout(SECOND * 100);
    let (client, _connection) = serve(ConnectionConfig::default().lifetime(lifetime));
    let mut peer = RawPeer::connect(client).await;
    peer.settings(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    for stream in (1..11).step_by(2) {
        peer.call(stream, "/message").await;
    }
    for stream in (1..11).step_by(2) {
        tokio::time::sleep(SECOND * 90).await;
        peer.window(stream, 100).await;
        while !matches!(peer.next().await, Received::Data { stream: of, .. } if of == stream) {}
    }
}

/// hyper asks a body for nothing while the client does not read: only the call's task can end it.
#[tokio::test(start_paused = true)]
async fn a_call_whose_client_stopped_reading_is_reset_after_its_deadline() {
    let (client, connection) = serve(ConnectionConfig::default());
    let mut peer = RawPeer::connect(client).await;
    peer.settings(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    let begun = Instant::now();
    peer.send(&request(1, "/message", &[("grpc-timeout", "5S")], END_STREAM)).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, end: false, .. }));
    assert_eq!(peer.next().await, Received::Other { kind: RESET_STREAM, stream: 1 });
    assert_eq!(begun.elapsed().as_secs(), 6);
    // The connection is well.
    peer.send(&frame(PING, 0, 0, &[7; 8])).await;
    assert!(matches!(peer.next().await, Received::Ping { ack: true, .. }));
    drop(peer);
    assert_eq!(connection.await.unwrap().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_hears_that_its_stream_is_to_end_by_age_and_by_the_connections_going() {
    let stream_age = LifetimeConfig::default().max_stream_age(SECOND * 100);
    let connection_age = LifetimeConfig::default().max_age(SECOND * 100);
    for lifetime in [stream_age, connection_age] {
        let (client, _connection) = serve(ConnectionConfig::default().lifetime(lifetime));
        let mut peer = RawPeer::connect(client).await;
        let begun = Instant::now();
        peer.call(1, "/ending").await;
        while !matches!(peer.next().await, Received::Headers { stream: 1, .. }) {}
        assert!((90.0..110.1).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_heed_its_age_is_ended() {
    let lifetime = LifetimeConfig::default().max_stream_age(SECOND * 100).max_stream_age_grace(SECOND * 20);
    let (client, _connection) = serve(ConnectionConfig::default().lifetime(lifetime));
    let mut peer = RawPeer::connect(client).await;
    let begun = Instant::now();
    peer.call(1, "/never").await;
    assert_eq!(peer.next().await, Received::Other { kind: RESET_STREAM, stream: 1 });
    assert!((111.0..131.1).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_above_the_number_is_told_to_go() {
    let server = start(Server::builder().max_connections(1), 1);
    let mut first = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
    first.call(1, "/test.Stuck/Stream").await;
    assert!(matches!(first.next().await, Received::Headers { stream: 1, .. }));
    let mut second = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
    assert_eq!(second.rest().await, [go_away(0, 0, "max_connections"), Received::Closed]);
    drop(first);
    drop(second);
    // The place is free once the first is gone.
    let served = tokio::time::timeout(SECOND * 10, async {
        loop {
            let mut third = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
            third.call(1, "/test.Stuck/Stream").await;
            if matches!(third.next().await, Received::Headers { .. }) {
                return;
            }
        }
    });
    served.await.unwrap();
    server.stop().await;
}
