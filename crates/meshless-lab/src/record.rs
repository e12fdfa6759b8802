//! One call as the client saw it, and what its error tells about how far it came.
//!
//! Written by `client`, read by `stats`. Whether a failed call was executed is not known here: only
//! the servers' ledgers know, so the client gives a [`Hint`] and `stats` decides.

use std::error::Error;

use meshless::client::NeverSent;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

/// One call. Offsets are nanoseconds from the start of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CallRecord {
    /// Which call; unique within a run.
    pub(crate) id: u64,
    /// When it was due.
    pub(crate) scheduled_ns: u64,
    /// When the client began it, at which its deadline starts.
    pub(crate) started_ns: u64,
    /// When its caller had an answer or an error.
    pub(crate) finished_ns: u64,
    /// What its caller had.
    pub(crate) end: CallResult,
}

/// How a call ended for its caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum CallResult {
    /// With an answer, from this backend if it gave its name.
    Answered(Option<String>),
    /// With an error.
    Failed(Failure),
}

/// What a caller learns of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Number of the gRPC status.
    pub(crate) code: i32,
    /// How far the call came, as far as the error tells.
    pub(crate) hint: Hint,
}

/// How far a failed call came, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hint {
    /// Its deadline passed.
    Deadline,
    /// No byte of it was written.
    NeverSent,
    /// The error does not tell.
    Unknown,
}

impl Failure {
    /// The failure of a call that the client's own timer ended.
    pub(crate) const DEADLINE: Self = Self { code: Code::DeadlineExceeded as i32, hint: Hint::Deadline };

    /// The failure of a call whose connection was never made.
    pub(crate) const NOT_CONNECTED: Self = Self { code: Code::Unavailable as i32, hint: Hint::NeverSent };

    /// Judges an error of a tonic client, or of our channel.
    pub(crate) fn of(status: &Status) -> Self {
        Self { code: status.code() as i32, hint: hint(status) }
    }

    /// The status as gRPC's documents spell it.
    pub(crate) fn status_name(self) -> &'static str {
        status_name(Code::from_i32(self.code))
    }
}

/// A status as gRPC's documents spell it.
pub(crate) fn status_name(code: Code) -> &'static str {
    STATUS_NAMES[code as usize]
}

fn hint(status: &Status) -> Hint {
    // tonic ends a call at its `grpc-timeout` with CANCELLED and this text, on either side.
    if status.code() == Code::DeadlineExceeded
        || (status.code() == Code::Cancelled && status.message() == "Timeout expired")
    {
        return Hint::Deadline;
    }
    // Our channel knows, and the text of its status need not be read.
    if NeverSent::is_true_of(status) {
        return Hint::NeverSent;
    }
    // The text of tonic's generated clients for an error of `ready()`: before the request was
    // handed over.
    if status.message().starts_with("Service was not ready") {
        return Hint::NeverSent;
    }
    let mut error: Option<&(dyn Error + 'static)> = status.source();
    while let Some(cause) = error {
        // hyper's `Canceled`: the request was taken back from the connection's queue, which closed.
        let canceled = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if canceled || cause.is::<tonic::ConnectError>() {
            return Hint::NeverSent;
        }
        if cause.is::<tonic::TimeoutExpired>() {
            return Hint::Deadline;
        }
        error = cause.source();
    }
    Hint::Unknown
}

/// Names of gRPC's statuses by their numbers (grpc/doc/statuscodes.md).
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_saying_too_late_is_a_deadline() {
        let said = [
            Status::deadline_exceeded("too late"),
            Status::cancelled("Timeout expired"),
            Status::from_error(Box::new(tonic::TimeoutExpired(()))),
        ];
        for status in said {
            assert_eq!(Failure::of(&status).hint, Hint::Deadline, "{status:?}");
        }
        assert_eq!(Failure::of(&Status::cancelled("by the peer")).hint, Hint::Unknown);
    }

    #[test]
    fn a_call_without_a_connection_was_never_sent() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(tonic::ConnectError(Box::new(refused))));
        assert_eq!(Failure::of(&status), Failure::NOT_CONNECTED);
        let status = Status::unknown("Service was not ready: the worker is gone");
        assert_eq!(Failure::of(&status).hint, Hint::NeverSent);
    }

    #[tokio::test]
    async fn a_call_of_our_channel_without_a_backend_was_never_sent() {
        // Nobody listens on port 1 of loopback.
        let channel = meshless::Channel::builder("ipv4:127.0.0.1:1").connect_lazy().unwrap();
        let request = crate::echo::hello::Request { message: String::new() };
        let mut client = crate::echo::hello::hello_service_client::HelloServiceClient::new(channel);
        let status = client.echo(request).await.unwrap_err();
        assert_eq!(Failure::of(&status), Failure::NOT_CONNECTED, "{status:?}");
    }

    #[test]
    fn a_broken_connection_does_not_tell_how_far_the_call_came() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::of(&Status::from_error(Box::new(broken))).hint, Hint::Unknown);
    }

    #[test]
    fn statuses_have_the_names_of_grpc() {
        for (code, name) in [(Code::Cancelled, "CANCELLED"), (Code::Unauthenticated, "UNAUTHENTICATED")] {
            assert_eq!(Failure { code: code as i32, hint: Hint::Unknown }.status_name(), name);
        }
    }
}
