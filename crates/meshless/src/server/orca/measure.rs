//! The load of this process: its calls per second, and its share of the processors that it may use.
//!
//! Each measurement covers the time since the last, at least a second. Responses share one window,
//! which only moves while there are calls; each [`Listener`] has its own. The share of the
//! processors is known on Linux only. Elsewhere an application has to set its utilization, or
//! clients give all servers the same weight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshless_core::LoadReport;
use tokio::time::Instant;

/// Measures the load of this process. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Measurement {
    shared: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    errors: AtomicU64,
    /// Bits of an `f64`; 0 if the application has not set it.
    application_utilization: AtomicU64,
    /// The same.
    calls_per_second: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// The begin of the reported window.
    before: Option<Sample>,
    /// The end of the reported window, where the next one begins.
    look: Option<Sample>,
    report: LoadReport,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    calls: u64,
    errors: u64,
    processor_time: Option<Duration>,
}

impl Measurement {
    /// Sets the application's own utilization; 0 undoes that.
    pub(super) fn set_application_utilization(&self, utilization: f64) {
        let utilization = if utilization.is_finite() { utilization.max(0.0) } else { 0.0 };
        self.shared.application_utilization.store(utilization.to_bits(), Ordering::Relaxed);
    }

    /// Sets the application's own count of calls per second; 0 undoes that.
    pub(super) fn set_calls_per_second(&self, calls: f64) {
        let calls = if calls.is_finite() { calls.max(0.0) } else { 0.0 };
        self.shared.calls_per_second.store(calls.to_bits(), Ordering::Relaxed);
    }

    /// Returns the last measured load, after a new measurement if that is more than a second old.
    /// All zero in the first second.
    pub(super) fn report(&self) -> LoadReport {
        self.as_said(self.measured())
    }

    /// Returns a listener that has its own intervals.
    pub(super) fn listen(&self) -> Listener {
        let last = self.lock_last();
        let since = last.before.or(last.look);
        drop(last);
        Listener { reporter: self.clone(), since: since.unwrap_or_else(|| self.look(Instant::now())) }
    }

    pub(super) fn count(&self, is_error: bool) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if is_error {
            self.shared.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn measured(&self) -> LoadReport {
        let mut last = self.lock_last();
        let now = Instant::now();
        if last.look.is_none_or(|look| now.saturating_duration_since(look.at) >= PERIOD) {
            let look = self.look(now);
            if let Some(before) = last.look.replace(look) {
                last.report = look.since(&before);
                last.before = Some(before);
            }
        }
        last.report
    }

    /// The lock is held for two reads of /proc once a second, otherwise for a copy.
    fn lock_last(&self) -> MutexGuard<'_, Last> {
        // A panic while it is held leaves no inconsistent state.
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces measured values by those that the application has set.
    fn as_said(&self, mut report: LoadReport) -> LoadReport {
        let said = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        report.application_utilization = said(&self.shared.application_utilization);
        let calls_per_second = said(&self.shared.calls_per_second);
        if calls_per_second > 0.0 {
            report.calls_per_second = calls_per_second;
        }
        report
    }

    fn look(&self, at: Instant) -> Sample {
        Sample {
            at,
            calls: self.shared.calls.load(Ordering::Relaxed),
            errors: self.shared.errors.load(Ordering::Relaxed),
            processor_time: processor_time(),
        }
    }
}

/// A receiver of reports, each over the time since its last. However rare calls are, its reports
/// together contain each call exactly once.
#[derive(Debug)]
pub(super) struct Listener {
    reporter: Measurement,
    since: Sample,
}

impl Listener {
    /// Returns the load since the last report. The first one covers the shared window, so that it
    /// is not empty.
    pub(super) fn report(&mut self) -> LoadReport {
        let now = self.reporter.look(Instant::now());
        if now.at.saturating_duration_since(self.since.at) < PERIOD {
            return self.reporter.as_said(LoadReport::default());
        }
        let since = std::mem::replace(&mut self.since, now);
        self.reporter.as_said(now.since(&since))
    }
}

impl Sample {
    fn since(&self, before: &Self) -> LoadReport {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        let used = match (self.processor_time, before.processor_time) {
            (Some(now), Some(before)) => now.saturating_sub(before).as_secs_f64(),
            _ => 0.0,
        };
        LoadReport {
            cpu_utilization: used / seconds / processors(),
            calls_per_second: (self.calls - before.calls) as f64 / seconds,
            errors_per_second: (self.errors - before.errors) as f64 / seconds,
            ..LoadReport::default()
        }
    }
}

/// Returns the user and system time of this process so far.
fn processor_time() -> Option<Duration> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Reads fields 14 and 15 (proc_pid_stat(5)). The second field, the name, may contain anything and
/// ends with the last parenthesis.
fn parse_stat(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * MILLIS_PER_TICK))
}

/// Returns how many processors the process may use: a fraction if its container's limit is one.
fn processors() -> f64 {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/cpu.max").ok().and_then(|max| parse_cpu_max(&max));
    let present = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    // `present` already includes the limit, but rounded to whole processors. A limit far above
    // `present` limits nothing.
    limit.filter(|limit| *limit < present + 1.0).unwrap_or(present)
}

/// Parses `50000 100000` (50 ms in every 100 ms) or `max 100000`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Clients recompute their weights as often (A58: 1 s). Processor time has a resolution of 10 ms,
/// 1 % of it.
const PERIOD: Duration = Duration::from_secs(1);
/// USER_HZ, which is 100 on every architecture that runs this.
const MILLIS_PER_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 900 0 0 0 150 50 7 7 20 0 8 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("42 (cut"), None);
    }

    #[test]
    fn a_container_s_limit_is_a_fraction() {
        assert_eq!(parse_cpu_max("50000 100000\n"), Some(0.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_over_a_second_at_least() {
        let load = Measurement::default();
        assert_eq!(load.report(), LoadReport::default());
        (0..100).for_each(|n| load.count(n % 10 == 0));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(load.report().calls_per_second, 0.0);
        tokio::time::advance(Duration::from_millis(1500)).await;
        load.set_application_utilization(0.7);
        let report = load.report();
        assert_eq!((report.calls_per_second, report.errors_per_second), (50.0, 5.0));
        assert_eq!(report.application_utilization, 0.7);
    }

    #[tokio::test(start_paused = true)]
    async fn each_listener_hears_of_every_call_once_whoever_else_looks() {
        let load = Measurement::default();
        load.report();
        let (mut slow, mut fast) = (load.listen(), load.listen());
        let mut heard = (0.0, 0.0);
        for second in 1..=60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            if second % 5 == 1 {
                load.count(false);
                load.report();
            }
            heard.0 += fast.report().calls_per_second;
            if second % 10 == 0 {
                let report = slow.report();
                assert_eq!(report.calls_per_second, 0.2, "at {second} s");
                heard.1 += report.calls_per_second * 10.0;
            }
        }
        assert_eq!((heard.0.round(), heard.1.round()), (12.0, 12.0));
        // Since the call before the last one.
        assert_eq!(load.listen().report().calls_per_second, 1.0 / 9.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_application_says_of_its_calls_comes_before_what_is_counted() {
        let load = Measurement::default();
        load.set_calls_per_second(7.0);
        let mut listener = load.listen();
        assert_eq!(listener.report().calls_per_second, 7.0, "at once");
        load.count(false);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((load.report().calls_per_second, listener.report().calls_per_second), (7.0, 7.0));
        for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
            load.set_calls_per_second(nonsense);
            load.count(false);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!((load.report().calls_per_second, listener.report().calls_per_second), (0.5, 0.5));
        }
    }
}
