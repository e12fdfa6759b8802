//! What a worker is told and what it answers: a score in its arguments, and marked lines of JSON in
//! its log.
//!
//! A worker lays its calls into bins of a tenth of a second, counted from a moment that all workers
//! are told, so that the size of its answer depends on the length of the run and not on the number
//! of calls. Latencies are histograms that merge without loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::{CallRecord, CallResult, Failure, Hint, status_name};
use crate::results::{Causes, Latency, Outcome};
use crate::stats::{Latencies, PackedLatencies, ratio};
use crate::strategy::Strategy;

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    /// When its first turn begins, in ms of Unix time.
    pub(crate) begin_ms: u64,
    pub(crate) deadline: Duration,
    pub(crate) parts: Vec<Part>,
}

/// The calls of one strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) strategy: Strategy,
    /// The Service to call, with its namespace: `echo.shop`.
    pub(crate) service: String,
    /// Whether the channel reads EndpointSlices rather than asks DNS.
    pub(crate) endpoint_slices: bool,
    /// Begin after that of the score.
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    /// Calls per second of this worker.
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

/// A line of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// The worker is there, so much later than its score wanted.
    Here { late_ms: u64 },
    /// One bin of a part, both by their index.
    Bin { part: usize, index: usize, bin: Bin },
    /// A part is whole.
    Totals { part: usize, totals: Totals },
    /// All is said.
    End,
    /// All is said of the time until a signal ended the worker.
    Stopped,
}

/// Calls that were due in one tenth of a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bin {
    /// Answered calls by backend.
    pub(crate) backends: BTreeMap<String, u64>,
    /// Failed calls by what the caller learnt.
    pub(crate) failed: Vec<(Failure, u64)>,
    /// Of the answered.
    pub(crate) latencies: PackedLatencies,
}

/// The calls of a bin while the worker still calls: eight bytes for each that was answered. They
/// become a [`Bin`] when all is over, because packing takes time.
#[derive(Clone, Debug, Default)]
pub(crate) struct BinCalls {
    bin: Bin,
    latencies_ns: Vec<u64>,
}

/// What is known of a whole part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) connections_opened: u64,
    pub(crate) goaways_seen: u64,
    /// Requests that were sent, the warm-up's not among them.
    pub(crate) attempts: u64,
    /// Of the worker while the part ran.
    pub(crate) cpu: Duration,
    /// How late calls began.
    pub(crate) lag: PackedLatencies,
    /// By what channels knew their backends when the part ended, in the words of their resolvers.
    #[serde(default)]
    pub(crate) found_by: BTreeSet<String>,
}

/// A part as all workers together made it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) bins: Vec<Bin>,
    pub(crate) totals: Totals,
}

impl Bin {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (backend, calls) in &other.backends {
            *self.backends.entry(backend.clone()).or_default() += calls;
        }
        for (failure, calls) in &other.failed {
            self.fail(*failure, *calls);
        }
        self.latencies.merge(&other.latencies);
    }

    /// All of them together.
    pub(crate) fn sum(bins: &[Self]) -> Self {
        let mut sum = Self::default();
        bins.iter().for_each(|bin| sum.merge(bin));
        sum
    }

    pub(crate) fn ok(&self) -> u64 {
        self.backends.values().sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.iter().map(|(_, calls)| calls).sum()
    }

    /// What became of the calls. No server told what it executed, so what may have been sent counts
    /// as sent.
    pub(crate) fn outcome(&self) -> Outcome {
        let (ok, failed) = (self.ok(), self.failed());
        let (mut statuses, mut causes) = (BTreeMap::<String, u64>::new(), Causes::default());
        for (failure, calls) in &self.failed {
            let name = status_name(tonic::Code::from_i32(failure.code));
            *statuses.entry(name.into()).or_default() += calls;
            match failure.hint {
                Hint::Deadline => causes.deadline += calls,
                Hint::NeverSent => causes.never_sent += calls,
                Hint::Unknown => causes.sent_not_processed += calls,
            }
        }
        let error_rate = ratio(failed as f64, (ok + failed) as f64);
        Outcome { ok, failed, error_rate, statuses, causes, latency_ms: self.latency(), ..Outcome::default() }
    }

    /// Of the answered calls.
    pub(crate) fn latency(&self) -> Latency {
        // Whether they can be unpacked was seen when the log was read.
        self.latencies.unpack().unwrap_or_default().summary()
    }

    fn fail(&mut self, failure: Failure, calls: u64) {
        match self.failed.iter_mut().find(|(known, _)| *known == failure) {
            Some((_, count)) => *count += calls,
            None => self.failed.push((failure, calls)),
        }
    }
}

impl BinCalls {
    pub(crate) fn add(&mut self, call: CallRecord) {
        match call.end {
            CallResult::Answered(backend) => {
                *self.bin.backends.entry(backend.unwrap_or_default()).or_default() += 1;
                self.latencies_ns.push(call.finished_ns.saturating_sub(call.scheduled_ns));
            }
            CallResult::Failed(failure) => self.bin.fail(failure, 1),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latencies_ns.is_empty() && self.bin.failed.is_empty()
    }

    pub(crate) fn pack(mut self) -> Bin {
        let mut latencies = Latencies::new();
        self.latencies_ns.iter().for_each(|latency| latencies.record(*latency));
        self.bin.latencies = PackedLatencies::from(&latencies);
        self.bin
    }
}

impl Totals {
    /// How late calls began, 99th percentile.
    pub(crate) fn start_lag_ms_p99(&self) -> f64 {
        self.lag.unpack().unwrap_or_default().quantile(0.99)
    }

