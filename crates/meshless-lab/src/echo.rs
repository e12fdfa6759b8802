//! The echo service.
/// Generated from `proto/hello.proto`.
#[allow(missing_docs)]
pub mod hello {
    tonic::include_proto!("hello");
}
