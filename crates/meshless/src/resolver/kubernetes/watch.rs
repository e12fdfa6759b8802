//! Reads the EndpointSlices of one Service from the API server: list, then watch from there, again
//! and again.
//!
//! [`WatchSchedule`] says which of the two is next. [`Watch::follow`] runs until something fails, and
//! its caller (`shared`) goes on when the schedule says so. It publishes what the table holds, and
//! never takes anything back because it cannot be read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::{
    EventPace, ServiceTooLargeError, SliceRequest, SliceSnapshot, SliceTable, WatchRetry, WatchSchedule,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::client::KubernetesClient;
use super::ended::Ended;
use super::error::KubernetesError;
use super::lines::{Lines, ReadError};
use super::object::{EndpointSlice, EventKind, WatchEvent};
use super::request::{self, Slices};
use super::slice::read;
use crate::shared::peer_text::peer_text;

/// The state of a Service, as published to the channels.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    /// The last known slices; `None` before the first list.
    pub(super) slices: Option<SliceSnapshot>,
    /// Why they may be out of date.
    pub(super) trouble: Option<KubernetesError>,
    /// The Service's namespace, once it is known.
    pub(super) namespace: Option<Arc<str>>,
}

/// A Service, in the given namespace or the client's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Reads one Service.
pub(super) struct Watch {
    service: Service,
    client: Option<KubernetesClient>,
    pub(super) schedule: WatchSchedule,
    table: SliceTable,
    /// When the API server was last heard.
    heard: Instant,
    feed: watch::Sender<Feed>,
}

impl Watch {
    pub(super) fn new(
        service: Service,
        client: Option<KubernetesClient>,
        schedule: WatchSchedule,
        feed: watch::Sender<Feed>,
    ) -> Self {
        Self { service, client, schedule, table: SliceTable::default(), heard: Instant::now(), feed }
    }

    /// Reads until an error. The future may be dropped; what it has published stays.
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
            let ended = match self.schedule.next_request() {
                SliceRequest::List => self.list(&slices).await,
                SliceRequest::Watch { version, lasts, silence_max } => {
                    let ended = self.watch(&slices, &version, lasts, silence_max).await;
                    self.schedule.handle_watch_end();
                    ended
                }
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    /// What follows the end of [`follow`](Self::follow). Tells the channels, if they are to know.
    pub(super) fn handle_end(&mut self, ended: &Ended) -> WatchRetry {
        let knows_any = self.feed.borrow().slices.is_some();
        let retry = self.schedule.handle_failure(ended.failure(), knows_any);
        if retry.is_told {
            self.publish_trouble(ended);
        }
        retry
    }

    /// Tells the channels what is wrong. They keep what they have.
    fn publish_trouble(&self, ended: &Ended) {
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
        // `in_pod` reads files.
        let found = tokio::task::spawn_blocking(KubernetesClient::in_pod).await;
        let client = found.map_err(|_| Ended::Failed("the runtime is shutting down".to_owned()))?;
        Ok(self.client.insert(client.map_err(Ended::NoCluster)?).clone())
    }

    async fn list(&mut self, slices: &Slices) -> Result<(), Ended> {
        let list = within(REQUEST_TIMEOUT, slices.list()).await?;
        let items = list.items.iter().flatten();
        let named = items.map(|slice| Some((slice.metadata.name.clone()?, read(slice))));
        let named: Option<Vec<_>> = named.collect();
        let named = named.ok_or_else(|| Ended::Failed("the list has a slice without a name".to_owned()))?;
        self.table.replace(named)?;
        if !self.schedule.handle_list(list.metadata.resource_version) {
            return Err(Ended::Failed("the list has no usable resourceVersion".to_owned()));
        }
        self.heard = Instant::now();
        self.publish();
        Ok(())
    }

    /// One watch, to its end.
    async fn watch(
        &mut self,
        slices: &Slices,
        version: &str,
        lasts: Duration,
        silence_max: Duration,
    ) -> Result<(), Ended> {
        let begun = Instant::now();
        let silent_at = begun + silence_max;
        let mut lines = within(REQUEST_TIMEOUT, slices.watch(version, lasts)).await?;
        self.still_good();
        let mut pace = EventPace::new();
        let mut publish_at: Option<Instant> = None;
        let result = loop {
            let ready_at = pace.ready_at().map_or(begun, Instant::from_std);
            let line = tokio::select! {
                biased;
                () = sleep_until(publish_at.unwrap_or(silent_at)), if publish_at.is_some() => {
                    publish_at = None;
                    self.publish();
                    continue;
                }
                line = timeout_at(silent_at, next_line(&mut lines, ready_at)) => line,
            };
            let step = match line {
                // The watch is late to end; the connection may be dead, and the next watch opens
                // another.
                Err(_) => Err(Ended::Failed(format!("the watch was silent for {:?}", begun.elapsed()))),
                Ok(Ok(None)) if WatchSchedule::is_cut_short(begun.elapsed()) => {
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
                Ok(true) => {
                    let gathered = || Instant::now() + self.schedule.gathering(self.table.endpoints());
                    publish_at = publish_at.or_else(|| Some(gathered()));
                }
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
            self.schedule.handle_missed();
            return Err(Ended::Failed(format!("the API server sends what is no event: {}", peer_text(line))));
        };
        let name = match kind {
            EventKind::Bookmark => {
                self.heard_at(object.metadata.resource_version);
                return Ok(false);
            }
            EventKind::Error => {
                // Mostly 410; what else an API server may report here is as well begun anew.
                self.schedule.handle_missed();
                return Err(request::refused(object.code, object.message.unwrap_or_default()));
            }
            EventKind::Added | EventKind::Modified | EventKind::Deleted => object.metadata.name.clone(),
        };
        let Some(name) = name else {
            self.schedule.handle_missed();
            return Err(Ended::Failed("the API server sends a slice without a name".to_owned()));
        };
        let changed = self.change(name, kind, &object).inspect_err(|_| self.schedule.handle_missed())?;
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
                self.schedule.handle_missed();
                format!("an event of the watch is {error}")
            }
            ReadError::Broken(reason) => format!("the watch broke: {reason}"),
        })
    }

    fn heard_at(&mut self, version: Option<String>) {
        self.heard = Instant::now();
        self.schedule.handle_event(version);
    }

    /// Called when a watch continues where the list or the last watch ended, so nothing was missed.
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

    fn service_name(&self) -> String {
        self.service.name_in(self.feed.borrow().namespace.as_deref())
    }
}

impl Service {
    /// Returns `name.namespace`, or what is known of it.
    pub(super) fn name_in(&self, own: Option<&str>) -> String {
        match self.namespace.as_deref().or(own) {
            Some(namespace) => format!("{}.{namespace}", self.name),
            None => self.name.clone(),
        }
    }
}

async fn next_line(lines: &mut Lines, ready_at: Instant) -> Result<Option<bytes::Bytes>, ReadError> {
    sleep_until(ready_at).await;
    lines.next().await
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Ended>>) -> Result<T, Ended> {
    let failed = || Ended::Failed(format!("the API server did not answer within {limit:?}"));
    timeout(limit, request).await.unwrap_or_else(|_| Err(failed()))
}

/// For a list, and for the start of a watch. An API server answers in milliseconds. If a network
/// policy drops the packets, no answer ever comes, and `connect()` must return an error.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
