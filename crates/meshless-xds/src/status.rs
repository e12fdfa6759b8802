//! What people may ask a control plane: who is connected, what was sent, what was refused and why.
//!
//! `Clients` is written by the streams and read by `http`, which also asks the registry for its
//! services. Everything in it comes from clients, so it is bounded and its texts are cut.

pub(crate) mod http;
mod table;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use meshless_core::{ResourceKind, Verdict};
use serde::{Deserialize, Serialize};

pub use http::{FetchError, fetch};
pub use table::{clients_table, services_table};

/// A client's stream, as `/clients` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Where it comes from.
    pub peer: String,
    /// Its node id, as its bootstrap has it.
    pub node: String,
    /// Its library and version.
    pub user_agent: String,
    /// Its zone, from its bootstrap or from the endpoint with its address.
    pub zone: Option<String>,
    /// How long the stream has lasted.
    pub seconds: u64,
    /// What it has subscribed to and what it was sent, by type.
    pub types: BTreeMap<String, TypeStatus>,
    /// Names that it asks for and that do not exist.
    pub unknown: Vec<String>,
}

/// One type of resource on a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TypeStatus {
    /// What the client wants, the first few.
    pub names: Vec<String>,
    /// How many names it wants.
    pub subscribed: usize,
    /// The last version it was sent.
    pub sent: String,
    /// The last version it has accepted.
    pub accepted: String,
    /// Responses sent.
    pub pushes: u64,
    /// Responses refused.
    pub nacks: u64,
    /// Why the last refused one was.
    pub refusal: Option<String>,
}

/// A service, as `/services` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// What clients dial.
    pub name: String,
    /// Declared, or there because a client dials it.
    pub declared: bool,
    /// How its endpoints are known.
    pub state: ServiceState,
    /// Addresses and their zones.
    pub endpoints: Vec<(String, Option<String>)>,
    /// Streams that want it.
    pub clients: usize,
    /// Where the endpoints come from.
    pub source: Option<String>,
    /// Its policies, in the order in which clients try them.
    pub policies: Vec<String>,
    /// What is wrong.
    pub trouble: Option<String>,
    /// For how long endpoints have been held that the source no longer names.
    pub holding_seconds: Option<u64>,
    /// When the source last answered.
    pub answered_seconds_ago: Option<u64>,
}

/// How the endpoints of a service are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServiceState {
    /// Its source names some.
    Ok,
    /// Its source says that there are none.
    Empty,
    /// Its source says that there are none, and the last ones are still sent.
    Holding,
    /// Its source has not answered yet.
    #[default]
    Waiting,
    /// There is no such service.
    Missing,
}

/// The streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    last_id: u64,
    by_id: BTreeMap<u64, Record>,
}

#[derive(Debug)]
struct Record {
    since: Instant,
    status: ClientStatus,
}

impl Clients {
    /// A stream has begun. Returns its id.
    pub(crate) fn add(&self, peer: String, now: Instant) -> u64 {
        let mut records = self.lock();
        records.last_id += 1;
        let id = records.last_id;
        let status = ClientStatus { peer, ..ClientStatus::default() };
        records.by_id.insert(id, Record { since: now, status });
        id
    }

    pub(crate) fn remove(&self, id: u64) {
        self.lock().by_id.remove(&id);
    }

    /// The stream's first request has said who the client is.
    pub(crate) fn identify(&self, id: u64, node: &str, user_agent: &str, zone: Option<&str>) {
        if let Some(record) = self.lock().by_id.get_mut(&id) {
            record.status.node = cut(node);
            record.status.user_agent = cut(user_agent);
            record.status.zone = zone.map(cut);
        }
    }

    /// What the stream wants of this kind, and what it thinks of the last response.
    pub(crate) fn requested(
        &self,
        id: u64,
        kind: ResourceKind,
        names: &[String],
        verdict: Verdict,
        refusal: Option<&str>,
    ) {
        let mut records = self.lock();
        let Some(record) = records.by_id.get_mut(&id) else { return };
        let status = record.status.types.entry(short_name(kind).to_owned()).or_default();
        status.subscribed = names.len();
        status.names = names.iter().take(NAMES_SHOWN).map(|name| cut(name)).collect();
        match verdict {
            Verdict::Acked => status.accepted.clone_from(&status.sent),
            Verdict::Nacked => {
                status.nacks += 1;
                status.refusal = refusal.map(cut);
            }
            Verdict::None => {}
        }
    }

    /// The stream was sent a response.
    pub(crate) fn sent(&self, id: u64, kind: ResourceKind, version: &str, missing: &[std::sync::Arc<str>]) {
        let mut records = self.lock();
        let Some(record) = records.by_id.get_mut(&id) else { return };
        let status = record.status.types.entry(short_name(kind).to_owned()).or_default();
        version.clone_into(&mut status.sent);
        status.pushes += 1;
        if kind == ResourceKind::Listener {
            record.status.unknown = missing.iter().take(NAMES_SHOWN).map(|name| cut(name)).collect();
        }
    }

    pub(crate) fn report(&self, now: Instant) -> Vec<ClientStatus> {
        let seconds = |record: &Record| now.saturating_duration_since(record.since).as_secs();
        let shown = |record: &Record| ClientStatus { seconds: seconds(record), ..record.status.clone() };
        self.lock().by_id.values().map(shown).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What people call the kinds.
fn short_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "CDS",
        ResourceKind::Endpoints => "EDS",
        ResourceKind::Listener => "LDS",
        ResourceKind::Route => "RDS",
    }
}

/// A client's text, as far as it is shown.
fn cut(text: &str) -> String {
    let printable = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(TEXT_SHOWN).collect()
}

const NAMES_SHOWN: usize = 20;
const TEXT_SHOWN: usize = 300;

impl std::fmt::Display for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Empty => "empty",
            Self::Holding => "holding",
            Self::Waiting => "waiting",
            Self::Missing => "missing",
        })
    }
}
