//! When a client has got over an event.

use super::{BEGINS, READY};

/// When a client has got over an event. What is measured is the time from the event's begin, or
/// from the mark that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convergence {
    /// There is nothing to get over: the event goes on all the time.
    None,
    /// No call that was due from then on failed. `since` is the mark from which the time counts.
    NoFailure {
        /// Name of the mark.
        since: &'static str,
    },
    /// In no half second that began from then on did more than 5 % of the calls fail. For events in
    /// which connections age quickly all the while: what a client loses at rotations does not end
    /// with the event.
    FewFail,
    /// The new backends get at least 90 % of their share of the calls.
    NewHaveShare {
        /// Name of the mark from which the time counts.
        since: &'static str,
    },
    /// The backend that was hurt gets less than half of its share.
    HurtShunned,
}

impl Convergence {
    /// The definition, for the report.
    pub(crate) fn definition(self) -> String {
        match self {
            Self::None => "not defined: the event does not end".into(),
            Self::NoFailure { since: BEGINS } => "from its begin to the last call that failed".into(),
            Self::NoFailure { since } => format!("from “{since}” to the last call that failed"),
            Self::FewFail => {
                "from its begin to the last call that failed in a half second in which more than 5 % did; connections age \
                 meanwhile, and what that costs goes on"
                    .into()
            }
            Self::NewHaveShare { since } => {
                let since = match since {
                    READY => "the moment the new pods are ready",
                    _ => "the listing of the new backends",
                };
                format!("from {since} until they get at least 90 % of their share within half a second")
            }
            Self::HurtShunned => {
                "from its begin until the slow backend gets less than half of its share within half a second".into()
            }
        }
    }
}
