//! Steady load while things break.

#[cfg(feature = "kubernetes")]
mod binned;
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
use plan::ChurnPlan;

/// The experiment.
pub(crate) struct Churn;

impl Experiment for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn plan(&self, planning: &mut Planning<'_>) -> Option<Box<dyn Planned>> {
        plan::plan(planning).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::matrix(results, palette), figure::timelines(results, palette)];
        figures.into_iter().flatten().collect()
    }

    fn tables(&self) -> &'static Tables {
        &tables::TABLES
    }
}

impl Planned for ChurnPlan {
    fn steps(&self) -> u64 {
        self.events.iter().map(|(load, _)| load.length.as_secs()).sum()
    }

    fn run<'a>(&'a self, fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, fleet, run))
    }
}
