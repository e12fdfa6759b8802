//! Reading the EndpointSlices of one Service from the API server: list, then watch from there, over and over.
//!
//! ```text
//!            ┌──────┐  resourceVersion   ┌───────┐ ─┐ ended, broken, silent: on from the last version
//!   start ─▶ │ list │ ─────────────────▶ │ watch │ ◀┘
//!            └──────┘ ◀───────────────── └───────┘
//!                      410 Gone, an event that cannot be read
//! ```
//!
//! [`Watch::follow`] runs until something fails, and its caller (`shared`) decides when to go on. It publishes what the
//! table holds, and never takes anything back because it cannot be read.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use meshless_core::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::client::KubernetesClient;
use super::config::{JITTER, Timing};
use super::error::KubernetesError;
use super::slice::Slice;
use super::table::{SliceTable, Snapshot};

/// What the channels know of a Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    /// The last known slices; `None` before the first list.
    pub(super) slices: Option<Snapshot>,
    /// Why they may be out of date.
    pub(super) trouble: Option<KubernetesError>,
    /// The Service's namespace, once it is known.
    pub(super) namespace: Option<Arc<str>>,
}

/// A Service, of one namespace or the client's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Why following has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// What is known is too old to go on from: list again.
    Outdated,
    /// There is no cluster.
    NoCluster(KubernetesError),
    /// The API server refuses: the client has not the right, or is not believed to be who it is.
    Denied(String),
    /// The API server cannot be reached, or answers nonsense.
    Failed(String),
}

/// The reading of one Service.
pub(super) struct Watch {
    service: Service,
    client: Option<KubernetesClient>,
    timing: Timing,
    rng: Rng,
    table: SliceTable,
    /// Where the next watch goes on; `None` if a list has to come first.
    version: Option<String>,
    /// Whether there was an answer since the caller last asked.
    progress: bool,
    /// When the API server was last heard.
    heard: Instant,
    feed: watch::Sender<Feed>,
}

impl Watch {
    pub(super) fn new(
        service: Service,
        client: Option<KubernetesClient>,
        timing: Timing,
        rng: Rng,
        feed: watch::Sender<Feed>,
    ) -> Self {
        Self {
            service,
            client,
            timing,
            rng,
            table: SliceTable::default(),
            version: None,
            progress: false,
            heard: Instant::now(),
            feed,
        }
    }

