//! One task per Service reads it for every channel of the process ([`SharedTask`]): one connection
//! to the API server however many channels there are.
//!
//! A task follows the Service's slices, and its [`WatchSchedule`] after a failure.

use std::sync::{Arc, LazyLock};

use meshless_core::{WatchRetry, WatchSchedule, WatchScheduleConfig};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::client::KubernetesClient;
use super::config::KubernetesConfig;
use super::ended::Ended;
use super::watch::{Feed, Service, Watch};
use crate::resolver::shared_task::{Hints, SharedTask, SharedTasks, own_rng};
use crate::shared::catch_panic::catch_panic;

/// The subscribers' end of a Service's task.
pub(super) type SharedWatch = SharedTask<Feed>;

/// Joins the reading of `service` on `runtime`, or begins it. What is known is there at once.
pub(super) fn subscribe(
    service: &Service,
    config: &KubernetesConfig,
    runtime: &Handle,
) -> (Arc<SharedWatch>, watch::Receiver<Feed>) {
    let client = config.client.as_ref().map(KubernetesClient::id);
    let key = Key { client, service: service.clone(), schedule: config.schedule };
    let (shared, _) = SERVICES.join(runtime, key, || spawn(service.clone(), config, runtime));
    let mut feed = shared.found();
    let known = feed.borrow().slices.is_some() || feed.borrow().trouble.is_some();
    if known {
        feed.mark_changed();
    } else {
        feed.mark_unchanged();
    }
    (shared, feed)
}

fn spawn(service: Service, config: &KubernetesConfig, runtime: &Handle) -> SharedWatch {
    let now = Instant::now().into_std();
    let schedule = WatchSchedule::new(config.schedule, own_rng("kubernetes"), now);
    let client = config.client.clone();
    SharedTask::spawn(runtime, Feed::default(), |hints, feed| {
        run(Watch::new(service, client, schedule, feed), hints)
    })
}

async fn run(mut watch: Watch, hints: Arc<Hints>) {
    loop {
        let next_doubt = watch.schedule.next_doubt().into();
        let ended = tokio::select! {
            ended = follow(&mut watch) => ended,
            () = doubted(&hints, next_doubt) => {
                watch.schedule.handle_doubt(Instant::now().into_std());
                continue;
            }
        };
        let retry = watch.handle_end(&ended);
        report(&ended, retry);
        let resume = Instant::now() + retry.pause;
        tokio::select! {
            () = sleep_until(resume) => {}
            () = doubted(&hints, next_doubt), if watch.schedule.doubts_end_pause() => {
                watch.schedule.handle_doubt(Instant::now().into_std());
            }
        }
    }
}

/// A panic counts as a failure; then everything is listed again.
async fn follow(watch: &mut Watch) -> Ended {
    match catch_panic(watch.follow()).await {
        Ok(ended) => ended,
        Err(text) => {
            watch.schedule.handle_missed();
            Ended::Failed(format!("reading EndpointSlices panicked, which is a bug: {text}"))
        }
    }
}

/// Every endpoint that the slices name has failed. In this order, so that a doubt is not lost when
/// this is dropped before its time.
async fn doubted(hints: &Hints, earliest: Instant) {
    sleep_until(earliest).await;
    hints.next().await;
}

/// Says what is new; a refusal only once, until it is lifted.
fn report(ended: &Ended, WatchRetry { pause, failures, was_denied, .. }: WatchRetry) {
    match ended {
        Ended::Denied(reason) if !was_denied => tracing::warn!(
            reason,
            "may not read EndpointSlices; grant get, list and watch on endpointslices.discovery.k8s.io; going on with DNS"
        ),
        Ended::NoCluster(error) if failures == 1 => {
            tracing::warn!(%error, "cannot ask for EndpointSlices; going on with DNS");
        }
        Ended::Failed(reason) if failures == 2 => {
            tracing::warn!(reason, "cannot read EndpointSlices; known backends stay in use");
        }
        ended => tracing::debug!(?ended, failures, ?pause, "reading EndpointSlices again after a pause"),
    }
}

/// Subscribers with an equal key share a task.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    client: Option<u64>,
    service: Service,
    schedule: WatchScheduleConfig,
}

/// The Services that are being read.
static SERVICES: LazyLock<SharedTasks<Key, Feed>> = LazyLock::new(SharedTasks::default);
