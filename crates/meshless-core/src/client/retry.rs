//! What is sent again, when, and how often (gRFC A6). This file names the parts.
//!
//! | part | scope | decides |
//! |---|---|---|
//! | [`TransparentRetry`](transparent::TransparentRetry) | a call | on attempts that the server provably did not process |
//! | [`CallRetry`] | a call | on every other failed attempt, by its [`RetryPolicy`] |
//! | [`Hedging`] | a call | when to start another attempt beside those under way, by its [`HedgingPolicy`] |
//! | [`RetryThrottle`] | a channel | if the backends can take more attempts than calls |
//!
//! The channel's calls drive these parts and pass in the server's [`Pushback`]. Nothing here picks,
//! sends or waits.

mod call;
mod hedging;
mod policy;
#[cfg(test)]
mod properties;
mod pushback;
mod throttle;
mod transparent;

pub use self::call::{AttemptEnd, CallRetry, GiveUpReason, RetryDecision};
pub use self::hedging::{HedgeDecision, Hedging};
pub use self::policy::{HedgingPolicy, InvalidRetryError, RetryPolicy};
pub use self::pushback::Pushback;
pub use self::throttle::{RetryThrottle, RetryThrottling};
pub use self::transparent::AttemptFate;
