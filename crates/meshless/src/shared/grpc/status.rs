//! The status of a response, and its code as tonic's and as the core's type.

use http::HeaderMap;
use meshless_core::Code;
use tonic::Status;

/// Returns the status code in a response's trailers, or in the head of a Trailers-Only response.
pub(crate) fn grpc_code(headers: &HeaderMap) -> tonic::Code {
    headers
        .get(Status::GRPC_STATUS)
        .map_or(tonic::Code::Unknown, |code| tonic::Code::from_bytes(code.as_bytes()))
}

/// Returns the core's code for tonic's.
pub(crate) fn core_code(code: tonic::Code) -> Code {
    Code::try_from(i32::from(code)).unwrap_or(Code::Unknown)
}
