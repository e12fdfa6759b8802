//! The wish to stop: Ctrl-C at the terminal, or SIGTERM.
//!
//! Heard once, seen by whoever waits. A second one ends the process at once, for those who do not
//! want to wait.
//!
//! Every command listens from its first line on, whether it needs to clean up or not. In a
//! container it is process 1, and the kernel drops a signal to process 1 that has no handler: it
//! would run until its pod's grace period is over.

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Waits for the wish to stop. Clones hear the same one.
#[derive(Clone, Debug)]
pub struct Interrupt {
    heard: watch::Receiver<bool>,
}

impl Interrupt {
    /// Begins to listen. From here on the two signals no longer end the process by themselves. When
    /// the first one comes, stderr says `saying`, if that is not empty: what the process does until
    /// it ends.
    pub fn new(saying: &'static str) -> Self {
        let (sender, heard) = watch::channel(false);
        // Registered here and not in the task: a signal that comes before the task has run must be
        // heard as well.
        if let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        {
            tokio::spawn(async move {
                next(&mut terminate, &mut interrupt).await;
                if !saying.is_empty() {
                    // Whoever read it may have gone; `eprintln!` would panic, and nobody would hear
                    // the signal.
                    let _ = writeln!(io::stderr(), "{saying}");
                }
                sender.send_replace(true);
                next(&mut terminate, &mut interrupt).await;
                std::process::exit(EXIT_INTERRUPTED);
            });
        }
        Self { heard }
    }

    /// Whether it was heard.
    pub fn is_heard(&self) -> bool {
        *self.heard.borrow()
    }

    /// Returns when it is heard.
    pub async fn wait(&mut self) {
        if self.heard.wait_for(|heard| *heard).await.is_err() {
            // Nothing listens: the signals have kept their default, which ends the process.
            std::future::pending().await
        }
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Exit code of a run that was interrupted: 128 + SIGINT, as shells have it.
pub const EXIT_INTERRUPTED: i32 = 130;
