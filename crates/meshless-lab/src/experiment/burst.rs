//! N calls at once on one server.

mod figure;
pub(crate) mod plan;
mod rows;
mod run;
mod tables;
mod text;

use super::{Experiment, Planned, Planning, Run, Tables};
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making};
use crate::results::Results;
use plan::BurstPlan;

/// The experiment.
pub(crate) struct Burst;

impl Experiment for Burst {
    fn name(&self) -> &'static str {
        "burst"
    }

    fn plan(&self, planning: &mut Planning<'_>) -> Option<Box<dyn Planned>> {
        plan::plan(planning).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::error_rate(results, palette), figure::latency(results, palette)];
        figures.into_iter().flatten().collect()
    }

    fn tables(&self) -> &'static Tables {
        &tables::TABLES
    }
}

impl Planned for BurstPlan {
    fn steps(&self) -> u64 {
        self.bursts.len() as u64 * u64::from(self.rounds)
    }

    fn run<'a>(&'a self, _fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, run))
    }
}
