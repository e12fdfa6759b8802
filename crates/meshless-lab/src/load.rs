//! `meshless load`: one client's load on live servers, through the channel, and what became of it.
//!
//! What `compare` does on this machine with servers of its own, this does to a target of the user's: the echo service of
//! `meshless serve` or of a peer. It makes a number of calls, or calls for a while, with a fixed number in flight, so that it
//! ends by itself; latency then counts from the moment a call is made, since nothing else schedules it.

mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshless::{Channel, Pem, TlsConfig};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

use crate::cli::{LOAD_CALLS_MAX, LoadArgs, Shape};
use crate::echo::hello::hello_service_client::HelloServiceClient;
use crate::echo::{BACKEND_HEADER, CALL_ID_HEADER, hello};
use crate::interrupt::Interrupt;
use crate::record::status_name;
use crate::results::Latency;
use crate::stats::Latencies;
use crate::streams::wire::stream_service_client::StreamServiceClient;
use crate::streams::wire::{StreamItem, StreamRequest};
pub(crate) use words::LoadError;

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Every call was answered.
    AllAnswered,
    /// Calls failed.
    SomeFailed,
    /// The user has seen enough; calls in flight were still waited for.
    Interrupted,
}

/// What became of a load.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: u64,
    failed: u64,
    /// Calls in flight that a signal left no time for. They are neither answered nor failed.
    given_up: u64,
    by_status: BTreeMap<&'static str, u64>,
    /// Answered calls by backend, where servers name themselves.
    backends: BTreeMap<String, u64>,
    /// By what the channel knew its backends at the end: DNS, EndpointSlices, or one in place of
    /// the other and why. None for addresses that the target lists.
    found_by: Option<String>,
    /// Of the answered calls. `null` if there were none.
    latency_ms: Option<Latency>,
    took_s: f64,
    /// The first errors, in words.
    errors: Vec<String>,
}

/// Makes the calls, and prints what became of them.
///
/// # Errors
/// If there is no channel to the target. Failed calls are a result, not an error.
pub(crate) async fn run(args: LoadArgs, mut interrupt: Interrupt) -> Result<Done, LoadError> {
    let mut builder = Channel::builder(&args.target).policy(args.policy);
    #[cfg(feature = "kubernetes")]
    if let Some(client) = crate::kubeconfig::client() {
        builder = builder.kubernetes(meshless::resolver::KubernetesConfig::new().client(client));
    }
    if let Some(tls) = tls(&args)? {
        builder = builder.tls(tls);
    }
    let channel = tokio::select! {
        channel = builder.connect() => channel?,
        () = interrupt.wait() => {
            eprintln!("no call was made: there was no connection to {} yet", args.target);
            return Ok(Done::Interrupted);
        }
    };
    let started = Instant::now();
    let calls = if args.seconds.is_some() { LOAD_CALLS_MAX } else { args.calls };
    let left = Arc::new(AtomicU64::new(calls));
    let (give_up, given_up) = watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..args.in_flight.min(calls) {
        callers.spawn(caller(channel.clone(), args.clone(), left.clone(), given_up.clone()));
    }
    let enough = async {
        tokio::select! {
            () = interrupt.wait() => {}
            () = sleep_for(args.seconds) => {}
        }
        left.store(0, Ordering::Relaxed);
        interrupt.wait().await;
        sleep(LAST_CALLS_WAIT).await;
        give_up.send_replace(true);
        std::future::pending().await
    };
    let mut report = Report::default();
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
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print!("{}", report.text());
    }
    Ok(match report.failed {
        _ if interrupt.is_heard() => Done::Interrupted,
        0 => Done::AllAnswered,
        _ => Done::SomeFailed,
    })
}

/// For ever, if there is no end.
async fn sleep_for(seconds: Option<u32>) {
    match seconds {
        Some(seconds) => sleep(Duration::from_secs(seconds.into())).await,
        None => std::future::pending().await,
    }
}

