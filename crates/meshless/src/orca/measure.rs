//! How loaded this process is: its calls per second, and its share of the processors that it may use.
//!
//! Measured from one look to the next, at least a second apart, and only while there are calls. The share of the processors is
//! known on Linux; elsewhere an application has to say how busy it is, or clients hold all servers for equal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{LoadReport, OpenRcaService, ReportLoad};

/// Measures the load of this process, and reports it with the responses of the services that it wraps, or apart from
/// them. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct LoadReporter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicU64,
    errors: AtomicU64,
    /// Bits of an `f64`, 0 when the application says nothing.
    application_utilization: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    look: Option<Look>,
    report: LoadReport,
}

/// What had been counted at a moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    calls: u64,
    errors: u64,
    processor_time: Option<Duration>,
}

impl LoadReporter {
    /// A reporter that has seen no call.
    pub fn new() -> Self {
        Self::default()
    }

    /// `service`, with a report at the end of every response.
    pub fn wrap<S>(&self, service: S) -> ReportLoad<S> {
        ReportLoad::new(service, self.clone())
    }

    /// A service that reports the same apart from calls, to clients that ask for it: `xds.service.orca.v3.OpenRcaService`.
    ///
    /// [Wrap](Self::wrap) the services all the same: it is there that calls are counted, and without calls per second a report has no weight.
    pub fn out_of_band(&self) -> OpenRcaService {
        // The first look: the first client to listen then hears of the time since.
        self.report();
        OpenRcaService::new(self.clone())
    }

    /// Says how busy the application is by its own measure (a queue, a pool, a lock): 0 for idle, 1 for as much as it should be, more for
    /// too much. Clients go by it instead of the processor's utilization from then on; 0 takes it back.
    pub fn set_application_utilization(&self, utilization: f64) {
        let utilization = if utilization.is_finite() { utilization.max(0.0) } else { 0.0 };
        self.shared.application_utilization.store(utilization.to_bits(), Ordering::Relaxed);
    }

    /// The load as last measured, which is renewed if that is more than a second ago. All zero in the first second.
    pub fn report(&self) -> LoadReport {
        let mut report = self.measured();
        report.application_utilization =
            f64::from_bits(self.shared.application_utilization.load(Ordering::Relaxed));
        report
    }

    pub(super) fn count(&self, is_error: bool) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if is_error {
            self.shared.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn measured(&self) -> LoadReport {
        // Held for two reads of /proc once a second, and a copy otherwise. A panic while it is held leaves nothing half done.
        let mut last = self.shared.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        if last.look.is_none_or(|look| now.saturating_duration_since(look.at) >= PERIOD) {
            let look = self.look(now);
            if let Some(before) = last.look.replace(look) {
                last.report = look.since(&before);
            }
        }
        last.report
    }

    fn look(&self, at: Instant) -> Look {
        Look {
            at,
            calls: self.shared.calls.load(Ordering::Relaxed),
            errors: self.shared.errors.load(Ordering::Relaxed),
            processor_time: processor_time(),
        }
    }
}

impl Look {
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

/// User and system time of this process so far.
fn processor_time() -> Option<Duration> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 (proc_pid_stat(5)); the second, the name, may contain anything, and ends with the last parenthesis.
fn parse_stat(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * MILLIS_PER_TICK))
}

/// How many processors the process may use, as a fraction where its container's limit is one.
fn processors() -> f64 {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/cpu.max").ok().and_then(|max| parse_cpu_max(&max));
    let present = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    // `present` heeds the limit already, but rounds it to whole processors; a limit far above it limits nothing.
    limit.filter(|limit| *limit < present + 1.0).unwrap_or(present)
}

/// `50000 100000`: 50 ms in every 100 ms; or `max 100000`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// As often as clients recompute their weights (A58: 1 s). Processor time is known to 10 ms, 1 % of it.
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
        let load = LoadReporter::new();
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
}
