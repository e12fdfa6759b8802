//! Levelled ages of connections, and ages as they are.

mod figure;
mod plan;
mod rows;
mod run;
mod tables;
pub(crate) mod text;

use super::servers::ServersPlan;
use super::{Experiment, Planned, Planning, Run, Tables};
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making};
use crate::results::Results;
use plan::LevellingPlan;

/// The experiment.
pub(crate) struct Levelling;

impl Experiment for Levelling {
    fn name(&self) -> &'static str {
        "servers"
    }

    fn is_extra(&self) -> bool {
        true
    }

    fn plan(&self, planning: &mut Planning<'_>) -> Option<Box<dyn Planned>> {
        plan::OFFER.plan(planning).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        figure::connections(results, palette).into_iter().collect()
    }

    fn tables(&self) -> &'static Tables {
        &tables::TABLES
    }
}

impl Planned for LevellingPlan {
    fn steps(&self) -> u64 {
        ServersPlan::steps(self)
    }

    fn run<'a>(&'a self, _fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, run))
    }
}
