//! `meshless load`: one client's load on live servers, through the channel, and its result.
//!
//! `compare` calls its own servers on this machine; this calls a target of the user's: the echo
//! service of `meshless serve` or of a peer. It makes a number of calls, or calls for a time, with
//! a fixed number in flight, so that it ends by itself. Latency then counts from the start of a
//! call, since nothing else schedules it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshless::{Channel, ChannelError, Policy, TlsConfig};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

use crate::echo::hello::hello_service_client::HelloServiceClient;
use crate::echo::{BACKEND_HEADER, CALL_ID_HEADER, hello};
use crate::interrupt::Interrupt;
use crate::record::status_name;
use crate::results::Latency;
use crate::stats::Latencies;
use crate::streams::wire::stream_service_client::StreamServiceClient;
use crate::streams::wire::{StreamItem, StreamRequest};

/// The target of a load, its calls, and its length.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// The target, in gRPC's naming.
    pub target: String,
    /// How a backend is chosen for each call.
    pub policy: Policy,
    /// `None`: plain text.
    pub tls: Option<TlsConfig>,
    /// The kind of the calls.
    pub shape: Shape,
    /// When to stop making calls.
    pub length: Length,
    /// How many calls are in flight.
    pub in_flight: u64,
    /// How long a call may take.
    pub deadline: Duration,
}

/// When a load has made its last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// After this many calls, at most [`CALLS_MAX`].
    Calls(u64),
    /// After this time.
    Time(Duration),
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// hello.HelloService/Echo.
    Unary,
    /// meshless.lab.v1.StreamService/ServerStream, 8 messages, 10 ms apart.
    ServerStream,
    /// meshless.lab.v1.StreamService/ClientStream, likewise.
    ClientStream,
    /// meshless.lab.v1.StreamService/BidiStream, likewise.
    BidiStream,
}

/// The result of a load.
#[derive(Debug, Default, Serialize)]
pub struct LoadReport {
    /// Answered calls.
    pub ok: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that were still in flight when a signal ended the load. They are neither answered nor
    /// failed.
    pub given_up: u64,
    /// Failed calls by the gRPC name of their status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// Answered calls by backend, if servers send their names.
    pub backends: BTreeMap<String, u64>,
    /// How the channel knew its backends at the end: DNS, EndpointSlices, or one in place of the
    /// other and why. `None` for addresses that the target lists.
    pub found_by: Option<String>,
    /// Latency of the answered calls. `null` if there were none.
    pub latency_ms: Option<Latency>,
    /// The duration of the load, in seconds.
    pub took_s: f64,
    /// The texts of the first errors.
    pub errors: Vec<String>,
    /// True if a signal ended it early. It still waited for calls in flight.
    #[serde(skip)]
    pub interrupted: bool,
}

/// Makes the calls. Returns `None` if a signal came before there was a connection.
///
/// # Errors
/// If there is no channel to the target. Failed calls are a result, not an error.
pub async fn run(request: LoadRequest, mut interrupt: Interrupt) -> Result<Option<LoadReport>, ChannelError> {
    let mut builder = Channel::builder(&request.target).policy(request.policy);
    #[cfg(feature = "kubernetes")]
    if let Some(client) = crate::kubeconfig::client() {
        builder = builder.kubernetes(meshless::resolver::KubernetesConfig::new().client(client));
    }
    if let Some(tls) = request.tls.clone() {
        builder = builder.tls(tls);
    }
    let channel = tokio::select! {
        channel = builder.connect() => channel?,
        () = interrupt.wait() => return Ok(None),
    };
    let started = Instant::now();
    let (calls, time) = match request.length {
        Length::Calls(calls) => (calls, None),
        Length::Time(time) => (CALLS_MAX, Some(time)),
    };
    let left = Arc::new(AtomicU64::new(calls));
    let (give_up, given_up) = watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..request.in_flight.min(calls) {
        callers.spawn(caller(channel.clone(), request.clone(), left.clone(), given_up.clone()));
    }
    let enough = async {
        tokio::select! {
            () = interrupt.wait() => {}
            () = sleep_for(time) => {}
        }
        left.store(0, Ordering::Relaxed);
        interrupt.wait().await;
        sleep(LAST_CALLS_WAIT).await;
        give_up.send_replace(true);
        std::future::pending().await
    };
    let mut report = LoadReport::default();
    let mut latencies = Latencies::new();
    let collect = async {
        while let Some(done) = callers.join_next().await {
            let tally = done.expect("a caller does not panic");
            report.absorb(&tally);
            latencies.merge(&tally.latencies);
        }
    };
    tokio::select! {
        () = collect => {}
        () = enough => {}
    }
    report.took_s = started.elapsed().as_secs_f64();
    report.latency_ms = (report.ok > 0).then(|| latencies.summary());
    report.found_by = channel.state().await.resolved_by.map(|source| source.to_string());
    report.interrupted = interrupt.is_heard();
    Ok(Some(report))
}