fn tls(args: &LoadArgs) -> Result<Option<TlsConfig>, LoadError> {
    let refused = |flags| move |error| LoadError::Tls { flags, error };
    let Some(authorities) = &args.tls_ca else { return Ok(None) };
    let mut tls = TlsConfig::trusting(Pem::file(authorities)).map_err(refused("--tls-ca"))?;
    if let Some(name) = &args.tls_server_name {
        tls = tls.server_name(name).map_err(refused("--tls-server-name"))?;
    }
    if let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let identity = tls.identity(Pem::file(chain), Pem::file(key));
        tls = identity.map_err(refused("--tls-cert, --tls-key"))?;
    }
    Ok(Some(tls))
}

/// One call after another while any are left; their ids count down. A call that is still in flight
/// when it is `given_up` counts as such.
async fn caller(
    channel: Channel,
    args: LoadArgs,
    left: Arc<AtomicU64>,
    mut given_up: watch::Receiver<bool>,
) -> Tally {
    let mut tally = Tally::default();
    let take = |left: u64| left.checked_sub(1);
    while let Ok(id) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        let begun = Instant::now();
        tokio::select! {
            ended = call(&channel, &args, id) => match ended {
                Ok(backend) => tally.answered(begun.elapsed(), backend),
                Err(status) => tally.failed(&status),
            },
            Ok(_) = given_up.wait_for(|given_up| *given_up) => tally.given_up += 1,
        }
    }
    tally
}

/// Makes one call of the wanted shape, and returns the backend that answered it whole.
async fn call(channel: &Channel, args: &LoadArgs, id: u64) -> Result<Option<String>, Status> {
    let items = || {
        let each = Duration::from_millis(u64::from(STREAM_INTERVAL_MS));
        let items = (0..STREAM_ITEMS).map(|sequence| StreamItem { sequence, payload: PAYLOAD.to_vec() });
        tokio_stream::iter(items).throttle(each)
    };
    match args.shape {
        Shape::Unary => {
            let request = with_id(hello::Request { message: "hello".into() }, id, args.deadline);
            let response = HelloServiceClient::new(channel.clone()).echo(request).await?;
            Ok(backend(response.metadata()))
        }
        Shape::ServerStream => {
            let wanted = StreamRequest {
                count: STREAM_ITEMS,
                interval_ms: STREAM_INTERVAL_MS,
                payload: PAYLOAD.to_vec(),
            };
            let request = with_id(wanted, id, args.deadline);
            let response = StreamServiceClient::new(channel.clone()).server_stream(request).await?;
            whole(response).await
        }
        Shape::ClientStream => {
            let request = with_id(items(), id, args.deadline);
            let response = StreamServiceClient::new(channel.clone()).client_stream(request).await?;
            let backend = backend(response.metadata());
            expect_items(response.into_inner().count).map(|()| backend)
        }
        Shape::BidiStream => {
            let request = with_id(items(), id, args.deadline);
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

/// Reads a stream to its end, and sees whether every item came, in order.
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

/// What one caller saw.
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
            let said = words::with_flags(status.message());
            self.errors.push(format!("{}: {said}", status_name(status.code())));
        }
    }
}

impl Report {
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

    fn text(&self) -> String {
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

/// Counts calls by the name of their backend. A load that runs for a day meets each pod of many rollouts: names beyond the
/// bound are counted together.
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

/// A stream of eight items, 10 ms apart, is in flight for 70 ms: long enough to meet rotations, short enough to make many.
const STREAM_ITEMS: u32 = 8;
const STREAM_INTERVAL_MS: u32 = 10;
const PAYLOAD: &[u8] = b"meshless";

/// What is said when a signal ends the load early.
pub(crate) const INTERRUPTED: &str =
    "ending the load early, when the calls in flight have ended (a second signal ends it at once)";

/// How long a load that a signal has ended waits for its calls in flight. With the second that a
/// pod takes to vanish this is far below any grace period, and more than most calls take.
const LAST_CALLS_WAIT: Duration = Duration::from_secs(2);

/// Enough to see what is wrong, not so many that they hide the numbers.
const ERRORS_SHOWN: usize = 3;

/// Backends that are counted each by itself: more than anybody reads one by one.
const BACKENDS_MAX: usize = 1000;

/// The name for the rest of them.
const OTHER_BACKENDS: &str = "other backends";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_backends_are_bounded_and_no_call_is_lost() {
        let (mut one, mut all) = (Tally::default(), Report::default());
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
