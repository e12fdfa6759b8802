//! One table of all the ways in which an attempt of a call ends, and what the balancer learns.
//!
//! It depends on what the *caller* saw, and who caused it. A backend has failed if it makes calls
//! fail in any way: by a status, a reset, or bytes that are no message. An end that the caller
//! causes itself (it cancels, it has its own limit, its deadline is too short) says nothing about
//! the backend, neither good nor bad.
//!
//! The code that ends a call uses it before it calls [`Lease::finish`](crate::Lease::finish). The
//! table for users is in `docs/reference/outcomes.md`.

use crate::code::Code;

/// How a call ended, from the balancer's point of view: did the backend do its work?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It answered, also with an error of the application.
    Success,
    /// It made the call fail. `peak_ewma` records a penalty latency; otherwise a backend that fails
    /// fast would attract traffic.
    Failure,
    /// It did not answer in time. A failure for ejection; `peak_ewma` learns that the call takes
    /// longer than the time it has waited.
    Late,
}

impl Outcome {
    /// Returns true if ejection counts it as a failure.
    #[inline]
    pub fn is_failure(self) -> bool {
        self != Self::Success
    }
}

/// How an attempt of a call ended, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The server sent a gRPC status, and every message before it was whole.
    Status(Code),
    /// The response has no gRPC status and an HTTP status other than 200: no gRPC server sent it.
    /// The code comes from gRPC's mapping (grpc/doc/http-grpc-status-mapping.md).
    HttpStatus(Code),
    /// The response ended without a status, or its status is not a number.
    NoStatus,
    /// The status is OK, and no message came. That is an error for a unary caller, and a valid end
    /// of a stream.
    NoMessage {
        /// True if other backends answer the method like this, too
        /// ([`EmptyAnswers`](crate::EmptyAnswers)).
        is_usual: bool,
    },
    /// The bytes of the response are not gRPC messages that this caller can read.
    BadMessage(MessageFault),
    /// The server reset the stream, with any code but REFUSED_STREAM. CANCEL is among them: a
    /// caller that cancels does not wait for an answer, so a CANCEL that it reads comes from the
    /// server.
    Reset,
    /// The HTTP/2 library reset the stream because the server violated the protocol on it.
    Breach,
    /// The server refused the call unprocessed: by REFUSED_STREAM, or by a GOAWAY with an error.
    Refused {
        /// True if another server had refused the same call before.
        again: bool,
    },
    /// The server ended the connection by GOAWAY without an error, and the call was left behind; it
    /// is sent elsewhere.
    LeftBehind,
    /// No byte of the call was written.
    NeverSent,
    /// The connection was lost with the call on it.
    ConnectionLost,
    /// This client closed the connection while the call was on it.
    ClosedHere,
    /// The deadline, or the timeout of this attempt, passed before the first message or a status.
    TimedOut {
        /// True if the backend had the call for less than half of its time. Most of the time passed
        /// before a backend was found.
        had_less_than_half: bool,
    },
    /// The deadline passed while messages were coming, or while nobody read them.
    TimedOutInStream,
    /// The caller cancelled the call, or dropped the response before its end.
    CallerLeft,
    /// A limit of the caller ended the call, such as the longest message of its service config.
    CallerLimit,
    /// The caller's request could not be sent: its body failed, or HTTP/2 cannot carry it.
    BadRequest,
}

/// What is wrong with a response's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageFault {
    /// The first byte of a message is neither 0 nor 1.
    #[error("a message begins with the byte {0}, where gRPC has 0 or 1; it is no gRPC response")]
    Flag(u8),
    /// A message is marked as compressed, and the response names no encoding.
    #[error("a message is marked as compressed, but the response names no grpc-encoding")]
    NoEncoding,
    /// The response is in an encoding that the request did not offer.
    #[error("the response is compressed with an encoding that the request did not offer")]
    Encoding,
    /// A message is longer than a protobuf message can be (2 GiB).
    #[error("a message of {0} bytes is announced, and no message is longer than 2 GiB")]
    Length(u32),
    /// The response ends within a message.
    #[error("the response ends within a message")]
    Truncated,
}

impl Ending {
    /// Returns what the balancer learns from it. `None`: nothing, since the backend did not cause
    /// it.
    #[inline]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Status(code) | Self::HttpStatus(code) => Some(of_code(code)),
            Self::NoStatus | Self::BadMessage(_) | Self::Reset | Self::Breach | Self::ConnectionLost => {
                Some(Outcome::Failure)
            }
            Self::NoMessage { is_usual } => Some(if is_usual { Outcome::Success } else { Outcome::Failure }),
            // A busy server that sends a call on to another is not a bad one. One that refuses a
            // call which another refused before may be.
            Self::Refused { again } => again.then_some(Outcome::Failure),
            Self::TimedOut { had_less_than_half } => (!had_less_than_half).then_some(Outcome::Late),
            Self::LeftBehind
            | Self::NeverSent
            | Self::ClosedHere
            | Self::TimedOutInStream
            | Self::CallerLeft
            | Self::CallerLimit
            | Self::BadRequest => None,
        }
    }
}

/// Returns what a status from the server says about the server.
///
/// gRFC A50 counts every code but OK. Here a code does not count if its usual cause is the request:
/// otherwise anyone who chooses a client's requests could also choose its backends. UNIMPLEMENTED
/// counts: if one backend lacks a method and its peers have it, it is of the wrong kind or version.
/// If all lack it, the comparison with the peers prevents ejection (Envoy counts it, too, as HTTP's
/// 501). CANCELLED counts: a caller that reads it has not cancelled.
#[inline]
fn of_code(code: Code) -> Outcome {
    match code {
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => Outcome::Success,
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Outcome::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failure, Late, Success};

    #[test]
    fn a_status_counts_by_its_usual_cause() {
        let failures: Vec<_> = Code::ALL
            .into_iter()
            .filter(|&code| Ending::Status(code).outcome().is_some_and(Outcome::is_failure))
            .collect();
        let expected = [
            Code::Cancelled,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::ResourceExhausted,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
        ];
        assert_eq!(failures, expected);
        for code in Code::ALL {
            assert!(Ending::Status(code).outcome().is_some(), "a status is always the server's: {code:?}");
            assert_eq!(Ending::HttpStatus(code).outcome(), Ending::Status(code).outcome());
        }
    }

    #[test]
    fn what_a_backend_does_counts_and_what_the_caller_does_does_not() {
        let fault = MessageFault::Flag(60);
        let table = [
            (Ending::NoStatus, Some(Failure)),
            (Ending::NoMessage { is_usual: false }, Some(Failure)),
            (Ending::NoMessage { is_usual: true }, Some(Success)),
            (Ending::BadMessage(fault), Some(Failure)),
            (Ending::Reset, Some(Failure)),
            (Ending::Breach, Some(Failure)),
            (Ending::Refused { again: false }, None),
            (Ending::Refused { again: true }, Some(Failure)),
            (Ending::LeftBehind, None),
            (Ending::NeverSent, None),
            (Ending::ConnectionLost, Some(Failure)),
            (Ending::ClosedHere, None),
            (Ending::TimedOut { had_less_than_half: false }, Some(Late)),
            (Ending::TimedOut { had_less_than_half: true }, None),
            (Ending::TimedOutInStream, None),
            (Ending::CallerLeft, None),
            (Ending::CallerLimit, None),
            (Ending::BadRequest, None),
            (Ending::Status(Code::Ok), Some(Success)),
        ];
        for (ending, outcome) in table {
            assert_eq!(ending.outcome(), outcome, "{ending:?}");
        }
    }
}
