//! The decisions of meshless, as data structures.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` and the random stream are arguments,
//! events are `handle_*` calls, and what is to be done comes out of `poll_*` as data. A driver (the crate
//! `meshless`, or the lab's simulator) is then a `match`, and a test is a list of actions.

mod frame;
mod lifetime;
mod rng;

pub use frame::{CLIENT_PREFACE, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};
pub use lifetime::{CloseReason, GoAwayReason, Lifetime, LifetimeAction, LifetimeConfig};
pub use rng::Rng;
