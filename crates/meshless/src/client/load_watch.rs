//! Asks a backend's server for reports of its load, for as long as a connection lives (gRFC A51,
//! "out of band").
//!
//! Started by the driver on each connection in service if the balancer wants reports; one task with
//! one stream of `xds.service.orca.v3.OpenRcaService`. What it is told goes into the balancer's
//! [`ReportSink`], and what that means is decided there. It fails no call: an endpoint whose server
//! does not report keeps the weight that such endpoints have. It never keeps a connection open: the
//! stream does not count as a call, and the task ends when the connection goes away or the watch is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use meshless_core::{Backoff, BackoffConfig, ReportSink, Rng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::client::channel::ChannelShared;
use crate::client::connection::Connection;
use crate::client::internal_rpc::{self, OnConnection};
use crate::shared::catch_panic::catch_panic;
use crate::shared::orca::{OrcaLoadReport, OrcaLoadReportRequest, STREAM_CORE_METRICS};
use crate::shared::peer_text::peer_text;

/// A watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct LoadWatch(AbortHandle);

impl LoadWatch {
    /// Feeds `sink` with what the server at the other end of `connection` reports. `warned` is the
    /// channel's. `give_up` is called if it does not: it must not be asked again on this
    /// connection.
    pub(crate) fn start(
        connection: Connection,
        sink: ReportSink,
        shared: Arc<ChannelShared>,
        rng: Rng,
        warned: Arc<Warned>,
        give_up: impl FnOnce() + Send + 'static,
    ) -> Self {
        let on = OnConnection::new(connection, shared);
        Self(tokio::spawn(run(on, sink, rng, warned, give_up)).abort_handle())
    }
}

/// What was said aloud. Once for a channel is enough: what holds for a server holds for its next
/// connection, and for its replicas.
#[derive(Debug, Default)]
pub(crate) struct Warned {
    not_offered: AtomicBool,
    failed: AtomicBool,
}

impl Drop for LoadWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(on: OnConnection, sink: ReportSink, mut rng: Rng, warned: Arc<Warned>, give_up: impl FnOnce()) {
    let mut backoff = Backoff::new(BackoffConfig::default());
    loop {
        let (started, mut reports) = (Instant::now(), 0u64);
        let status = match catch_panic(listen(&on, &sink, &mut reports)).await {
            Ok(Ok(())) => Status::unavailable("the server ended the stream"),
            Ok(Err(status)) => status,
            Err(text) => {
                Status::internal(format!("the stream of load reports panicked, which is a bug: {text}"))
            }
        };
        if !on.is_accepting() {
            return;
        }
        let (channel, endpoint) = (on.channel(), on.address());
        let (code, reason) = (status.code(), peer_text(status.message()));
        if code == Code::Unimplemented {
            // "The client must not retry the call on the same connection" (A51).
            if warned.not_offered.swap(true, Ordering::Relaxed) {
                tracing::debug!(channel, %endpoint, "the server does not report its load apart from calls");
            } else {
                tracing::warn!(
                    channel, %endpoint,
                    "the server does not report its load apart from calls: it gets the mean share; said once for all backends"
                );
            }
            return give_up();
        }
        if reports > 0 && started.elapsed() >= STEADY {
            // It ended as streams do, by their age or a proxy's patience.
            tracing::debug!(channel, %endpoint, ?code, reason, reports, "a stream of load reports has ended, and is opened again");
            backoff.reset();
            continue;
        }
        let pause = backoff.advance(&mut rng);
        if warned.failed.swap(true, Ordering::Relaxed) {
            tracing::debug!(
                channel, %endpoint, ?code, reason, reports, ?pause,
                "a stream of load reports has failed, and is asked for again after a pause"
            );
        } else {
            tracing::warn!(
                channel, %endpoint, ?code, reason, reports, ?pause,
                "a stream of load reports has failed, and is asked for again after a pause; said once for all backends"
            );
        }
        sleep(pause).await;
    }
}

async fn listen(on: &OnConnection, sink: &ReportSink, reports: &mut u64) -> Result<(), Status> {
    let mut client =
        tonic::client::Grpc::with_origin(on.clone(), on.origin()?).max_decoding_message_size(REPORT_LEN_MAX);
    let request = Request::new(OrcaLoadReportRequest::every(sink.period()));
    let path = PathAndQuery::from_static(STREAM_CORE_METRICS);
    let codec = ProstCodec::<OrcaLoadReportRequest, OrcaLoadReport>::default();
    let mut stream = client.server_streaming(request, path, codec).await?.into_inner();
    while let Some(report) = internal_rpc::next(&mut stream).await? {
        *reports += 1;
        sink.report(Instant::now().into_std(), &report.into());
    }
    Ok(())
}

/// "When the client receives a message from the server on a given call, the backoff state is reset,
/// so the next attempt will occur immediately" (A51): for a stream that lasted. One that is
/// answered and ended in a loop is not followed at that speed.
const STEADY: Duration = Duration::from_secs(1);

/// A report has four numbers that are read, and whatever else the application names: some thousand
/// metrics.
const REPORT_LEN_MAX: usize = 256 << 10;
