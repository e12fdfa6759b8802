//! The lab of meshless: every way of connecting, measured over real sockets.

pub mod echo;
pub mod report;
pub mod results;
