//! One connection from birth to end, over a pipe and under a paused clock, as a raw peer sees it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use meshless::server::{CloseReason, ConnectionConfig, ConnectionSummary, GoAwayReason, LifetimeConfig};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use meshless_testkit::raw_peer::{
    ALL_STREAMS, DATA, END_STREAM, PING, RESET_STREAM, RawPeer, Received, WINDOW_UPDATE, frame, go_away,
    request,
};

const SECOND: Duration = Duration::from_secs(1);

/// Answers `/now` at once and `/gated` when a permit is there.
#[derive(Clone)]
struct Gated {
    gate: Arc<Semaphore>,
}

impl tower_service::Service<http::Request<meshless::server::RequestBody>> for Gated {
    type Response = http::Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<meshless::server::RequestBody>) -> Self::Future {
        let gate = self.gate.clone();
        Box::pin(async move {
            if request.uri().path() == "/gated" {
                gate.acquire().await.unwrap().forget();
            }
            Ok(http::Response::new(String::new()))
        })
    }
}

struct Served {
    gate: Arc<Semaphore>,
    drain: Arc<Semaphore>,
    connection: JoinHandle<ConnectionSummary>,
    start: Instant,
}

impl Served {
    async fn summary(self) -> ConnectionSummary {
        self.connection.await.unwrap()
    }
}

/// A served connection whose preface is not sent yet.
fn serve_silent(lifetime: LifetimeConfig) -> (DuplexStream, Served) {
    serve_with(ConnectionConfig::default().lifetime(lifetime))
}

fn serve_with(config: ConnectionConfig) -> (DuplexStream, Served) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (gate, drain) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let service = Gated { gate: gate.clone() };
    let draining = drain.clone();
    let connection = tokio::spawn(async move {
        let drain = async { draining.acquire().await.unwrap().forget() };
        meshless::serve_connection(server, service, &config, drain).await
    });
    (client, Served { gate, drain, connection, start: Instant::now() })
}

async fn serve(lifetime: LifetimeConfig) -> (RawPeer<DuplexStream>, Served) {
    let (client, served) = serve_silent(lifetime);
    (RawPeer::connect(client).await, served)
}

fn age() -> LifetimeConfig {
    LifetimeConfig::default().max_age(SECOND * 100).max_age_grace(SECOND * 20)
}

/// An instant in whole seconds after the start; timers round up to the next millisecond.
fn seconds(start: Instant) -> u64 {
    start.elapsed().as_secs()
}

fn is_response(received: &Received, to: u32) -> bool {
    matches!(received, Received::Headers { stream, block, .. } if *stream == to && block[0] == 0x88)
}

#[tokio::test(start_paused = true)]
async fn age_sends_go_away_ping_go_away_and_closes() {
    let (mut peer, served) = serve(age()).await;
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "max_age"));
    let announced = served.start.elapsed().as_secs_f64();
    assert!((90.0..=110.1).contains(&announced), "{announced}");
    let ping = peer.next().await;
    peer.acknowledge(ping).await;
    assert_eq!(peer.rest().await, [go_away(0, 0, "max_age"), Received::Closed]);
    assert!((served.start.elapsed().as_secs_f64() - announced) < 0.1);
    drop(peer);
    let summary = served.summary().await;
    assert_eq!((summary.reason, summary.calls), (CloseReason::GoneAway(GoAwayReason::MaxAge), 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_acknowledges_sees_the_second_go_away_after_five_seconds() {
    let (mut peer, served) = serve(age()).await;
    peer.call(1, "/gated").await;
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "max_age"));
    let announced = Instant::now();
    let ping = peer.next().await;
    assert_eq!(peer.next().await, go_away(1, 0, "max_age"));
    assert_eq!(announced.elapsed().as_secs(), 5);
    // The late acknowledgement changes nothing, and the call that was in flight ends as it should.
    peer.acknowledge(ping).await;
    served.gate.add_permits(1);
    let rest = peer.rest().await;
    assert!(rest.len() == 2 && is_response(&rest[0], 1), "{rest:?}");
    assert_eq!(served.connection.await.unwrap().reason, CloseReason::GoneAway(GoAwayReason::MaxAge));
}

