//! Begins a server's shutdown, and cuts it short.
//!
//! ```text
//!            begin                     lame duck over              all calls done · drain timeout
//! Serving ───────────▶ Lame duck ───────────────────▶ Draining ───────────────────────────────────▶ returned
//!            health: NOT_SERVING,        GOAWAY, listeners closed                                       ▲
//!            still serving and accepting    hurry, from anywhere: what is left is cut ──────────────────┘
//! ```
//!
//! The server waits on a [`Shutdown`], which knows nothing of connections. A [`ShutdownHandle`] can
//! begin and hurry it; the server can do neither.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

/// Decides when a server shuts down.
/// [`Server::serve_with_shutdown`](crate::Server::serve_with_shutdown) takes it, or any future.
///
/// ```no_run
/// # async fn run(server: meshless::Server) -> Result<(), Box<dyn std::error::Error>> {
/// server.serve_with_shutdown("[::]:50051".parse()?, meshless::Shutdown::on_signals()?).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server that is not given it never shuts down"]
pub struct Shutdown {
    stage: watch::Sender<ShutdownPhase>,
    begin: Option<Begin>,
    signals: Option<Signals>,
}

impl Shutdown {
    /// Returns a shutdown that only its [`handle`](Self::handle) can begin.
    pub fn new() -> Self {
        Self { stage: watch::Sender::new(ShutdownPhase::Serving), begin: None, signals: None }
    }

    /// Begins at SIGTERM or Ctrl-C (SIGINT); a second signal of either kind hurries it. Its
    /// [`handle`](Self::handle) works as well.
    ///
    /// From this call on, neither signal ends the process by itself, so a signal that comes before
    /// the server runs is not lost. Every server of a process can have its own. Outside Unix only
    /// Ctrl-C is noticed. Must be called on a Tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// If the operating system does not let the process listen for signals.
    pub fn on_signals() -> io::Result<Self> {
        Ok(Self { signals: Some(Signals::new()?), ..Self::new() })
    }

    /// Returns a handle that can begin and hurry this shutdown, before and while the server runs.
    pub fn handle(&self) -> ShutdownHandle {
        ShutdownHandle { stage: self.stage.clone() }
    }

    /// Waits until the shutdown begins.
    pub(super) async fn begun(&mut self) -> Trigger {
        let mut told = self.stage.subscribe();
        let trigger = tokio::select! {
            biased;
            _ = told.wait_for(|stage| *stage >= ShutdownPhase::Begun) => Trigger::Program,
            () = begin(&mut self.begin) => Trigger::Program,
            trigger = next(&mut self.signals) => trigger,
        };
        self.begin = None;
        self.stage.send_if_modified(|stage| raise(stage, ShutdownPhase::Begun));
        trigger
    }

    /// Waits until the shutdown is hurried, which counts only once it has begun.
    pub(super) async fn hurried(&mut self) {
        let mut told = self.stage.subscribe();
        tokio::select! {
            biased;
            _ = told.wait_for(|stage| *stage >= ShutdownPhase::Hurried) => {}
            _ = next(&mut self.signals) => {
                self.stage.send_if_modified(|stage| raise(stage, ShutdownPhase::Hurried));
            }
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// Begins when the future completes.
impl<F: Future<Output = ()> + Send + 'static> From<F> for Shutdown {
    fn from(begin: F) -> Self {
        Self { begin: Some(Box::pin(begin)), ..Self::new() }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("stage", &*self.stage.borrow()).finish_non_exhaustive()
    }
}

/// Begins and hurries a [`Shutdown`]. Clones do the same; dropping one does nothing.
#[derive(Clone, Debug)]
pub struct ShutdownHandle {
    stage: watch::Sender<ShutdownPhase>,
}

impl ShutdownHandle {
    /// Begins the shutdown: health turns to NOT_SERVING, and the next steps follow. Later calls
    /// change nothing.
    pub fn begin(&self) {
        self.stage.send_if_modified(|stage| raise(stage, ShutdownPhase::Begun));
    }

    /// Ends the shutdown now, even if it has not begun: no lame duck, no wait for calls. Every
    /// connection gets a GOAWAY and is cut.
    pub fn hurry(&self) {
        self.stage.send_if_modified(|stage| raise(stage, ShutdownPhase::Hurried));
    }

    /// Returns true if the shutdown has begun, for instance for your own readiness check.
    pub fn is_begun(&self) -> bool {
        *self.stage.borrow() >= ShutdownPhase::Begun
    }
}

/// What began a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// SIGTERM, as an orchestrator sends it.
    Terminate,
    /// Ctrl-C, from a person.
    Interrupt,
    /// A future or a handle.
    Program,
}

impl Trigger {
    /// Returns the lame duck that applies if none is set.
    pub(super) fn default_lame_duck(self) -> Duration {
        match self {
            Self::Terminate => LAME_DUCK,
            Self::Interrupt | Self::Program => Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ShutdownPhase {
    Serving,
    Begun,
    Hurried,
}

type Begin = Pin<Box<dyn Future<Output = ()> + Send>>;

fn raise(stage: &mut ShutdownPhase, to: ShutdownPhase) -> bool {
    let raised = *stage < to;
    *stage = (*stage).max(to);
    raised
}

async fn begin(future: &mut Option<Begin>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn next(signals: &mut Option<Signals>) -> Trigger {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Trigger {
        tokio::select! {
            _ = self.terminate.recv() => Trigger::Terminate,
            _ = self.interrupt.recv() => Trigger::Interrupt,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Trigger {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal can be received: Ctrl-C keeps its default, which ends the process.
            std::future::pending::<()>().await;
        }
        Trigger::Interrupt
    }
}

/// In most Kubernetes clusters, every kube-proxy and every watching client knows by then that a pod
/// terminates. It leaves 25 s of the default `terminationGracePeriodSeconds`.
const LAME_DUCK: Duration = Duration::from_secs(5);
