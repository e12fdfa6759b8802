//! N calls at once on one server.

mod figure;
pub(crate) mod plan;
mod rows;
mod run;
mod tables;
mod text;

use comfy_table::Table;

use super::{Experiment, Planned, Run};
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::fleet::{Fleet, Making, Site};
use crate::request::CompareRequest;
use crate::results::Results;
use plan::BurstPlan;

/// The experiment.
pub(crate) struct Burst;

impl Experiment for Burst {
    fn name(&self) -> &'static str {
        "burst"
    }

    fn plan(
        &self,
        request: &CompareRequest,
        site: &Site,
        notes: &mut Vec<String>,
    ) -> Option<Box<dyn Planned>> {
        plan::plan(request, site, notes).map(|plan| Box::new(plan) as _)
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::error_rate(results, palette), figure::latency(results, palette)];
        figures.into_iter().flatten().collect()
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

impl Planned for BurstPlan {
    fn steps(&self) -> u64 {
        self.bursts.len() as u64 * u64::from(self.rounds)
    }

    fn run<'a>(&'a self, _fleet: &'a mut dyn Fleet, run: &'a mut Run<'_>) -> Making<'a, ()> {
        Box::pin(run::run(self, run))
    }
}
