//! Metrics of a channel's calls and their attempts: gRFC A66, and A96 for retries.
//!
//! A call and each of its attempts are spans. A span is made when the call begins and gets its
//! status at the end; if it is dropped before, it was cancelled. The channel keeps it beside the
//! call itself, so that every end of a call is counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use tokio::time::Instant;
use tonic::{Code, GrpcMethod};

use super::attempt_kind::AttemptKind;
use super::balancing::Balancing;
use super::connections::Subchannels;
use super::endpoints::Endpoints;
use crate::shared::metrics::instrument::{
    LATENCY, METHOD, OTHER, SIZE, TARGET, counter, label, numbers, seconds, status,
};
use crate::shared::metrics::message_meter::{MessageMeter, Sum};

/// The metrics of a channel; by default, nothing is measured.
#[derive(Clone, Default)]
pub(crate) struct ChannelMetrics(pub(super) Option<Arc<Instruments>>);

/// The instruments of one channel.
pub(super) struct Instruments {
    pub(super) target: [KeyValue; 1],
    pub(super) subchannels: Subchannels,
    pub(super) balancing: Balancing,
    pub(super) endpoints: Endpoints,
    repeats: Counter<u64>,
    attempt_started: Counter<u64>,
    attempt_duration: Histogram<f64>,
    attempt_sent: Histogram<u64>,
    attempt_received: Histogram<u64>,
    call_duration: Histogram<f64>,
    retries: Histogram<u64>,
    transparent_retries: Histogram<u64>,
    hedges: Histogram<u64>,
    retry_delay: Histogram<f64>,
}

impl ChannelMetrics {
    /// Measures with `meter`, with `target` as the label.
    pub(crate) fn new(meter: &Meter, target: String) -> Self {
        Self(Some(Arc::new(Instruments::new(meter, target))))
    }

    /// Begins the span of a call whose request has these extensions.
    #[inline]
    pub(crate) fn begin_call(&self, extensions: &http::Extensions) -> CallSpan {
        CallSpan(self.0.as_ref().map(|instruments| Arc::new(CallRecord::new(instruments, extensions))))
    }
}

impl Instruments {
    fn new(meter: &Meter, target: String) -> Self {
        let target = [label(TARGET, Arc::<str>::from(target))];
        let repeats = counter(
            meter,
            "meshless.channel.retries",
            "{attempt}",
            "Attempts beside the first of a call, by their reason.",
        );
        for kind in REPEATS {
            repeats.add(0, &[target[0].clone(), label(RETRY_KIND, kind)]);
        }
        Self {
            subchannels: Subchannels::new(meter, &target),
            balancing: Balancing::new(meter, &target),
            endpoints: Endpoints::new(meter),
            target,
            repeats,
            attempt_started: counter(
                meter,
                "grpc.client.attempt.started",
                "{attempt}",
                "The total number of RPC attempts started, including those that have not completed.",
            ),
            attempt_duration: seconds(
                meter,
                "grpc.client.attempt.duration",
                LATENCY,
                "End-to-end time taken to complete an RPC attempt including the time it takes to pick a subchannel.",
            ),
            attempt_sent: numbers(
                meter,
                "grpc.client.attempt.sent_total_compressed_message_size",
                "By",
                SIZE,
                "Total bytes (compressed but not encrypted) sent across all request messages per RPC attempt.",
            ),
            attempt_received: numbers(
                meter,
                "grpc.client.attempt.rcvd_total_compressed_message_size",
                "By",
                SIZE,
                "Total bytes (compressed but not encrypted) received across all response messages per RPC attempt.",
            ),
            call_duration: seconds(
                meter,
                "grpc.client.call.duration",
                LATENCY,
                "End-to-end time taken to complete an RPC from the application's perspective.",
            ),
            retries: numbers(
                meter,
                "grpc.client.call.retries",
                "{retry}",
                // "Recommended histogram bucket boundaries are [1,2,3,4,5]" (A96).
                &[1.0, 2.0, 3.0, 4.0, 5.0],
                "Number of retries during the client call. If there were no retries, 0 is not reported.",
            ),
            transparent_retries: numbers(
                meter,
                "grpc.client.call.transparent_retries",
                "{transparent_retry}",
                // "[1,2,3,4,5,10]" (A96).
                &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0],
                "Number of transparent retries during the client call. If there were none, 0 is not reported.",
            ),
            hedges: numbers(
                meter,
                "grpc.client.call.hedges",
                "{hedge}",
                // "[1,2,3,4,5]" (A96).
                &[1.0, 2.0, 3.0, 4.0, 5.0],
                "Number of hedges during the client call. If there were no hedges, 0 is not reported.",
            ),
            retry_delay: seconds(
                meter,
                "grpc.client.call.retry_delay",
                // "Otherwise, use latency buckets defined in [A66]" (A96).
                LATENCY,
                "Total time of delay while there is no active attempt during the client call.",
            ),
        }
    }
}

/// A call's span. If it is dropped early, the call was cancelled.
#[derive(Default)]
pub(crate) struct CallSpan(Option<Arc<CallRecord>>);

/// Begins the attempts of a call.
#[derive(Clone, Default)]
pub(crate) struct Attempts(Option<Arc<CallRecord>>);

struct CallRecord {
    instruments: Arc<Instruments>,
    labels: [KeyValue; 2],
    begun: Instant,
    repeats: Mutex<Repeats>,
}

/// The counts over the attempts of a call.
#[derive(Default)]
struct Repeats {
    retries: u64,
    transparent_retries: u64,
    hedges: u64,
    /// Attempts under way.
    active: u32,
    /// When the last attempt ended, if none is under way.
    inactive_since: Option<Instant>,
    delay: Duration,
}

