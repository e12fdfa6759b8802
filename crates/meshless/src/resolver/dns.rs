//! Backends from DNS: every A and AAAA record of a name is an endpoint.
//!
//! This is what `dns:///` targets use. [`DnsResolver`] is one channel's view of a name. Behind it,
//! the process looks each name up once for all its channels (`shared`), when `DnsSchedule` says so,
//! with hickory (`lookup`, `client`, `families`). A failed lookup is only reported with its reason;
//! the balancer keeps the last good set.

mod answers;
mod client;
mod config;
mod families;
mod lookup;
mod question;
mod shared;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use meshless_core::{Endpoint, ResolveHint};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Resolution, ResolveError, Resolver};
use answers::DnsAnswer;
pub use config::{AddressFamilies, DnsConfig};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use lookup::fuzz as fuzz_dns_answers;
use question::Question;
use shared::SharedLookup;

/// Resolves a host name to all its addresses, again and again.
///
/// It resolves when the records expire, a little earlier or later ([`DnsConfig::poll_floor`]), and
/// when the channel asks ([`DnsConfig::min_interval`]). It uses the system's configuration, as
/// programs in a pod do: name servers, search path and `ndots` of `resolv.conf`, and the hosts
/// file. It has no cache of its own.
pub struct DnsResolver {
    question: Question,
    port: u16,
    state: ResolverState,
}

impl DnsResolver {
    /// Returns a resolver of `host` to endpoints with `port`. A final dot skips the search path.
    ///
    /// No query is sent before it is first polled, which must happen within a tokio runtime.
    pub fn new(host: impl Into<String>, port: u16, config: DnsConfig) -> Self {
        let question = Question { host: host.into(), name_server: None, config };
        Self { question, port, state: ResolverState::New }
    }

    /// Sets the name server, in place of the system's. The search path and `ndots` stay the
    /// system's; the hosts file is not read.
    pub fn name_server(mut self, name_server: SocketAddr) -> Self {
        self.question.name_server = Some(name_server);
        self
    }

    fn subscribe(&self) -> Result<Subscription, ResolveError> {
        let runtime = Handle::try_current().map_err(|_| {
            ResolveError::other("DNS needs a tokio runtime: poll the channel within one".to_owned())
        })?;
        let (shared, answers) = shared::subscribe(&self.question, &runtime);
        Ok(Subscription { shared, change: change_of(answers) })
    }
}

impl Resolver for DnsResolver {
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution> {
        if let ResolverState::Pausing(pause) = &mut self.state {
            ready!(pause.as_mut().poll(cx));
            self.state = ResolverState::New;
        }
        if matches!(self.state, ResolverState::New) {
            match self.subscribe() {
                Ok(subscription) => self.state = ResolverState::Subscribed(subscription),
                Err(error) => {
                    self.state = ResolverState::Ended;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let ResolverState::Subscribed(subscription) = &mut self.state else {
            return Poll::Pending;
        };
        let Some(mut answers) = ready!(subscription.change.as_mut().poll(cx)) else {
            // Only a shutdown of its runtime, or a panic, ends the shared task while someone is
            // subscribed.
            self.state = ResolverState::Pausing(Box::pin(tokio::time::sleep(PAUSE_AFTER_PANIC)));
            return Poll::Ready(Err(ResolveError::other(
                "the DNS lookups of this name have ended; they begin again".to_owned(),
            )));
        };
        let answer = answers.borrow_and_update().clone();
        subscription.change = change_of(answers);
        match answer {
            Some(Ok(addresses)) => Poll::Ready(Ok(addresses
                .iter()
                .map(|ip| Endpoint::new(SocketAddr::new(*ip, self.port)))
                .collect())),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => {
                // There is no answer yet; only a poll of the new future registers the waker.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn resolve_now(&mut self, hint: ResolveHint) {
        if let ResolverState::Subscribed(subscription) = &self.state {
            subscription.shared.resolve_now(hint);
        }
    }

    fn answers_resolve_now(&self) -> bool {
        matches!(self.state, ResolverState::Subscribed(_))
    }

    fn source(&self) -> Option<Arc<str>> {
        Some(format!("DNS ({})", self.question.host).into())
    }
}

impl std::fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsResolver").field("question", &self.question).field("port", &self.port).finish()
    }
}

enum ResolverState {
    New,
    Subscribed(Subscription),
    /// The lookups have ended unexpectedly, and begin again after this pause.
    Pausing(Pin<Box<tokio::time::Sleep>>),
    Ended,
}

struct Subscription {
    shared: Arc<SharedLookup>,
    /// Resolves at the next answer, and returns the receiver.
    change: Pin<Box<dyn Future<Output = Option<watch::Receiver<DnsAnswer>>> + Send>>,
}

fn change_of(
    mut answers: watch::Receiver<DnsAnswer>,
) -> Pin<Box<dyn Future<Output = Option<watch::Receiver<DnsAnswer>>> + Send>> {
    Box::pin(async move { answers.changed().await.is_ok().then_some(answers) })
}

/// The pause keeps lookups that panic from looping.
const PAUSE_AFTER_PANIC: std::time::Duration = std::time::Duration::from_secs(5);
