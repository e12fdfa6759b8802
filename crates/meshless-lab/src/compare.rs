//! `meshless compare`: plans a run, makes it, writes the report.
//!
//! This process only conducts. Calls are made and answered by its children; of the path between them it holds the virtual
//! address and the DNS server.

mod bounce;
mod burst;
mod churn;
mod fleet;
mod levelling;
mod plan;
mod rig;
mod spread;

use std::io::{self, IsTerminal, Write};
use std::time::{Instant, SystemTime};

use crate::cli::CompareArgs;
use crate::interrupt::Interrupt;
use crate::machine::{self, MachineWatch};
use crate::network::{Network, NetworkError};
use crate::progress::Progress;
use crate::report::{self, ReportError};
use crate::results::Results;

#[cfg(feature = "kubernetes")]
pub(crate) use plan::random_seed;
use plan::{Plan, PlanError};
use rig::RigError;

/// A run could not be made, or not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// There is no such network here.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It was not begun.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its report cannot be written, known before it began or after it ended.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// It broke.
    #[error("{0}; the report holds what was measured before")]
    Rig(#[from] RigError),
}

/// Makes the run and writes its report. False means that it was interrupted.
///
/// # Errors
/// If it could not be made or finished; what was measured until then is in the report.
pub(crate) async fn run(args: CompareArgs, mut interrupt: Interrupt) -> Result<bool, CompareError> {
    let network = Network::set_up(args.network).await?;
    let mut plan = Plan::new(&args, network)?;
    report::check_writable(&args.out)?;
    if let Some(busy) = machine::busy_fraction().await.filter(|busy| *busy > BUSY_MAX) {
        plan.notes.push(format!(
            "Other work used {:.0} % of the processors just before the run: calls that missed their deadline may \
             have missed it for that reason; run it again on a quiet machine.",
            busy * 100.0
        ));
    }
    if !args.json {
        eprintln!("seed {}; Ctrl-C ends the run early and keeps what was measured", plan.seed);
        plan.notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    let mut results = empty_results(&plan);
    let watch = MachineWatch::start();
    let begun = Instant::now();
    let progress = Progress::new(plan.steps(), args.json);
    let ended = experiments(&plan, &progress, &mut interrupt, &mut results).await;
    progress.finish();

    results.took_s = begun.elapsed().as_secs_f64();
    results.machine = watch.finish(plan.file_descriptors);
    results.complete = ended.is_ok() && !interrupt.is_heard();
    match &ended {
        Err(error) => results.notes.push(format!("The run broke off: {error}.")),
        Ok(()) if interrupt.is_heard() => {
            results.notes.push("The run was interrupted; what is here was measured before.".into());
        }
        Ok(()) => {}
    }
    publish(&results, &args)?;
    ended?;
    Ok(results.complete)
}

/// Writes the report, and prints what was asked for.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn publish(results: &Results, args: &CompareArgs) -> Result<(), ReportError> {
    let written = report::write(results, &args.out)?;
    if args.json {
        print(&report::json(results));
    } else {
        print(&report::terminal(results, terminal_width(), wants_colour()));
        eprintln!("the report is {}", written.page.display());
    }
    Ok(())
}

async fn experiments(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    results: &mut Results,
) -> Result<(), RigError> {
    burst::run(plan, progress, interrupt, &mut results.burst).await?;
    if !interrupt.is_heard() {
        spread::run(plan, progress, interrupt, &mut results.spread).await?;
    }
    if !interrupt.is_heard() {
        churn::run(plan, progress, interrupt, results).await?;
    }
    if !interrupt.is_heard() {
        levelling::run(plan, progress, interrupt, &mut results.levelling).await?;
    }
    if !interrupt.is_heard() {
        bounce::run(plan, progress, interrupt, &mut results.bounce).await?;
    }
    Ok(())
}

/// A reader that has gone away, such as `head`, is no reason to fail: the report is written.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

fn terminal_width() -> u16 {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => WIDTH_UNKNOWN,
    }
}

/// See <https://no-color.org>.
fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn empty_results(plan: &Plan) -> Results {
    let mut versions = machine::versions();
    if let Some(proxy) = &plan.proxy {
        versions.insert(proxy.name().into(), proxy.version().into());
    }
    Results {
        schema_version: 2,
        command: command(plan.seed),
        seed: plan.seed.into(),
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        took_s: 0.0,
        complete: false,
        versions,
        network: plan.network.name().into(),
        machine: MachineWatch::start().finish(plan.file_descriptors),
        settings: plan.settings(),
        burst: Vec::new(),
        spread: Vec::new(),
        churn: Vec::new(),
        events: Vec::new(),
        levelling: Vec::new(),
        bounce: Vec::new(),
        notes: plan.notes.clone(),
    }
}

/// The command line as it was given, with the seed that it did not name.
pub(crate) fn command(seed: u32) -> String {
    let mut words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if !words.iter().any(|word| word == "--seed" || word.starts_with("--seed=")) {
        words.extend(["--seed".into(), seed.to_string()]);
    }
    std::iter::once("meshless".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What is said when a signal ends a run early.
pub(crate) const INTERRUPTED: &str = "ending the run early; the report will hold what was measured until now (a second signal ends it at once)";

/// A machine that is busier than this before the run cannot show how many calls a strategy bears.
const BUSY_MAX: f64 = 0.1;

/// Columns of what is printed where no terminal says how many it has.
const WIDTH_UNKNOWN: u16 = 100;
