//! A server's calls: gRFC A66.
//!
//! A call is a span. It is made when the headers have arrived, and is told how the call ended. A
//! span that is dropped before was cancelled, or timed out.

use std::fmt;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use tokio::time::Instant;
use tonic::Code;

use super::connections::Accepted;
use super::methods::{MethodName, Methods};
use crate::shared::metrics::instrument::{LATENCY, METHOD, SIZE, counter, label, numbers, seconds, status};
use crate::shared::metrics::message_meter::{MessageMeter, Sum};

/// What a server measures; nothing by default.
#[derive(Clone, Default)]
pub(crate) struct ServerMetrics(pub(super) Option<Arc<Instruments>>);

/// The instruments of one server.
pub(super) struct Instruments {
    pub(super) connections: Accepted,
    started: Counter<u64>,
    duration: Histogram<f64>,
    sent: Histogram<u64>,
    received: Histogram<u64>,
}

impl ServerMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self(Some(Arc::new(Instruments::new(meter))))
    }

    /// Returns the metrics for the calls of a server that has these services.
    pub(crate) fn calls(&self, services: &[&'static str]) -> ServedCalls {
        ServedCalls(self.0.as_ref().map(|instruments| {
            Arc::new(Served { instruments: Arc::clone(instruments), methods: Methods::new(services) })
        }))
    }
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        Self {
            connections: Accepted::new(meter),
            started: counter(
                meter,
                "grpc.server.call.started",
                "{call}",
                "The total number of RPCs started, including those that have not completed.",
            ),
            duration: seconds(
                meter,
                "grpc.server.call.duration",
                LATENCY,
                "End-to-end time an RPC takes from the server transport's perspective.",
            ),
            sent: numbers(
                meter,
                "grpc.server.call.sent_total_compressed_message_size",
                "By",
                SIZE,
                "Total bytes (compressed but not encrypted) sent across all response messages per RPC.",
            ),
            received: numbers(
                meter,
                "grpc.server.call.rcvd_total_compressed_message_size",
                "By",
                SIZE,
                "Total bytes (compressed but not encrypted) received across all request messages per RPC.",
            ),
        }
    }
}

/// Makes the spans of a server's calls.
#[derive(Clone, Default)]
pub(crate) struct ServedCalls(Option<Arc<Served>>);

struct Served {
    instruments: Arc<Instruments>,
    methods: Methods,
}

impl ServedCalls {
    /// Begins a call. `ends_at` is its time limit, if there is one.
    #[inline]
    pub(crate) fn begin(&self, path: &str, ends_at: Option<Instant>) -> ServerCallSpan {
        ServerCallSpan(self.0.as_ref().map(|served| Box::new(ServerCall::new(served, path, ends_at))))
    }
}

/// One call. If it is dropped before its end, it was cancelled, or has timed out.
#[derive(Default)]
pub(crate) struct ServerCallSpan(Option<Box<ServerCall>>);

struct ServerCall {
    served: Arc<Served>,
    name: MethodName,
    method: [KeyValue; 1],
    begun: Instant,
    ends_at: Option<Instant>,
    received: Sum,
    sent: Sum,
    sender: MessageMeter,
}

impl ServerCallSpan {
    /// Returns the meter for the bytes of the request.
    #[inline]
    pub(crate) fn receiver(&self) -> MessageMeter {
        self.0.as_ref().map_or_else(MessageMeter::default, |call| MessageMeter::new(call.received.clone()))
    }

    /// Called when bytes of the response are sent.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Some(call) = &mut self.0 {
            call.sender.pass(bytes);
        }
    }

    /// Called when the call has ended. Only the first end counts.
    #[inline]
    pub(crate) fn end(&mut self, code: Code) {
        if let Some(call) = self.0.take() {
            call.end(code);
        }
    }
}

impl Drop for ServerCallSpan {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            let is_late = call.ends_at.is_some_and(|at| at <= Instant::now());
            call.end(if is_late { Code::DeadlineExceeded } else { Code::Cancelled });
        }
    }
}

impl ServerCall {
    fn new(served: &Arc<Served>, path: &str, ends_at: Option<Instant>) -> Self {
        let name = served.methods.name(path);
        let method = [label(METHOD, name.value())];
        served.instruments.started.add(1, &method);
        let sent = Sum::default();
        let sender = MessageMeter::new(sent.clone());
        let (begun, received) = (Instant::now(), Sum::default());
        Self { served: Arc::clone(served), name, method, begun, ends_at, received, sent, sender }
    }

    fn end(self, code: Code) {
        let Served { instruments, methods } = &*self.served;
        methods.ended(&self.name, code);
        let [method] = self.method;
        let labels = [method, status(code)];
        instruments.duration.record(self.begun.elapsed().as_secs_f64(), &labels);
        instruments.sent.record(self.sent.read(), &labels);
        instruments.received.record(self.received.read(), &labels);
    }
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerMetrics").field(&self.0.is_some()).finish()
    }
}
