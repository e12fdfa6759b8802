//! `envoy.service.discovery.v3`: what a client and a control plane say to each other.

use meshless_core::ResourceKind;
use prost::Message;

use super::wrappers::{Any, TYPE_URL};

/// What a client wants, and what it thinks of the last response.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryRequest {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) node: Option<Node>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) resource_names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) error_detail: Option<RpcStatus>,
}

/// Resources of one type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) control_plane: Option<ControlPlane>,
    /// Why resources are missing (xRFC TP3).
    #[prost(message, repeated, tag = "7")]
    pub(crate) resource_errors: Vec<ResourceError>,
}

/// Who has answered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ControlPlane {
    #[prost(string, tag = "1")]
    pub(crate) identifier: String,
}

/// Why there is no resource of this name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceError {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource_name: Option<ResourceName>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error_detail: Option<RpcStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceName {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// Who a client is (`envoy.config.core.v3.Node`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) cluster: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) locality: Option<super::endpoint::Locality>,
    #[prost(string, tag = "6")]
    pub(crate) user_agent_name: String,
    #[prost(string, tag = "7")]
    pub(crate) user_agent_version: String,
}

/// The name of a kind's type.
pub(crate) fn type_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "envoy.config.cluster.v3.Cluster",
        ResourceKind::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
        ResourceKind::Listener => "envoy.config.listener.v3.Listener",
        ResourceKind::Route => "envoy.config.route.v3.RouteConfiguration",
    }
}

/// The kind with this type, if it is one that gRPC clients ask for.
pub(crate) fn kind_of(type_url: &str) -> Option<ResourceKind> {
    let name = type_url.strip_prefix(TYPE_URL)?;
    ResourceKind::ALL.into_iter().find(|kind| type_name(*kind) == name)
}
