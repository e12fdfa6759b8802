//! One stream of a client to a control plane: what it has asked for, what it was sent, and what is
//! to be sent next.
//!
//! ```text
//!                    request: names, version, nonce                   poll_response
//!   client ────────────────────────────────────────────▶ AdsStream ─────────────────▶ driver encodes
//!          ◀────────────── at most one response in flight for each kind ◀────────────
//!             ACK or NACK: a request with the nonce of that response
//! ```
//!
//! The rules, and what each is there for:
//!
//! - A kind is answered when *the names that are asked for and their contents* differ from what was
//!   sent, never by comparing version strings. A name that was dropped and is asked for again is
//!   sent again (grpc-java #9632, go-control-plane #608), and a new stream is answered once for each
//!   kind although the client says that it has this version.
//! - Answers about listeners and clusters hold every name that is asked for: what is missing in them
//!   counts as deleted (grpc-go #7625). Those about routes and endpoints hold only what changed.
//! - The next response of a kind waits for the client's verdict on the last one, and then holds the
//!   newest state. So a slow client costs one message, however much changes meanwhile.
//! - What a client refused is not sent again until its content changes.
//! - A client that comes back with something in its cache is told nothing before all of it is known:
//!   it goes on with what it has, while an answer with holes would delete the rest.
//!
//! It encodes nothing and knows no content, only its hash. Called by a driver that owns the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::xxh64::xxh64;

/// A kind of resource, in the order in which they are sent: what is pointed to before what points
/// to it ("make before break").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// How one service's endpoints are balanced (CDS).
    Cluster,
    /// The endpoints of a cluster (EDS).
    Endpoints,
    /// What a client dials (LDS).
    Listener,
    /// Which calls go to which cluster (RDS).
    Route,
}

impl ResourceKind {
    /// All of them, in the order in which they are sent.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Route];

    /// Returns true if an answer holds all names that are asked for, so that a missing one counts
    /// as deleted.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// What is known of a resource now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// It exists. The hash of its content: equal content, equal hash.
    Known(u64),
    /// It does not exist.
    Missing,
    /// Not known yet. Nothing is said about it.
    Pending,
}

/// A request of the client, about one kind.
#[derive(Clone, Debug)]
pub struct AdsRequest<'a> {
    /// What it is about.
    pub kind: ResourceKind,
    /// All names that the client wants from now on.
    pub names: Vec<String>,
    /// The version that the client has; empty if none.
    pub version: &'a str,
    /// The nonce of the response that this is the verdict on; empty if none.
    pub nonce: &'a str,
    /// Why the client refuses that response, if it does.
    pub refusal: Option<&'a str>,
}

/// What a request has said about the last response of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the first request, one that only changes the names, or one that is older than the
    /// last response.
    None,
    /// It was accepted.
    Acked,
    /// It was refused. Other resources of the same response may be in use all the same (gRFC A46).
    Nacked,
}

/// A request asks for more names than a stream may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} resource names on one stream; at most {most} are answered")]
pub struct TooManyNamesError {
    /// How many names were asked for.
    pub asked: usize,
    /// How many a stream may ask for.
    pub most: usize,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it counts as sent"]
pub struct AdsResponse {
    /// What it is about.
    pub kind: ResourceKind,
    /// The nonce, which the client repeats. It counts up over the kinds.
    pub nonce: u64,
    /// The hash of all that the client then has of this kind.
    pub version: u64,
    /// The resources to send.
    pub resources: Vec<Arc<str>>,
    /// Names that are asked for and do not exist: their reasons belong into `resource_errors`.
    pub missing: Vec<Arc<str>>,
}

/// The state of one stream.
#[derive(Clone, Debug)]
pub struct AdsStream {
    kinds: [Subscription; ResourceKind::ALL.len()],
    last_nonce: u64,
    names_max: usize,
}

impl AdsStream {
    /// A new stream. A request may ask for at most `names_max` names of one kind.
    pub fn new(names_max: usize) -> Self {
        Self { kinds: Default::default(), last_nonce: 0, names_max }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// If it asks for too many names. The stream should then be ended.
    pub fn handle_request(&mut self, request: AdsRequest<'_>) -> Result<Verdict, TooManyNamesError> {
        let asked = request.names.len();
        if asked > self.names_max {
            return Err(TooManyNamesError { asked, most: self.names_max });
        }
        Ok(self.kinds[request.kind as usize].handle_request(request))
    }

    /// The next response, if there is something to say. To be called after each request, and when
    /// the state of any resource may have changed, until it returns `None`.
    pub fn poll_response(
        &mut self,
        mut state: impl FnMut(ResourceKind, &str) -> ResourceState,
    ) -> Option<AdsResponse> {
        ResourceKind::ALL.into_iter().find_map(|kind| {
            let subscription = &mut self.kinds[kind as usize];
            let mut response = subscription.poll_response(kind, |name| state(kind, name))?;
            self.last_nonce += 1;
            response.nonce = self.last_nonce;
            subscription.in_flight = Some(self.last_nonce);
            Some(response)
        })
    }

    /// Every name that the client wants, of any kind.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.kinds.iter().flat_map(|subscription| subscription.names.iter().cloned()).collect()
    }

