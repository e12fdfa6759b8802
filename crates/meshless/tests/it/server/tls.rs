//! TLS: who is let in, what handlers learn, how long a handshake may take, and certificates that
//! change.

use std::convert::Infallible;
use std::fs;
use std::future::{Ready, ready};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use meshless::server::{CloseReason, ConnectionChange, ConnectionConfig, GoAwayReason, LifetimeConfig};
use meshless::{Channel, Pem, Server, ServerTlsConfig, Shutdown, ShutdownHandle, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::pipes::Piped;
use crate::raw_peer::{RawPeer, Received};

const SECOND: Duration = Duration::from_secs(1);

static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| authority("cluster"));

#[tokio::test]
async fn handlers_see_who_calls() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (addr, handle) = serve(server_tls().client_ca(AUTHORITY.pem()).unwrap(), &seen);
    let (chain, key) = issue("client");
    let known = client_tls().identity(&chain, key).unwrap();
    call(addr, known).await.unwrap();
    let (certificates, client) = seen.lock().unwrap().pop().expect("it was called");
    assert_eq!(certificates, [certificate(&chain)]);
    assert!(client.is_some_and(|client: std::net::SocketAddr| client.ip().is_loopback()));
    handle.begin();
}

#[tokio::test]
async fn only_certificates_of_the_authority_are_let_in() {
    let seen = Arc::default();
    let (addr, handle) = serve(server_tls().client_ca(AUTHORITY.pem()).unwrap(), &seen);
    let error = call(addr, client_tls()).await.unwrap_err();
    assert!(error.contains("wants a certificate of its clients"), "{error}");
    let (chain, key) = issue_by(&authority("elsewhere"), "client");
    let stranger = client_tls().identity(chain, key).unwrap();
    let error = call(addr, stranger.clone()).await.unwrap_err();
    assert!(error.contains("does not accept this client's certificate"), "{error}");
    handle.begin();

    let optional = server_tls().client_ca(AUTHORITY.pem()).unwrap().client_certificate_optional().unwrap();
    let (addr, handle) = serve(optional, &seen);
    call(addr, client_tls()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert!(call(addr, stranger).await.is_err(), "with a stranger's, though it needs none");
    handle.begin();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let server = Piped::start(Server::builder().tls(server_tls()));
    let begun = Instant::now();
    let mut silent = server.pipe();
    let mut halfway = RawPeer { io: server.pipe() };
    // The beginning of a ClientHello.
    halfway.send(&[22, 3, 1, 2, 0, 1, 0]).await;
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut [0]).await;
    assert_eq!(read.unwrap(), 0);
    assert_eq!(begun.elapsed(), SECOND * 20);
    assert_eq!(halfway.rest().await, [Received::Closed]);
    server.shutdown.begin();
    let events = server.ended().await;
    let timeout = ConnectionChange::Closed(CloseReason::HandshakeTimeout);
    assert_eq!(events.iter().filter(|event| event.change == timeout).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_no_tls_or_no_http2_is_closed_and_told_apart() {
    let server = Piped::start(Server::builder().tls(server_tls()));
    let mut plain = server.connect().await;
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut plain.io, &mut bytes).await.unwrap();
    drop(plain);
    let _no_alpn = handshake(server.pipe(), &[]).await.unwrap();
    assert!(handshake(server.pipe(), &["http/1.1"]).await.is_err());
    tokio::time::sleep(SECOND * 5).await;
    server.shutdown.begin();
    let events = server.ended().await;
    let failures: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.change {
            ConnectionChange::Closed(CloseReason::Failed(error)) => Some(error.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(failures.len(), 3, "{failures:?}");
    assert!(failures[0].contains("does not speak TLS"), "{failures:?}");
    let said = |text: &str| failures.iter().any(|failure| failure.contains(text));
    assert!(said("did not ask for HTTP/2") && said("any known protocol"), "{failures:?}");
}

#[tokio::test(start_paused = true)]
async fn age_begins_after_the_handshake() {
    let lifetime = LifetimeConfig::default().max_age(SECOND * 100);
    let config = ConnectionConfig::default().lifetime(lifetime);
    let server = Piped::start(Server::builder().connection_config(config).tls(server_tls()));
    let begun = Instant::now();
    let pipe = server.pipe();
    tokio::time::sleep(SECOND * 15).await;
    let mut peer = RawPeer::connect(handshake(pipe, &["h2"]).await.unwrap()).await;
    while !matches!(peer.next().await, Received::GoAway { .. }) {}
    let age = begun.elapsed() - SECOND * 15;
    assert!(age >= SECOND * 90 && age <= SECOND * 110, "{age:?}");
    drop(peer);
    server.shutdown.begin();
    let events = server.ended().await;
    assert!(
        events.iter().any(|event| event.change == ConnectionChange::GoingAway(GoAwayReason::MaxAge)),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_a_tls_client_away_with_its_frames() {
    let server = Piped::start(Server::builder().tls(server_tls()));
    let mut peer = RawPeer::connect(handshake(server.pipe(), &["h2"]).await.unwrap()).await;
    let pending = server.pipe();
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    server.shutdown.begin();
    let frames = peer.rest().await;
    assert!(matches!(frames[..], [Received::GoAway { .. }, .., Received::Closed]), "{frames:?}");
    drop(peer);
    server.ended().await;
    assert!(begun.elapsed() <= SECOND * 10, "a handshake that does not come holds the drain up");
    drop(pending);
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    // As a kubelet lays a Secret out: files that are links through `..data`, which is exchanged as
    // a whole.
    let volume = tempfile::tempdir().unwrap();
    let (first, second) = (issue("backend.test"), issue("backend.test"));
    publish(volume.path(), "1", &first);
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), volume.path().join(name)).unwrap();
    }
    let file = |name| Pem::file(volume.path().join(name));
    let tls = ServerTlsConfig::new(file("tls.crt"), file("tls.key")).unwrap();
    let server = Piped::start(Server::builder().tls(tls.reload_interval(SECOND * 30)));
    assert_eq!(presented(&server).await, certificate(&first.0));
    let standing = handshake(server.pipe(), &["h2"]).await.unwrap();
    let mut standing = RawPeer::connect(standing).await;

    publish(volume.path(), "2", &(second.0.clone(), first.1.clone()));
    tokio::time::sleep(SECOND * 61).await;
    assert_eq!(presented(&server).await, certificate(&first.0), "the key is another's");
    publish(volume.path(), "3", &(second.0[..100].to_owned(), second.1.clone()));
    tokio::time::sleep(SECOND * 61).await;
    assert_eq!(presented(&server).await, certificate(&first.0), "half a certificate");
    fs::remove_file(volume.path().join("..data")).unwrap();
    tokio::time::sleep(SECOND * 61).await;
    assert_eq!(presented(&server).await, certificate(&first.0), "no file");

    publish(volume.path(), "4", &second);
    tokio::time::sleep(SECOND * 31).await;
    assert_eq!(presented(&server).await, certificate(&second.0));
    standing.call(1, "/grpc.health.v1.Health/Unknown").await;
    assert!(matches!(standing.next().await, Received::Headers { stream: 1, .. }), "it still stands");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let (chain, key) = issue("backend.test");
    let refused = |chain: &str, key: &str| ServerTlsConfig::new(chain, key).unwrap_err().to_string();
    assert_eq!(refused("", &key), "the PEM text: no certificate found: it is empty");
    assert_eq!(refused(&chain, ""), "the PEM text: no private key found: it is empty");
    assert!(refused(&chain, &issue("other.test").1).contains("does not belong to the key"));
    assert!(ServerTlsConfig::new(chain.as_str(), key.as_str()).unwrap().client_ca("").is_err());
    let missing = ServerTlsConfig::new(Pem::file("/nowhere/tls.crt"), key.as_str()).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/tls.crt"), "{missing}");
    let debug = format!("{:?}", ServerTlsConfig::new(chain.as_str(), key.as_str()).unwrap());
    assert!(!debug.contains("BEGIN"), "{debug}");
}

type Seen = Arc<Mutex<Vec<(Vec<CertificateDer<'static>>, Option<std::net::SocketAddr>)>>>;

/// Notes what each request carries, and answers UNIMPLEMENTED.
#[derive(Clone)]
struct Witness(Seen);

impl tonic::server::NamedService for Witness {
    // The client's code for it is there already.
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Witness {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        assert!(parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>().is_some());
        let request = tonic::Request::from_parts(Default::default(), parts.extensions, body);
        let certificates = request.peer_certs().map(|certificates| certificates.to_vec());
        self.0.lock().unwrap().push((certificates.unwrap_or_default(), request.remote_addr()));
        ready(Ok(tonic::Status::unimplemented("seen").into_http()))
    }
}

fn serve(tls: ServerTlsConfig, seen: &Seen) -> (std::net::SocketAddr, ShutdownHandle) {
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let handle = shutdown.handle();
    let server = Server::builder().tls(tls).add_service(Witness(seen.clone()));
    tokio::spawn(async move { server.serve_with_incoming_shutdown([listener], shutdown).await });
    (addr, handle)
}

/// Calls the witness; an error if there was no connection.
async fn call(addr: std::net::SocketAddr, tls: TlsConfig) -> Result<(), String> {
    let channel = Channel::builder(format!("ipv4:{addr}")).tls(tls).connect_lazy().unwrap();
    let called = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    match called.unwrap_err() {
        status if status.code() == tonic::Code::Unimplemented => Ok(()),
        status => Err(status.to_string()),
    }
}

/// A client's handshake by hand.
pub(super) async fn handshake(
    io: DuplexStream,
    protocols: &[&str],
) -> std::io::Result<TlsStream<DuplexStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(AUTHORITY.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("backend.test").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await
}

/// The certificate of a new connection.
async fn presented(server: &Piped) -> CertificateDer<'static> {
    let stream = handshake(server.pipe(), &["h2"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Puts a pair into a folder of its own and turns `..data` to it, as a kubelet does.
fn publish(volume: &Path, revision: &str, (chain, key): &(String, String)) {
    let folder = volume.join(format!("..{revision}"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("tls.crt"), chain).unwrap();
    fs::write(folder.join("tls.key"), key).unwrap();
    symlink(&folder, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

pub(super) fn server_tls() -> ServerTlsConfig {
    let (chain, key) = issue("backend.test");
    ServerTlsConfig::new(chain, key).unwrap()
}

fn client_tls() -> TlsConfig {
    TlsConfig::trusting(AUTHORITY.pem()).unwrap().server_name("backend.test").unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(name: &str) -> (String, String) {
    issue_by(&AUTHORITY, name)
}

fn issue_by(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
