//! The report of a run.

mod report;
