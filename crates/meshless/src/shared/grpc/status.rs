//! Where a response says its status, and the codes as tonic and the core spell them.

use http::HeaderMap;
use meshless_core::Code;
use tonic::Status;

/// The status that a response ends with, in its trailers or in a head that is all there is.
pub(crate) fn grpc_code(headers: &HeaderMap) -> tonic::Code {
    headers
        .get(Status::GRPC_STATUS)
        .map_or(tonic::Code::Unknown, |code| tonic::Code::from_bytes(code.as_bytes()))
}

/// The same code as tonic's.
pub(crate) fn core_code(code: tonic::Code) -> Code {
    Code::try_from(i32::from(code)).unwrap_or(Code::Unknown)
}
