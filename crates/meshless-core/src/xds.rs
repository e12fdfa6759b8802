//! xDS: what a control plane sends, and when (the state-of-the-world variant, gRFC A27).

pub(crate) mod debounce;
pub(crate) mod server;
