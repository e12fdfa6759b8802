//! N calls at once on one server.

mod figure;
mod rows;
mod run;
mod tables;
mod text;

use comfy_table::Table;

use super::{Experiment, Running};
use crate::compare::Plan;
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::results::Results;

/// The experiment.
pub(crate) struct Burst;

impl Experiment for Burst {
    fn steps(&self, plan: &Plan) -> u64 {
        plan.bursts.len() as u64 * u64::from(plan.rounds)
    }

    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a> {
        Box::pin(run::run(plan, progress, interrupt, &mut results.burst))
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
