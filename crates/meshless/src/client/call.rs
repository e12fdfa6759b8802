//! One call: it is sent, sent again, received, and classified when it fails.
//!
//! This file names the parts. [`attempt()`] runs a call once on one connection. The request belongs
//! to [`Outgoing`], which survives the attempt. If the [`Failure`](failure::Failure) says that the
//! call was not processed, the channel tries it elsewhere.

mod attempt;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod grpc_status;
mod head;
mod not_grpc;
mod outgoing;
mod pump;
mod refusal;
mod response;
mod response_head;

pub(crate) use self::attempt::attempt;
pub(crate) use self::failure::Failure;
pub(crate) use self::outgoing::Outgoing;
#[cfg(test)]
pub(crate) use self::outgoing::{STREAM_REPLAY_LIMIT, UNARY_REPLAY_LIMIT};
pub(crate) use self::refusal::Refusal;
pub(crate) use self::response::{AttemptBody, CallGuard};
pub(crate) use self::response_head::UnofferedEncoding;
