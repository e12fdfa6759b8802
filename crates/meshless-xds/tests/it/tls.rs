//! The port for clients with a certificate.

use std::net::SocketAddr;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meshless::ServerTlsConfig;
use meshless_xds::{ControlPlane, ControlPlaneConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Ads, EDS, list};

const NAME: &str = "echo.shop:50051";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A chain and its key, for loopback.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn serve(control_plane: &ControlPlane, authority: &CertifiedIssuer<'static, KeyPair>) -> SocketAddr {
    let (chain, key) = issue(authority);
    let tls = ServerTlsConfig::new(chain, key).unwrap().client_ca(authority.pem()).unwrap();
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = control_plane.server().tls(tls);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));
    address
}

async fn connect(
    address: SocketAddr,
    trusts: &CertifiedIssuer<'static, KeyPair>,
    identity: Option<(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusts.pem()));
    if let Some((chain, key)) = identity {
        tls = tls.identity(Identity::from_pem(chain, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://localhost:{}", address.port())).unwrap();
    endpoint.tls_config(tls.domain_name("localhost"))?.connect().await
}

#[tokio::test]
async fn clients_with_a_certificate_are_served_and_strangers_are_not() {
    let control_plane = ControlPlaneConfig::new().service(NAME, list("10.0.0.1:1")).start().unwrap();
    let authority = authority();
    let address = serve(&control_plane, &authority);
    let channel = connect(address, &authority, Some(issue(&authority))).await.unwrap();
    let mut ads = Ads::on(AggregatedDiscoveryServiceClient::new(channel), "known", None).await;
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 1);
    let strangers = [None, Some(issue(&self::authority()))];
    for stranger in strangers {
        // In TLS 1.3 a client is refused after its handshake, by the first thing that it asks.
        let Ok(channel) = connect(address, &authority, stranger).await else { continue };
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let requests = futures_util::stream::iter([crate::support::request(EDS, &[NAME])]);
        let answered = match client.stream_aggregated_resources(requests).await {
            Ok(stream) => stream.into_inner().message().await.is_ok_and(|message| message.is_some()),
            Err(_) => false,
        };
        assert!(!answered);
    }
    assert_eq!(control_plane.clients().len(), 1, "of strangers nothing is known");
}
