//! The settings for the calls of one method: the channel's, overridden by the service config.
//!
//! They are built once, with the channel; a call finds its settings by the path of its method.

use std::collections::HashMap;
use std::time::Duration;

use meshless_core::{CodeSet, HedgingPolicy, RetryPolicy};

/// The settings of every method.
#[derive(Debug)]
pub(crate) struct Methods {
    /// Without slashes: "package.Service".
    services: HashMap<String, MethodSettings>,
    /// "package.Service/Method".
    methods: HashMap<String, MethodSettings>,
    others: MethodSettings,
}

/// The settings for the calls of one method, unless a call overrides them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MethodSettings {
    /// The timeout of calls without a deadline, and the maximum for calls with one.
    pub(crate) timeout: Option<Duration>,
    pub(crate) wait_for_ready: bool,
    /// Maximum length of a message of the request, in bytes.
    pub(crate) request_message_max: Option<u32>,
    /// Maximum length of a message of the response, in bytes.
    pub(crate) response_message_max: Option<u32>,
    pub(crate) repeat: Option<Repeat>,
}

/// How a call is sent more than once. It "may be governed by a retry policy or a hedge policy, but
/// not both" (gRFC A6).
#[derive(Clone, Debug)]
pub(crate) enum Repeat {
    Retry(RetryPolicy),
    Hedge(HedgingPolicy),
}

/// The methods that settings are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MethodName {
    /// Methods for which neither they nor their service have settings.
    Others,
    /// "package.Service".
    Service(String),
    /// "package.Service/Method".
    Method(String),
}

impl Methods {
    /// Creates the table with `others` for all methods.
    pub(crate) fn new(others: MethodSettings) -> Self {
        Self { services: HashMap::new(), methods: HashMap::new(), others }
    }

    /// Sets the settings for a name, in place of earlier ones.
    pub(crate) fn set(&mut self, name: MethodName, settings: MethodSettings) {
        match name {
            MethodName::Others => self.others = settings,
            MethodName::Service(service) => drop(self.services.insert(service, settings)),
            MethodName::Method(method) => drop(self.methods.insert(method, settings)),
        }
    }

    /// Returns the settings for a method's path, as in `/package.Service/Method`. The method's own
    /// come first, then its service's, then those of all others (gRFC A2;
    /// grpc/doc/service_config.md).
    pub(crate) fn of(&self, path: &str) -> &MethodSettings {
        if self.methods.is_empty() && self.services.is_empty() {
            return &self.others;
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let of_service = || self.services.get(path.rsplit_once('/')?.0);
        self.methods.get(path).or_else(of_service).unwrap_or(&self.others)
    }
}

impl Repeat {
    pub(crate) fn retry(&self) -> Option<&RetryPolicy> {
        match self {
            Self::Retry(policy) => Some(policy),
            Self::Hedge(_) => None,
        }
    }

    pub(crate) fn hedge(&self) -> Option<&HedgingPolicy> {
        match self {
            Self::Hedge(policy) => Some(policy),
            Self::Retry(_) => None,
        }
    }

    /// Returns the codes that count against the throttle.
    pub(crate) fn failures(&self) -> CodeSet {
        match self {
            Self::Retry(policy) => policy.retryable(),
            Self::Hedge(policy) => policy.non_fatal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(seconds: u64) -> MethodSettings {
        MethodSettings { timeout: Some(Duration::from_secs(seconds)), ..MethodSettings::default() }
    }

    #[test]
    fn the_most_specific_name_wins() {
        let mut methods = Methods::new(named(9));
        assert_eq!(methods.of("/shop.Orders/Place").timeout, Some(Duration::from_secs(9)));
        methods.set(MethodName::Service("shop.Orders".to_owned()), named(2));
        methods.set(MethodName::Method("shop.Orders/Place".to_owned()), named(1));
        for (path, seconds) in [
            ("/shop.Orders/Place", 1),
            ("/shop.Orders/Cancel", 2),
            ("/shop.Carts/Place", 9),
            ("/shop.Orders", 9),
            ("/", 9),
            ("", 9),
        ] {
            assert_eq!(methods.of(path).timeout, Some(Duration::from_secs(seconds)), "{path}");
        }
    }
}
