//! Levelled ages of connections, and ages as they are.

mod figure;
mod plan;
mod rows;
mod run;
mod tables;
pub(crate) mod text;

use comfy_table::Table;

use super::servers::ServersPlan;
use super::{Experiment, Planned, Run};
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making, Site};
use crate::request::CompareRequest;
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

    fn plan(
        &self,
        request: &CompareRequest,
        site: &Site,
        notes: &mut Vec<String>,
    ) -> Option<Box<dyn Planned>> {
        plan::OFFER.plan(request, site, notes).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        figure::connections(results, palette).into_iter().collect()
    }

    fn tables(&self, results: &Results, palette: &Palette) -> String {
        tables::page(results, palette)
    }

    fn csv(&self, results: &Results) -> Vec<(&'static str, String)> {
        tables::csv(results)
    }

    fn text(&self, results: &Results, width: u16) -> Option<(String, Table)> {
        tables::in_terminal(results, width)
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
