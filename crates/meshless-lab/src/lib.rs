//! The lab of meshless: every way of connecting, measured over real sockets.

mod caller;
mod cli;
mod client;
mod clock;
#[cfg(feature = "kubernetes")]
mod cluster;
mod compare;
mod connector;
mod control;
mod echo;
mod event;
mod fault;
mod interrupt;
mod journal;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
mod ledger;
mod limits;
mod load;
mod machine;
pub mod network;
mod pacer;
mod plain;
mod process;
mod progress;
mod record;
mod reflection;
pub mod report;
pub mod results;
pub mod run;
mod serve;
mod stats;
mod strategy;
mod streams;
mod tonic_balance;
mod work;
