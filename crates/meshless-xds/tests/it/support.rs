//! A control plane on a free port, and a client that speaks xDS by hand.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use meshless::ShutdownHandle;
use meshless_xds::{ControlPlane, ControlPlaneConfig, Source};
use prost::{Message, Name};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;

pub(crate) const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// Longer than anything takes, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Within it something would have come that must not.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// A control plane that serves on loopback.
pub(crate) struct Plane {
    pub(crate) control_plane: ControlPlane,
    pub(crate) address: SocketAddr,
    shutdown: ShutdownHandle,
}

impl Plane {
    pub(crate) fn start(config: ControlPlaneConfig) -> Self {
        let config = config.debounce(Duration::from_millis(5), Duration::from_millis(20));
        let control_plane = config.start().unwrap();
        let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = meshless::Shutdown::new();
        let handle = shutdown.handle();
        let server = control_plane.server();
        tokio::spawn(server.serve_with_incoming_shutdown([listener], shutdown));
        Self { control_plane, address, shutdown: handle }
    }

    /// It goes, as after SIGTERM.
    pub(crate) fn stop(&self) {
        self.shutdown.begin();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shutdown.hurry();
    }
}

/// These addresses as a source.
pub(crate) fn list(addresses: &str) -> Source {
    Source::Target(format!("ipv4:{addresses}").parse().unwrap())
}

/// One stream of a client.
pub(crate) struct Ads {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    node: Option<Node>,
}

impl Ads {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_as(address, "test", None).await
    }

    /// As a client of this id, in this zone.
    pub(crate) async fn open_as(address: SocketAddr, id: &str, zone: Option<&str>) -> Self {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = channel.unwrap().connect().await.unwrap();
        Self::on(AggregatedDiscoveryServiceClient::new(channel), id, zone).await
    }

    /// On a connection that may have other streams.
    pub(crate) async fn on(
        mut client: AggregatedDiscoveryServiceClient<tonic::transport::Channel>,
        id: &str,
        zone: Option<&str>,
    ) -> Self {
        let (requests, mut queue) = mpsc::channel(16);
        let outbound = futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let responses = client.stream_aggregated_resources(outbound).await.unwrap().into_inner();
        let locality = zone.map(|zone| Locality { zone: zone.to_owned(), ..Locality::default() });
        let user_agent_name = "gRPC test".to_owned();
        let node = Node { id: id.to_owned(), locality, user_agent_name, ..Node::default() };
        Self { requests, responses, node: Some(node) }
    }

    pub(crate) async fn send(&mut self, mut request: DiscoveryRequest) {
        request.node = self.node.take();
        self.requests.send(request).await.unwrap();
    }

    /// Wants these names, as a client that has nothing.
    pub(crate) async fn subscribe(&mut self, type_url: &str, names: &[&str]) {
        self.send(request(type_url, names)).await;
    }

    /// The next response, whatever it is.
    pub(crate) async fn next(&mut self) -> DiscoveryResponse {
        timeout(LONG, self.responses.message()).await.expect("a response").unwrap().expect("no end")
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> Result<(), tonic::Status> {
        loop {
            match timeout(LONG, self.responses.message()).await.expect("an end") {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    }

    /// Nothing comes.
    pub(crate) async fn expect_silence(&mut self) {
        if let Ok(response) = timeout(QUIET, self.responses.message()).await {
            panic!("unexpected: {response:?}");
        }
    }

    /// Accepts a response, and wants these names from now on.
    pub(crate) async fn ack_for(&mut self, response: &DiscoveryResponse, names: &[&str]) {
        let version_info = response.version_info.clone();
        let response_nonce = response.nonce.clone();
        self.send(DiscoveryRequest { version_info, response_nonce, ..request(&response.type_url, names) })
            .await;
    }

    /// Refuses a response.
    pub(crate) async fn nack(&mut self, response: &DiscoveryResponse, names: &[&str], why: &str) {
        let response_nonce = response.nonce.clone();
        let error_detail = Some(RpcStatus { code: 3, message: why.to_owned(), details: Vec::new() });
        self.send(DiscoveryRequest { response_nonce, error_detail, ..request(&response.type_url, names) })
            .await;
    }

    /// The endpoints of one cluster, with the response accepted.
    pub(crate) async fn endpoints(&mut self, name: &str) -> BTreeSet<String> {
        let response = self.next().await;
        assert_eq!(response.type_url, EDS);
        self.ack_for(&response, &[name]).await;
        let [assignment] = &resources::<ClusterLoadAssignment>(&response)[..] else { panic!("{response:?}") };
        assert_eq!(assignment.cluster_name, name);
        addresses(assignment)
    }
}

pub(crate) fn request(type_url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    }
}

/// The resources in a response, as Envoy's messages.
pub(crate) fn resources<M: Message + Default + Name>(response: &DiscoveryResponse) -> Vec<M> {
    let decode = |any: &envoy_types::pb::google::protobuf::Any| {
        assert_eq!((any.type_url.as_str(), any.type_url.as_str()), (&*response.type_url, &*M::type_url()));
        M::decode(&any.value[..]).unwrap()
    };
    response.resources.iter().map(decode).collect()
}

/// The names of the resources in a response.
pub(crate) fn names(response: &DiscoveryResponse) -> Vec<String> {
    match response.type_url.as_str() {
        LDS => resources::<Listener>(response).into_iter().map(|listener| listener.name).collect(),
        CDS => resources::<Cluster>(response).into_iter().map(|cluster| cluster.name).collect(),
        _ => resources::<ClusterLoadAssignment>(response).into_iter().map(|one| one.cluster_name).collect(),
    }
}

/// Names that do not exist, and why.
pub(crate) fn errors(response: &DiscoveryResponse) -> Vec<(String, String)> {
    let shown = |error: &envoy_types::pb::envoy::service::discovery::v3::ResourceError| {
        let name = error.resource_name.clone().unwrap_or_default().name;
        (name, error.error_detail.clone().unwrap_or_default().message)
    };
    response.resource_errors.iter().map(shown).collect()
}

/// All addresses of an assignment.
pub(crate) fn addresses(assignment: &ClusterLoadAssignment) -> BTreeSet<String> {
    assignment.endpoints.iter().flat_map(|locality| locality.lb_endpoints.iter().map(address)).collect()
}

fn address(endpoint: &LbEndpoint) -> String {
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else { panic!("{endpoint:?}") };
    let Some(Address::SocketAddress(socket)) = endpoint.address.as_ref().and_then(|one| one.address.clone())
    else {
        panic!("{endpoint:?}")
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { panic!("{socket:?}") };
    format!("{}:{port}", socket.address)
}
