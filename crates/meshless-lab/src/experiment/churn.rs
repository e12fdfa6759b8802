//! Steady load while things break.

pub(crate) mod figure;
mod rows;
pub(crate) mod run;

pub(crate) use rows::{ChurnRun, churn_row};
