//! `meshless serve`: the echo service behind a server that ages its connections.
//!
//! For people, it logs the server's connection events and stops gracefully on SIGTERM and Ctrl-C; a
//! second signal ends it at once. For `compare` (`--control`) it reads [`ToServer`] and writes
//! [`FromServer`] on stdin and stdout, logs nothing, and ends at once when stdin closes. SIGTERM
//! still stops it gracefully, but without a lame duck unless one is set.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshless::resolver::Address;
use meshless::server::{ConnectionChange, ConnectionEvent, GoAwayReason, Listener};
use meshless::{Server, Shutdown};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tonic::metadata::{Ascii, MetadataValue};

use crate::clock;
use crate::control::{FromServer, ServerUsage, ToServer};
use crate::echo::Echo;
use crate::echo::hello::hello_service_server::HelloServiceServer;
use crate::fault::Faults;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::ledger::{Ledger, Pending};
use crate::plain;
use crate::reflection;
use crate::streams::Streams;
use crate::streams::wire::stream_service_server::StreamServiceServer;
use crate::work::Work;

/// A server could not start, or could not continue.
#[derive(Debug, thiserror::Error)]
pub enum EchoServerError {
    /// An address is taken or is not this machine's, or a setting is none.
    #[error(transparent)]
    Server(#[from] meshless::ServeError),
    /// The backend's name is not a valid header value.
    #[error("the name must be printable ASCII, because it travels in a header")]
    Name,
    /// The parent's pipe broke, or a socket failed at once.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
}

/// The settings of a server, and its addresses.
pub struct ServeRequest {
    /// The server, with its limits.
    pub server: Server,
    /// The addresses to listen on, at least one.
    pub listen: Vec<Address>,
    /// How long to work on a call.
    pub service_time: Duration,
    /// True to draw the service time from an exponential distribution with that mean.
    pub exponential: bool,
    /// Name of this backend in the response header `meshless-backend`. `None`: its first address,
    /// or the pod's name if that address is a wildcard.
    pub name: Option<String>,
    /// Calls to work on at a time; the others wait. `None`: no limit.
    pub workers: Option<usize>,
    /// File for the ids of calls, which the parent reads.
    pub journal: Option<PathBuf>,
    /// Seed of the draws of `exponential`.
    pub seed: Option<u64>,
    /// True to talk to a parent process on stdin and stdout.
    pub control: bool,
}

/// Serves until it is told to stop, then waits for calls in flight.
///
/// # Errors
/// If it cannot begin, or its parent cannot be understood.
pub async fn run(request: ServeRequest) -> Result<(), EchoServerError> {
    // Before the first connection: a signal that comes now must find its handler.
    let shutdown = if request.control {
        let mut interrupt = Interrupt::new("");
        Shutdown::from(async move { interrupt.wait().await })
    } else {
        Shutdown::on_signals()?
    };
    let bound = request.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let (listeners, addresses): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
    let name =
        request.name.clone().unwrap_or_else(|| default_name(&addresses[0], |key| std::env::var(key).ok()));
    // Without a parent nobody would empty the lists, and a server runs for weeks.
    let ledger = Arc::new(match request.control {
        true => Ledger::for_parent(request.journal.as_deref().map(Journal::open).transpose()?),
        false => Ledger::default(),
    });
    let faults = Arc::new(Faults::default());
    let name: MetadataValue<Ascii> = name.parse().map_err(|_| EchoServerError::Name)?;
    // Bytes above ASCII may travel in a header, but no client reads them as text.
    name.to_str().map_err(|_| EchoServerError::Name)?;
    let work = match request.exponential {
        true => Work::exponential(request.service_time, request.seed.unwrap_or_default()),
        false => Work::constant(request.service_time),
    };
    let echo = Echo::new(name.clone(), work, ledger.clone()).faults(faults.clone()).workers(request.workers);
    let streams = Streams::new(name, ledger.clone());
    let server = request
        .server
        .routes(plain::routes())
        .add_service(HelloServiceServer::new(echo))
        .add_service(StreamServiceServer::new(streams))
        .add_service(reflection::v1())
        .add_service(reflection::v1alpha());

    if request.control {
        let connections = Arc::new(Connections::default());
        let noted = connections.clone();
        let server = server.on_connection_event(move |event| noted.note(event));
        // A parent that closes stdin does not need a graceful end: its calls are over, or it is
        // dead.
        return tokio::select! {
            told = answer_parent(sockets(&addresses), &ledger, &connections, &faults) => Ok(told?),
            served = server.serve_with_incoming_shutdown(listeners, shutdown) => Ok(served?),
        };
    }
    let shown: Vec<_> = addresses.iter().map(Address::to_string).collect();
    tracing::info!(addresses = %shown.join(", "), service_time = ?request.service_time, "serving");
    server.serve_with_incoming_shutdown(listeners, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// A listener, and where it listens.
fn bind(address: &Address) -> Result<(Box<dyn Listener>, Address), EchoServerError> {
    match address {
        Address::Tcp(address) => {
            let listener = meshless::server::bind(*address)?;
            let address = listener.local_addr()?;
            Ok((Box::new(listener), Address::Tcp(address)))
        }
        Address::Unix(path) => Ok((Box::new(meshless::server::bind_unix(path)?), address.clone())),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot listen on {other}")).into()),
    }
}

/// Returns the name of a backend without one: its first address, to which clients connect.
///
/// A wildcard address such as `0.0.0.0:3001` identifies no backend: each pod of a Deployment has
/// the same. Then the name is the pod's: from `POD_NAME`, which a manifest sets, or from
/// `HOSTNAME`, which container runtimes set.
fn default_name(address: &Address, variable: impl Fn(&str) -> Option<String>) -> String {
    let is_wildcard = matches!(address, Address::Tcp(address) if address.ip().is_unspecified());
    let mut names = NAME_VARIABLES.iter().filter(|_| is_wildcard).filter_map(|key| variable(key));
    names.find(|name| travels_in_a_header(name)).unwrap_or_else(|| address.to_string())
}

fn travels_in_a_header(name: &str) -> bool {
    !name.trim().is_empty() && MetadataValue::<Ascii>::try_from(name).is_ok_and(|name| name.to_str().is_ok())
}

fn sockets(addresses: &[Address]) -> Vec<SocketAddr> {
    let socket = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        _ => None,
    };
    addresses.iter().filter_map(socket).collect()
}

/// The environment variables with the name of a pod, the more precise one first: with
/// `hostNetwork`, `HOSTNAME` is the node's.
const NAME_VARIABLES: [&str; 2] = ["POD_NAME", "HOSTNAME"];

/// The maximum of rotations kept for the parent: 8 MiB, a million connections in one run.
const ROTATIONS_MAX: usize = 1 << 20;

/// The open connections, and when connections got their GOAWAY for their age.
#[derive(Debug)]
struct Connections {
    serving: Mutex<HashSet<u64>>,
    rotations_ns: Pending<u64>,
}

impl Connections {
    fn note(&self, event: &ConnectionEvent) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.change {
            ConnectionChange::Opened => {
                serving.insert(event.connection);
            }
            ConnectionChange::GoingAway(_) | ConnectionChange::Closed(_) => {
                serving.remove(&event.connection);
            }
            _ => {}
        }
        if event.change == ConnectionChange::GoingAway(GoAwayReason::MaxAge) {
            self.rotations_ns.note(clock::now_ns());
        }
    }

    fn serving(&self) -> u64 {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self { serving: Mutex::default(), rotations_ns: Pending::new(ROTATIONS_MAX) }
    }
}

async fn answer_parent(
    addresses: Vec<SocketAddr>,
    ledger: &Ledger,
    connections: &Connections,
    faults: &Faults,
) -> io::Result<()> {
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut answers = tokio::io::stdout();
    let mut answer = FromServer::Ready { addresses };
    loop {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        answers.write_all(&line).await?;
        answers.flush().await?;
        let Some(line) = commands.next_line().await? else { return Ok(()) };
        answer = match serde_json::from_str(&line)? {
            ToServer::Usage => FromServer::Usage(ServerUsage {
                cpu: clock::cpu_time(),
                in_flight: ledger.in_flight(),
                executed: ledger.executed(),
                busy: ledger.busy(),
                connections: connections.serving(),
            }),
            ToServer::Collect => FromServer::Collected {
                executed: ledger.take().map_err(io::Error::other)?,
                rotations_ns: connections.rotations_ns.take().map_err(io::Error::other)?,
            },
            ToServer::Fault(fault) => {
                faults.begin(fault);
                FromServer::Obeyed
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &str, variables: &[(&str, &str)]) -> String {
        let address = match address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(address.parse().unwrap()),
        };
        default_name(&address, |key| Some(variables.iter().find(|(name, _)| *name == key)?.1.to_owned()))
    }

    #[test]
    fn a_backend_on_a_wildcard_address_has_the_name_of_its_pod() {
        let pod = [("HOSTNAME", "node-1"), ("POD_NAME", "echo-7d9-x2x")];
        for wildcard in ["0.0.0.0:3001", "[::]:3001"] {
            assert_eq!(name(wildcard, &pod), "echo-7d9-x2x");
            assert_eq!(name(wildcard, &pod[..1]), "node-1");
            assert_eq!(name(wildcard, &[]), wildcard);
        }
    }

    #[test]
    fn an_address_of_its_own_names_a_backend_better_than_a_variable() {
        let pod = [("POD_NAME", "echo-7d9-x2x")];
        for own in ["127.0.0.1:3001", "10.91.1.7:3001", "[fd00::7]:3001", "unix:/run/echo.sock"] {
            assert_eq!(name(own, &pod), own);
        }
    }

    #[test]
    fn a_variable_that_no_header_can_carry_is_passed_over() {
        for unusable in ["", " ", "pod\n1", "höst"] {
            let variables = [("POD_NAME", unusable), ("HOSTNAME", "echo-1")];
            assert_eq!(name("0.0.0.0:3001", &variables), "echo-1", "{unusable:?}");
        }
    }
}
