//! `envoy.config.listener.v3` and `envoy.config.route.v3`: what a client dials, and what holds for
//! which of its methods.

use prost::Message;

use super::wrappers::{Any, Duration, UInt32Value};

/// What a client dials.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Listener {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "19")]
    pub(crate) api_listener: Option<ApiListener>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ApiListener {
    /// An [`HttpConnectionManager`].
    #[prost(message, optional, tag = "1")]
    pub(crate) api_listener: Option<Any>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpConnectionManager {
    /// Inline, which saves a round trip and a type.
    #[prost(message, optional, tag = "4")]
    pub(crate) route_config: Option<RouteConfiguration>,
    /// The last one must be the router.
    #[prost(message, repeated, tag = "5")]
    pub(crate) http_filters: Vec<HttpFilter>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpFilter {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) typed_config: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RouteConfiguration {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) virtual_hosts: Vec<VirtualHost>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VirtualHost {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) domains: Vec<String>,
    /// The first that matches counts.
    #[prost(message, repeated, tag = "3")]
    pub(crate) routes: Vec<Route>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Route {
    #[prost(message, optional, tag = "1")]
    pub(crate) r#match: Option<RouteMatch>,
    #[prost(message, optional, tag = "2")]
    pub(crate) route: Option<RouteAction>,
}

/// One of the two; an empty prefix matches everything.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RouteMatch {
    #[prost(string, optional, tag = "1")]
    pub(crate) prefix: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) path: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RouteAction {
    #[prost(string, optional, tag = "1")]
    pub(crate) cluster: Option<String>,
    #[prost(message, optional, tag = "9")]
    pub(crate) retry_policy: Option<RetryPolicy>,
    #[prost(message, repeated, tag = "15")]
    pub(crate) hash_policy: Vec<HashPolicy>,
    #[prost(message, optional, tag = "36")]
    pub(crate) max_stream_duration: Option<MaxStreamDuration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryPolicy {
    #[prost(string, tag = "1")]
    pub(crate) retry_on: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) num_retries: Option<UInt32Value>,
    #[prost(message, optional, tag = "8")]
    pub(crate) retry_back_off: Option<RetryBackOff>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct RetryBackOff {
    #[prost(message, optional, tag = "1")]
    pub(crate) base_interval: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    pub(crate) max_interval: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HashPolicy {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<HashedHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HashedHeader {
    #[prost(string, tag = "1")]
    pub(crate) header_name: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct MaxStreamDuration {
    /// The longest deadline of a call (gRFC A31).
    #[prost(message, optional, tag = "2")]
    pub(crate) grpc_timeout_header_max: Option<Duration>,
}
