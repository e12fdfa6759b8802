//! Steady load on several backends, and who gets how much of it.

pub(crate) mod figure;
pub(crate) mod rotation;
mod rows;
pub(crate) mod run;
pub(crate) mod theory;
pub(crate) mod unevenness;

pub(crate) use rows::{SpreadSettings, spread_row};
