//! What all figures and tables are made with, and nothing that knows an experiment.
//!
//! [`experiment`](crate::experiment) draws with it, [`report`](crate::report) sets what was drawn.

pub(crate) mod chart;
pub(crate) mod csv;
pub(crate) mod figure;
pub(crate) mod format;
pub(crate) mod page_table;
pub(crate) mod palette;
pub(crate) mod scale;
pub(crate) mod svg;
pub(crate) mod terminal_table;
