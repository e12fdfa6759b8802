//! What the channel knows of a failed call and its status does not say: that nothing of it was
//! sent.

use std::fmt;
use std::sync::Arc;

use tonic::Status;

/// The [source](std::error::Error::source) of the status of a call that never left this process: no
/// attempt of it had a connection whose HEADERS were written. No server has seen it, so it is safe
/// to make it again.
///
/// A status without it says nothing of the kind: its call may have been sent, and may have been
/// executed. A hedged call never has it.
///
/// ```
/// # let status = tonic::Status::unavailable("");
/// if meshless::client::NeverSent::is_true_of(&status) {
///     // Make the call elsewhere.
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverSent;

impl NeverSent {
    /// Returns true if this status is of a call that never left this process.
    pub fn is_true_of(status: &Status) -> bool {
        std::error::Error::source(status).is_some_and(|source| source.is::<Self>())
    }

    pub(super) fn mark(mut status: Status) -> Status {
        status.set_source(Arc::new(Self));
        status
    }
}

impl fmt::Display for NeverSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call was not sent")
    }
}

impl std::error::Error for NeverSent {}
