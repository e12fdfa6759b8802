//! A real L7 proxy between client and backends, in the role of a mesh's data plane.
//!
//! The `l7-proxy` strategy asks [`Proxy::find`] for an installed one (HAProxy, nginx or Envoy),
//! starts it on a generated configuration and stops it by dropping the [`RunningProxy`]. The
//! configurations balance each *request* and are sized for [`CONCURRENT_CALLS`]; otherwise they are
//! what a careful user would write.

mod config;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// An L7 proxy that is installed on this machine.
#[derive(Clone, Debug)]
pub struct Proxy {
    kind: ProxyProgram,
    program: PathBuf,
    version: String,
}

impl Proxy {
    /// Returns the first of HAProxy, nginx and Envoy that is on `PATH` and prints its version.
    ///
    /// # Errors
    /// [`ProxyMissing`] says in one line how to get one.
    pub fn find() -> Result<Self, ProxyMissing> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(std::env::split_paths(&path).collect())
    }

    /// Starts the proxy on `listen` in front of `backends`, plain-text HTTP/2 on both sides, and
    /// waits until it accepts. Port 0 is replaced by a free port.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub async fn start(
        &self,
        listen: SocketAddr,
        backends: &[SocketAddr],
    ) -> Result<RunningProxy, ProxyError> {
        if backends.is_empty() {
            return Err(ProxyError::NoBackends);
        }
        let in_use = |source| ProxyError::Listen { listen, source };
        // Some proxies bind with SO_REUSEPORT, and would share the port with another program.
        let listen = TcpListener::bind(listen).and_then(|free| free.local_addr()).map_err(in_use)?;
        let folder =
            tempfile::Builder::new().prefix("meshless-proxy-").tempdir().map_err(ProxyError::Folder)?;
        let text = self.config(folder.path(), listen, backends);
        let file = folder.path().join(self.kind.config_file());
        std::fs::write(&file, text).map_err(ProxyError::Folder)?;
        let log = folder.path().join("proxy.log");
        let output = std::fs::File::create(&log).map_err(ProxyError::Folder)?;
        let mut command = Command::new(&self.program);
        command.args(self.kind.arguments()).arg(&file);
        command.stdin(Stdio::null()).stderr(output.try_clone().map_err(ProxyError::Folder)?).stdout(output);
        let child = command.spawn().map_err(|source| ProxyError::Spawn { name: self.name(), source })?;
        let mut running = RunningProxy { child, local_addr: listen, _folder: folder };
        self.wait_until_it_accepts(&mut running, &log).await?;
        Ok(running)
    }

    /// Returns `haproxy`, `nginx` or `envoy`.
    pub fn name(&self) -> &'static str {
        self.kind.program()
    }

    /// Returns the version that the proxy prints, such as `2.6.12`.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn find_in(folders: Vec<PathBuf>) -> Result<Self, ProxyMissing> {
        ProxyProgram::ALL.into_iter().find_map(|kind| Self::find_kind(kind, &folders)).ok_or(ProxyMissing)
    }

    fn find_kind(kind: ProxyProgram, folders: &[PathBuf]) -> Option<Self> {
        folders.iter().map(|folder| folder.join(kind.program())).find_map(|program| {
            let version = program.is_file().then(|| kind.ask_version(&program)).flatten()?;
            Some(Self { kind, program, version })
        })
    }

    fn config(&self, folder: &Path, listen: SocketAddr, backends: &[SocketAddr]) -> String {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        match self.kind {
            ProxyProgram::HaProxy => config::haproxy(listen, backends, threads, max_connections()),
            ProxyProgram::Nginx => {
                config::nginx(folder, listen, backends, threads, max_connections(), &self.version)
            }
            ProxyProgram::Envoy => config::envoy(listen, backends),
        }
    }

    async fn wait_until_it_accepts(&self, running: &mut RunningProxy, log: &Path) -> Result<(), ProxyError> {
        let give_up = Instant::now() + START_TIMEOUT;
        let last_words = || {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned()
        };
        loop {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(ProxyError::Ended { name: self.name(), status, said: last_words() });
            }
            if TcpStream::connect(running.local_addr).await.is_ok() {
                return Ok(());
            }
            if Instant::now() >= give_up {
                return Err(ProxyError::Silent { name: self.name(), said: last_words() });
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// A running proxy. Dropping it stops the process and removes its folder.
#[derive(Debug)]
pub struct RunningProxy {
    child: std::process::Child,
    local_addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl RunningProxy {
    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns the process id; for nginx, its master's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RunningProxy {
    /// Sends SIGTERM first: all three then stop at once, and nginx's master passes it on to its
    /// workers. A killed master would leave its workers running.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // The child has not been waited for, so its id cannot belong to another process yet.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for _ in 0..STOP_POLLS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(STOP_POLL_INTERVAL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No L7 proxy is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no haproxy, nginx or envoy is on PATH; get one with `apt-get install haproxy` or `brew install haproxy`"
)]
pub struct ProxyMissing;

/// Why an installed proxy does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// There are no backends.
    #[error("the proxy needs at least one backend")]
    NoBackends,
    /// The address is taken or does not belong to this machine.
    #[error("cannot listen on {listen} for the proxy: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// Its configuration could not be written.
    #[error("cannot write the proxy's configuration to the temporary folder (see TMPDIR): {0}")]
    Folder(io::Error),
    /// The program could not be started.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// The program.
        name: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The program ended before it accepted a connection.
    #[error("{name} ended at once ({status}) and said: {said}")]
    Ended {
        /// The program.
        name: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last line of output.
        said: String,
    },
    /// The program runs, but does not accept connections.
    #[error("{name} does not accept connections after {} s and said: {said}", START_TIMEOUT.as_secs())]
    Silent {
        /// The program.
        name: &'static str,
        /// Its last line of output.
        said: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyProgram {
    HaProxy,
    Nginx,
    Envoy,
}

impl ProxyProgram {
    /// In order of preference: HAProxy shares HTTP/2 connections to the backends between calls, as
    /// a mesh's sidecar does, while nginx opens one for each concurrent call. Envoy is what meshes
    /// use, and rarely installed on its own.
    const ALL: [Self; 3] = [Self::HaProxy, Self::Nginx, Self::Envoy];

    fn program(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    fn config_file(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy.cfg",
            Self::Nginx => "nginx.conf",
            Self::Envoy => "envoy.json",
        }
    }

    /// The arguments before the configuration's path, to run in the foreground.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::HaProxy => &["-db", "-f"],
            Self::Nginx => &["-e", "stderr", "-c"],
            Self::Envoy => &["--use-dynamic-base-id", "--log-level", "warning", "-c"],
        }
    }

    fn ask_version(self, program: &Path) -> Option<String> {
        let flag = if self == Self::Envoy { "--version" } else { "-v" };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        // nginx prints on stderr, the others on stdout.
        let text = [output.stdout, output.stderr].concat();
        parse_version(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.version)
    }
}

/// Returns the first text like `1.2.3` in the output of a proxy.
fn parse_version(text: &str) -> Option<String> {
    text.split(|c: char| c.is_whitespace() || c == '/' || c == '-')
        .find(|word| word.split('.').count() >= 2 && word.split('.').all(|part| part.parse::<u32>().is_ok()))
        .map(str::to_owned)
}

/// Returns how many connections a proxy may hold on each side: enough for one per call, but within
/// the descriptor limit, because HAProxy refuses to start beyond that.
fn max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let descriptors =
        limit.maximum.or(limit.current).map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    // Two per forwarded connection, and some for the proxy itself.
    (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).clamp(1, CONCURRENT_CALLS)
}

/// The calls in flight that every configuration allows.
const CONCURRENT_CALLS: usize = 20_000;
/// Descriptors a proxy needs for listeners, logs, pipes and threads.
const RESERVED_DESCRIPTORS: usize = 200;
/// How long a proxy may take until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between checks of a starting proxy.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A stopping proxy is checked every 5 ms, 200 times, and then killed.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(5);
const STOP_POLLS: usize = 200;

#[cfg(test)]
mod tests;
