//! Steady load on several backends, and who gets how much of it.

#[cfg(feature = "kubernetes")]
mod binned;
mod causes;
mod figure;
pub(crate) mod plan;
mod rotation;
mod rows;
mod run;
mod tables;
mod text;
mod theory;
mod unevenness;

use super::{Experiment, Planned, Planning, Run, Tables};
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making};
use crate::results::Results;
use plan::SpreadPlan;

/// The experiment.
pub(crate) struct Spread;

impl Experiment for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn plan(&self, planning: &mut Planning<'_>) -> Option<Box<dyn Planned>> {
        plan::plan(planning).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [
            figure::share(results, palette),
            unevenness::per_second(results, palette),
            unevenness::since_start(results, palette),
            rotation::around(results, palette),
            causes::causes(results, palette),
        ];
        figures.into_iter().flatten().collect()
    }

    fn tables(&self) -> &'static Tables {
        &tables::TABLES
    }
}

impl Planned for SpreadPlan {
    fn steps(&self) -> u64 {
        self.load.strategies.len() as u64 * self.load.length.as_secs()
    }

    fn run<'a>(&'a self, fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, fleet, run))
    }
}
