//! One task per Service reads it for every channel of the process.
//!
//! The first [`SharedWatch::subscribe`] to a Service starts a task that follows its slices, later ones
//! join it, and it ends with the last: one connection to the API server however many channels there
//! are. The schedule decides when to go on after a failure. The task lives on the runtime of its subscribers,
//! so runtimes do not share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use meshless_core::{Rng, WatchRetry, WatchSchedule, WatchScheduleConfig};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::client::KubernetesClient;
use super::config::KubernetesConfig;
use super::watch::{Ended, Feed, Service, Watch};
use crate::shared::catch_panic::catch_panic;

/// The subscribers' end of a Service's task. The task ends when the last clone is dropped.
#[derive(Debug)]
pub(super) struct SharedWatch {
    doubts: Arc<Notify>,
    feed: watch::Receiver<Feed>,
    task: AbortHandle,
}

impl SharedWatch {
    /// Joins the reading of `service` on `runtime`, or begins it. What is known is there at once.
    pub(super) fn subscribe(
        service: &Service,
        config: &KubernetesConfig,
        runtime: &Handle,
    ) -> (Arc<Self>, watch::Receiver<Feed>) {
        let client = config.client.as_ref().map(KubernetesClient::id);
        let key = Key { runtime: runtime.id(), client, service: service.clone(), schedule: config.schedule };
        let mut services = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let running = services.get(&key).and_then(Weak::upgrade).filter(|shared| !shared.task.is_finished());
        let shared = running.unwrap_or_else(|| {
            services.retain(|_, shared| shared.strong_count() > 0);
            let shared = Arc::new(Self::spawn(service.clone(), config, runtime));
            services.insert(key, Arc::downgrade(&shared));
            shared
        });
        let mut feed = shared.feed.clone();
        let known = feed.borrow().slices.is_some() || feed.borrow().trouble.is_some();
        if known {
            feed.mark_changed();
        } else {
            feed.mark_unchanged();
        }
        (shared, feed)
    }

    /// What is known now.
    pub(super) fn known(&self) -> Feed {
        self.feed.borrow().clone()
    }

    /// Every endpoint that the slices name has failed: they are listed again soon.
    pub(super) fn resolve_now(&self) {
        self.doubts.notify_one();
    }

    fn spawn(service: Service, config: &KubernetesConfig, runtime: &Handle) -> Self {
        let doubts = Arc::new(Notify::new());
        let (sender, feed) = watch::channel(Feed::default());
        // Only keeps clients out of step with each other, so a hash that differs from process to
        // process is enough.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "kubernetes");
        let schedule = WatchSchedule::new(config.schedule, Rng::new(seed, 0), Instant::now().into_std());
        let watch = Watch::new(service, config.client.clone(), schedule, sender);
        let task = runtime.spawn(run(watch, Arc::clone(&doubts))).abort_handle();
        Self { doubts, feed, task }
    }
}

impl Drop for SharedWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut watch: Watch, doubts: Arc<Notify>) {
    loop {
        let next_doubt = watch.schedule.next_doubt().into();
        let ended = tokio::select! {
            ended = follow(&mut watch) => ended,
            () = doubted(&doubts, next_doubt) => {
                watch.schedule.handle_doubt(Instant::now().into_std());
                continue;
            }
        };
        let retry = watch.handle_end(&ended);
        report(&ended, retry);
        let resume = Instant::now() + retry.pause;
        tokio::select! {
            () = sleep_until(resume) => {}
            () = doubted(&doubts, next_doubt), if watch.schedule.doubts_end_pause() => {
                watch.schedule.handle_doubt(Instant::now().into_std());
            }
        }
    }
}

/// A panic counts as a failure, after which everything is listed again.
async fn follow(watch: &mut Watch) -> Ended {
    match catch_panic(watch.follow()).await {
        Ok(ended) => ended,
        Err(text) => {
            watch.schedule.handle_missed();
            Ended::Failed(format!("reading EndpointSlices panicked, which is a bug: {text}"))
        }
    }
}

/// In this order, so that a doubt is not lost when this is dropped before its time.
async fn doubted(doubts: &Notify, earliest: Instant) {
    sleep_until(earliest).await;
    doubts.notified().await;
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

/// What a task is shared by.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    runtime: Id,
    client: Option<u64>,
    service: Service,
    schedule: WatchScheduleConfig,
}

/// The Services that are being read. An entry without subscribers is swept when the next one is
/// added.
static SERVICES: LazyLock<Mutex<HashMap<Key, Weak<SharedWatch>>>> = LazyLock::new(Mutex::default);