/// Sleeps for `time`; for ever without one.
async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Makes one call after another until none is left; their ids count down. If a call is in flight
/// when `given_up` completes, it counts as given up.
async fn caller(
    channel: Channel,
    request: LoadRequest,
    left: Arc<AtomicU64>,
    mut given_up: watch::Receiver<bool>,
) -> Tally {
    let mut tally = Tally::default();
    let take = |left: u64| left.checked_sub(1);
    while let Ok(id) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        let begun = Instant::now();
        tokio::select! {
            ended = call(&channel, &request, id) => match ended {
                Ok(backend) => tally.answered(begun.elapsed(), backend),
                Err(status) => tally.failed(&status),
            },
            Ok(_) = given_up.wait_for(|given_up| *given_up) => tally.given_up += 1,
        }
    }
    tally
}

/// Makes one call of the requested shape. Returns the backend that answered it completely.
async fn call(channel: &Channel, request: &LoadRequest, id: u64) -> Result<Option<String>, Status> {
    let items = || {
        let each = Duration::from_millis(u64::from(STREAM_INTERVAL_MS));
        let items = (0..STREAM_ITEMS).map(|sequence| StreamItem { sequence, payload: PAYLOAD.to_vec() });
        tokio_stream::iter(items).throttle(each)
    };
    match request.shape {
        Shape::Unary => {
            let request = with_id(hello::Request { message: "hello".into() }, id, request.deadline);
            let response = HelloServiceClient::new(channel.clone()).echo(request).await?;
            Ok(backend(response.metadata()))
        }
        Shape::ServerStream => {
            let wanted = StreamRequest {
                count: STREAM_ITEMS,
                interval_ms: STREAM_INTERVAL_MS,
                payload: PAYLOAD.to_vec(),
            };
            let request = with_id(wanted, id, request.deadline);
            let response = StreamServiceClient::new(channel.clone()).server_stream(request).await?;
            whole(response).await
        }
        Shape::ClientStream => {
            let request = with_id(items(), id, request.deadline);
            let response = StreamServiceClient::new(channel.clone()).client_stream(request).await?;
            let backend = backend(response.metadata());
            expect_items(response.into_inner().count).map(|()| backend)
        }
        Shape::BidiStream => {
            let request = with_id(items(), id, request.deadline);
            let response = StreamServiceClient::new(channel.clone()).bidi_stream(request).await?;
            whole(response).await
        }
    }
}

fn with_id<T>(message: T, id: u64, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request.metadata_mut().insert(CALL_ID_HEADER, MetadataValue::from(id));
    request
}

/// Reads a stream to its end, and checks that every item arrived in order.
async fn whole(response: Response<tonic::Streaming<StreamItem>>) -> Result<Option<String>, Status> {
    let backend = backend(response.metadata());
    let mut items = response.into_inner();
    let mut count = 0;
    while let Some(item) = items.message().await? {
        if item.sequence != count {
            return Err(Status::data_loss(format!("item {} came in place of {count}", item.sequence)));
        }
        count += 1;
    }
    expect_items(count).map(|()| backend)
}

fn expect_items(count: u32) -> Result<(), Status> {
    match count {
        STREAM_ITEMS => Ok(()),
        _ => Err(Status::data_loss(format!("{count} of {STREAM_ITEMS} items came"))),
    }
}

fn backend(metadata: &MetadataMap) -> Option<String> {
    Some(metadata.get(BACKEND_HEADER)?.to_str().ok()?.to_owned())
}

/// The results of one caller.
#[derive(Debug, Default)]
struct Tally {
    ok: u64,
    given_up: u64,
    statuses: BTreeMap<i32, u64>,
    backends: BTreeMap<String, u64>,
    latencies: Latencies,
    errors: Vec<String>,
}

impl Tally {
    fn answered(&mut self, latency: Duration, backend: Option<String>) {
        self.ok += 1;
        self.latencies.record(latency.as_nanos() as u64);
        if let Some(backend) = backend {
            add_calls(&mut self.backends, &backend, 1);
        }
    }

