//! Steady load on several backends, and who gets how much of it.

mod causes;
mod figure;
mod rotation;
mod rows;
mod run;
mod tables;
mod text;
mod theory;
mod unevenness;

use comfy_table::Table;

use super::{Experiment, Running};
use crate::compare::Plan;
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::results::Results;

/// The experiment.
pub(crate) struct Spread;

impl Experiment for Spread {
    fn steps(&self, plan: &Plan) -> u64 {
        plan.spreads.len() as u64 * u64::from(plan.seconds)
    }

    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a> {
        Box::pin(run::run(plan, progress, interrupt, &mut results.spread))
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