    /// Reads until it cannot. May be dropped while it runs; what it has published stays.
    pub(super) async fn follow(&mut self) -> Ended {
        let client = match self.connect().await {
            Ok(client) => client,
            Err(ended) => return ended,
        };
        let namespace = self.namespace(&client);
        let slices: Api<EndpointSlice> = Api::namespaced(client.client().clone(), &namespace);
        self.feed.send_if_modified(|feed| {
            feed.namespace = Some(namespace.into());
            false
        });
        loop {
            let ended = match self.version.clone() {
                None => self.list(&slices).await,
                Some(version) => self.watch(&slices, &version).await,
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    /// The next [`follow`](Self::follow) begins with a list.
    pub(super) fn outdate(&mut self) {
        self.version = None;
    }

    /// Whether the API server has told anything since this was last asked.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Whether there was ever a list.
    pub(super) fn knows_any(&self) -> bool {
        self.feed.borrow().slices.is_some()
    }

    /// Tells the channels what is wrong. They keep what they have.
    pub(super) fn publish_trouble(&self, ended: &Ended) {
        let service = self.service_name();
        let trouble = match ended {
            Ended::Outdated => return,
            Ended::NoCluster(error) => error.clone(),
            Ended::Denied(reason) => KubernetesError::Denied { service, reason: reason.clone() },
            Ended::Failed(reason) => KubernetesError::Unreachable {
                service,
                age: Duration::from_secs(self.heard.elapsed().as_secs()),
                reason: reason.clone(),
            },
        };
        self.feed.send_modify(|feed| feed.trouble = Some(trouble));
    }

    async fn connect(&mut self) -> Result<KubernetesClient, Ended> {
        match &self.client {
            Some(client) => Ok(client.clone()),
            None => {
                let client = KubernetesClient::infer().await.map_err(Ended::NoCluster)?;
                Ok(self.client.insert(client).clone())
            }
        }
    }

    async fn list(&mut self, slices: &Api<EndpointSlice>) -> Result<(), Ended> {
        let params = ListParams::default().labels(&self.selector());
        let list = within(REQUEST_TIMEOUT, slices.list(&params)).await?;
        // An API server always says it; a version of nothing would be watched from anywhere.
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        self.version = Some(version.ok_or_else(|| Ended::Failed("the list has no resourceVersion".into()))?);
        self.table.replace(list.items.iter().filter_map(|slice| Some((name(slice)?, Slice::read(slice)))));
        self.heard = Instant::now();
        self.publish();
        Ok(())
    }

    /// One watch, to its end.
    async fn watch(&mut self, slices: &Api<EndpointSlice>, version: &str) -> Result<(), Ended> {
        let lasts = self.rng.jittered(self.timing.watch_timeout, JITTER).max(Duration::from_secs(1));
        let seconds = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams { bookmarks: true, ..WatchParams::default() }
            .labels(&self.selector())
            .timeout(seconds);
        let begun = Instant::now();
        let silent_at = begun + lasts + lasts / SILENCE_FRACTION;
        let opened = within(REQUEST_TIMEOUT, slices.watch(&params, version)).await;
        let mut events = pin!(opened.inspect_err(|ended| self.outdate_if(ended))?);
        self.still_good();
        let mut publish_at: Option<Instant> = None;
        loop {
            let next = poll_fn(|cx| events.as_mut().poll_next(cx));
            let event = tokio::select! {
                biased;
                () = sleep_until(publish_at.unwrap_or(silent_at)), if publish_at.is_some() => {
                    publish_at = None;
                    self.publish();
                    continue;
                }
                event = timeout_at(silent_at, next) => event,
            };
            let step = match event {
                // Its own end; the connection may be dead, and the next watch takes another.
                Err(_) => Err(Ended::Failed(format!("the watch was silent for {:?}", begun.elapsed()))),
                Ok(None) if begun.elapsed() < SHORTEST_WATCH => {
                    Err(Ended::Failed("the API server ends watches at once".into()))
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    // Unless the connection has broken, this was an event, and one that cannot be read was missed.
                    if !matches!(error, kube::Error::ReadEvents(_)) {
                        self.version = None;
                    }
                    Err(ended_by(&error))
                }
                Ok(Some(Ok(event))) => self.apply(event),
            };
            match step {
                Ok(false) => {}
                Ok(true) => publish_at = publish_at.or(Some(Instant::now() + self.timing.debounce)),
                Err(ended) => {
                    if publish_at.is_some() {
                        self.publish();
                    }
                    self.outdate_if(&ended);
                    return Err(ended);
                }
            }
        }
        if publish_at.is_some() {
            self.publish();
        }
        Ok(())
    }

    /// Whether the slices have changed.
    fn apply(&mut self, event: WatchEvent<EndpointSlice>) -> Result<bool, Ended> {
        let (slice, deleted) = match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => (slice, false),
            WatchEvent::Deleted(slice) => (slice, true),
            WatchEvent::Bookmark(bookmark) => {
                self.heard_at(Some(bookmark.metadata.resource_version));
                return Ok(false);
            }
            WatchEvent::Error(status) => {
                // Mostly 410; what else an API server may report here is as well begun anew.
                self.version = None;
                return Err(ended_by(&kube::Error::Api(status)));
            }
        };
        let Some(name) = name(&slice) else { return Ok(false) };
        self.heard_at(slice.metadata.resource_version.clone());
        if deleted {
            self.table.delete(&name);
        } else {
            self.table.put(name, Slice::read(&slice));
        }
        Ok(true)
    }

    fn heard_at(&mut self, version: Option<String>) {
        self.heard = Instant::now();
        self.progress = true;
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.version = Some(version);
        }
    }

    fn outdate_if(&mut self, ended: &Ended) {
        if matches!(ended, Ended::Outdated) {
            self.version = None;
        }
    }

    /// The watch goes on where the list or the last watch ended, so nothing was missed.
    fn still_good(&mut self) {
        self.heard = Instant::now();
        self.feed.send_if_modified(|feed| feed.trouble.take().is_some());
    }

    fn publish(&self) {
        let slices = self.table.snapshot();
        self.feed.send_modify(|feed| {
            feed.slices = Some(slices);
            feed.trouble = None;
        });
    }

    fn selector(&self) -> String {
        format!("{SERVICE_LABEL}={}", self.service.name)
    }

    fn namespace(&self, client: &KubernetesClient) -> String {
        let own = || client.client().default_namespace().to_owned();
        self.service.namespace.clone().unwrap_or_else(own)
    }

    fn service_name(&self) -> String {
        self.service.name_in(self.feed.borrow().namespace.as_deref())
    }
}

impl Service {
    /// `name.namespace`, as far as the namespace is known.
    pub(super) fn name_in(&self, own: Option<&str>) -> String {
        match self.namespace.as_deref().or(own) {
            Some(namespace) => format!("{}.{namespace}", self.name),
            None => self.name.clone(),
        }
    }
}

fn name(slice: &EndpointSlice) -> Option<String> {
    slice.metadata.name.clone()
}

async fn within<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, Ended> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| ended_by(&error)),
        Err(_) => Err(Ended::Failed(format!("the API server did not answer within {limit:?}"))),
    }
}

fn ended_by(error: &kube::Error) -> Ended {
    match error {
        kube::Error::Api(status) => match status.code {
            // "410 Gone": the version is older than what the API server remembers.
            410 => Ended::Outdated,
            401 | 403 => Ended::Denied(status.message.clone()),
            // kube takes any JSON object for a status, and one of its own making has no code.
            0 => {
                Ended::Failed(format!("the API server says what is no event of a watch: {}", status.message))
            }
            code => Ended::Failed(format!("the API server answers {code}: {}", status.message)),
        },
        error => Ended::Failed(chain(error)),
    }
}

/// An error with its causes. kube's own text of some repeats the cause, which is then left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// What the EndpointSlices of a Service carry its name in (`discovery/v1`).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// For a list, and for a watch to begin. An API server answers in milliseconds; a network policy that drops the packets never does, and
/// `connect()` still has to hear of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// One part of a watch's duration is what its end may be late by.
const SILENCE_FRACTION: u32 = 10;
/// A watch that ends sooner was ended by something in between, and would be again.
const SHORTEST_WATCH: Duration = Duration::from_millis(500);
/// Causes of an error that a message repeats.
const CAUSES_MAX: usize = 5;
