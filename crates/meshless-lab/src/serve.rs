//! `meshless serve`: the echo service behind a server that ages its connections.
//!
//! For people, it logs each connection's birth and end and stops gracefully on SIGTERM and Ctrl-C. For `compare`
//! (`--control`) it speaks [`ToServer`] and [`FromServer`] on stdin and stdout, logs nothing, and ends with its stdin.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::ServeArgs;
use crate::clock;
use crate::control::{FromServer, ServerUsage, ToServer};
use crate::echo::{Echo, Ledger};
use crate::interrupt::Interrupt;
use crate::server;

/// A server could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The address is taken, or is not this machine's.
    #[error("cannot listen on {0}: {1}; choose another address or port with --listen")]
    Listen(SocketAddr, #[source] io::Error),
    /// The backend's name cannot travel in a header.
    #[error("--name must be printable ASCII, because it travels in a header")]
    Name,
    /// A listener failed.
    #[error("the server stopped: {0}")]
    Server(Box<dyn std::error::Error + Send + Sync>),
    /// The parent's pipe broke.
    #[error("cannot speak with the parent process: {0}")]
    Control(#[from] io::Error),
}

/// Serves until it is told to stop, then lets calls in flight finish.
///
/// # Errors
/// If it cannot begin, or a listener fails.
pub(crate) async fn run(args: ServeArgs) -> Result<(), ServeError> {
    let mut interrupt = (!args.control).then(Interrupt::new);
    let listeners = args.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
    let mut addresses = Vec::new();
    for (listener, asked) in listeners.iter().zip(&args.listen) {
        addresses.push(listener.local_addr().map_err(|error| ServeError::Listen(*asked, error))?);
    }
    let name = args.name.clone().unwrap_or_else(|| addresses[0].to_string());
    let ledger = Arc::new(Ledger::default());
    let echo = Echo::new(name.parse().map_err(|_| ServeError::Name)?, args.service_time, ledger.clone());

    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let shutdown = async move {
            // An error means that the sender is gone: time to stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        servers.spawn(server::serve(listener, args.connections(), echo.clone(), shutdown));
    }
    let told_to_stop = async {
        if let Some(interrupt) = &mut interrupt {
            tracing::info!(?addresses, service_time = ?args.service_time, "serving");
            interrupt.wait().await;
            tracing::info!("stopping: no new calls, those in flight finish");
            Ok(())
        } else {
            answer_parent(addresses, &ledger).await
        }
    };
    tokio::select! {
        told = told_to_stop => told?,
        Some(ended) = servers.join_next() => flatten(ended)?,
    }
    // The parent has no use for a graceful end: its calls are over, or it is dead.
    if args.control {
        return Ok(());
    }
    stop.send_replace(true);
    while let Some(ended) = servers.join_next().await {
        flatten(ended)?;
    }
    tracing::info!("stopped");
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart need not wait for old connections in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| ServeError::Listen(address, error))
}

async fn answer_parent(addresses: Vec<SocketAddr>, ledger: &Ledger) -> Result<(), ServeError> {
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut answers = tokio::io::stdout();
    let mut answer = FromServer::Ready { addresses };
    loop {
        let mut line = serde_json::to_vec(&answer).map_err(io::Error::from)?;
        line.push(b'\n');
        answers.write_all(&line).await?;
        answers.flush().await?;
        let Some(line) = commands.next_line().await? else { return Ok(()) };
        answer = match serde_json::from_str(&line).map_err(io::Error::from)? {
            ToServer::Usage => FromServer::Usage(ServerUsage {
                cpu: clock::cpu_time(),
                in_flight: ledger.in_flight(),
                executed: ledger.executed(),
            }),
            ToServer::Collect => FromServer::Collected { executed: ledger.take(), rotations_ns: Vec::new() },
        };
    }
}

fn flatten<E>(ended: Result<Result<(), E>, tokio::task::JoinError>) -> Result<(), ServeError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    ended.map_err(|error| ServeError::Server(error.into()))?.map_err(|error| ServeError::Server(error.into()))
}

/// Connections that may wait to be accepted. tokio's own default, 1024, is too small for a burst of a connection per call.
const BACKLOG: u32 = 4096;
