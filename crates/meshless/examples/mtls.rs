//! Mutual TLS: the server lets in only clients of its authority, and knows who calls.
//!
//! ```console
//! $ cargo run -p meshless --features tls --example mtls
//! ```
//!
//! The certificates are made here, for the example. In a pod they are in the files of a Secret, as
//! cert-manager makes it: `Pem::file("/tls/ca.crt")`, `tls.crt` and `tls.key`.

use std::error::Error;

use meshless::server::bind;
use meshless::{Channel, Server, ServerTlsConfig, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let issue = |name: &str| -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &authority)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };

    let (certificate, key) = issue("echo.shop.svc")?;
    let tls = ServerTlsConfig::new(certificate, key)?.client_ca(authority.pem())?;
    let (_reporter, service) = tonic_health::server::health_reporter();
    let listener = bind("127.0.0.1:0".parse()?)?;
    let target = format!("ipv4:{}", listener.local_addr()?);
    // A handler asks in the same way.
    let service = InterceptedService::new(service, |request: Request<()>| {
        let chain = request.peer_certs().ok_or_else(|| Status::unauthenticated("no certificate"))?;
        println!("called by a client with {} certificate of {} bytes", chain.len(), chain[0].len());
        Ok(request)
    });
    let server = Server::builder().tls(tls).without_health().add_service(service);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));

    let trusting = TlsConfig::trusting(authority.pem())?.server_name("echo.shop.svc")?;
    let (certificate, key) = issue("orders.shop.svc")?;
    let known = Channel::builder(&target).tls(trusting.clone().identity(certificate, key)?);
    HealthClient::new(known.connect().await?).check(HealthCheckRequest::default()).await?;

    match Channel::builder(target).tls(trusting).connect().await {
        Ok(_) => Err("a client without a certificate was let in".into()),
        Err(error) => {
            println!("refused, as it should be: {error}");
            Ok(())
        }
    }
}
