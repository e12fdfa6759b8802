//! One server's decisions: which connections are let in, how long one lives, when it is told to go,
//! how much of it is read at a time, and which calls wait or are sent away.

pub(crate) mod admission;
pub(crate) mod lifetime;
pub(crate) mod overload;
pub(crate) mod read_turn;
