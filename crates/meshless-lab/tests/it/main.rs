//! The program `meshless` as its user runs it, and its report.

mod bad_input;
mod compare;
mod report;
mod serve;
mod support;
