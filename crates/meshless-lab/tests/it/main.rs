//! The program `meshless` as its user runs it, and its report.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod bad_input;
mod compare;
mod deploy;
mod kernel;
mod report;
mod serve;
mod support;