impl CallSpan {
    #[inline]
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts(self.0.clone())
    }

    /// The call has ended with this code.
    #[inline]
    pub(crate) fn ended(mut self, code: Code) {
        if let Some(record) = self.0.take() {
            record.end(code);
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.end(Code::Cancelled);
        }
    }
}

impl Attempts {
    /// Begins an attempt, before a backend is picked: "attempts are created […] before the LB pick"
    /// (A66).
    #[inline]
    pub(crate) fn begin(&self, kind: AttemptKind) -> AttemptSpan {
        AttemptSpan(self.0.as_ref().map(|call| Box::new(AttemptRecord::new(call, kind))))
    }
}

impl CallRecord {
    fn new(instruments: &Arc<Instruments>, extensions: &http::Extensions) -> Self {
        let method = match extensions.get::<GrpcMethod<'static>>() {
            Some(method) => {
                label(METHOD, Arc::<str>::from(format!("{}/{}", method.service(), method.method())))
            }
            None => label(METHOD, OTHER),
        };
        Self {
            instruments: Arc::clone(instruments),
            labels: [method, instruments.target[0].clone()],
            begun: Instant::now(),
            repeats: Mutex::default(),
        }
    }

    fn repeats(&self) -> std::sync::MutexGuard<'_, Repeats> {
        // Nothing panics while the lock is held.
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels_with(&self, code: Code) -> [KeyValue; 3] {
        let [method, target] = self.labels.clone();
        [method, target, status(code)]
    }

    fn begin_attempt(&self, kind: AttemptKind, now: Instant) {
        self.instruments.attempt_started.add(1, &self.labels);
        let mut repeats = self.repeats();
        repeats.active += 1;
        if let Some(since) = repeats.inactive_since.take() {
            repeats.delay += now.saturating_duration_since(since);
        }
        let kind = match kind {
            AttemptKind::First => return,
            AttemptKind::Retry => {
                repeats.retries += 1;
                POLICY
            }
            AttemptKind::TransparentRetry => {
                repeats.transparent_retries += 1;
                TRANSPARENT
            }
            AttemptKind::Hedge => {
                repeats.hedges += 1;
                HEDGE
            }
        };
        drop(repeats);
        let [target] = &self.instruments.target;
        self.instruments.repeats.add(1, &[target.clone(), label(RETRY_KIND, kind)]);
    }

    fn end_attempt(&self, now: Instant) {
        let mut repeats = self.repeats();
        repeats.active = repeats.active.saturating_sub(1);
        repeats.inactive_since = (repeats.active == 0).then_some(now);
    }

    fn end(&self, code: Code) {
        let instruments = &self.instruments;
        let (retries, transparent_retries, hedges, delay) = {
            let repeats = self.repeats();
            (repeats.retries, repeats.transparent_retries, repeats.hedges, repeats.delay)
        };
        instruments.call_duration.record(self.begun.elapsed().as_secs_f64(), &self.labels_with(code));
        for (histogram, number) in [
            (&instruments.retries, retries),
            (&instruments.transparent_retries, transparent_retries),
            (&instruments.hedges, hedges),
        ] {
            if number > 0 {
                histogram.record(number, &self.labels);
            }
        }
        if !delay.is_zero() {
            instruments.retry_delay.record(delay.as_secs_f64(), &self.labels);
        }
    }
}

/// An attempt's span. If it is dropped early, the attempt was cancelled.
#[derive(Default)]
pub(crate) struct AttemptSpan(Option<Box<AttemptRecord>>);

struct AttemptRecord {
    call: Arc<CallRecord>,
    begun: Instant,
    sent: Sum,
    received: Sum,
    receiver: MessageMeter,
}

impl AttemptSpan {
    /// Returns the meter for the bytes of the request.
    #[inline]
    pub(crate) fn sender(&self) -> MessageMeter {
        self.0.as_ref().map_or_else(MessageMeter::default, |record| MessageMeter::new(record.sent.clone()))
    }

    /// Bytes of the response have come.
    #[inline]
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if let Some(record) = &mut self.0 {
            record.receiver.pass(bytes);
        }
    }

    #[inline]
    pub(crate) fn ended(mut self, code: Code) {
        if let Some(record) = self.0.take() {
            record.end(code);
        }
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.end(Code::Cancelled);
        }
    }
}

impl AttemptRecord {
    fn new(call: &Arc<CallRecord>, kind: AttemptKind) -> Self {
        let begun = Instant::now();
        call.begin_attempt(kind, begun);
        let received = Sum::default();
        let receiver = MessageMeter::new(received.clone());
        Self { call: Arc::clone(call), begun, sent: Sum::default(), received, receiver }
    }

    fn end(&self, code: Code) {
        let now = Instant::now();
        let (instruments, labels) = (&self.call.instruments, self.call.labels_with(code));
        let duration = now.saturating_duration_since(self.begun);
        instruments.attempt_duration.record(duration.as_secs_f64(), &labels);
        instruments.attempt_sent.record(self.sent.read(), &labels);
        instruments.attempt_received.record(self.received.read(), &labels);
        self.call.end_attempt(now);
    }
}

impl fmt::Debug for ChannelMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelMetrics").field(&self.0.is_some()).finish()
    }
}

const RETRY_KIND: &str = "meshless.retry_kind";
const POLICY: &str = "policy";
const TRANSPARENT: &str = "transparent";
const HEDGE: &str = "hedge";
const REPEATS: [&str; 3] = [POLICY, TRANSPARENT, HEDGE];
