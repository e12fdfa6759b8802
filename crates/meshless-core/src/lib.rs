//! The decisions of meshless, as data structures.
//!
//! Nothing here does I/O, reads a clock or draws a random number. `now` and the random stream are
//! arguments, events are `handle_*` calls, and actions come out of `poll_*` as data. So a driver
//! (the crate `meshless`, or a simulation) is a `match`, and a test is a list of actions.
//!
//! The driver of a [`Balancer`] is a loop:
//!
//! ```
//! # use std::{sync::Arc, time::Instant};
//! # use meshless_core::*;
//! # #[derive(Clone, Debug)] struct Connection;
//! # enum Event { Resolved(Result<Vec<Endpoint>, ResolutionError>), Connected(ConnectionId, Connection),
//! #   ConnectFailed(ConnectionId, String), GoingAway(ConnectionId), Closed(ConnectionId, String), Waiting(Wait),
//! #   Outcome(OutcomeReport), Timeout }
//! # struct Io; impl Io {
//! #   fn publish(&self, _: Arc<Picker<Connection>>) {} fn resolve(&self, _: ResolveHint) {}
//! #   fn connect(&self, _: ConnectionId, _: Address, _: std::time::Duration) {} fn close(&self, _: ConnectionId, _: bool) {}
//! #   fn next(&self, _: Option<Instant>) -> Option<Event> { None } }
//! # let (io, now) = (Io, Instant::now);
//! let mut balancer = Balancer::new(BalancerConfig::new(Policy::RoundRobin), Rng::new(7, 1), now());
//! balancer.handle_call(now()); // connect now; without it, with the first call
//! loop {
//!     while let Some(action) = balancer.poll_action() {
//!         match action {
//!             Action::UpdatePicker(picker) => io.publish(picker), // swap the `Arc`, wake the queued calls
//!             Action::Connect { connection, address, timeout, .. } => io.connect(connection, address, timeout),
//!             Action::Close { connection, graceful } => io.close(connection, graceful),
//!             Action::RequestResolution(hint) => io.resolve(hint),
//!             _ => {}
//!         }
//!     }
//!     let Some(event) = io.next(balancer.poll_timeout()) else { break };
//!     match event {
//!         Event::Resolved(answer) => balancer.handle_resolution(now(), answer),
//!         Event::Connected(id, connection) => balancer.handle_connected(now(), id, connection),
//!         Event::ConnectFailed(id, error) => balancer.handle_connect_failed(now(), id, error),
//!         Event::GoingAway(id) => balancer.handle_going_away(now(), id),
//!         Event::Closed(id, error) => balancer.handle_closed(now(), id, error),
//!         Event::Waiting(Wait::Idle) => balancer.handle_call(now()),
//!         Event::Waiting(Wait::Full(endpoint)) => balancer.handle_full(now(), endpoint),
//!         Event::Waiting(Wait::Connecting) => {}
//!         Event::Outcome(report) => balancer.handle_outcome(now(), report), // what a `Lease` said at its end
//!         Event::Timeout => balancer.handle_timeout(now()),
//!     }
//! }
//! ```

mod atomic;
mod backoff;
mod client;
mod code;
mod connection_id;
mod endpoint;
mod ewma;
mod frame;
mod frame_budget;
mod liveness;
mod longest;
#[cfg(all(test, meshless_loom))]
mod loom_models;
mod rate;
mod resolver;
mod rng;
mod server;
mod timers;
#[cfg(test)]
mod virtual_time;
mod xds;
mod xxh64;

pub use backoff::{Backoff, BackoffConfig, InvalidBackoffError};
pub use client::answer_budget::AnswerBudget;
pub use client::balancer::{
    Action, Balancer, BalancerConfig, ChannelState, ChoiceCount, ConnectivityState, CountsByCause, Ejection,
    EjectionCause, EjectionConfig, EjectionCounts, EndpointCounts, EndpointState, InvalidChoiceCountError,
    OutlierConfig, ReportSink, ResolutionError, ResolveHint, SlowStartConfig, WeightUpdate, WeightedConfig,
    ZonePreference,
};
pub use client::empty_answers::EmptyAnswers;
pub use client::idleness::Idleness;
pub use client::message::{MessageScanner, MessageStop};
pub use client::outcome::{Ending, MessageFault, Outcome};
pub use client::picker::lease::Lease;
pub use client::picker::outcomes::OutcomeReport;
pub use client::picker::reported::LoadReport;
pub use client::picker::{Pick, Picker, Policy, UnavailableError, UnknownPolicyError, Wait};
pub use client::retry::{
    AttemptEnd, AttemptFate, CallRetry, GiveUpReason, HedgeDecision, Hedging, HedgingPolicy,
    InvalidRetryError, Pushback, RetryDecision, RetryPolicy, RetryThrottle, RetryThrottling,
};
pub use client::stream_limit::{Freed, StreamLimit};
pub use client::stream_share::StreamShare;
pub use client::subchannel::SubchannelState;
pub use client::waiting_line::WaitingLine;
pub use code::{Code, CodeSet, UnknownCodeError};
pub use connection_id::ConnectionId;
pub use endpoint::{Address, Endpoint, EndpointDiff, EndpointId, EndpointSet};
pub use frame::{CLIENT_PREFACE, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};
pub use frame_budget::{ControlFrames, FrameBudget};
pub use liveness::{Liveness, LivenessAction, LivenessConfig, Received};
pub use rate::Rate;
pub use resolver::dns_schedule::{DnsSchedule, DnsScheduleConfig};
pub use resolver::endpoint_choice::{AddressPreference, EndpointChoice, KubernetesPort, NoEndpoint};
pub use resolver::endpoint_slice::{
    AddressType, EndpointCondition, EndpointIdentity, EndpointSlice, SliceEndpoint, SlicePort,
};
pub use resolver::event_pace::EventPace;
pub use resolver::slice_table::{ServiceTooLargeError, SliceSnapshot, SliceTable};
pub use resolver::watch_schedule::{
    SliceRequest, WatchFailure, WatchRetry, WatchSchedule, WatchScheduleConfig,
};
pub use rng::Rng;
pub use server::admission::{Admission, Admitted, ConnectionLimits};
pub use server::lifetime::{
    CutReason, GoAwayReason, Levelling, Lifetime, LifetimeAction, LifetimeConfig, StreamAge,
};
pub use server::overload::{BusyAnswer, CallLimit, EarlierRefusals};
pub use server::read_turn::ReadTurn;
pub use xds::debounce::Debounce;
pub use xds::server::{
    AdsRequest, AdsResponse, AdsStream, ResourceKind, ResourceState, TooManyNamesError, Verdict,
};
pub use xxh64::xxh64;
