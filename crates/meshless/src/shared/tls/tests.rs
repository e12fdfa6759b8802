//! Handshakes with a real TLS server over an in-memory pipe: which servers the client accepts, and
//! its errors for the others.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

mod material;

static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| authority("cluster"));

#[tokio::test]
async fn a_trusted_server_with_the_right_name_is_accepted() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    handshake(&tls, "backend.test", server("backend.test", &[b"h2"])).await.unwrap();
}

#[tokio::test]
async fn the_expected_name_need_not_be_the_targets() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap().server_name("backend.test").unwrap();
    handshake(&tls, "10.0.0.7", server("backend.test", &[b"h2"])).await.unwrap();
}

#[tokio::test]
async fn an_address_in_brackets_is_a_name_too() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    handshake(&tls, "[::1]", server("::1", &[b"h2"])).await.unwrap();
}

#[tokio::test]
async fn a_wrong_name_is_named() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    let error = handshake(&tls, "other.test", server("backend.test", &[b"h2"])).await.unwrap_err();
    assert!(error.contains(r#"not for "other.test""#), "{error}");
    assert!(error.contains("backend.test"), "the names it is for: {error}");
}

#[tokio::test]
async fn an_unknown_authority_is_named() {
    let tls = TlsConfig::trusting(authority("elsewhere").pem()).unwrap();
    let error = handshake(&tls, "backend.test", server("backend.test", &[b"h2"])).await.unwrap_err();
    assert!(error.contains("authority that is not trusted"), "{error}");
}

#[tokio::test]
async fn a_server_without_http2_is_named() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let error = handshake(&tls, "backend.test", server("backend.test", protocols)).await.unwrap_err();
        assert!(error.contains("did not choose HTTP/2 by ALPN"), "{error}");
    }
}

#[tokio::test]
async fn a_plain_text_server_is_named() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap().build("backend.test").unwrap();
    for answer in [&b"\0\0\0\x04\0\0\0\0\0"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(answer).await.unwrap();
        let error = tls.handshake(Box::new(near)).await.err().unwrap().to_string();
        assert!(error.contains("does not speak TLS"), "{error}");
    }
    let (near, far) = tokio::io::duplex(1 << 16);
    drop(far);
    assert!(tls.handshake(Box::new(near)).await.is_err());
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(), Arc::new(default_provider()));
    let verifier = verifier.build().unwrap();
    let (certificate, key) = issue("client");
    let anonymous = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    let known = anonymous.clone().identity(certificate, key).unwrap();
    let wanting = || serve(Arc::clone(&verifier), "backend.test", &[b"h2"]);
    handshake(&known, "backend.test", wanting()).await.unwrap();
    let error = handshake(&anonymous, "backend.test", wanting()).await.unwrap_err();
    assert!(error.contains("the server wants a certificate of its clients"), "{error}");
    let (certificate, key) = issue_by(&authority("elsewhere"), "client");
    let stranger = anonymous.identity(certificate, key).unwrap();
    let error = handshake(&stranger, "backend.test", wanting()).await.unwrap_err();
    assert!(error.contains("the server does not accept this client's certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_changes_is_presented_from_the_next_connection_on() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let file = |name: &str| Pem::file(folder.path().join(name));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(), Arc::new(default_provider()));
    let verifier = verifier.build().unwrap();
    let (stranger, key) = issue_by(&authority("elsewhere"), "client");
    write("tls.crt", &stranger);
    write("tls.key", &key);
    let config = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    let config = config.identity(file("tls.crt"), file("tls.key")).unwrap();
    let tls = config.build("backend.test").unwrap();
    let welcome = async || {
        let server = serve(Arc::clone(&verifier), "backend.test", &[b"h2"]);
        exchange(&tls, server).await.is_ok()
    };
    assert!(!welcome().await);
    let (certificate, key) = issue("client");
    write("tls.key", &key);
    assert!(!welcome().await, "half of the pair");
    write("tls.crt", &certificate);
    assert!(welcome().await);
    write("tls.crt", "");
    assert!(welcome().await, "what cannot be used is not");
}

#[test]
fn a_server_name_that_is_none_is_refused() {
    let tls = TlsConfig::trusting(AUTHORITY.pem()).unwrap();
    assert!(tls.server_name("not a name").is_err());
}

/// Runs both sides, and sends a byte each way: only then a server's refusal of the client's
/// certificate is visible.
async fn handshake(tls: &TlsConfig, host: &str, server: ServerConfig) -> Result<(), String> {
    exchange(&tls.build(host).map_err(|error| error.to_string())?, server).await
}

async fn exchange(tls: &ClientTls, server: ServerConfig) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(async move {
        let mut io = TlsAcceptor::from(Arc::new(server)).accept(far).await.ok()?;
        let byte = io.read_u8().await.ok()?;
        io.write_u8(byte).await.ok()
    });
    let client = async {
        let mut io = tls.handshake(Box::new(near)).await.map_err(|error| error.to_string())?;
        io.write_u8(7).await.map_err(|error| error.to_string())?;
        io.read_u8().await.map_err(|error| error.to_string())
    };
    let received = client.await;
    server.await.unwrap();
    received.map(|byte| assert_eq!(byte, 7))
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns a certificate for `name` and its key, as PEM.
fn issue(name: &str) -> (String, String) {
    issue_by(&AUTHORITY, name)
}

fn issue_by(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(AUTHORITY.der().clone()).unwrap();
    Arc::new(roots)
}

fn server(name: &str, protocols: &[&[u8]]) -> ServerConfig {
    serve(WebPkiClientVerifier::no_client_auth(), name, protocols)
}

fn serve(verifier: Arc<dyn ClientCertVerifier>, name: &str, protocols: &[&[u8]]) -> ServerConfig {
    serve_with(verifier, &issue(name), protocols)
}

fn serve_with(
    verifier: Arc<dyn ClientCertVerifier>,
    (certificate, key): &(String, String),
    protocols: &[&[u8]],
) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}