    fn merge(&mut self, other: &Self) {
        self.connections_opened += other.connections_opened;
        self.goaways_seen += other.goaways_seen;
        self.attempts += other.attempts;
        self.cpu += other.cpu;
        self.lag.merge(&other.lag);
        self.found_by.extend(other.found_by.iter().cloned());
    }
}

impl Line {
    /// The line with the mark that sets it apart from whatever else a container logs.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        Ok(format!("{MARK}{}", serde_json::to_string(self)?))
    }
}

/// How the log of a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEnd {
    /// The load was made to its end.
    Whole,
    /// A signal ended the worker early. What it had measured is there.
    Stopped,
}

/// Adds what the log of one worker says to `parts`, and returns how late that worker was, in
/// milliseconds, and how it ended.
///
/// # Errors
/// A text that says why the log is no result.
pub(crate) fn read_log(log: &str, parts: &mut [Measured]) -> Result<(u64, LogEnd), String> {
    let (mut late, mut ended) = (0, None);
    for line in log.lines().filter_map(|line| line.trim_start().strip_prefix(MARK)) {
        let no_part = |part| format!("it speaks of part {part}");
        match serde_json::from_str(line).map_err(|error| error.to_string())? {
            Line::Here { late_ms } => late = late_ms,
            Line::Bin { part, index, bin } => {
                bin.latencies.unpack()?;
                let bins = &mut parts.get_mut(part).ok_or_else(|| no_part(part))?.bins;
                if index >= BINS_MAX {
                    return Err(format!("it speaks of bin {index}"));
                }
                if bins.len() <= index {
                    bins.resize_with(index + 1, Bin::default);
                }
                bins[index].merge(&bin);
            }
            Line::Totals { part, totals } => {
                totals.lag.unpack()?;
                parts.get_mut(part).ok_or_else(|| no_part(part))?.totals.merge(&totals);
            }
            Line::End => ended = Some(LogEnd::Whole),
            Line::Stopped => ended = Some(LogEnd::Stopped),
        }
    }
    Ok((late, ended.ok_or("its end is missing")?))
}

/// Length of a bin.
pub(crate) const BIN: Duration = Duration::from_millis(100);

pub(crate) const BINS_PER_SECOND: usize = 10;

/// More than any part has.
const BINS_MAX: usize = 36_000;

const MARK: &str = "meshless-worker ";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Ten calls in each of 100 bins, to the pods that `of` gives for a bin, or failed.
    pub(crate) fn measured(of: impl Fn(usize, usize) -> Option<&'static str>) -> Measured {
        let bin = |at: usize| {
            let call = |n: usize| CallRecord {
                id: 0,
                scheduled_ns: 0,
                started_ns: 0,
                finished_ns: 20_000_000,
                end: of(at, n).map_or(CallResult::Failed(Failure::DEADLINE), |pod| {
                    CallResult::Answered(Some(pod.into()))
                }),
            };
            let mut calls = BinCalls::default();
            (0..10).map(call).for_each(|call| calls.add(call));
            calls.pack()
        };
        Measured { bins: (0..100).map(bin).collect(), ..Measured::default() }
    }

    fn log(late_ms: u64, backend: &str, end: Option<Line>) -> String {
        let call = |at| {
            let end = match at {
                10 => CallResult::Failed(Failure::NOT_CONNECTED),
                _ => CallResult::Answered(Some(backend.into())),
            };
            CallRecord { id: at, scheduled_ns: 0, started_ns: 0, finished_ns: at * 1_000_000, end }
        };
        let mut calls = BinCalls::default();
        (1..=10).map(call).for_each(|call| calls.add(call));
        let bin = calls.pack();
        let totals = Totals { connections_opened: 2, ..Totals::default() };
        let mut lines = vec![
            Line::Here { late_ms },
            Line::Bin { part: 0, index: 3, bin },
            Line::Totals { part: 0, totals },
        ];
        lines.extend(end);
        let lines: Vec<_> = lines.iter().map(|line| line.text().unwrap()).collect();
        format!("INFO something else\n{}\n", lines.join("\n"))
    }

    #[test]
    fn the_logs_of_two_workers_are_one_result() {
        let mut parts = vec![Measured::default()];
        assert_eq!(read_log(&log(7, "a", Some(Line::End)), &mut parts), Ok((7, LogEnd::Whole)));
        assert_eq!(read_log(&log(0, "b", Some(Line::Stopped)), &mut parts), Ok((0, LogEnd::Stopped)));
        let bin = &parts[0].bins[3];
        assert_eq!((bin.backends["a"], bin.backends["b"], bin.failed()), (9, 9, 2));
        assert_eq!(bin.outcome().causes.never_sent, 2);
        assert_eq!(bin.outcome().latency_ms.max, 9.0);
        assert_eq!((parts[0].bins.len(), parts[0].totals.connections_opened), (4, 4));
    }

    #[test]
    fn a_log_that_was_cut_or_is_another_programs_is_no_result() {
        let read = |log: &str| read_log(log, &mut [Measured::default()]);
        assert!(read(&log(0, "a", None)).unwrap_err().contains("end"));
        assert!(read("hello").unwrap_err().contains("end"));
        assert!(read("meshless-worker {\"song\": 1}").is_err());
        assert!(read("meshless-worker {\"totals\":{\"part\":9}}").is_err());
        let far = log(0, "a", Some(Line::End)).replace("\"index\":3", "\"index\":99999999");
        assert!(read(&far).unwrap_err().contains("bin 99999999"));
    }
}
