//! Load near the capacity, on servers that queue and on servers that refuse.

pub(crate) mod figure;
mod rows;
pub(crate) mod run;

pub(crate) use rows::{BounceSettings, bounce_row};
