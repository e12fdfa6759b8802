//! All the ways in which an attempt can fail, with their meaning for a retry and their gRPC status.
//!
//! h2 reports how a stream ended. That tells if the server can have seen the call:
//!
//! | what happened | h2's error | [`FailureKind`] |
//! |---|---|---|
//! | the connection was going away before the stream was opened | – | `NeverSent` |
//! | it broke before a byte of the stream's HEADERS was written | I/O | `NeverSent` |
//! | stream id above the last id of a GOAWAY(NO_ERROR) (RFC 9113 §6.8) | GOAWAY, remote | `LeftBehind` |
//! | the same, of a GOAWAY with an error | GOAWAY, remote | `Unprocessed` |
//! | RST_STREAM(REFUSED_STREAM) (§8.7) | reset, remote | `Unprocessed` |
//! | RST_STREAM with any other code | reset | `Reset` |
//! | headers or trailers above the channel's limit | none, reset or GOAWAY of our own | `TooLong` |
//! | it broke later, after a GOAWAY or without one | I/O, or GOAWAY of our own | `ConnectionLost` |
//!
//! A stream at or below GOAWAY's last id gets no error from the GOAWAY and goes on. If the
//! connection breaks then, the server may have run the call.

use std::time::Duration;

use h2::Reason;
use meshless_core::{Address, AttemptFate, Ending};
use tonic::{Code, Status};

use crate::client::connection::{CloseReason, HeadersTooLong, OpenError, StreamPermit, describe_http2};
use crate::shared::grpc::core_code;

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    endpoint: Address,
    cause: String,
}

/// The kind of a failure: how far the server got with the call.
#[derive(Clone, Debug)]
enum FailureKind {
    /// Nothing of the call left this process.
    NeverSent,
    /// The server ended the connection by GOAWAY without an error, and did not take this call.
    LeftBehind,
    /// The server said that its application has not seen the call.
    Unprocessed,
    /// The stream was reset with this code: by the server, or (`by_us`) because the server violated
    /// the protocol. The call may have been processed.
    Reset { reason: Reason, by_us: bool },
    /// The connection ended with the call on it, by the channel's decision (`by_us`) or not. The
    /// call may have been processed.
    ConnectionLost { by_us: bool },
    /// No answer came within the retry policy's timeout per attempt. The attempt was cancelled.
    TimedOut,
    /// The peer does not speak gRPC; the code is that of its HTTP status.
    NotGrpc(Code),
    /// The response's headers or trailers are longer than this channel accepts.
    TooLong,
    /// The request's headers are longer than the server accepts.
    RequestTooLong,
    /// The request cannot be sent on any connection.
    Invalid,
    /// The request's own body failed.
    Body(Status),
}

impl Failure {
    /// Makes the failure of a stream that could not be opened.
    pub(super) fn from_open(error: OpenError, slot: &StreamPermit) -> Self {
        match error {
            OpenError::NotAccepting => {
                Self::new(FailureKind::NeverSent, slot, "the connection is going away".to_owned())
            }
            OpenError::TooLong(HeadersTooLong { len, max }) => {
                let cause =
                    format!("{len} bytes, and the server accepts {max} (SETTINGS_MAX_HEADER_LIST_SIZE)");
                Self::new(FailureKind::RequestTooLong, slot, cause)
            }
            OpenError::Invalid(error) => Self::new(FailureKind::Invalid, slot, describe_http2(&error)),
        }
    }

