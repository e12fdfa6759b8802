//! Backends from Kubernetes itself: the EndpointSlices of a Service, watched.
//!
//! This is what `kubernetes:///` targets use. [`KubernetesResolver`] is one channel's view of a
//! Service: behind it the process reads each Service once for all its channels (`shared`, `watch`)
//! into a table of slices, and each channel chooses from it; table and choice are the core's. Nothing
//! here connects to a backend. Where the cluster refuses, DNS takes over (`fallback`). The API server is
//! spoken to by `client`, in the words of `request`, `lines` and `object`.

mod client;
mod config;
mod ended;
mod error;
mod fallback;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod lines;
mod object;
mod request;
mod shared;
mod slice;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshless_core::{EndpointChoice, KubernetesPort, NoEndpoint, ResolveHint};
use tokio::runtime::Handle;
use tokio::sync::watch as tokio_watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Resolution, ResolveError, Resolver};
pub use client::KubernetesClient;
pub use config::KubernetesConfig;
pub use error::KubernetesError;
use fallback::Fallback;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::fuzz as fuzz_endpoint_slices;
use shared::SharedWatch;
use watch::{Feed, Service};

/// Resolves a Service to its ready pods, within a debounce of 100 ms after a change. DNS takes
/// seconds.
///
/// Terminating pods get no new calls, and their streams finish. When the API server cannot be read,
/// the known endpoints stay in use, and the channel's
/// [state](crate::ChannelState::resolution_error) shows how old they are. DNS is asked instead
/// (feature `dns`) if nothing is known yet, if no token is mounted, or if access is denied. It
/// gives every pod of a headless Service; a port must then be a number.
///
/// The client needs these rights, only in the Service's namespace:
///
/// ```yaml
/// apiVersion: rbac.authorization.k8s.io/v1
/// kind: Role
/// metadata: { name: endpointslice-reader }
/// rules:
/// - apiGroups: [discovery.k8s.io]
///   resources: [endpointslices]
///   verbs: [get, list, watch]
/// ```
///
/// A broken or hostile API server cannot exhaust memory: a list has at most 32 MiB, an event 2 MiB,
/// a Service 1 000 slices and 50 000 endpoints. More is an error, and the known endpoints stay in
/// use.
pub struct KubernetesResolver {
    service: Service,
    port: KubernetesPort,
    config: KubernetesConfig,
    fallback: Fallback,
    state: ResolverState,
    /// When the channel, which has asked, gets the known endpoints again.
    repeat_at: Option<Instant>,
    /// Wakes the channel at `repeat_at`.
    timer: Option<Pin<Box<Sleep>>>,
    answered_at: Option<Instant>,
}

impl KubernetesResolver {
    /// Returns a resolver of the Service `service` in the client's own namespace. Endpoints get
    /// `port`.
    ///
    /// No request is sent before it is first polled, which must happen within a tokio runtime.
    pub fn new(service: impl Into<String>, port: KubernetesPort, config: KubernetesConfig) -> Self {
        let service = Service { name: service.into(), namespace: None };
        Self {
            service,
            port,
            config,
            fallback: Fallback::default(),
            state: ResolverState::New,
            repeat_at: None,
            timer: None,
            answered_at: None,
        }
    }

    /// Sets the namespace of the Service.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.service.namespace = Some(namespace.into());
        self
    }

    /// Sets how DNS is asked when the API server denies access. Default: as in
    /// [`DnsConfig`](crate::resolver::DnsConfig).
    #[cfg(feature = "dns")]
    pub fn dns(mut self, config: super::DnsConfig) -> Self {
        self.fallback = Fallback::dns(config);
        self
    }

    /// Sets the resolver that replaces DNS when the API server denies access.
    pub fn fallback(mut self, resolver: impl Resolver) -> Self {
        self.fallback = Fallback::with(Box::new(resolver));
        self
    }

    /// Nothing is used in place of the slices: while they cannot be read, the resolver reports why,
    /// and what it said before holds. For those who hand the endpoints on, to whom the one address
    /// that DNS has for most Services would be a wrong answer.
    pub fn without_fallback(mut self) -> Self {
        self.fallback = Fallback::none();
        self
    }

    fn subscribe(&self) -> Result<Subscription, ResolveError> {
        let runtime = Handle::try_current().map_err(|_| {
            ResolveError::other("Kubernetes needs a tokio runtime: poll the channel within one".to_owned())
        })?;
        let (shared, feed) = shared::subscribe(&self.service, &self.config, &runtime);
        Ok(Subscription { shared, change: change_of(feed) })
    }

    /// Returns the resolution for this state of the feed; `None` if the fallback is in use.
    fn handle_feed(&mut self, feed: &Feed) -> Option<Resolution> {
        match (&feed.slices, &feed.trouble) {
            (_, Some(trouble @ KubernetesError::Denied { .. }))
            | (
                None,
                Some(trouble @ (KubernetesError::Unreachable { .. } | KubernetesError::NoCluster { .. })),
            ) => match self.fallback.enter(&self.service, feed.namespace.as_deref(), &self.port, trouble) {
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            },
            (_, Some(trouble)) => Some(Err(ResolveError::Kubernetes(trouble.clone()))),
            (Some(slices), None) => {
                self.fallback.leave();
                let choice = EndpointChoice {
                    port: &self.port,
                    addresses: self.config.addresses,
                    zone: self.config.zone.as_deref(),
                };
                let chosen = choice.of(slices.iter().map(|slice| &**slice));
                Some(chosen.map_err(|none| {
                    ResolveError::Kubernetes(self.no_endpoint(none, feed.namespace.as_deref()))
                }))
            }
            (None, None) => None,
        }
    }

    fn no_endpoint(&self, none: NoEndpoint, namespace: Option<&str>) -> KubernetesError {
        let service = self.service.name_in(namespace);
        match none {
            NoEndpoint::NoSlice => KubernetesError::NoSlice { service },
            NoEndpoint::NoSuchPort { listed } => {
                KubernetesError::NoSuchPort { service, port: self.port.clone(), listed }
            }
            NoEndpoint::NoneReady { listed } => KubernetesError::NoneReady { service, listed },
        }
    }
}

