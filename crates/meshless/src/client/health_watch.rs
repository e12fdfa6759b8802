//! Asks a backend's health service whether it serves, for as long as a connection lives (gRFC A17).
//!
//! Started by the driver on each new connection if the user named a service; one task with one
//! `Watch` stream. It reports what it is told and what that means is the balancer's. A server
//! without the health service counts as healthy, as A17 has it. It never keeps a connection open:
//! the stream does not count as a call, and the task ends when the connection goes away or the
//! watch is dropped.

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
    /// Watches `service` on `connection`. `report` is told that it serves, or why not, at every
    /// change.
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
            // What becomes of it is known by other means.
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
            // It ended as streams do, by their age or a proxy's patience: what it last said holds
            // until it is asked again.
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

/// "If at least one response was received, … retried immediately" (A17): for a watch that lasted,
/// the pauses start over. One that is answered and ended in a loop is not followed at that speed.
const STEADY: Duration = Duration::from_secs(1);

/// How long a server may take to say anything: as long as an attempt to connect, of which the first
/// answer is the last step. Without a limit, a server that answers PINGs and no calls would hold
/// the attempt for ever.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
