//! One server's decisions: how long a connection lives, and when it is told to go.

pub(crate) mod lifetime;
