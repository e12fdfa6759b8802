//! The lab of meshless: every way of connecting, measured over real sockets.

mod caller;
mod clock;
mod connector;
mod control;
mod echo;
mod load;
mod pacer;
mod record;
pub mod results;
mod strategy;
