//! Load near the capacity, on servers that queue and on servers that refuse.

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
use plan::BouncePlan;

/// The experiment.
pub(crate) struct Bounce;

impl Experiment for Bounce {
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
        figure::quantiles(results, palette).into_iter().collect()
    }

    fn tables(&self) -> &'static Tables {
        &tables::TABLES
    }
}

impl Planned for BouncePlan {
    fn steps(&self) -> u64 {
        ServersPlan::steps(self)
    }

    fn run<'a>(&'a self, _fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, run))
    }
}
