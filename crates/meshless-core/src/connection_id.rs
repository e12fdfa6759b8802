//! The name of a connection. The balancer gives it, leases and the driver refer to it.

use std::fmt;

/// Names a connection from the attempt to make it to its end. Never used twice by one balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
