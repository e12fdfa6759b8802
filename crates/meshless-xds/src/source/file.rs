//! Endpoints from a file, for services that nothing else knows.
//!
//! ```json
//! {
//!   "echo.shop:50051": [
//!     { "address": "10.0.0.1:50051", "zone": "eu-1a" },
//!     { "address": "10.0.0.2:50051", "zone": "eu-1b", "weight": 2 }
//!   ],
//!   "cart.shop:50051": "dns:///cart.example.com:50051"
//! }
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meshless::{Endpoint, Target};
use serde::Deserialize;

use super::{Declared, Source};

/// A file of endpoints was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointsFileError {
    /// It is no JSON of that form. Says line and column.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A target in it is none.
    #[error("{name}: {error}")]
    Target {
        /// The service.
        name: String,
        /// What is wrong.
        error: meshless::resolver::TargetError,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a list of endpoints or a target")]
enum Entry {
    Target(String),
    Endpoints(Vec<FileEndpoint>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEndpoint {
    address: SocketAddr,
    zone: Option<String>,
    weight: Option<u32>,
}

/// Reads the text of a file of services with their endpoints, or with a target.
///
/// # Errors
/// If it is not of that form.
pub fn read_endpoints(text: &str) -> Result<BTreeMap<Arc<str>, Source>, EndpointsFileError> {
    let entries: BTreeMap<String, Entry> = serde_json::from_str(text)?;
    let mut declared = Declared::new();
    for (name, entry) in entries {
        let source = match entry {
            Entry::Target(target) => match target.parse::<Target>() {
                Ok(target) => Source::Target(target),
                Err(error) => return Err(EndpointsFileError::Target { name, error }),
            },
            Entry::Endpoints(endpoints) => Source::Endpoints(endpoints.into_iter().map(endpoint).collect()),
        };
        declared.insert(name.into(), source);
    }
    Ok(declared)
}

fn endpoint(entry: FileEndpoint) -> Endpoint {
    let mut endpoint = Endpoint::new(entry.address).with_weight(entry.weight.unwrap_or(1).max(1));
    endpoint.zone = entry.zone.filter(|zone| !zone.is_empty());
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_endpoints_or_a_target() {
        let read = read_endpoints(
            r#"{"a:1": [{"address": "10.0.0.1:1", "zone": "z"}, {"address": "[::1]:1"}], "b:1": "dns:///b:1"}"#,
        )
        .unwrap();
        let Source::Endpoints(endpoints) = &read["a:1"] else { panic!("{read:?}") };
        assert_eq!((endpoints.len(), endpoints[0].zone.as_deref()), (2, Some("z")));
        assert!(matches!(&read["b:1"], Source::Target(_)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("[]", "line 1"),
            (r#"{"a:1": 5}"#, "a list of endpoints or a target"),
            (r#"{"a:1": "dns:///a"}"#, "a:1: "),
        ] {
            let error = read_endpoints(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
