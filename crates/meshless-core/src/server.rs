//! One server's decisions: how long a connection lives, when it is told to go, and which calls wait
//! or are sent away.

pub(crate) mod lifetime;
pub(crate) mod overload;
