//! What `meshless serve` tells tools such as grpcurl about its services: gRPC's server reflection.
//!
//! Two versions of the same service: `grpc.reflection.v1`, and `v1alpha`, which older tools ask
//! for.

use tonic_reflection::server::{Builder, v1, v1alpha};

/// The version of today.
pub(crate) fn v1() -> v1::ServerReflectionServer<impl v1::ServerReflection> {
    builder().build_v1().expect(READABLE)
}

/// The version that older tools ask for.
pub(crate) fn v1alpha() -> v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection> {
    builder().build_v1alpha().expect(READABLE)
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")))
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

const READABLE: &str = "the descriptors come from the build and are whole";
