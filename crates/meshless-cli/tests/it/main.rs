//! The program `meshless` as its user runs it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod automation;
mod bad_input;
#[cfg(feature = "kubernetes")]
mod cluster;
mod compare;
mod deploy;
mod docs;
mod kernel;
mod load;
mod manual;
mod serve;
mod support;
mod xds;
