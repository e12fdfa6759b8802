//! A child process of a run: this same program in another role, or a foreign client, spoken to by
//! lines of JSON (`control`).
//!
//! Used by `compare` for its servers and its client. A child never outlives its handle: it is
//! killed when the handle goes, and it ends by itself when its stdin closes, should this process be
//! killed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::network::Pod;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    role: String,
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    last_words: LastWords,
    /// Where it lives; gone with it.
    pod: Pod,
}

/// A child did not do what it was asked. Says which and, if it left any, its last words.
#[derive(Debug, thiserror::Error)]
#[error("{role} {what}{}{last_words}", if last_words.is_empty() { "" } else { ": " })]
pub struct ProcessError {
    role: String,
    what: String,
    last_words: String,
}

type LastWords = Arc<Mutex<VecDeque<String>>>;

impl Process {
    /// Starts this program in `pod` with `arguments`. `role` names the child in errors: "the
    /// client", "backend-2".
    ///
    /// # Errors
    /// If the system does not start it.
    pub(crate) fn spawn(pod: Pod, role: &str, arguments: &[String]) -> Result<Self, ProcessError> {
        Self::start(pod, role, std::env::current_exe(), arguments)
    }

    /// Starts another program that speaks the same language.
    ///
    /// # Errors
    /// If the system does not start it.
    pub(crate) fn spawn_other(pod: Pod, role: &str, program: &Path) -> Result<Self, ProcessError> {
        Self::start(pod, role, Ok(program.to_owned()), &[])
    }

    fn start(
        pod: Pod,
        role: &str,
        program: io::Result<PathBuf>,
        arguments: &[String],
    ) -> Result<Self, ProcessError> {
        let started = program.and_then(|program| {
            let mut command = pod.command(program.as_os_str());
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if std::env::var_os(LOG_FILTER).is_none() {
                // Its last words are for errors, and what it says of each rotation costs time that
                // is measured.
                command.env(LOG_FILTER, "warn");
            }
            // A group of its own: a Ctrl-C at the terminal is for the parent, which keeps what was
            // measured.
            command.process_group(0).kill_on_drop(true).spawn()
        });
        let failed = |error: io::Error| ProcessError {
            role: role.into(),
            what: format!("could not be started: {error}"),
            last_words: String::new(),
        };
        let mut child = started.map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(io::Error::other("its pipes are missing")));
        };
        let last_words = LastWords::default();
        tokio::spawn(keep_last_words(stderr, last_words.clone()));
        let answers = BufReader::new(stdout).lines();
        Ok(Self { role: role.into(), child, commands: stdin, answers, last_words, pod })
    }

    /// Sends one line.
    ///
    /// # Errors
    /// If the child is gone.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<(), ProcessError> {
        let written = match serde_json::to_vec(message) {
            Ok(mut line) => {
                line.push(b'\n');
                self.commands.write_all(&line).await
            }
            Err(error) => Err(error.into()),
        };
        match written {
            Ok(()) => Ok(()),
            Err(_) => Err(self.post_mortem().await),
        }
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// If the child ends instead, or says something else than a `T`.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ProcessError> {
        match self.answers.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .map_err(|error| self.error(format!("gave an answer that is not understood ({error})"))),
            Ok(None) | Err(_) => Err(self.post_mortem().await),
        }
    }

    /// Sends one line and waits for one.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        message: &impl Serialize,
    ) -> Result<T, ProcessError> {
        self.send(message).await?;
        self.receive().await
    }

    /// Where the child lives.
    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Sends a signal. A child that is gone already does not mind.
    pub(crate) fn signal(&self, signal: Signal) {
        // `id` is none once the child was waited for, so that the number of another process is
        // never hit.
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            tracing::debug!(role = self.role, %error, "the signal was not sent");
        }
    }

    /// Waits until the child is gone.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) async fn ended(&mut self) -> Result<(), ProcessError> {
        let waited = self.child.wait().await;
        waited.map(|_| ()).map_err(|error| self.error(format!("is lost ({error})")))
    }

    /// An error about this child.
    pub(crate) fn error(&self, what: impl Into<String>) -> ProcessError {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let last_words = words.iter().map(String::as_str).collect::<Vec<_>>().join(" / ");
        ProcessError { role: self.role.clone(), what: what.into(), last_words }
    }

    async fn post_mortem(&mut self) -> ProcessError {
        match tokio::time::timeout(TIME_TO_DIE, self.child.wait()).await {
            Ok(Ok(status)) => {
                // Its last line may still be on its way through the pipe.
                tokio::time::sleep(TIME_TO_READ).await;
                self.error(format!("ended before the run did ({status})"))
            }
            Ok(Err(error)) => self.error(format!("is lost ({error})")),
            Err(_) => self.error("stopped answering"),
        }
    }
}

async fn keep_last_words(stderr: impl AsyncRead + Unpin, last_words: LastWords) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(line);
    }
}

/// The environment variable that says what a process logs.
const LOG_FILTER: &str = "RUST_LOG";

/// Lines of a child's stderr that an error quotes.
const LAST_WORDS: usize = 3;

/// A child whose pipes are closed is given so long to exit before it is called unresponsive.
const TIME_TO_DIE: Duration = Duration::from_secs(2);

/// Enough for the task that reads stderr to see what a dead process left in the pipe.
const TIME_TO_READ: Duration = Duration::from_millis(50);
