//! Where a run took place: what a reader must know before comparing its numbers with others.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::results::Machine;

/// Looks at the machine now and, for the processor time that was stolen meanwhile, again at the
/// end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineWatch {
    before: Option<ProcessorTime>,
}

impl MachineWatch {
    /// The run begins.
    pub(crate) fn start() -> Self {
        Self { before: ProcessorTime::now() }
    }

    /// The run is over; it had `file_descriptors` per process.
    pub(crate) fn finish(self, file_descriptors: u64) -> Machine {
        Machine {
            os: os(),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib(),
            steal_fraction: self.before.zip(ProcessorTime::now()).and_then(|(before, after)| {
                let total = after.total.checked_sub(before.total).filter(|total| *total > 0)?;
                Some(after.steal.saturating_sub(before.steal) as f64 / total as f64)
            }),
            file_descriptors,
        }
    }
}

/// Share of the processors that is busy now, before the run adds its own, if the system tells.
/// Takes half a second.
pub(crate) async fn busy_fraction() -> Option<f64> {
    let before = ProcessorTime::now()?;
    tokio::time::sleep(BUSY_PERIOD).await;
    before.busy_until(ProcessorTime::now()?)
}

/// Versions of what takes part in every run, as this binary was built with them.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let versions = [
        ("meshless", env!("CARGO_PKG_VERSION")),
        ("tonic", env!("VERSION_TONIC")),
        ("hyper", env!("VERSION_HYPER")),
        ("h2", env!("VERSION_H2")),
        ("tokio", env!("VERSION_TOKIO")),
    ];
    versions.map(|(name, version)| (name.into(), version.into())).into()
}

/// Ticks of all processors since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessorTime {
    total: u64,
    idle: u64,
    steal: u64,
}

impl ProcessorTime {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`
    /// (proc_stat(5)). The two fields behind `steal` are contained in the first two.
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { total: ticks.iter().sum(), idle: ticks.get(3)? + ticks.get(4)?, steal: *ticks.get(7)? })
    }

    fn busy_until(self, after: Self) -> Option<f64> {
        let total = after.total.checked_sub(self.total).filter(|total| *total > 0)?;
        // Time spent waiting for a disk can be taken back by the kernel (proc_stat(5)), so idle may
        // even shrink.
        let idle = after.idle.saturating_sub(self.idle).min(total);
        Some(1.0 - idle as f64 / total as f64)
    }
}

fn os() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

fn cpu() -> String {
    let linux = || field_of("/proc/cpuinfo", "model name");
    linux().or_else(|| sysctl("machdep.cpu.brand_string")).unwrap_or_else(|| std::env::consts::ARCH.into())
}

fn memory_mib() -> u64 {
    let linux = || field_of("/proc/meminfo", "MemTotal")?.strip_suffix("kB")?.trim().parse().ok();
    let macos = || sysctl("hw.memsize")?.parse().ok().map(|bytes: u64| bytes / 1024);
    linux().or_else(macos).map_or(0, |kib: u64| kib / 1024)
}

fn field_of(file: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    Some(fields.find(|(name, _)| name.trim() == field)?.1.trim().to_owned())
}

fn sysctl(name: &str) -> Option<String> {
    let output = Command::new("sysctl").args(["-n", name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Fifty ticks of each processor: enough to tell a quiet machine from a busy one.
const BUSY_PERIOD: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_field() {
        let stat = "cpu  10 20 30 40 5 6 7 8 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(ProcessorTime::parse(stat), Some(ProcessorTime { total: 126, idle: 45, steal: 8 }));
        assert_eq!(ProcessorTime::parse("cpu  10 20 30 40\n"), None);
    }

    #[test]
    fn busy_is_what_was_not_idle() {
        let before = ProcessorTime { total: 1000, idle: 400, steal: 0 };
        let after = ProcessorTime { total: 1100, idle: 475, steal: 0 };
        assert_eq!(before.busy_until(after), Some(0.25));
        assert_eq!(before.busy_until(before), None);
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        for (name, version) in versions() {
            assert!(version.split('.').count() >= 3, "{name} {version}");
        }
    }

    #[test]
    fn a_machine_has_a_processor_and_a_system() {
        let machine = MachineWatch::start().finish(64);
        assert!(!machine.os.trim().is_empty() && !machine.cpu.is_empty());
        assert!(machine.cores > 0);
        assert_eq!(machine.file_descriptors, 64);
    }
}
