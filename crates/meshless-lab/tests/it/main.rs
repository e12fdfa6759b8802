//! The program `meshless` as its user runs it.

mod bad_input;
mod compare;
mod serve;
mod support;
