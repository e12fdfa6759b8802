//! The program `meshless` as its user runs it, and its report.

// `allow-unwrap-in-tests` does not reach the helpers of tests.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod compare;
mod report;
mod serve;
mod support;