#[tokio::test(start_paused = true)]
async fn a_stream_opened_between_the_two_go_aways_is_served() {
    let (mut peer, _served) = serve(age()).await;
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "max_age"));
    let ping = peer.next().await;
    peer.call(1, "/now").await;
    peer.acknowledge(ping).await;
    let rest = peer.rest().await;
    assert!(rest.contains(&go_away(1, 0, "max_age")), "{rest:?}");
    assert!(rest.iter().any(|received| is_response(received, 1)), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_at_age_finishes_within_the_grace() {
    let (mut peer, served) = serve(age()).await;
    peer.call(1, "/gated").await;
    peer.next().await;
    let ping = peer.next().await;
    peer.acknowledge(ping).await;
    assert_eq!(peer.next().await, go_away(1, 0, "max_age"));
    tokio::time::sleep(SECOND * 19).await;
    served.gate.add_permits(1);
    let rest = peer.rest().await;
    assert!(rest.len() == 2 && is_response(&rest[0], 1), "{rest:?}");
    drop(peer);
    let summary = served.summary().await;
    assert_eq!((summary.reason, summary.calls), (CloseReason::GoneAway(GoAwayReason::MaxAge), 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_the_grace_is_cut_when_it_is_over() {
    let (mut peer, served) = serve(age()).await;
    peer.call(1, "/gated").await;
    peer.next().await;
    let announced = Instant::now();
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    assert_eq!(announced.elapsed().as_secs(), 20);
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::GraceOver);
}

#[tokio::test(start_paused = true)]
async fn idleness_counts_from_the_end_of_the_last_call() {
    let (mut peer, served) = serve(LifetimeConfig::default().max_idle(SECOND * 60)).await;
    peer.call(1, "/gated").await;
    tokio::time::sleep(SECOND * 100).await;
    served.gate.add_permits(1);
    assert!(is_response(&peer.next().await, 1));
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "max_idle"));
    assert_eq!(seconds(served.start), 160);
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::GoneAway(GoAwayReason::MaxIdle));
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_stuck_call_ends_at_its_own_deadline() {
    let (mut peer, served) = serve(age().drain_timeout(SECOND * 30)).await;
    peer.call(1, "/gated").await;
    tokio::time::sleep(SECOND).await;
    served.drain.add_permits(1);
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "graceful_stop"));
    let ping = peer.next().await;
    peer.acknowledge(ping).await;
    assert_eq!(peer.rest().await, [go_away(1, 0, "graceful_stop"), Received::Closed]);
    assert_eq!(seconds(served.start), 31);
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::DrainTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_cut() {
    let (_silent, served) = serve_silent(LifetimeConfig::default());
    let start = served.start;
    assert_eq!(served.summary().await.reason, CloseReason::HandshakeTimeout);
    assert_eq!(seconds(start), 21, "20 s, and 1 s in which it could have closed");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_the_keepalive_is_cut() {
    let (client, served) = serve_with(ConnectionConfig::default().keepalive(SECOND * 10, SECOND * 5));
    let mut peer = RawPeer::connect(client).await;
    assert!(matches!(peer.next().await, Received::Ping { ack: false, .. }));
    assert_eq!(seconds(served.start), 10);
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    assert_eq!(seconds(served.start), 15);
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn the_third_ping_that_comes_too_soon_is_one_too_many() {
    let (mut peer, served) = serve(LifetimeConfig::default()).await;
    peer.call(1, "/gated").await;
    for _ in 0..3 {
        peer.send(&frame(PING, 0, 0, &[1; 8])).await;
        assert!(matches!(peer.next().await, Received::Ping { ack: true, .. }));
    }
    peer.send(&frame(PING, 0, 0, &[1; 8])).await;
    let rest = peer.rest().await;
    // The pong to the fourth may or may not be out.
    let told_off = &rest[rest.len() - 2..];
    assert_eq!(told_off, [go_away(1, 11, "too_many_pings"), Received::Closed]);
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::TooManyPings);
}

#[tokio::test(start_paused = true)]
async fn pings_between_responses_draw_no_strike() {
    let (mut peer, _served) = serve(LifetimeConfig::default()).await;
    for stream in (1..40).step_by(2) {
        peer.call(stream, "/now").await;
        assert!(is_response(&peer.next().await, stream));
        peer.send(&frame(PING, 0, 0, &[1; 8])).await;
        assert!(matches!(peer.next().await, Received::Ping { ack: true, .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_socket_is_read_until_the_peer_closes() {
    let (mut peer, served) = serve(age()).await;
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    // FIN is here. What the peer still sends is not answered with a reset.
    let closed = Instant::now();
    tokio::time::sleep(SECOND / 2).await;
    peer.send(&request(1, "/now", &[], END_STREAM)).await;
    assert!(!served.connection.is_finished());
    drop(peer);
    served.summary().await;
    assert_eq!(closed.elapsed(), SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_closes_is_waited_for_one_second() {
    let (mut peer, served) = serve(age()).await;
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    let closed = Instant::now();
    served.summary().await;
    assert_eq!(closed.elapsed().as_secs(), 1);
    assert!(peer.io.write_all(b"x").await.is_err());
}

/// Calls, is sent away, and then sends a WINDOW_UPDATE for a stream above the second GOAWAY's last
/// id, as clients of C-core do. `at_once`: in one segment with the PING's acknowledgement.
async fn window_update_above_the_last_stream(peer: &mut RawPeer<DuplexStream>, at_once: bool) {
    assert!(matches!(peer.next().await, Received::GoAway { last_stream: ALL_STREAMS, .. }));
    let Received::Ping { payload, .. } = peer.next().await else { panic!("no ping") };
    let ack = frame(PING, 1, 0, &payload);
    let late = [request(3, "/now", &[], 0), frame(WINDOW_UPDATE, 0, 3, &[0, 0, 1, 0])].concat();
    if at_once {
        peer.send(&[ack, late].concat()).await;
    } else {
        peer.send(&ack).await;
        tokio::time::sleep(SECOND).await;
        peer.send(&late).await;
    }
    assert!(matches!(peer.next().await, Received::GoAway { last_stream: 1, code: 0, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_window_update_for_a_ruled_out_stream_costs_no_call() {
    let (mut peer, served) = serve(age()).await;
    peer.call(1, "/gated").await;
    window_update_above_the_last_stream(&mut peer, false).await;
    tokio::time::sleep(SECOND).await;
    served.gate.add_permits(1);
    let rest = peer.rest().await;
    assert!(rest.len() == 2 && is_response(&rest[0], 1), "{rest:?}");
}

/// h2's client answers a PING before it writes the calls that it has queued: without transparent
/// retry they would fail.
#[tokio::test(start_paused = true)]
async fn calls_behind_the_pings_acknowledgement_are_served() {
    // In one segment with it, and in another that comes a moment later.
    for later in [Duration::ZERO, Duration::from_millis(4)] {
        let (mut peer, _served) = serve(age()).await;
        assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "max_age"));
        let Received::Ping { payload, .. } = peer.next().await else { panic!("no ping") };
        let ack = frame(PING, 1, 0, &payload);
        if later.is_zero() {
            peer.send(&[ack, request(1, "/now", &[], END_STREAM)].concat()).await;
        } else {
            peer.send(&ack).await;
            tokio::time::sleep(later).await;
            peer.call(1, "/now").await;
        }
        peer.call(3, "/now").await;
        let rest = peer.rest().await;
        assert!(rest.contains(&go_away(3, 0, "max_age")), "{rest:?}");
        assert!([1, 3].iter().all(|stream| rest.iter().any(|r| is_response(r, *stream))), "{rest:?}");
    }
}

/// The defect of h2 that the test above is about. When this fails, the filter may go.
#[tokio::test(start_paused = true)]
async fn without_the_filter_h2_kills_the_call() {
    for at_once in [false, true] {
        let (client, server) = tokio::io::duplex(1 << 20);
        let mut peer = RawPeer::connect(client).await;
        peer.call(1, "/gated").await;
        tokio::spawn(async move {
            let service = hyper::service::service_fn(async |_: http::Request<hyper::body::Incoming>| {
                std::future::pending::<Result<http::Response<String>, Infallible>>().await
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(server), service));
            let warm_up = tokio::time::timeout(SECOND, connection.as_mut());
            assert!(warm_up.await.is_err());
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        });
        window_update_above_the_last_stream(&mut peer, at_once).await;
        assert_eq!(peer.next().await, go_away(1, 1, ""), "at once: {at_once}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_small_messages_that_nobody_reads_yet_is_borne() {
    const CALLS: u32 = 10_000; // hyper's default window bears 2 150
    let (mut peer, served) = serve(LifetimeConfig::default()).await;
    for stream in (1..2 * CALLS).step_by(2) {
        let call = [request(stream, "/gated", &[], 0), frame(DATA, 0, stream, &[0; 10])].concat();
        peer.send(&call).await;
    }
    served.gate.add_permits(CALLS as usize);
    let mut answered = 0;
    while answered < CALLS {
        match peer.next().await {
            Received::Headers { .. } => answered += 1,
            // The service answers without reading the request to its end.
            Received::Other { kind: RESET_STREAM, .. } => {}
            received => panic!("after {answered} answers: {received:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_comes_with_the_answer_to_a_keepalive_does_not_cut_the_client() {
    let (client, served) = serve_with(ConnectionConfig::default().keepalive(SECOND * 10, SECOND * 5));
    let mut peer = RawPeer::connect(client).await;
    let ping = peer.next().await;
    // The process stands still until the timeout is over; what came meanwhile is all there at once.
    peer.acknowledge(ping).await;
    served.drain.add_permits(1);
    tokio::time::advance(SECOND * 6).await;
    assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "graceful_stop"));
    drop(peer);
    assert_eq!(served.summary().await.reason, CloseReason::GoneAway(GoAwayReason::Drain));
}