    fn failed(&mut self, status: &Status) {
        *self.statuses.entry(status.code() as i32).or_default() += 1;
        if self.errors.len() < ERRORS_SHOWN {
            self.errors.push(format!("{}: {}", status_name(status.code()), status.message()));
        }
    }
}

impl LoadReport {
    fn absorb(&mut self, tally: &Tally) {
        self.ok += tally.ok;
        self.given_up += tally.given_up;
        for (code, count) in &tally.statuses {
            self.failed += count;
            *self.by_status.entry(status_name(Code::from(*code))).or_default() += count;
        }
        for (backend, count) in &tally.backends {
            add_calls(&mut self.backends, backend, *count);
        }
        let room = ERRORS_SHOWN.saturating_sub(self.errors.len());
        self.errors.extend(tally.errors.iter().take(room).cloned());
    }

    /// Returns the report as JSON, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data")
    }

    /// Returns the report as text for people.
    pub fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let calls = self.ok + self.failed;
        let _ =
            writeln!(text, "{calls} calls in {:.1} s: {} ok, {} failed", self.took_s, self.ok, self.failed);
        if let Some(Latency { mean, p50, p99, p999, max, .. }) = self.latency_ms {
            let _ = writeln!(
                text,
                "latency of the answered, from when each was made: mean {mean:.1} ms, p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}"
            );
        }
        for (backend, calls) in &self.backends {
            let share = *calls as f64 / self.ok.max(1) as f64 * 100.0;
            let _ = writeln!(text, "  {backend}: {calls} calls, {share:.1} %");
        }
        for (status, calls) in &self.by_status {
            let _ = writeln!(text, "  {status}: {calls} calls");
        }
        if let Some(source) = &self.found_by {
            let _ = writeln!(text, "backends found by {source}");
        }
        if self.given_up > 0 {
            let _ = writeln!(text, "{} more calls were given up: they were still in flight", self.given_up);
        }
        for error in &self.errors {
            let _ = writeln!(text, "  such as {error}");
        }
        text
    }
}

/// Counts calls by the name of their backend. A load of a day meets the pods of many rollouts:
/// names beyond [`BACKENDS_MAX`] are counted together.
fn add_calls(backends: &mut BTreeMap<String, u64>, name: &str, calls: u64) {
    let name =
        if backends.len() < BACKENDS_MAX || backends.contains_key(name) { name } else { OTHER_BACKENDS };
    match backends.get_mut(name) {
        Some(count) => *count += calls,
        None => {
            backends.insert(name.to_owned(), calls);
        }
    }
}

/// More than anybody waits for. Every peer can represent it, even JavaScript.
pub const CALLS_MAX: u64 = (1 << 53) - 1;

/// A stream of eight items, 10 ms apart, takes 70 ms: long enough to meet rotations, short enough
/// for many streams.
const STREAM_ITEMS: u32 = 8;
const STREAM_INTERVAL_MS: u32 = 10;
const PAYLOAD: &[u8] = b"meshless";

/// The message when a signal ends the load early.
pub const INTERRUPTED: &str =
    "ending the load early, when the calls in flight have ended (a second signal ends it at once)";

/// How long an interrupted load waits for its calls in flight. Together with the second that a pod
/// needs to end, this is far below any grace period, and more than most calls take.
const LAST_CALLS_WAIT: Duration = Duration::from_secs(2);

/// Enough to see the problem, but few enough not to hide the numbers.
const ERRORS_SHOWN: usize = 3;

/// How many backends are counted separately: more than anybody reads.
const BACKENDS_MAX: usize = 1000;

/// The name for all other backends.
const OTHER_BACKENDS: &str = "other backends";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_backends_are_bounded_and_no_call_is_lost() {
        let (mut one, mut all) = (Tally::default(), LoadReport::default());
        for pod in 0..3 * BACKENDS_MAX {
            for _ in 0..2 {
                one.answered(Duration::from_millis(1), Some(format!("echo-{pod}")));
            }
        }
        all.absorb(&one);
        for backends in [&one.backends, &all.backends] {
            assert_eq!(backends.len(), BACKENDS_MAX + 1);
            assert_eq!(backends["echo-0"], 2);
            assert_eq!(backends.values().sum::<u64>(), 6 * BACKENDS_MAX as u64);
        }
    }
}
