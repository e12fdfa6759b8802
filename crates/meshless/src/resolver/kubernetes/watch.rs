//! Reading the EndpointSlices of one Service from the API server: list, then watch from there, over
//! and over.
//!
//! ```text
//!            ┌──────┐  resourceVersion   ┌───────┐ ─┐ ended, broken, silent: on from the last version
//!   start ─▶ │ list │ ─────────────────▶ │ watch │ ◀┘
//!            └──────┘ ◀───────────────── └───────┘
//!                      410 Gone, an event that cannot be read, two watches in a row that brought nothing
//! ```
//!
//! [`Watch::follow`] runs until something fails, and its caller (`shared`) decides when to go on.
//! It publishes what the table holds, and never takes anything back because it cannot be read.
//!
//! How old what is known can be: while the API server answers lists, 2.7 times [`watch_timeout`],
//! since whatever is wrong with watches, the second one that brings nothing is followed by a list.
//!
//! [`watch_timeout`]: super::KubernetesConfig::watch_timeout

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::{EventPace, Rng, ServiceTooLargeError, SliceSnapshot, SliceTable};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::client::KubernetesClient;
use super::config::{JITTER, Timing};
use super::error::KubernetesError;
use super::lines::{Lines, ReadError};
use super::object::{EndpointSlice, EventKind, WatchEvent};
use super::request::{self, Slices};
use super::slice::read;
use crate::shared::peer_text::peer_text;

