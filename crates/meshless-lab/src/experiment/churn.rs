//! Steady load while things break.

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
pub(crate) struct Churn;

impl Experiment for Churn {
    fn steps(&self, plan: &Plan) -> u64 {
        match plan.churns.is_empty() {
            true => 0,
            false => plan.events.iter().map(|event| event.watched(plan.churn_watch).as_secs() + 1).sum(),
        }
    }

    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a> {
        Box::pin(run::run(plan, progress, interrupt, results))
    }

    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure> {
        let figures = [figure::matrix(results, palette), figure::timelines(results, palette)];
        figures.into_iter().flatten().collect()
    }

    fn tables(&self, results: &Results, palette: &Palette) -> String {
        tables::page(results, palette) + &tables::events(results)
    }

    fn csv(&self, results: &Results) -> Vec<(&'static str, String)> {
        tables::csv(results)
    }

    fn text(&self, results: &Results, width: u16) -> Option<(String, Table)> {
        tables::in_terminal(results, width)
    }
}
