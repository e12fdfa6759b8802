//! Load near the capacity, on servers that queue and on servers that refuse.

mod figure;
mod rows;
pub(crate) mod run;
mod tables;
pub(crate) mod text;

use comfy_table::Table;

use super::{Experiment, Running};
use crate::compare::Plan;
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::results::Results;

/// The experiment.
pub(crate) struct Bounce;

impl Experiment for Bounce {
    fn steps(&self, plan: &Plan) -> u64 {
        plan.bounces.len() as u64 * plan.bounce_length().as_secs()
    }

    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a> {
        Box::pin(run::run(plan, progress, interrupt, &mut results.bounce))
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::quantiles(results, palette)];
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