/// What the channels know of a Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    /// The last known slices; `None` before the first list.
    pub(super) slices: Option<SliceSnapshot>,
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
#[derive(Debug, PartialEq, Eq)]
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
    /// Watches in a row that brought nothing, not even a bookmark.
    barren: u32,
    /// Whether there was an event since the caller last asked.
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
            barren: 0,
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
        let namespace =
            self.service.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let slices = Slices::new(client, &namespace, &self.service.name);
        self.feed.send_if_modified(|feed| {
            feed.namespace = Some(namespace.into());
            false
        });
        loop {
            let ended = match self.version.clone() {
                None => self.list(&slices).await,
                Some(version) => self.watch_once(&slices, &version).await,
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
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        // It reads files.
        let found = tokio::task::spawn_blocking(KubernetesClient::in_pod).await;
        let client = found.map_err(|_| Ended::Failed("the runtime is shutting down".to_owned()))?;
        Ok(self.client.insert(client.map_err(Ended::NoCluster)?).clone())
    }

    async fn list(&mut self, slices: &Slices) -> Result<(), Ended> {
        let list = within(REQUEST_TIMEOUT, slices.list()).await?;
        // An API server always says it; a version of nothing would be watched from anywhere.
        let version = list.metadata.resource_version.filter(|version| is_version(version));
        let version =
            version.ok_or_else(|| Ended::Failed("the list has no usable resourceVersion".to_owned()))?;
        let items = list.items.iter().flatten();
        let named = items.map(|slice| Some((slice.metadata.name.clone()?, read(slice))));
        let named: Option<Vec<_>> = named.collect();
        let named = named.ok_or_else(|| Ended::Failed("the list has a slice without a name".to_owned()))?;
        self.table.replace(named)?;
        self.version = Some(version);
        self.barren = 0;
        self.heard = Instant::now();
        self.publish();
        Ok(())
    }

    /// One watch, to its end.
    async fn watch_once(&mut self, slices: &Slices, version: &str) -> Result<(), Ended> {
        self.barren = self.barren.saturating_add(1);
        let result = self.watch(slices, version).await;
        // Whatever the reason is, it may be that watches from here never bring anything again.
        if self.barren >= BARREN_WATCHES_MAX || matches!(result, Err(Ended::Outdated)) {
            self.version = None;
        }
        result
    }

    async fn watch(&mut self, slices: &Slices, version: &str) -> Result<(), Ended> {
        let lasts = self.rng.jittered(self.timing.watch_timeout, JITTER).max(Duration::from_secs(1));
        let begun = Instant::now();
        let silent_at = begun + lasts + lasts / SILENCE_FRACTION;
        let mut lines = within(REQUEST_TIMEOUT, slices.watch(version, lasts)).await?;
        self.still_good();
        let mut pace = EventPace::new();
        let mut publish_at: Option<Instant> = None;
        let result = loop {
            let line = tokio::select! {
                biased;
                () = sleep_until(publish_at.unwrap_or(silent_at)), if publish_at.is_some() => {
                    publish_at = None;
                    self.publish();
                    continue;
                }
                line = timeout_at(silent_at, next_line(&mut lines, pace.ready_at().map_or(begun, Instant::from_std))) => line,
            };
            let step = match line {
                // Its own end; the connection may be dead, and the next watch takes another.
                Err(_) => Err(Ended::Failed(format!("the watch was silent for {:?}", begun.elapsed()))),
                Ok(Ok(None)) if begun.elapsed() < SHORTEST_WATCH => {
                    Err(Ended::Failed("the API server ends watches at once".into()))
                }
                Ok(Ok(None)) => break Ok(()),
                Ok(Ok(Some(line))) => {
                    pace.spend(Instant::now().into_std(), line.len());
                    self.apply(&line)
                }
                Ok(Err(error)) => Err(self.unreadable(error)),
            };
            match step {
                Ok(false) => {}
                Ok(true) => publish_at = publish_at.or(Some(Instant::now() + self.gathering())),
                Err(ended) => break Err(ended),
            }
        };
        if publish_at.is_some() {
            self.publish();
        }
        result
    }

    /// Returns true if the slices have changed.
    fn apply(&mut self, line: &[u8]) -> Result<bool, Ended> {
        let Ok(WatchEvent { kind, object }) = serde_json::from_slice(line) else {
            // It was an event, and it was missed.
            self.version = None;
            return Err(Ended::Failed(format!("the API server sends what is no event: {}", peer_text(line))));
        };
        let name = match kind {
            EventKind::Bookmark => {
                self.heard_at(object.metadata.resource_version);
                return Ok(false);
            }
            EventKind::Error => {
                // Mostly 410; what else an API server may report here is as well begun anew.
                self.version = None;
                return Err(request::refused(object.code, object.message.unwrap_or_default()));
            }
            EventKind::Added | EventKind::Modified | EventKind::Deleted => object.metadata.name.clone(),
        };
        let Some(name) = name else {
            self.version = None;
            return Err(Ended::Failed("the API server sends a slice without a name".to_owned()));
        };
        let changed = self.change(name, kind, &object).inspect_err(|_| self.version = None)?;
        self.heard_at(object.metadata.resource_version);
        Ok(changed)
    }

    fn change(
        &mut self,
        name: String,
        kind: EventKind,
        slice: &EndpointSlice,
    ) -> Result<bool, ServiceTooLargeError> {
        match kind {
            EventKind::Deleted => Ok(self.table.delete(&name)),
            _ => self.table.put(name, read(slice)),
        }
    }

    fn unreadable(&mut self, error: ReadError) -> Ended {
        Ended::Failed(match error {
            ReadError::TooLong { .. } => {
                // It was an event, and it was missed.
                self.version = None;
                format!("an event of the watch is {error}")
            }
            ReadError::Broken(reason) => format!("the watch broke: {reason}"),
        })
    }

    fn heard_at(&mut self, version: Option<String>) {
        self.heard = Instant::now();
        self.progress = true;
        self.barren = 0;
        if let Some(version) = version.filter(|version| is_version(version)) {
            self.version = Some(version);
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

    /// How long changes are gathered: each channel goes through all endpoints when it is told of
    /// one that has changed.
    fn gathering(&self) -> Duration {
        let endpoints = u32::try_from(self.table.endpoints()).unwrap_or(u32::MAX);
        self.timing.debounce + GATHERING_PER_ENDPOINT.saturating_mul(endpoints)
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

impl From<ServiceTooLargeError> for Ended {
    fn from(error: ServiceTooLargeError) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn next_line(lines: &mut Lines, ready_at: Instant) -> Result<Option<bytes::Bytes>, ReadError> {
    sleep_until(ready_at).await;
    lines.next().await
}

/// "Opaque", says Kubernetes, and is a number. What is longer than any name would not fit into a
/// request.
fn is_version(version: &str) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&version.len())
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    let failed = || Ended::Failed(format!("the API server did not answer within {limit:?}"));
    timeout(limit, request).await.unwrap_or_else(|_| Err(failed()))
}

/// For a list, and for a watch to begin. An API server answers in milliseconds; a network policy
/// that drops the packets never does, and `connect()` still has to hear of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// One part of a watch's duration is what its end may be late by.
const SILENCE_FRACTION: u32 = 10;
/// A watch that ends sooner was ended by something in between, and would be again.
const SHORTEST_WATCH: Duration = Duration::from_millis(500);
/// One may be chance: a connection that broke. API servers send a bookmark each minute.
const BARREN_WATCHES_MAX: u32 = 2;
const VERSION_BYTES_MAX: usize = 253;
/// A channel takes 0.5 µs per endpoint to choose from 100 and 1.1 µs from 5 000 (3 µs from 50 000,
/// whose names no cache holds), and its balancer some more. So a Service that never comes to rest
/// costs about a tenth of a core, whatever its size. With 5 000 endpoints the debounce is 100 ms
/// longer.
const GATHERING_PER_ENDPOINT: Duration = Duration::from_micros(20);
