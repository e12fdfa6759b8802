//! The lab of meshless: every way of connecting, measured over real sockets.
//!
//! A library of what can be asked for: [`compare`] makes experiments, here or on Kubernetes,
//! [`serve`] and [`load`] are one server and one load. Each takes a request, which is plain data. The
//! command `meshless` (`meshless-cli`) makes requests of its arguments. [`compare`] starts the
//! program that it runs in again, as `serve --control` and as `client`, and pods as `worker`: a
//! program that calls it must pass those words on to [`serve`], [`client`] and `worker`.

// The lab is read by those who work on it: its docs may name what is private.
#![allow(rustdoc::private_intra_doc_links)]

mod caller;
pub mod client;
mod clock;
pub mod compare;
mod connector;
mod control;
mod drawing;
mod echo;
pub mod event;
mod experiment;
mod facts;
mod fault;
mod fleet;
pub mod interrupt;
mod journal;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
mod ledger;
mod limits;
pub mod load;
mod machine;
pub mod network;
mod pacer;
mod plain;
mod process;
mod progress;
mod record;
mod reflection;
pub mod report;
mod request;
pub mod results;
mod seed;
pub mod serve;
mod stats;
pub mod strategy;
mod streams;
mod tonic_balance;
mod work;
#[cfg(feature = "kubernetes")]
pub mod worker;
