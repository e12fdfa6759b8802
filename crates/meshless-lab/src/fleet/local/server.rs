//! Servers of this machine: how they are started, and what they are called.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::machine::Local;
use crate::control::{FromServer, ServerUsage, ToServer};
use crate::fleet::error::FleetError;
use crate::process::Process;

/// Name of the server with this index, in the response header and in the results.
pub(crate) fn backend_name(index: usize) -> String {
    format!("backend-{}", index + 1)
}

/// A duration as the command line takes it.
pub(crate) fn duration_argument(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Starts a server that lives at `host` and listens at `listen`; [`listening`] waits for it.
pub(super) async fn start(
    local: &Local,
    host: Ipv4Addr,
    listen: SocketAddr,
    index: usize,
    arguments: &[String],
) -> Result<Process, FleetError> {
    let name = backend_name(index);
    // One stream per server, or all would age their n-th connections at the same age.
    let seed = u64::from(local.seed) | (index as u64) << 32;
    let mut all = ["serve", "--control", "--name", &name].map(str::to_owned).to_vec();
    all.extend(LIMITS.map(str::to_owned));
    all.extend(["--listen".into(), listen.to_string(), "--seed".into(), seed.to_string()]);
    all.extend_from_slice(arguments);
    let pod = local.network.pod(host).await?;
    Ok(Process::spawn(pod, &name, &all)?)
}

/// Waits until a server listens, and returns where.
pub(super) async fn listening(server: &mut Process) -> Result<SocketAddr, FleetError> {
    match server.receive().await? {
        FromServer::Ready { addresses } => {
            addresses.first().copied().ok_or_else(|| server.error("listens nowhere").into())
        }
        other => Err(server.error(format!("began with {other:?}")).into()),
    }
}

/// How busy a server is.
pub(super) async fn usage(server: &mut Process) -> Result<ServerUsage, FleetError> {
    match server.ask(&ToServer::Usage).await? {
        FromServer::Usage(usage) => Ok(usage),
        other => Err(server.error(format!("answered with {other:?}")).into()),
    }
}

/// Tries to find a port that is free on the addresses of all servers.
pub(super) const PORT_ATTEMPTS: u32 = 5;

/// The burst has up to 100 000 calls on one connection, and as many connections: `serve`'s
/// defaults, which are the library's, bound what a hostile client can pin.
const LIMITS: [&str; 4] = ["--max-concurrent-streams", "100000", "--max-connections", "100000"];
