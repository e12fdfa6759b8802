//! Levelled ages of connections, and ages as they are.

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
pub(crate) struct Levelling;

impl Experiment for Levelling {
    fn steps(&self, plan: &Plan) -> u64 {
        plan.levellings.len() as u64 * plan.levelling_length().as_secs()
    }

    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a> {
        Box::pin(run::run(plan, progress, interrupt, &mut results.levelling))
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::connections(results, palette)];
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
