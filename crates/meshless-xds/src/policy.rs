//! What holds for a service: which policy its clients use, deadlines, retries, ejection, zones.
//!
//! Written as gRPC's service config (grpc/doc/service_config.md), so that there is one language for
//! all kinds of clients, with a few fields of our own. [`PolicyBook`] is the file. `resources/`
//! makes xDS of it. A field that is known and wrong refuses the whole file; one that is not known is
//! warned of.

mod balancing;
mod json;
mod methods;
mod outliers;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use balancing::{Balancing, Weighted};
use json::Node;
pub(crate) use methods::{MethodPath, MethodRule};
pub(crate) use outliers::Outliers;

/// The policies of all services.
///
/// ```
/// let book: meshless_xds::PolicyBook = r#"{
///   "services": {
///     "*": { "loadBalancingConfig": [{"least_request": {}}] },
///     "echo.shop:50051": {
///       "loadBalancingConfig": [{"ring_hash": {"requestHashHeader": "session"}}],
///       "methodConfig": [{ "name": [{}], "timeout": "2s" }],
///       "zone": "prefer"
///     }
///   }
/// }"#.parse()?;
/// # drop(book);
/// # Ok::<_, meshless_xds::PolicyError>(())
/// ```
///
/// A document without `services` is one service config, for all services. Of the keys, the most
/// special counts alone: `echo.shop:50051`, then `echo.shop` (any port), then `*`.
///
/// | field | means | default |
/// |---|---|---|
/// | `loadBalancingConfig` | a list; a client takes the first policy that it has, in the end `round_robin` | `round_robin` |
/// | `methodConfig` | `timeout` and `retryPolicy` | none |
/// | `outlierDetection` | gRFC A50's settings; what is left out has defaults that suit three pods | off |
/// | `zone` | `off`, `prefer` (its own zone, unless that has less than half of its share), `capacity` (as much as the zone can take) | `off` |
/// | `subsetSize` | how many endpoints each client is told of | all |
/// | `maxRequests` | calls that one client process may have open to the service at once (gRFC A32) | as good as none |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyBook {
    services: BTreeMap<String, Arc<ServicePolicy>>,
    default: Arc<ServicePolicy>,
    warnings: Vec<String>,
}

/// What holds for one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePolicy {
    /// The first that a client has counts. Ends with [`Balancing::RoundRobin`].
    pub(crate) balancing: Vec<Balancing>,
    pub(crate) hash_header: Option<String>,
    /// Sorted: the first that matches counts.
    pub(crate) methods: Vec<MethodRule>,
    pub(crate) outliers: Option<Outliers>,
    pub(crate) zone: ZoneMode,
    pub(crate) subset_size: Option<NonZeroUsize>,
    pub(crate) max_requests: Option<u32>,
}

/// What zones mean to a service's clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ZoneMode {
    /// Nothing: every endpoint gets the same share of every client.
    #[default]
    Off,
    /// The client's own zone, and the others only when all of it is lost.
    Prefer,
    /// The client's own zone as far as its endpoints can take the clients that are there.
    Capacity,
}

/// Why policies were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", path, if path.is_empty() { "" } else { ": " })]
pub struct PolicyError {
    path: String,
    what: String,
}

impl PolicyError {
    /// The field, as in `services["echo.shop:50051"].methodConfig[0].timeout`. Empty for the
    /// document as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl PolicyBook {
    /// Reads policies.
    ///
    /// # Errors
    /// If the text is no JSON, with line and column; or if a field that is known is not as it must
    /// be, with its path.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        let document: Value = serde_json::from_str(text)
            .map_err(|error| PolicyError { path: String::new(), what: format!("it is not JSON: {error}") })?;
        let warnings = RefCell::new(Vec::new());
        let root = Node::root(&document, &warnings);
        let mut book = Self::default();
        match root.field("services")? {
            None => book.default = Arc::new(ServicePolicy::read(&root)?),
            Some(services) => {
                root.expect_fields(&["services"])?;
                for (name, node) in services.fields()? {
                    let policy = Arc::new(ServicePolicy::read(&node)?);
                    match name.as_str() {
                        "*" => book.default = policy,
                        name => drop(book.services.insert(name.to_owned(), policy)),
                    }
                }
            }
        }
        book.warnings = warnings.into_inner();
        Ok(book)
    }

    /// What the document says to no effect, in words that begin with the path of the field.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What holds for the service that clients dial as `name`.
    pub(crate) fn policy(&self, name: &str) -> &Arc<ServicePolicy> {
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        self.services.get(name).or_else(|| self.services.get(host)).unwrap_or(&self.default)
    }
}

impl std::str::FromStr for PolicyBook {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::from_json(text)
    }
}

impl ServicePolicy {
    fn read(node: &Node<'_>) -> Result<Self, PolicyError> {
        node.expect_fields(&FIELDS)?;
        let mut policy = Self::default();
        if let Some(list) = node.optional("loadBalancingConfig", balancing::list)? {
            policy.balancing = list.policies;
            if policy.balancing.last() != Some(&Balancing::RoundRobin) {
                policy.balancing.push(Balancing::RoundRobin);
            }
            policy.hash_header = list.hash_header;
            policy.outliers = list.outliers;
        }
        if let Some(outliers) = node.optional("outlierDetection", |node| outliers::read(node, &[]))? {
            policy.outliers = Some(outliers);
        }
        policy.methods = node.optional("methodConfig", methods::rules)?.unwrap_or_default();
        policy.zone = node.optional("zone", zone)?.unwrap_or_default();
        let subset = node.optional("subsetSize", |size| size.whole_number(1, u32::MAX))?;
        policy.subset_size = subset.and_then(|size| NonZeroUsize::new(usize::try_from(size).ok()?));
        policy.max_requests = node.optional("maxRequests", |most| most.whole_number(1, MAX_REQUESTS_MAX))?;
        if let Some(node) = node.field("healthCheckConfig")? {
            node.warn("has no effect: xDS clients do not watch their backends' health");
        }
        Ok(policy)
    }
}

impl Default for ServicePolicy {
    fn default() -> Self {
        Self {
            balancing: vec![Balancing::RoundRobin],
            hash_header: None,
            methods: Vec::new(),
            outliers: None,
            zone: ZoneMode::Off,
            subset_size: None,
            max_requests: None,
        }
    }
}

fn zone(node: &Node<'_>) -> Result<ZoneMode, PolicyError> {
    match node.string()? {
        "off" => Ok(ZoneMode::Off),
        "prefer" => Ok(ZoneMode::Prefer),
        "capacity" => Ok(ZoneMode::Capacity),
        _ => Err(node.error("must be \"off\", \"prefer\" or \"capacity\"")),
    }
}

/// The largest number that a Java client does not read as negative.
pub(crate) const MAX_REQUESTS_MAX: u32 = i32::MAX.cast_unsigned();

const FIELDS: [&str; 8] = [
    "loadBalancingConfig",
    "methodConfig",
    "outlierDetection",
    "healthCheckConfig",
    "zone",
    "subsetSize",
    "maxRequests",
    // A client's own; xDS has no place for it, and nobody needs a warning of it.
    "retryThrottling",
];
