//! gRPC over HTTP/2, as far as both halves read or write it.

pub(crate) mod bounced;
pub(crate) mod content_type;
pub(crate) mod message_limit;
mod status;
pub(crate) mod timeout;

pub(crate) use self::status::{core_code, grpc_code};
