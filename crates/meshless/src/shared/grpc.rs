//! The parts of gRPC over HTTP/2 that both halves read or write.

pub(crate) mod bounced;
pub(crate) mod content_type;
pub(crate) mod message_limit;
mod status;
pub(crate) mod timeout;

pub(crate) use self::status::{core_code, grpc_code};
