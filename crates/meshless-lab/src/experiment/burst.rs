//! N calls at once on one server.

pub(crate) mod figure;
mod rows;
pub(crate) mod run;

pub(crate) use rows::burst_row;
