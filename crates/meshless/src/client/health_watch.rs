//! Watches a backend's health service while a connection lives (gRFC A17).
//!
//! If the user named a service, the driver starts it on each new connection: one task with one
//! `Watch` stream. It passes on the reports; the balancer decides what they mean. A server without
//! the health service counts as healthy, as in A17. The watch never keeps a connection open: its
//! stream does not count as a call, and the task ends when the connection goes away or the watch is
//! dropped.

use std::sync::Arc;
use std::time::Duration;

use meshless_core::{Backoff, BackoffConfig, Rng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::client::channel::ChannelShared;
use crate::client::connection::Connection;
use crate::client::internal_rpc::{self, OnConnection};
use crate::shared::catch_panic::catch_panic;
use crate::shared::peer_text::peer_text;

/// A watch. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct HealthWatch(AbortHandle);

impl HealthWatch {
    /// Watches `service` on `connection`. At every change, `report` is called: the server serves,
    /// or why not.
    pub(crate) fn start(
        connection: Connection,
        service: Arc<str>,
        shared: Arc<ChannelShared>,
        rng: Rng,
        report: impl Fn(Result<(), String>) + Send + Sync + 'static,
    ) -> Self {
        Self(tokio::spawn(run(OnConnection::new(connection, shared), service, rng, report)).abort_handle())
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(
    on: OnConnection,
    service: Arc<str>,
    mut rng: Rng,
    report: impl Fn(Result<(), String>) + Send + Sync + 'static,
) {
    let mut backoff = Backoff::new(BackoffConfig::default());
    loop {
        let started = Instant::now();
        let status = match catch_panic(watch(&on, &service, &report)).await {
            Ok(Ok(())) => Status::unavailable("the server ended the watch"),
            Ok(Err(status)) => status,
            Err(text) => Status::internal(format!("the watch panicked, which is a bug: {text}")),
        };
        if !on.is_accepting() {
            // The driver learns the connection's end elsewhere.
            return;
        }
        if status.code() == Code::Unimplemented {
            // "If the server … returns UNIMPLEMENTED, the client … will act as if the channel is
            // healthy" (A17).
            let (channel, endpoint) = (on.channel(), on.address());
            tracing::warn!(channel, %endpoint, "the server has no health service: health checks are off for it");
            return report(Ok(()));
        }
        if started.elapsed() >= STEADY && status.code() != Code::DeadlineExceeded {
            // The stream ended normally, by its age or by a proxy's timeout: its last report holds
            // until the next one.
            backoff.reset();
            continue;
        }
        report(Err(format!(
            "the health check of {service:?} failed: {}: {}",
            status.code(),
            peer_text(status.message())
        )));
        sleep(backoff.advance(&mut rng)).await;
    }
}

async fn watch(
    on: &OnConnection,
    service: &str,
    report: &(impl Fn(Result<(), String>) + Send + Sync),
) -> Result<(), Status> {
    let origin = on.origin()?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let first = async {
        let mut statuses = HealthClient::with_origin(on.clone(), origin).watch(request).await?.into_inner();
        Ok::<_, Status>((internal_rpc::next(&mut statuses).await?, statuses))
    };
    let (mut next, mut statuses) = tokio::time::timeout(FIRST_ANSWER, first)
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no answer within {FIRST_ANSWER:?}")))??;
    while let Some(answer) = next {
        report(match answer.status() {
            ServingStatus::Serving => Ok(()),
            status => Err(format!("its health service says {} of {service:?}", status.as_str_name())),
        });
        next = internal_rpc::next(&mut statuses).await?;
    }
    Ok(())
}

/// "If at least one response was received, … retried immediately" (A17): the pauses start over
/// after a watch that lasted. They do not for one that is answered and ended in a loop.
const STEADY: Duration = Duration::from_secs(1);

/// How long a server may take to its first report: as long as an attempt to connect. The first
/// report is the attempt's last step. Without a limit, a server that answers PINGs but no calls
/// would hold the attempt for ever.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
