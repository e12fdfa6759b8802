//! Marks a failed call that was never sent; its status code does not say so.

use std::fmt;
use std::sync::Arc;

use tonic::Status;

/// The [source](std::error::Error::source) of the status of a call that never left this process. No
/// attempt wrote its HEADERS to a connection. No server has seen the call, so it is safe to make it
/// again.
///
/// A call whose status lacks it may have been sent and executed. A hedged call never has it.
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
    /// Returns true if the call of this status never left this process.
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
