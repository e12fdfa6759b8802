//! gRPC's service config: a service owner's settings for its clients, as JSON
//! (grpc/doc/service_config.md; gRFC A2).
//!
//! This file has the parsed config, and applies it to a channel. [`method`] reads `methodConfig`,
//! [`policy`] the retry and hedging policies in it, [`balancing`], [`outlier`] and [`weighted`]
//! read `loadBalancingConfig`. [`json`] knows each value's position in the document, and [`audit`]
//! which values were read. A known field with an invalid value makes the whole config invalid, so
//! that no config is applied in part (gRFC A2). An unknown field is ignored, with a warning.

mod audit;
mod balancing;
mod document;
mod duration;
mod error;
mod json;
mod method;
mod outlier;
mod policy;
mod weighted;

use std::str::FromStr;

use meshless_core::{BalancerConfig, Policy, RetryThrottling};

use self::audit::Audit;
use self::balancing::Balancing;
use self::document::Json;
pub use self::error::ServiceConfigError;
use self::json::Node;
use self::method::MethodConfig;
use crate::client::channel::{MethodSettings, Methods};

/// A service config, as channels of every gRPC implementation read it. Only valid configs can be
/// made.
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
/// These fields are supported: `methodConfig` (`name`, `waitForReady`, `timeout`,
/// `maxRequestMessageBytes`, `maxResponseMessageBytes`, `retryPolicy`, `hedgingPolicy`),
/// `retryThrottling`, `loadBalancingConfig`, `loadBalancingPolicy` and `healthCheckConfig`. The
/// policies `least_request`, `weighted_round_robin`, `outlier_detection` and `random_subsetting`
/// are supported with their settings. In `outlier_detection`, a detection is on for any
/// `enforcementPercentage` above 0, `maxEjectionPercent` is the [panic
/// threshold](crate::balancing::EjectionConfig::panic_percent), and missing numbers have the
/// channel's defaults. Two things differ from other implementations. Message lengths are those on
/// the wire, so compressed ones. A config without `retryThrottling` gets the default throttle of
/// [`ChannelBuilder::retry_throttle`](crate::ChannelBuilder::retry_throttle), not none.
///
/// Field names are read as in grpc-go and protobuf: `maxAttempts`, `MaxAttempts` and `max_attempts`
/// are the same. [`warnings`](Self::warnings) lists the parts without effect, which are also logged
/// when the config is read: unknown fields and policies, names that match no call, duplicate
/// fields.
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
    /// If it is not JSON, or a known field is invalid; the message names the field.
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

    /// Returns the parts of the document without effect. Each text begins with the path of the
    /// field. Empty if everything has an effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the config's policy: the first one that the channel supports.
    pub fn policy(&self) -> Option<Policy> {
        self.balancing.as_ref().map(|balancing| balancing.policy)
    }

    /// Returns the config's limit for retries.
    pub fn retry_throttling(&self) -> Option<RetryThrottling> {
        self.retry_throttling
    }

    /// Returns the service whose health clients watch (gRFC A17): `healthCheckConfig.serviceName`.
    pub fn health_check_service(&self) -> Option<&str> {
        self.health_check_service.as_deref()
    }

    /// Returns the settings of every method. `others` applies where the config has none.
    pub(crate) fn methods(&self, others: &MethodSettings) -> Methods {
        let mut methods = Methods::new(others.clone());
        for config in &self.methods {
            for name in &config.names {
                methods.set(name.clone(), config.over(others));
            }
        }
        methods
    }

    /// Returns `config`, overridden by the settings of this one.
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

fn health_check_service(root: &Node<'_>) -> Result<Option<String>, ServiceConfigError> {
    let Some(config) = root.field("healthCheckConfig")? else { return Ok(None) };
    let name = config.field("serviceName")?;
    name.map(|name| name.string().map(str::to_owned)).transpose()
}

#[cfg(test)]
mod tests;
