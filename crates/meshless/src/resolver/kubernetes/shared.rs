//! One task per Service reads it for every channel of the process.
//!
//! The first [`SharedWatch::subscribe`] to a Service starts a task that follows its slices, later ones
//! join it, and it ends with the last: one connection to the API server however many channels there
//! are. The task decides when to go on after a failure. It lives on the runtime of its subscribers,
//! so runtimes do not share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use meshless_core::{Backoff, Rng};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::client::KubernetesClient;
use super::config::{KubernetesConfig, Timing};
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
        let key = Key { runtime: runtime.id(), client, service: service.clone(), timing: config.timing };
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
        let watch = Watch::new(service, config.client.clone(), config.timing, Rng::new(seed, 0), sender);
        let task =
            runtime.spawn(run(watch, config.timing, Rng::new(seed, 1), Arc::clone(&doubts))).abort_handle();
        Self { doubts, feed, task }
    }
}

impl Drop for SharedWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut watch: Watch, timing: Timing, mut rng: Rng, doubts: Arc<Notify>) {
    let mut backoff = Backoff::new(timing.backoff());
    let mut failures = 0_u32;
    let mut denied = false;
    // A doubt may be older than a list that is under way, so the first one may come as soon as
    // anything is known.
    let mut next_doubt = Instant::now();
    loop {
        let ended = tokio::select! {
            ended = follow(&mut watch) => ended,
            () = doubted(&doubts, next_doubt) => {
                next_doubt = Instant::now() + DOUBT_INTERVAL;
                watch.outdate();
                continue;
            }
        };
        if watch.take_progress() {
            failures = 0;
            backoff.reset();
        }
        failures = failures.saturating_add(1);
        let pause = match &ended {
            Ended::Denied(_) => timing.denied_interval,
            Ended::NoCluster(_) | Ended::Outdated | Ended::Failed(_) => backoff.advance(&mut rng),
        };
        report(&ended, denied, failures, pause);
        denied = matches!(ended, Ended::Denied(_));
        // A watch that breaks is the API server's daily life; only what does not come back is worth
        // a word.
        if failures > 1 || !matches!(ended, Ended::Failed(_)) || !watch.knows_any() {
            watch.publish_trouble(&ended);
        }
        let resume = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(resume) => {}
            () = doubted(&doubts, next_doubt), if !denied => {
                next_doubt = Instant::now() + DOUBT_INTERVAL;
                watch.outdate();
            }
        }
    }
}

/// A panic counts as a failure, after which everything is listed again.
async fn follow(watch: &mut Watch) -> Ended {
    match catch_panic(watch.follow()).await {
        Ok(ended) => ended,
        Err(text) => {
            watch.outdate();
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
fn report(ended: &Ended, denied_before: bool, failures: u32, pause: Duration) {
    match ended {
        Ended::Denied(reason) if !denied_before => tracing::warn!(
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
    timing: Timing,
}

/// The Services that are being read. An entry without subscribers is swept when the next one is
/// added.
static SERVICES: LazyLock<Mutex<HashMap<Key, Weak<SharedWatch>>>> = LazyLock::new(Mutex::default);

/// The shortest time between two lists that channels ask for: a fleet whose backends are all gone
/// must not take the API server along.
const DOUBT_INTERVAL: Duration = Duration::from_secs(5);
