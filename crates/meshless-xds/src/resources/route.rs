//! The routes of a service: one for each rule of its policy, all to its only cluster.

use crate::policy::{MethodPath, MethodRule, ServicePolicy};
use crate::proto::listener::{
    HashPolicy, HashedHeader, MaxStreamDuration, RetryBackOff, RetryPolicy, Route, RouteAction,
    RouteConfiguration, RouteMatch, VirtualHost,
};

/// The routes of the service that clients dial as `name`.
pub(super) fn configuration(name: &str, policy: &ServicePolicy) -> RouteConfiguration {
    let mut routes: Vec<Route> =
        policy.methods.iter().map(|rule| route(name, policy, &rule.path, Some(rule))).collect();
    if !policy.methods.iter().any(|rule| rule.path == MethodPath::Others) {
        routes.push(route(name, policy, &MethodPath::Others, None));
    }
    let virtual_host = VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], routes };
    RouteConfiguration { name: name.to_owned(), virtual_hosts: vec![virtual_host] }
}

fn route(name: &str, policy: &ServicePolicy, path: &MethodPath, rule: Option<&MethodRule>) -> Route {
    let matching = match path {
        MethodPath::Method(path) => RouteMatch { prefix: None, path: Some(path.clone()) },
        MethodPath::Service(prefix) => RouteMatch { prefix: Some(prefix.clone()), path: None },
        MethodPath::Others => RouteMatch { prefix: Some(String::new()), path: None },
    };
    let timeout = rule.and_then(|rule| rule.timeout);
    let action = RouteAction {
        cluster: Some(name.to_owned()),
        retry_policy: rule.and_then(|rule| rule.retry.as_ref()).map(|retry| RetryPolicy {
            retry_on: retry.on.join(","),
            num_retries: Some(retry.retries.into()),
            retry_back_off: Some(RetryBackOff {
                base_interval: Some(retry.backoff_first.into()),
                max_interval: Some(retry.backoff_max.into()),
            }),
        }),
        hash_policy: policy.hash_header.iter().map(|header| hash_policy(header)).collect(),
        max_stream_duration: timeout
            .map(|timeout| MaxStreamDuration { grpc_timeout_header_max: Some(timeout.into()) }),
    };
    Route { r#match: Some(matching), route: Some(action) }
}

fn hash_policy(header: &str) -> HashPolicy {
    HashPolicy { header: Some(HashedHeader { header_name: header.to_owned() }) }
}