    /// Makes the failure of an open stream that ended.
    pub(super) fn from_stream(error: &h2::Error, stream_id: u32, slot: &StreamPermit) -> Self {
        if let Some(too_long) = slot.headers_too_long() {
            return Self::too_long(too_long, slot);
        }
        let kind = match error.reason() {
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => FailureKind::Unprocessed,
            Some(reason) if error.is_reset() => FailureKind::Reset { reason, by_us: !error.is_remote() },
            Some(Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => FailureKind::LeftBehind,
            Some(_) if error.is_go_away() && error.is_remote() => FailureKind::Unprocessed,
            _ if !slot.was_written(stream_id) => FailureKind::NeverSent,
            _ => FailureKind::ConnectionLost {
                by_us: matches!(
                    slot.close_reason(),
                    Some(CloseReason::Aborted | CloseReason::Drained | CloseReason::HeadersTooLong { .. })
                ),
            },
        };
        let cause = match (&kind, slot.close_reason()) {
            // h2 reports "broken pipe" to the calls, for any end of the connection.
            (FailureKind::NeverSent | FailureKind::ConnectionLost { .. }, Some(reason)) => reason.to_string(),
            _ => describe_http2(error),
        };
        Self::new(kind, slot, cause)
    }

    /// The peer does not speak gRPC.
    pub(super) fn not_grpc(code: Code, cause: String, slot: &StreamPermit) -> Self {
        Self::new(FailureKind::NotGrpc(code), slot, cause)
    }

    /// The response's headers or trailers are above the limit.
    pub(super) fn too_long(HeadersTooLong { len, max }: HeadersTooLong, slot: &StreamPermit) -> Self {
        let cause =
            format!("{len} bytes, and the channel accepts {max} (ChannelBuilder::max_header_list_size)");
        Self::new(FailureKind::TooLong, slot, cause)
    }

    /// The request's body ended with its own error.
    pub(super) fn from_body(status: Status, slot: &StreamPermit) -> Self {
        let cause = status.message().to_owned();
        Self::new(FailureKind::Body(status), slot, cause)
    }

    /// `endpoint` took longer than the retry policy's timeout per attempt.
    pub(crate) fn timed_out(endpoint: Address, limit: Duration) -> Self {
        Self { kind: FailureKind::TimedOut, endpoint, cause: format!("{limit:?} per attempt") }
    }

    /// Returns how far the call got, to decide if it is sent again.
    pub(crate) fn fate(&self) -> AttemptFate {
        match self.kind {
            FailureKind::NeverSent => AttemptFate::NeverSent,
            FailureKind::LeftBehind => AttemptFate::LeftBehind,
            FailureKind::Unprocessed => AttemptFate::Refused,
            // The last four would fail again on any backend.
            FailureKind::Reset { .. }
            | FailureKind::ConnectionLost { .. }
            | FailureKind::TimedOut
            | FailureKind::NotGrpc(_)
            | FailureKind::TooLong
            | FailureKind::RequestTooLong
            | FailureKind::Invalid
            | FailureKind::Body(_) => AttemptFate::MaybeProcessed,
        }
    }

    /// Returns false if nothing of the call can have left this process in this attempt.
    pub(crate) fn may_have_been_sent(&self) -> bool {
        !matches!(self.kind, FailureKind::NeverSent | FailureKind::RequestTooLong | FailureKind::Invalid)
    }

    /// Returns the ending for the balancer. `again`: another server had refused the same call
    /// before.
    pub(crate) fn ending(&self, again: bool) -> Ending {
        match self.kind {
            FailureKind::NeverSent => Ending::NeverSent,
            FailureKind::LeftBehind => Ending::LeftBehind,
            FailureKind::Unprocessed => Ending::Refused { again },
            FailureKind::Reset { by_us: false, .. } => Ending::Reset,
            FailureKind::Reset { by_us: true, .. } => Ending::Breach,
            FailureKind::ConnectionLost { by_us: false } => Ending::ConnectionLost,
            FailureKind::ConnectionLost { by_us: true } => Ending::ClosedHere,
            FailureKind::TimedOut => Ending::TimedOut { had_less_than_half: false },
            FailureKind::NotGrpc(code) => Ending::HttpStatus(core_code(code)),
            FailureKind::TooLong => Ending::CallerLimit,
            FailureKind::RequestTooLong | FailureKind::Invalid | FailureKind::Body(_) => Ending::BadRequest,
        }
    }

    /// Returns the backend of the attempt.
    #[cfg(test)]
    pub(crate) fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    /// Returns true if the policy's timeout per attempt ended it.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self.kind, FailureKind::TimedOut)
    }

    /// Returns true if the call would fail on every backend: because of its request, or of the
    /// channel's own limit.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.kind,
            FailureKind::Invalid | FailureKind::Body(_) | FailureKind::RequestTooLong | FailureKind::TooLong
        )
    }

    /// Returns the gRPC code, by the table in gRPC's PROTOCOL-HTTP2.md, "Errors".
    pub(crate) fn code(&self) -> Code {
        match &self.kind {
            FailureKind::NeverSent
            | FailureKind::LeftBehind
            | FailureKind::Unprocessed
            | FailureKind::ConnectionLost { .. } => Code::Unavailable,
            FailureKind::Reset { reason, .. } => reset_code(*reason),
            FailureKind::TimedOut => Code::DeadlineExceeded,
            FailureKind::NotGrpc(code) => *code,
            FailureKind::TooLong | FailureKind::RequestTooLong => Code::ResourceExhausted,
            FailureKind::Invalid => Code::Internal,
            FailureKind::Body(status) => status.code(),
        }
    }

    /// Returns the status for the caller.
    pub(crate) fn into_status(self) -> Status {
        match self.kind {
            FailureKind::Body(status) => status,
            _ => Status::new(self.code(), self.describe()),
        }
    }

    /// Returns the endpoint, the fault, and its cause.
    pub(crate) fn describe(&self) -> String {
        let Self { kind, endpoint, cause } = self;
        let what = match kind {
            FailureKind::Body(_) => "the request's body failed",
            FailureKind::NeverSent => "the call was not sent",
            FailureKind::LeftBehind | FailureKind::Unprocessed => "the server did not process the call",
            FailureKind::Reset { .. } => "the stream was reset",
            FailureKind::ConnectionLost { .. } => "the connection was lost",
            FailureKind::NotGrpc(_) => "the answer is not gRPC",
            FailureKind::TooLong => "the response's headers or trailers are too long",
            FailureKind::RequestTooLong => "the request's headers are too long",
            FailureKind::TimedOut => "no answer within the timeout",
            FailureKind::Invalid => "the request cannot be sent over HTTP/2",
        };
        format!("{endpoint}: {what}: {cause}")
    }

    fn new(kind: FailureKind, slot: &StreamPermit, cause: String) -> Self {
        Self { kind, endpoint: slot.address().clone(), cause }
    }
}

/// PROTOCOL-HTTP2.md: "The following mapping from RST_STREAM error codes to GRPC error codes is
/// applied."
fn reset_code(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        // NO_ERROR included: a stream must not end without a status, with any code.
        _ => Code::Internal,
    }
}
