//! The decisions of meshless, as data structures.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` and the random stream are arguments,
//! events are `handle_*` calls, and what is to be done comes out of `poll_*` as data. A driver (the crate
//! `meshless`, or the lab's simulator) is then a `match`, and a test is a list of actions.

mod backoff;
mod client;
mod code;
mod connection_id;
mod endpoint;
mod ewma;
mod frame;
mod frame_budget;
mod rng;
mod server;
#[cfg(test)]
mod virtual_time;
mod xxh64;

pub use backoff::{Backoff, BackoffConfig, InvalidBackoffError};
pub use client::answer_budget::AnswerBudget;
pub use client::balancer::{
    Action, Balancer, BalancerConfig, ChannelState, ChoiceCount, ConnectivityState, CountsByCause, Ejection,
    EjectionCause, EjectionConfig, EjectionCounts, EndpointState, InvalidChoiceCountError, ReportSink,
    ResolutionError, SlowStartConfig, WeightUpdate, WeightedConfig, ZonePreference,
};
pub use client::empty_answers::EmptyAnswers;
pub use client::message::{MessageScanner, MessageStop};
pub use client::outcome::{Ending, MessageFault, Outcome};
pub use client::outlier::OutlierConfig;
pub use client::picker::lease::Lease;
pub use client::picker::outcomes::OutcomeReport;
pub use client::picker::reported::LoadReport;
pub use client::picker::{Pick, Picker, Policy, UnavailableError, UnknownPolicyError, Wait};
pub use client::retry::{
    AttemptEnd, AttemptFate, CallRetry, GiveUpReason, HedgeDecision, Hedging, HedgingPolicy,
    InvalidRetryError, Pushback, RetryDecision, RetryPolicy, RetryThrottle, RetryThrottling,
};
pub use client::subchannel::SubchannelState;
pub use code::{Code, CodeSet, UnknownCodeError};
pub use connection_id::ConnectionId;
pub use endpoint::{Address, Endpoint, EndpointDiff, EndpointId, EndpointSet};
pub use frame::{CLIENT_PREFACE, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};
pub use frame_budget::{ControlFrames, FrameBudget};
pub use rng::Rng;
pub use server::lifetime::{
    CloseReason, GoAwayReason, Levelling, Lifetime, LifetimeAction, LifetimeConfig, StreamAge,
};
