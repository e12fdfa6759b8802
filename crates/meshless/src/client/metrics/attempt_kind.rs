//! Why attempts are made.

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AttemptKind {
    #[default]
    First,
    /// A retry policy made it.
    Retry,
    /// Made without a policy: the server had not processed the previous attempt.
    TransparentRetry,
    /// A hedging policy made it, beside another attempt.
    Hedge,
}
