//! Every way in which an attempt of a call can end, and what the balancer learns from each: one
//! table.
//!
//! The question is what the *caller* saw, and who caused it. A backend that makes its callers'
//! calls fail has failed, by whatever means: a status, a reset, bytes that are no message. What the
//! caller does itself (it goes away, it has a limit of its own, its deadline is too short) says
//! nothing about the backend, neither good nor bad.
//!
//! Used by whatever ends a call, before it calls [`Lease::finish`](crate::Lease::finish). The table
//! for users is in `docs/reference/outcomes.md`.

use crate::code::Code;

/// How a call ended, as a balancer sees it: did the backend do its work?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It answered, if only with an error of the application.
    Success,
    /// It made the call fail. `peak_ewma` records a penalty latency, or a backend that fails fast
    /// would attract the traffic.
    Failure,
    /// It did not answer in time. A failure for ejection; `peak_ewma` learns that it takes longer
    /// than the call has waited.
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
    /// The response has another HTTP status than 200 and no gRPC status: the word of a proxy, or of
    /// no gRPC server. The code is the one that gRPC's mapping gives
    /// (grpc/doc/http-grpc-status-mapping.md).
    HttpStatus(Code),
    /// The response ended without a status, or with one that is no number.
    NoStatus,
    /// The status is OK, and no message came: an error for a unary caller, a valid end of a stream.
    NoMessage {
        /// Other backends answer the method like this, too ([`EmptyAnswers`](crate::EmptyAnswers)).
        is_usual: bool,
    },
    /// The bytes of the response are not gRPC messages that this caller can read.
    BadMessage(MessageFault),
    /// The server reset the stream, with any code but REFUSED_STREAM. CANCEL is one of them: a
    /// caller that cancels does not wait for an answer, so a CANCEL that it reads is the server's
    /// doing.
    Reset,
    /// The HTTP/2 library reset the stream since the server broke the protocol on it.
    Breach,
    /// The server says that it has not processed the call: REFUSED_STREAM, or a GOAWAY with an
    /// error.
    Refused {
        /// Another server had refused the same call before.
        again: bool,
    },
    /// The server closed the connection in good order (GOAWAY) and left the call behind; it runs
    /// elsewhere.
    LeftBehind,
    /// No byte of the call was written.
    NeverSent,
    /// The connection was lost with the call on it.
    ConnectionLost,
    /// This client closed the connection under the call.
    ClosedHere,
    /// The deadline, or the timeout of this attempt, passed before the first message or a status.
    TimedOut {
        /// The backend had the call for less than half of the time that the caller gave it: most of
        /// it went by before a backend was found.
        had_less_than_half: bool,
    },
    /// The deadline passed while messages were coming, or while they were not read.
    TimedOutInStream,
    /// The caller cancelled the call, or dropped the response before its end.
    CallerLeft,
    /// A limit that the caller has set ended it, such as the longest message of its service config.
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
    /// What the balancer learns from it. `None`: nothing, it was not the backend's doing.
    #[inline]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Status(code) | Self::HttpStatus(code) => Some(of_code(code)),
            Self::NoStatus | Self::BadMessage(_) | Self::Reset | Self::Breach | Self::ConnectionLost => {
                Some(Outcome::Failure)
            }
            Self::NoMessage { is_usual } => Some(if is_usual { Outcome::Success } else { Outcome::Failure }),
            // A busy server that sends a call on to another is not a bad one; one that refuses what
            // was refused before may be.
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

/// What a status from the server says about the server.
///
/// gRFC A50 counts every code but OK. Here those do not count whose usual cause is the request:
/// whoever may choose the requests of a client could otherwise choose its backends, too.
/// UNIMPLEMENTED counts: a method that one backend lacks and its peers have is a backend of the
/// wrong kind or version, and if all lack it, the comparison with the peers forgives it (Envoy
/// counts it, too, as HTTP's 501). CANCELLED counts: the caller that reads it has not cancelled.
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
