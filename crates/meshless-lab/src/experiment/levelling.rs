//! Levelled ages of connections, and ages as they are.

pub(crate) mod figure;
mod rows;
pub(crate) mod run;

pub(crate) use rows::{LevellingSettings, levelling_row};
