//! The experiments: what each runs, the rows that come of it, and how they are drawn and told.
//!
//! An experiment is a folder here and a line in [`ALL`]. What it keeps in a [`Plan`] is decided in
//! `compare/plan.rs`, and its rows are a field of [`Results`], whose layout has a version.

pub(crate) mod bounce;
pub(crate) mod burst;
pub(crate) mod churn;
pub(crate) mod levelling;
pub(crate) mod spread;

use std::pin::Pin;

use comfy_table::Table;

use crate::compare::Plan;
use crate::compare::rig::RigError;
use crate::drawing::figure::Figure;
use crate::drawing::palette::Palette;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::results::Results;

/// All experiments, in the order in which they are made and told.
pub(crate) const ALL: [&dyn Experiment; 5] =
    [&burst::Burst, &spread::Spread, &churn::Churn, &levelling::Levelling, &bounce::Bounce];

/// One experiment. It runs what a plan holds for it, and reads its own rows of the results.
pub(crate) trait Experiment: Sync {
    /// How far the progress bar has to go for it: about one step a second. None of it planned: 0.
    fn steps(&self, plan: &Plan) -> u64;

    /// Makes what is planned, and adds its rows. What `interrupt` cuts short gives no row that
    /// would not compare.
    ///
    /// # Errors
    /// If a process dies that was not to. Rows that were finished by then are there.
    fn run<'a>(
        &self,
        plan: &'a Plan,
        progress: &'a Progress,
        interrupt: &'a mut Interrupt,
        results: &'a mut Results,
    ) -> Running<'a>;

    /// Its figures on the page, as far as the run has data for them.
    fn figures(&self, results: &Results, palette: &Palette) -> Vec<Figure>;

    /// Its tables on the page, as HTML. Empty without a row.
    fn tables(&self, results: &Results, palette: &Palette) -> String;

    /// Its tables as CSV, by the names of their files. One without a row still has its header.
    fn csv(&self, results: &Results) -> Vec<(&'static str, String)>;

    /// Its title and table in a terminal of so many columns. `None` without a row.
    fn text(&self, results: &Results, width: u16) -> Option<(String, Table)>;
}

/// An experiment that is being made.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), RigError>> + 'a>>;