    /// How many names of this kind the client wants.
    pub fn subscribed(&self, kind: ResourceKind) -> usize {
        self.kinds[kind as usize].names.len()
    }

    /// Returns true if a response of any kind has been sent and has no verdict yet.
    pub fn is_in_flight(&self) -> bool {
        self.kinds.iter().any(|subscription| subscription.in_flight.is_some())
    }
}

/// One kind on one stream.
#[derive(Clone, Debug, Default)]
struct Subscription {
    names: BTreeSet<Arc<str>>,
    /// What the client was sent of these names, accepted or not.
    sent: BTreeMap<Arc<str>, u64>,
    /// Names whose absence the client was told.
    told_missing: BTreeSet<Arc<str>>,
    /// Names that the client may have in its cache from an earlier stream, until the first answer.
    cached: BTreeSet<Arc<str>>,
    has_begun: bool,
    /// The last response, until its verdict.
    in_flight: Option<u64>,
}

impl Subscription {
    fn handle_request(&mut self, request: AdsRequest<'_>) -> Verdict {
        let names: BTreeSet<Arc<str>> = request.names.into_iter().map(Arc::from).collect();
        // A name that is dropped is forgotten, so that it is sent again when it is asked for again.
        self.sent.retain(|name, _| names.contains(name));
        self.told_missing.retain(|name| names.contains(name));
        // The newest request has the newest names, also when its nonce is stale: requests cannot
        // overtake each other, and clients must not wait for the next one.
        self.names = names;
        if !std::mem::replace(&mut self.has_begun, true) && !request.version.is_empty() {
            self.cached = self.names.clone();
        }
        let nonce = request.nonce.parse::<u64>().ok();
        if nonce.is_none() || nonce != self.in_flight {
            return Verdict::None;
        }
        self.in_flight = None;
        if request.refusal.is_some() { Verdict::Nacked } else { Verdict::Acked }
    }

    /// A response without its nonce.
    fn poll_response(
        &mut self,
        kind: ResourceKind,
        mut state: impl FnMut(&str) -> ResourceState,
    ) -> Option<AdsResponse> {
        if self.in_flight.is_some() || self.names.is_empty() {
            return None;
        }
        let mut known = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for name in &self.names {
            match state(name) {
                ResourceState::Known(content) => {
                    known.insert(Arc::clone(name), content);
                }
                ResourceState::Missing => {
                    missing.insert(Arc::clone(name));
                }
                // Left out, it would count as deleted.
                ResourceState::Pending
                    if kind.is_complete() && (self.cached.contains(name) || self.sent.contains_key(name)) =>
                {
                    return None;
                }
                ResourceState::Pending => {}
            }
        }
        let is_news = |(name, content): &(&Arc<str>, &u64)| self.sent.get(*name) != Some(*content);
        let changed: Vec<Arc<str>> = known.iter().filter(is_news).map(|(name, _)| Arc::clone(name)).collect();
        let lost = self.sent.keys().any(|name| missing.contains(name));
        let newly_missing = missing.iter().any(|name| !self.told_missing.contains(name));
        if changed.is_empty() && !newly_missing && !(lost && kind.is_complete()) {
            return None;
        }
        let resources = if kind.is_complete() { known.keys().cloned().collect() } else { changed };
        for name in &missing {
            self.sent.remove(name);
        }
        let version = version(&known);
        self.sent.extend(known);
        self.cached.clear();
        self.told_missing.clone_from(&missing);
        Some(AdsResponse { kind, nonce: 0, version, resources, missing: missing.into_iter().collect() })
    }
}

/// Equal for equal contents, from whichever replica, and whatever was sent before.
fn version(known: &BTreeMap<Arc<str>, u64>) -> u64 {
    known.iter().fold(0, |version, (name, content)| xxh64(name.as_bytes(), version ^ content).rotate_left(1))
}

#[cfg(test)]
mod tests;
