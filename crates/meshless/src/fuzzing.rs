//! All parsers of foreign input, each as a function of bytes. `fuzz/` calls them.
//!
//! Compiled for tests, which run the corpus of `fuzz/`, and under the feature `fuzzing`. Not part
//! of the public interface. Each function must return, whatever its input is, and asserts what else
//! must hold.

#[cfg(feature = "server")]
mod connections;

use http::{HeaderMap, HeaderName, HeaderValue};
use meshless_core::{BalancerConfig, FrameHeader, FrameScanner, Pushback, RetryThrottle};

#[cfg(feature = "server")]
pub use self::connections::{client_connection, server_connection};
use crate::client::channel::MethodSettings;
use crate::shared::{grpc::timeout, orca};
use crate::{ServiceConfig, Target};

/// A function that parses bytes.
pub type Entrance = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: &[(&str, Entrance)] = &[
    #[cfg(feature = "server")]
    ("client_connection", client_connection),
    #[cfg(feature = "dns")]
    ("dns_answer", dns_answer),
    #[cfg(feature = "kubernetes")]
    ("endpoint_slice", endpoint_slice),
    ("frames", frames),
    ("grpc_timeout", timeout),
    ("orca_report", orca_report),
    ("http_answer", http_answer),
    ("response_headers", response_headers),
    ("retry_pushback", retry_pushback),
    #[cfg(feature = "server")]
    ("server_connection", server_connection),
    ("service_config", service_config),
    ("target", target),
];

/// Answers of a name server.
#[cfg(feature = "dns")]
pub fn dns_answer(data: &[u8]) {
    crate::resolver::fuzz_dns_answers(data);
}

/// Lists and events of an API server.
#[cfg(feature = "kubernetes")]
pub fn endpoint_slice(data: &[u8]) {
    crate::resolver::fuzz_endpoint_slices(data);
}

/// Frame headers are the same however the bytes are cut. The first byte seeds the cuts.
pub fn frames(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    for scanner in [FrameScanner::from_client(), FrameScanner::from_server()] {
        let scan = |scanner: &mut FrameScanner, bytes: &[u8], seen: &mut Vec<FrameHeader>| {
            scanner.scan(bytes, |frame| seen.push(frame));
        };
        let (mut whole, mut in_pieces) = (Vec::new(), Vec::new());
        scan(&mut scanner.clone(), bytes, &mut whole);
        let (mut cut, mut rest) = (scanner, bytes);
        let mut rng = meshless_core::Rng::new(u64::from(*seed), 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rng.below(rest.len().min(40)) + 1);
            scan(&mut cut, piece, &mut in_pieces);
            rest = after;
        }
        assert_eq!(whole, in_pieces);
    }
}

/// A parsed deadline is sent on as one that is not longer.
pub fn timeout(data: &[u8]) {
    let Some(headers) = headers(HeaderName::from_static(timeout::GRPC_TIMEOUT), data) else { return };
    let Some(timeout) = timeout::read(&headers) else { return };
    let written = timeout::header(timeout);
    let again = headers_of(HeaderName::from_static(timeout::GRPC_TIMEOUT), written);
    let again = timeout::read(&again).expect("what is written can be read");
    assert!(again <= timeout, "{again:?} of {timeout:?}");
}

/// A response, of gRPC or not, as text.
pub fn http_answer(data: &[u8]) {
    crate::client::call::fuzzing::http_answer(data);
}

/// Headers or trailers of a response, as lines of text.
pub fn response_headers(data: &[u8]) {
    crate::client::call::fuzzing::response_headers(data);
}

/// A load report.
pub fn orca_report(data: &[u8]) {
    if let Some(headers) = headers(HeaderName::from_static("endpoint-load-metrics-bin"), data) {
        let _ = orca::read(&headers);
    }
}

/// A server's retry pushback.
pub fn retry_pushback(data: &[u8]) {
    if let Pushback::After(pause) = Pushback::parse(data) {
        assert!(pause.as_millis() <= i32::MAX as u128, "{pause:?}");
    }
}

/// An accepted config can build a channel and set up its calls.
pub fn service_config(data: &[u8]) {
    let Ok(Ok(config)) = std::str::from_utf8(data).map(ServiceConfig::from_json) else { return };
    let methods = config.methods(&MethodSettings::default());
    for path in ["/shop.Orders/Get", "/", "", "//", "/a/b/c"] {
        let repeat = methods.of(path).repeat.as_ref();
        let _ = repeat.map(|repeat| (repeat.retry(), repeat.hedge(), repeat.failures()));
    }
    let _ = config.apply_to(BalancerConfig::default());
    let _ = config.retry_throttling().map(RetryThrottle::new);
}

/// The text of a parsed target parses to the same target.
pub fn target(data: &[u8]) {
    let Ok(Ok(target)) = std::str::from_utf8(data).map(str::parse::<Target>) else { return };
    let again: Target = target.to_string().parse().expect("what is written can be read");
    assert_eq!(again.kind(), target.kind());
    let _ = (target.authority(), target.server_name(), target.tls());
}

fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    Some(headers_of(name, HeaderValue::from_bytes(value).ok()?))
}

fn headers_of(name: HeaderName, value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name, value)])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_passes() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> = std::fs::read_dir(corpus.join(name))
                .unwrap_or_else(|error| panic!("fuzz/corpus/{name}: {error}"))
                .map(|file| file.unwrap().path())
                .collect();
            assert!(!files.is_empty(), "{name} has a corpus");
            for file in files {
                println!("{}", file.display());
                target(&std::fs::read(file).unwrap());
            }
        }
    }
}
