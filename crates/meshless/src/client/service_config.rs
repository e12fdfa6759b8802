//! gRPC's service config: what a service's owner says about calling it, as JSON
//! (grpc/doc/service_config.md; gRFC A2).
//!
//! This file is the parsed config and what a channel makes of it. [`method`] reads `methodConfig`,
//! [`policy`] the retry and hedging policies in it, [`balancing`], [`outlier`] and [`weighted`]
//! `loadBalancingConfig`; [`json`] knows where in the document each value stands, and [`audit`]
//! which values were read. A field that is known and invalid refuses the whole, so that no config
//! is obeyed in part (gRFC A2). A field that is not known is ignored, with a warning.

mod audit;
mod balancing;
mod document;
mod duration;
mod json;
mod method;
mod outlier;
mod policy;
mod weighted;

use std::collections::BTreeMap;
use std::str::FromStr;

use meshless_core::{BalancerConfig, Policy, RetryThrottling};

use self::audit::Audit;
use self::balancing::Balancing;
use self::document::Json;
use self::json::Node;
use self::method::MethodConfig;
use crate::client::channel::{MethodName, MethodSettings, Methods};

/// A service config, as channels of every gRPC implementation read it. In hand, it is valid.
///
/// ```
/// let config: meshless::ServiceConfig = r#"{
///   "loadBalancingConfig": [{"round_robin": {}}],
///   "methodConfig": [{
///     "name": [{"service": "shop.Orders"}],
///     "timeout": "2s",
///     "retryPolicy": {
///       "maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
///       "retryableStatusCodes": ["UNAVAILABLE"]
///     }
///   }],
///   "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
/// }"#.parse()?;
/// let builder = meshless::Channel::builder("ipv4:10.0.0.1:50051").service_config(config);
/// # drop(builder);
/// # Ok::<_, meshless::client::ServiceConfigError>(())
/// ```
///
/// Understood are `methodConfig` (`name`, `waitForReady`, `timeout`, `maxRequestMessageBytes`,
/// `maxResponseMessageBytes`, `retryPolicy`, `hedgingPolicy`), `retryThrottling`,
/// `loadBalancingConfig`, `loadBalancingPolicy` and `healthCheckConfig`. Of the policies,
/// `least_request`, `weighted_round_robin`, `outlier_detection` and `random_subsetting` are obeyed
/// with their settings; of `outlier_detection`, a detection is on or off, whatever its
/// `enforcementPercentage` above 0, `maxEjectionPercent` is the [panic
/// threshold](crate::balancing::EjectionConfig::panic_percent), and numbers that are left out have
/// the channel's defaults. Two things differ from other implementations: the lengths of messages
/// count as on the wire, that is compressed, and a config without `retryThrottling` has the default
/// throttle of [`ChannelBuilder::retry_throttle`](crate::ChannelBuilder::retry_throttle), not none.
///
/// Names of fields are read as grpc-go and protobuf read them: `maxAttempts`, `MaxAttempts` and
/// `max_attempts` are the same. What has no effect is named by [`warnings`](Self::warnings), and
/// logged when the config is read: fields and policies that are not known, names that match no
/// call, fields that stand twice.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    methods: Vec<MethodConfig>,
    retry_throttling: Option<RetryThrottling>,
    balancing: Option<Balancing>,
    health_check_service: Option<String>,
    warnings: Vec<String>,
}

impl ServiceConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// If it is no JSON, or a field that is known is not as it must be; the message says which one.
    pub fn from_json(json: &str) -> Result<Self, ServiceConfigError> {
        let value: Json = serde_json::from_str(json).map_err(|error| ServiceConfigError {
            path: String::new(),
            what: format!("is not JSON: {error}"),
        })?;
        let audit = Audit::default();
        let root = Node::root(&value, &audit);
        root.expect_object()?;
        let mut config = Self {
            methods: method::methods(&root)?,
            retry_throttling: policy::throttling(&root)?,
            balancing: balancing::balancing(&root)?,
            health_check_service: health_check_service(&root)?,
            warnings: Vec::new(),
        };
        config.warnings = audit.finish(&value);
        config.warnings.iter().for_each(|warning| tracing::warn!("service config: {warning}"));
        Ok(config)
    }

    /// What the document says to no effect, in words that begin with the path of the field. Empty
    /// if all of it is obeyed.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The policy that the config asks for, of those that the channel has.
    pub fn policy(&self) -> Option<Policy> {
        self.balancing.as_ref().map(|balancing| balancing.policy)
    }

    /// The bounds that the config sets for retries.
    pub fn retry_throttling(&self) -> Option<RetryThrottling> {
        self.retry_throttling
    }

    /// The service whose health clients are to watch (gRFC A17): `healthCheckConfig.serviceName`.
    pub fn health_check_service(&self) -> Option<&str> {
        self.health_check_service.as_deref()
    }

    /// The settings of every method, where `others` holds for what the config does not say.
    pub(crate) fn methods(&self, others: &MethodSettings) -> Methods {
        let mut methods = Methods::new(others.clone());
        for config in &self.methods {
            for name in &config.names {
                methods.set(name.clone(), config.over(others));
            }
        }
        methods
    }

    /// `config`, with what this one says in place.
    pub(crate) fn apply_to(&self, config: BalancerConfig) -> BalancerConfig {
        match &self.balancing {
            Some(balancing) => balancing.apply_to(config),
            None => config,
        }
    }
}

impl FromStr for ServiceConfig {
    type Err = ServiceConfigError;

    fn from_str(json: &str) -> Result<Self, ServiceConfigError> {
        Self::from_json(json)
    }
}

/// Why a service config was refused: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", if path.is_empty() { "the service config" } else { path }, if path.is_empty() { " " } else { ": " })]
pub struct ServiceConfigError {
    path: String,
    what: String,
}

impl ServiceConfigError {
    /// The field, as in `methodConfig[0].retryPolicy.maxAttempts`. Empty for the document as a
    /// whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn health_check_service(root: &Node<'_>) -> Result<Option<String>, ServiceConfigError> {
    let Some(config) = root.field("healthCheckConfig")? else { return Ok(None) };
    let name = config.field("serviceName")?;
    name.map(|name| name.string().map(str::to_owned)).transpose()
}

/// Finds a name that two entries have.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn add(&mut self, node: &Node<'_>, name: &MethodName) -> Result<(), ServiceConfigError> {
        let key = match name {
            MethodName::Others => String::new(),
            MethodName::Service(service) => format!("{service}/"),
            MethodName::Method(method) => method.clone(),
        };
        match self.0.insert(key, node.path().to_owned()) {
            None => Ok(()),
            Some(first) => Err(node.error(format!("names the same methods as {first}"))),
        }
    }
}

#[cfg(test)]
mod tests;
