//! `xds.service.orca.v3.OpenRcaService`: load reports apart from the calls (gRFC A51), as a client
//! sees them.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use meshless::orca::{LoadReporter, OpenRcaService};
use meshless::server::{CloseReason, ConnectionChange, GoAwayReason};
use meshless::{CallLimit, Server};
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::pipes::Piped;

const SECOND: Duration = Duration::from_secs(1);
const STREAM: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

/// A client with its connection open.
async fn connect(server: &Piped) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(server.pipe()).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A stream of reports.
struct Reports {
    body: h2::RecvStream,
    begun: Instant,
}

impl Reports {
    /// Asks for reports at an interval of so many seconds; zero names none.
    async fn open(client: &mut SendRequest<Bytes>, seconds: u8) -> Self {
        let begun = Instant::now();
        let message = if seconds == 0 { vec![] } else { vec![0x0a, 2, 0x08, seconds] };
        let request = http::Request::post(format!("http://test{STREAM}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
        body.send_data(frame.into(), true).unwrap();
        Self { body: response.await.unwrap().into_body(), begun }
    }

    /// The next report, and when it came.
    async fn next(&mut self) -> Option<(Duration, Bytes)> {
        let data = self.body.data().await?.unwrap();
        self.body.flow_control().release_capacity(data.len()).unwrap();
        Some((self.begun.elapsed(), data))
    }

    /// When the next `n` came, in whole seconds.
    async fn times(&mut self, n: usize) -> Vec<u64> {
        let mut times = Vec::new();
        for _ in 0..n {
            times.push(self.next().await.expect("it goes on").0.as_secs());
        }
        times
    }

    /// Reads to the end; returns when that was, and the trailers.
    async fn end(mut self) -> (Duration, HeaderMap) {
        while self.next().await.is_some() {
            assert!(self.begun.elapsed() < SECOND * 1000, "it goes on and on");
        }
        (self.begun.elapsed(), self.body.trailers().await.unwrap().expect("trailers"))
    }
}

fn each(interval_min: Duration) -> OpenRcaService {
    LoadReporter::new().out_of_band().interval_min(interval_min)
}

#[tokio::test(start_paused = true)]
async fn reports_come_at_once_and_then_as_asked_but_not_more_often_than_the_server_will() {
    for (service, asked, expected) in [
        (LoadReporter::new().out_of_band(), 10, [0, 30, 60]),
        (LoadReporter::new().out_of_band(), 40, [0, 40, 80]),
        (each(5 * SECOND), 7, [0, 7, 14]),
        (each(5 * SECOND), 1, [0, 5, 10]),
        (each(5 * SECOND), 0, [0, 5, 10]),
        (each(Duration::ZERO), 0, [0, 1, 2]),
    ] {
        let server = Piped::start(Server::builder().add_service(service));
        let mut client = connect(&server).await;
        assert_eq!(Reports::open(&mut client, asked).await.times(3).await, expected, "{asked} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_says_what_is_measured_at_the_time() {
    let load = LoadReporter::new();
    let server = Piped::start(Server::builder().add_service(load.out_of_band().interval_min(SECOND)));
    let mut client = connect(&server).await;
    let mut reports = Reports::open(&mut client, 1).await;
    for utilization in [0.25f64, 0.75] {
        reports.next().await.unwrap();
        load.set_application_utilization(utilization);
        let (_, report) = reports.next().await.unwrap();
        // Tag 9, a double: application_utilization.
        let expected = [&[0x49][..], &utilization.to_le_bytes()].concat();
        assert!(report.windows(9).any(|window| window == expected), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_connection_s_age_and_does_not_hold_it_up() {
    let server = Server::builder().max_connection_age(SECOND * 100).add_service(each(30 * SECOND));
    let server = Piped::start(server);
    let mut client = connect(&server).await;
    let (at, trailers) = Reports::open(&mut client, 30).await.end().await;
    // ± 10 %, and a second for the client to let go itself.
    assert!((SECOND * 91..=SECOND * 111).contains(&at), "{at:?}");
    assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
    // The grace has no limit.
    let begun = Instant::now();
    tokio::time::sleep(SECOND * 10).await;
    server.shutdown.begin();
    let events = server.ended().await;
    assert!(begun.elapsed() <= SECOND * 17, "{:?}", begun.elapsed());
    let aged = ConnectionChange::Closed(CloseReason::GoneAway(GoAwayReason::MaxAge));
    assert!(events.iter().any(|event| event.change == aged), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_hold_a_drain_up() {
    let server = Server::builder().drain_timeout(Duration::MAX).add_service(each(30 * SECOND));
    let server = Piped::start(server);
    let mut client = connect(&server).await;
    let mut reports = Reports::open(&mut client, 30).await;
    reports.next().await.unwrap();
    let begun = Instant::now();
    server.shutdown.begin();
    let (_, trailers) = reports.end().await;
    assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
    drop(client);
    server.ended().await;
    assert!(begun.elapsed() <= SECOND * 6, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn streams_of_reports_take_no_worker_from_calls() {
    let limit = CallLimit::new(1).queue(0);
    let server = Piped::start(Server::builder().max_concurrent_calls(limit).add_service(each(30 * SECOND)));
    let mut client = connect(&server).await;
    let mut first = Reports::open(&mut client, 30).await;
    let mut second = Reports::open(&mut client, 30).await;
    assert!(first.next().await.is_some() && second.next().await.is_some());
    let request =
        http::Request::post("http://test/test.Stuck/Stream").header("content-type", "application/grpc");
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().headers().get("grpc-status"), None, "it is worked on");
    assert_eq!(first.times(1).await, [30]);
}

/// `rps_fractional` of a report: a byte for the tag, 6, and eight for the number, as all that is
/// written here.
fn calls_per_second(report: &Bytes) -> f64 {
    let field = report[5..].chunks(9).find(|field| field[0] == 0x31);
    field.map_or(0.0, |field| f64::from_le_bytes(field[1..].try_into().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn seldom_calls_are_in_every_report_of_every_stream() {
    let load = LoadReporter::new();
    let mut health = HealthClient::new(load.wrap(tonic_health::server::health_reporter().1));
    let server = Piped::start(Server::builder().add_service(load.out_of_band().interval_min(SECOND)));
    tokio::spawn(async move {
        loop {
            health.check(HealthCheckRequest::default()).await.unwrap();
            tokio::time::sleep(5 * SECOND).await;
        }
    });
    let mut client = connect(&server).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        // Not all at the same time.
        tokio::time::sleep(SECOND * 7 / 3).await;
        streams.push(Reports::open(&mut client, 10).await);
    }
    for stream in &mut streams {
        stream.next().await.unwrap();
    }
    for _ in 0..20 {
        for stream in &mut streams {
            let (at, report) = stream.next().await.unwrap();
            let calls = calls_per_second(&report);
            assert!((calls - 0.2).abs() < 0.01, "{calls} a second after {at:?}");
        }
    }
}
