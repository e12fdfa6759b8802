//! Asks a backend's server for load reports while a connection lives (gRFC A51, "out of band").
//!
//! If the balancer wants reports, the driver starts it on each connection in service: one task with
//! one stream of `xds.service.orca.v3.OpenRcaService`. The reports go into the balancer's
//! [`ReportSink`], which decides what they mean. It fails no call: an endpoint whose server does
//! not report keeps the default weight. The watch never keeps a connection open: its stream does
//! not count as a call, and the task ends when the connection goes away or the watch is dropped.

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
    /// Passes the load reports of `connection`'s server to `sink`. `warned` is the channel's.
    /// `give_up` is called if the server does not report: it must not be asked again on this
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

/// The warnings that were logged. Once per channel is enough: the next connection and the other
/// replicas would cause the same one.
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
            // The stream ended normally, by its age or by a proxy's timeout.
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
/// so the next attempt will occur immediately" (A51). This holds for a stream that lasted, not for
/// one that is answered and ended in a loop.
const STEADY: Duration = Duration::from_secs(1);

/// Four numbers of a report are read. The rest is what the application adds: room for some thousand
/// metrics.
const REPORT_LEN_MAX: usize = 256 << 10;