impl Resolver for KubernetesResolver {
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution> {
        if matches!(self.state, ResolverState::New) {
            match self.subscribe() {
                Ok(subscription) => self.state = ResolverState::Subscribed(subscription),
                Err(error) => return self.end(error),
            }
        }
        while let ResolverState::Subscribed(subscription) = &mut self.state {
            let Poll::Ready(feed) = subscription.change.as_mut().poll(cx) else { break };
            let Some(mut feed) = feed else {
                // Only a shutdown of its runtime, or a panic, ends the shared task while someone is
                // subscribed.
                return self.end(ResolveError::other(
                    "the reading of EndpointSlices in this process has ended".to_owned(),
                ));
            };
            let now = feed.borrow_and_update().clone();
            subscription.change = change_of(feed);
            if let Some(resolution) = self.handle_feed(&now) {
                return self.answer(resolution);
            }
        }
        if self.is_repeat_due(cx) {
            match &self.state {
                ResolverState::Subscribed(subscription) => {
                    let known = subscription.shared.found().borrow().clone();
                    if let Some(resolution) = self.handle_feed(&known) {
                        return self.answer(resolution);
                    }
                }
                ResolverState::Ended(error) => {
                    // The next question starts again.
                    let error = error.clone();
                    self.state = ResolverState::New;
                    return self.answer(Err(error));
                }
                ResolverState::New => {}
            }
        }
        self.fallback.poll_resolution(cx)
    }

    fn resolve_now(&mut self, hint: ResolveHint) {
        self.fallback.resolve_now(hint);
        let now = Instant::now();
        // One closed connection says nothing about the slices, which report changes by themselves.
        // If all have closed, the set may be wrong.
        let due = match (&self.state, hint) {
            (ResolverState::Subscribed(subscription), ResolveHint::AllFailed) => {
                subscription.shared.resolve_now(hint);
                now + DOUBT_ANSWER_WAIT
            }
            _ => self.answered_at.map_or(now, |answered| (answered + REPEAT_INTERVAL).max(now)),
        };
        self.repeat_at = Some(self.repeat_at.map_or(due, |at| at.min(due)));
    }

    fn answers_resolve_now(&self) -> bool {
        self.fallback.answers_resolve_now().unwrap_or(true)
    }

    fn source(&self) -> Option<Arc<str>> {
        let ResolverState::Subscribed(_) = &self.state else { return None };
        let slices = || format!("EndpointSlices of {}", self.service.name_in(None)).into();
        Some(self.fallback.source().unwrap_or_else(slices))
    }
}

impl KubernetesResolver {
    fn answer(&mut self, resolution: Resolution) -> Poll<Resolution> {
        self.repeat_at = None;
        self.answered_at = Some(Instant::now());
        Poll::Ready(resolution)
    }

    fn end(&mut self, error: ResolveError) -> Poll<Resolution> {
        self.state = ResolverState::Ended(error.clone());
        self.answer(Err(error))
    }

    /// Returns true if the channel must get the resolution again now. Else registers a wake-up.
    fn is_repeat_due(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.repeat_at else { return false };
        if at > Instant::now() && Handle::try_current().is_ok() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            timer.as_mut().reset(at);
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
        self.repeat_at = None;
        true
    }
}

impl std::fmt::Debug for KubernetesResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, port, config, .. } = self;
        f.debug_struct("KubernetesResolver")
            .field("service", service)
            .field("port", port)
            .field("config", config)
            .finish_non_exhaustive()
    }
}

enum ResolverState {
    New,
    Subscribed(Subscription),
    /// Reading has ended, for this reason.
    Ended(ResolveError),
}

struct Subscription {
    shared: Arc<SharedWatch>,
    /// Resolves at the next change, and returns the receiver.
    change: Pin<Box<dyn Future<Output = Option<tokio_watch::Receiver<Feed>>> + Send>>,
}

fn change_of(
    mut feed: tokio_watch::Receiver<Feed>,
) -> Pin<Box<dyn Future<Output = Option<tokio_watch::Receiver<Feed>>> + Send>> {
    Box::pin(async move { feed.changed().await.is_ok().then_some(feed) })
}

/// A channel that asks again and again gets an answer at most this often.
const REPEAT_INTERVAL: Duration = Duration::from_millis(100);
/// A channel whose endpoints have all failed waits this long for a new list, which takes an API
/// server milliseconds. If the list takes longer, or was just made for another channel, the channel
/// gets the known endpoints.
const DOUBT_ANSWER_WAIT: Duration = Duration::from_millis(500);
