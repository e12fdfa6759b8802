//! TLS: the client trusts one authority, and nobody else.
//!
//! ```console
//! $ cargo run -p meshless --features tls --example tls
//! ```
//!
//! The certificate is made here, for the example. In a pod it is in the files of a Secret:
//! `Pem::file("/tls/tls.crt")`. Files are read again when they change, with no restart.

use meshless::server::bind;
use meshless::{Channel, Server, ServerTlsConfig, TlsConfig};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["echo.shop.svc".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());

    let listener = bind("127.0.0.1:0".parse()?)?;
    let target = format!("ipv4:{}", listener.local_addr()?);
    let server = Server::builder().tls(ServerTlsConfig::new(certificate.as_str(), key.as_str())?);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));

    // The name in the certificate. Without it, the host of the target is expected.
    let tls = TlsConfig::trusting(certificate.as_str())?.server_name("echo.shop.svc")?;
    let channel = Channel::builder(&target).tls(tls).connect().await?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await?;
    println!("over TLS: {}", answer.into_inner().status().as_str_name());

    // The server's certificate is not from who this one trusts, and the error says so.
    let other = rcgen::generate_simple_self_signed(["echo.shop.svc".to_owned()])?;
    let tls = TlsConfig::trusting(other.cert.pem().as_str())?.server_name("echo.shop.svc")?;
    match Channel::builder(target).tls(tls).connect().await {
        Ok(_) => Err("a stranger's certificate was accepted".into()),
        Err(error) => {
            println!("refused, as it should be: {error}");
            Ok(())
        }
    }
}
