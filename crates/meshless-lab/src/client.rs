//! `meshless client`: the client of a run, as a process of its own, so that its processor time is
//! not the servers'.
//!
//! Hidden, for `compare` alone. It reads [`ToClient`] lines on stdin and answers with
//! [`FromClient`] lines on stdout. Records are kept in memory while calls are made and written when
//! all have ended, so that writing them disturbs none.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::clock;
use crate::connector::Counters;
use crate::control::{FromClient, RunTotals, ToClient};
use crate::pacer::Pacing;
use crate::record::{CallRecord, CallResult};

/// What had passed through the connections when the parent was last told.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    opened: u64,
    goaways: u64,
    resent: u64,
}

/// Serves the parent until stdin closes.
///
/// # Errors
/// If the parent speaks another language, or does not read its answers.
pub async fn run() -> io::Result<()> {
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut answers = tokio::io::stdout();
    let counters = Arc::new(Counters::default());
    let mut caller = None;
    let mut told = Passed::default();
    while let Some(line) = commands.next_line().await? {
        match (serde_json::from_str(&line)?, &caller) {
            (ToClient::Target(target), _) => caller = Some(Caller::new(&target, counters.clone())?),
            (ToClient::WarmUp, Some(caller)) => {
                warm_up(caller).await;
                answer(&mut answers, &FromClient::Warm).await?;
            }
            (ToClient::Run { pacing, first_id }, Some(caller)) => {
                let attempts_before = counters.attempts();
                let mut totals = make_calls(caller, &pacing, first_id, &mut answers).await?;
                // With what passed since the last run: a kept connection is opened by the warm-up.
                let (opened, goaways) = (counters.opened(), counters.goaways());
                let now = Passed { opened, goaways, resent: caller.resent() };
                totals.attempts = counters.attempts() - attempts_before;
                totals.connections_opened = now.opened - told.opened;
                totals.goaways_seen = now.goaways - told.goaways;
                totals.resent = now.resent - told.resent;
                told = now;
                answer(&mut answers, &FromClient::Done(totals)).await?;
            }
            (_, None) => return Err(io::Error::other("the first line must be a target")),
        }
    }
    Ok(())
}

/// Has each client make a call. Tries a few times, because the first may meet a connection that has
/// just reached its age.
pub(crate) async fn warm_up(caller: &Caller) {
    let warm_up = |caller: Caller| async move {
        for _ in 0..WARM_UP_TRIES {
            if matches!(caller.call(None).await, CallResult::Answered(_)) {
                return;
            }
        }
    };
    caller.each().map(warm_up).collect::<JoinSet<_>>().join_all().await;
}

async fn make_calls(
    caller: &Caller,
    pacing: &Pacing,
    first_id: u64,
    answers: &mut Stdout,
) -> io::Result<RunTotals> {
    let cpu_before = clock::cpu_time();
    let offsets: Vec<Duration> = pacing.offsets().collect();
    let calls = offsets.len();
    // Room for every record: a call never waits to hand in its own.
    let (done, mut ended) = mpsc::channel(calls.max(1));
    let start_ns = clock::now_ns();
    let start = Instant::now();
    let pace = pace(caller.clone(), start, offsets, first_id, done)?;
    let mut records = Vec::with_capacity(calls);
    let mut next_progress = start + PROGRESS_PERIOD;
    while let Some(record) = ended.recv().await {
        records.push(record);
        if Instant::now() >= next_progress {
            next_progress += PROGRESS_PERIOD;
            answer(answers, &FromClient::Progress(records.len() as u64)).await?;
        }
    }
    pace.join().map_err(|_| io::Error::other("the pacing thread panicked"))?;
    let cpu = clock::cpu_time().saturating_sub(cpu_before);
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        answer(answers, &FromClient::Calls(records.by_ref().take(RECORDS_PER_LINE).collect())).await?;
    }
    Ok(RunTotals { start_ns, cpu, ..RunTotals::default() })
}

/// Begins each call at its offset, from a thread of its own: tokio's timer ticks once a
/// millisecond, which would make every call up to one late and let them come in flocks.
pub(crate) fn pace(
    caller: Caller,
    start: Instant,
    offsets: Vec<Duration>,
    first_id: u64,
    done: mpsc::Sender<CallRecord>,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = Handle::current();
    thread::Builder::new().name("pacer".into()).spawn(move || {
        for (id, scheduled) in (first_id..).zip(offsets) {
            let wait = scheduled.saturating_sub(start.elapsed());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            let (caller, done) = (caller.clone(), done.clone());
            runtime.spawn(async move {
                let started = start.elapsed();
                let end = caller.call(Some(id)).await;
                let finished = start.elapsed();
                let record = CallRecord {
                    id,
                    scheduled_ns: nanoseconds(scheduled),
                    started_ns: nanoseconds(started),
                    finished_ns: nanoseconds(finished),
                    end,
                };
                // The receiver is gone only if the run was given up.
                let _ = done.try_send(record);
            });
        }
    })
}

async fn answer(answers: &mut Stdout, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    answers.write_all(&line).await?;
    answers.flush().await
}

fn nanoseconds(duration: Duration) -> u64 {
    // 584 years fit.
    duration.as_nanos() as u64
}

/// Calls that a warm-up makes at most: one, and two more for connections that age away under it.
const WARM_UP_TRIES: usize = 3;

/// How often the parent hears how far a run is: often enough for a bar that moves, too seldom to
/// cost anything.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// Records per line, so that no line grows beyond some hundred kilobytes.
const RECORDS_PER_LINE: usize = 1000;
