//! What is asked of DNS, and the result of one lookup.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::answers::{DnsAnswer, publish};
use super::config::DnsConfig;
use crate::resolver::ResolveError;

/// Subscribers with an equal question share lookups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) host: String,
    pub(super) name_server: Option<SocketAddr>,
    pub(super) config: DnsConfig,
}

/// The result of one lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// The shortest TTL of the records.
    pub(super) ttl: Duration,
    /// All families that were asked for have answered.
    pub(super) complete: bool,
}

impl FoundAddresses {
    /// Returns the same, after it has been in use for `by`.
    pub(super) fn aged(mut self, by: Duration) -> Self {
        self.ttl = self.ttl.saturating_sub(by);
        self
    }
}

/// Takes the first addresses of a lookup that is still running.
pub(super) struct Early<'a> {
    answers: &'a watch::Sender<DnsAnswer>,
    found: Mutex<Option<FoundAddresses>>,
}

impl<'a> Early<'a> {
    pub(super) fn new(answers: &'a watch::Sender<DnsAnswer>) -> Self {
        Self { answers, found: Mutex::new(None) }
    }

    /// Publishes them to the subscribers.
    pub(super) fn publish(&self, found: &FoundAddresses) {
        publish(self.answers, Ok(found.addresses.clone().into()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    }

    /// Returns the addresses that were published last.
    pub(super) fn take(&self) -> Option<FoundAddresses> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Looks a name up: hickory, or a script in tests.
pub(super) trait LookUp: Send + 'static {
    /// Runs one lookup, bounded in time. It may be dropped once something is in `early`.
    fn look(
        &mut self,
        early: &Early<'_>,
    ) -> impl Future<Output = Result<FoundAddresses, ResolveError>> + Send;
}
