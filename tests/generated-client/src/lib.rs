//! Generated code of a small service, compiled as a user compiles it: with the default features of
//! `meshless`, and with the features of tonic that generated code needs.
//!
//! What compiles here and passes in `tests/` is what the README promises of generated clients.

#[expect(missing_docs, reason = "generated")]
mod generated {
    tonic::include_proto!("shop.v1");
}

pub use generated::*;
