//! The experiments: how each is planned and made, the rows that come of it, and how they are drawn
//! and told.
//!
//! An experiment is a folder here and a line in [`ALL`]; its rows are a field of [`Results`], whose
//! layout has a version.

pub(crate) mod bounce;
pub(crate) mod burst;
pub(crate) mod churn;
pub(crate) mod levelling;
mod servers;
pub(crate) mod spread;

use std::str::FromStr;

use comfy_table::Table;

use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making, Site};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::request::{CompareRequest, ExperimentName, PlanError};
use crate::results::Results;
use crate::strategy::Strategy;

/// All experiments, in the order in which they are made and told.
pub(crate) const ALL: [&dyn Experiment; 5] =
    [&burst::Burst, &spread::Spread, &churn::Churn, &levelling::Levelling, &bounce::Bounce];

/// One experiment. It reads its own rows of the results.
pub(crate) trait Experiment: Sync {
    /// The name that asks for it; two may share one.
    fn name(&self) -> &'static str;

    /// True if it is made only where its name or a full run asks for it.
    fn is_extra(&self) -> bool {
        false
    }

    /// Plans it as far as it can be made there, and notes what is left out and why. None if nothing
    /// of it can be made.
    fn plan(&self, planning: &mut Planning<'_>) -> Option<Box<dyn Planned>>;

    /// Its figures on the page, as far as the run has data for them.
    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure>;

    /// How its rows are listed.
    fn tables(&self) -> &'static Tables;
}

/// How the rows of an experiment are listed.
pub(crate) struct Tables {
    /// On the page, as HTML. Empty without a row.
    pub(crate) page: fn(&Results, &Palette) -> String,
    /// As CSV, by the names of the files. One without a row still has its header.
    pub(crate) csv: fn(&Results) -> Vec<(&'static str, String)>,
    /// Title and table in a terminal of so many columns. `None` without a row.
    pub(crate) in_terminal: fn(&Results, u16) -> Option<(String, Table)>,
}

/// What an experiment is planned with.
pub(crate) struct Planning<'a> {
    pub(crate) request: &'a CompareRequest,
    pub(crate) site: &'a Site,
    /// What was left out so far, and why.
    pub(crate) notes: &'a mut Vec<String>,
}

/// An experiment that can be made.
pub(crate) trait Planned {
    /// How far the progress bar has to go for it: about one step a second.
    fn steps(&self) -> u64;

    /// Makes it, and adds its rows. What `run` is interrupted in gives no row that would not
    /// compare.
    ///
    /// # Errors
    /// If a process dies that was not to. Rows that were finished by then are there.
    fn run<'a>(&'a self, fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()>;
}

/// What all experiments of a run share while they are made.
pub(crate) struct Run<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) interrupt: &'a mut Interrupt,
    pub(crate) results: &'a mut Results,
}

/// Plans all experiments that are asked for, and notes what is left out and why.
///
/// # Errors
/// If nothing of it can be made there.
pub(crate) fn plan(
    request: &CompareRequest,
    site: &Site,
    notes: &mut Vec<String>,
) -> Result<Vec<Box<dyn Planned>>, PlanError> {
    let asked_for = |experiment: &&&dyn Experiment| match request.experiments.is_empty() {
        true => request.full || !experiment.is_extra(),
        false => request.experiments.iter().any(|name| name.0 == experiment.name()),
    };
    let mut planning = Planning { request, site, notes };
    let planned: Vec<_> =
        ALL.iter().filter(asked_for).filter_map(|experiment| experiment.plan(&mut planning)).collect();
    match (planned.is_empty(), site.local()) {
        (false, _) => Ok(planned),
        (true, Some(_)) => Err(PlanError::Nothing(notes.join(" "))),
        (true, None) => Err(PlanError::NothingOnCluster),
    }
}

impl Planning<'_> {
    /// The strategies that take part, in the order of the report, each once: those that were named,
    /// or else `default`. What cannot take part there is left out, with a note.
    fn strategies(&mut self, default: &[Strategy]) -> Vec<Strategy> {
        let named = &self.request.strategies;
        // Who brings grpc-go's client wants to see it.
        let brought = self.request.grpc_go.as_ref().map(|_| Strategy::GrpcGo);
        let mut strategies: Vec<_> = match named.is_empty() {
            true => default.iter().copied().chain(brought).collect(),
            false => Strategy::ALL.into_iter().filter(|strategy| named.contains(strategy)).collect(),
        };
        strategies.retain(|strategy| {
            let Some(why) = self.site.lacks(*strategy) else { return true };
            // Experiments that share a strategy share its note.
            if !self.notes.contains(&why) {
                self.notes.push(why);
            }
            false
        });
        strategies
    }
}

/// Those that are compared on a cluster, one of each kind, unless others are asked for.
const STRATEGIES_ON_CLUSTER: [Strategy; 5] = [
    Strategy::SingleConnection,
    Strategy::MaxAgeL4,
    Strategy::MaxAgeDns,
    Strategy::RoundRobin,
    Strategy::PeakEwma,
];

impl FromStr for ExperimentName {
    type Err = UnknownExperiment;

    fn from_str(name: &str) -> Result<Self, UnknownExperiment> {
        let known = ALL.iter().map(|experiment| experiment.name()).find(|known| *known == name);
        known.map(Self).ok_or_else(|| UnknownExperiment(name.to_owned()))
    }
}

/// There is no experiment of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no experiment `{0}`; choose from {known}", known = names().join(", "))]
pub struct UnknownExperiment(String);

fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = ALL.iter().map(|experiment| experiment.name()).collect();
    names.dedup();
    names
}

#[cfg(test)]
pub(crate) mod tests;
