//! What the processes of a run say to each other: one JSON value per line, on a child's stdin and
//! stdout.
//!
//! `compare` is the parent; `serve --control` and `client` are its children. A child whose stdin
//! closes ends, so that a parent that dies leaves no orphan. Times are nanoseconds of
//! [`clock::now_ns`](crate::clock::now_ns) unless a field says otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::pacer::Pacing;
use crate::record::CallRecord;
use crate::strategy::Strategy;

/// From `compare` to a server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// Answer with [`FromServer::Usage`].
    Usage,
    /// Answer with [`FromServer::Collected`], and start the ledger anew.
    Collect,
    /// Have this fault from now on. Answered with [`FromServer::Obeyed`].
    Fault(Fault),
}

/// From a server to `compare`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// Sent once, unasked, when every listener is bound.
    Ready {
        /// Where it listens, in the order of `--listen`.
        addresses: Vec<SocketAddr>,
    },
    /// How busy the server is.
    Usage(ServerUsage),
    /// What the server did since it was last asked.
    Collected {
        /// Id of each call that a handler began to execute, once per execution.
        executed: Vec<u64>,
        /// When the first GOAWAY went out on a connection that had reached its age.
        rotations_ns: Vec<u64>,
    },
    /// It is done.
    Obeyed,
}

/// How busy a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerUsage {
    /// Processor time of the process so far.
    pub(crate) cpu: Duration,
    /// Calls that a handler works on now.
    pub(crate) in_flight: u64,
    /// Calls with an id that handlers began to execute since the last [`ToServer::Collect`].
    pub(crate) executed: u64,
    /// How long handlers have worked so far, all together.
    pub(crate) busy: Duration,
    /// Connections that were opened and not yet told to go.
    pub(crate) connections: u64,
}

/// From `compare` to the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToClient {
    /// Sent once, first: how to call whom. Nothing is connected yet.
    Target(Target),
    /// Make one call that is not recorded, so that a connection stands. Answered by
    /// [`FromClient::Warm`].
    WarmUp,
    /// Make these calls. Answered by [`FromClient::Progress`], some [`FromClient::Calls`] and one
    /// [`FromClient::Done`].
    Run {
        /// When each call is due.
        pacing: Pacing,
        /// Id of the first call; the others count up from it.
        first_id: u64,
    },
}

/// Whom the client calls, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    /// How it connects.
    pub(crate) strategy: Strategy,
    /// Host and port, as a client's configuration names it: an address, or a name that `dns` knows.
    pub(crate) authority: String,
    /// The DNS server that resolves the name, if `authority` is one.
    pub(crate) dns: Option<SocketAddr>,
    /// The API server to read, if `authority` is of Kubernetes and this machine's cluster is not
    /// meant.
    pub(crate) api_server: Option<SocketAddr>,
    /// What a call may take from the moment it is begun.
    pub(crate) deadline: Duration,
    /// How many clients to be, each with connections of its own. A call is made by one of them,
    /// drawn by its id.
    pub(crate) clients: usize,
}

/// From the client to `compare`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromClient {
    /// The warm-up is over, for good or ill.
    Warm,
    /// So many calls of the run have ended, in whatever way.
    Progress(u64),
    /// Some of the calls of the run that is over, in any order.
    Calls(Vec<CallRecord>),
    /// The run is over and all its calls were sent.
    Done(RunTotals),
}

/// What a run took as a whole.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunTotals {
    /// The instant that the offsets of its calls count from.
    pub(crate) start_ns: u64,
    /// Processor time of the client's process during the run.
    pub(crate) cpu: Duration,
    /// Connections that were opened during the run and the warm-up before it.
    pub(crate) connections_opened: u64,
    /// GOAWAY frames that arrived since the run before, or since the beginning.
    pub(crate) goaways_seen: u64,
    /// Requests that were sent during the run, the warm-up's not among them.
    pub(crate) attempts: u64,
    /// Attempts of the channel that needed no policy, since the last backend provably had not
    /// processed the call.
    pub(crate) resent: u64,
}
