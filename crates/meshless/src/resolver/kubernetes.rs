//! Backends from Kubernetes itself: the EndpointSlices of a Service, watched.
//!
//! This is what `kubernetes:///` targets use. [`KubernetesResolver`] is one channel's view of a
//! Service: behind it the process reads each Service once for all its channels (`shared`, `watch`)
//! into a table of slices, and each channel chooses from it; table and choice are the core's. Nothing
//! here connects to a backend. Where the cluster refuses, DNS takes over (`fallback`). The API server is
//! spoken to by `client`, in the words of `request`, `lines` and `object`.

mod client;
mod config;
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

use meshless_core::{EndpointChoice, KubernetesPort, NoEndpoint};
use tokio::runtime::Handle;
use tokio::sync::watch as tokio_watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Resolution, ResolveError, ResolveHint, Resolver};
pub use client::KubernetesClient;
pub use config::KubernetesConfig;
pub use error::KubernetesError;
use fallback::Fallback;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::fuzz as fuzz_endpoint_slices;
use shared::SharedWatch;
use watch::{Feed, Service};

/// Resolves a Service to its ready pods, as the cluster changes them: within a debounce of 100 ms,
/// where DNS takes seconds.
///
/// Pods that are going get no new calls, and their streams finish. When the API server cannot be
/// read, what is known stays in use, and the channel's
/// [state](crate::ChannelState::resolution_error) says how old it is. Where nothing is known yet,
/// where no token is mounted, or where reading is denied, DNS is asked instead (feature `dns`),
/// which gives every pod of a headless Service; a port must then be a number.
///
/// The client needs, in the Service's namespace and nowhere else:
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
/// An API server that is broken or hostile can fill no memory: a list has at most 32 MiB, an event
/// 2 MiB, a Service 1 000 slices and 50 000 endpoints. What goes beyond is an error, and what is
/// known stays in use.
pub struct KubernetesResolver {
    service: Service,
    port: KubernetesPort,
    config: KubernetesConfig,
    fallback: Fallback,
    state: ResolverState,
    /// When the channel, which has asked, is told again what is known.
    repeat_at: Option<Instant>,
    /// Wakes it then.
    timer: Option<Pin<Box<Sleep>>>,
    answered_at: Option<Instant>,
}

impl KubernetesResolver {
    /// Resolves the Service named `service`, of the client's own namespace, to endpoints with
    /// `port`.
    ///
    /// Nothing is asked before it is first polled, which must happen within a tokio runtime.
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

    /// The Service is in this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.service.namespace = Some(namespace.into());
        self
    }

    /// How DNS is asked where the API server denies. Default: as in
    /// [`DnsConfig`](crate::resolver::DnsConfig).
    #[cfg(feature = "dns")]
    pub fn dns(mut self, config: super::DnsConfig) -> Self {
        self.fallback = Fallback::dns(config);
        self
    }

    /// What is used in place of DNS where the API server denies.
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

    /// What a channel is told of this state of things; `None` if the fallback is to speak.
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
                // Only the end of its runtime, or a panic below it, ends the shared task while
                // someone is subscribed.
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
                    // The next question begins anew.
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
        // A connection that has ended says nothing of the slices: they tell of it by themselves.
        // That all have, does.
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

    /// Whether the channel is to be told again, or when it is, to be woken.
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
    /// Nothing is read any more, for this reason.
    Ended(ResolveError),
}

struct Subscription {
    shared: Arc<SharedWatch>,
    /// Resolves at the next news, and hands the receiver back.
    change: Pin<Box<dyn Future<Output = Option<tokio_watch::Receiver<Feed>>> + Send>>,
}

fn change_of(
    mut feed: tokio_watch::Receiver<Feed>,
) -> Pin<Box<dyn Future<Output = Option<tokio_watch::Receiver<Feed>>> + Send>> {
    Box::pin(async move { feed.changed().await.is_ok().then_some(feed) })
}

/// A channel that asks again and again is answered at most so often.
const REPEAT_INTERVAL: Duration = Duration::from_millis(100);
/// A channel whose endpoints have all failed is told what a new list says, which takes an API
/// server milliseconds. When it takes longer, or another channel has just had one made, it is told
/// what is known.
const DOUBT_ANSWER_WAIT: Duration = Duration::from_millis(500);
