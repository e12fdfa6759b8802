//! The client against an API server on loopback, with TLS and scripted answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, ServerConfig};

use super::*;

/// Answers every request with `answer`. Returns the server's address, the PEM of its authority, and
/// the request heads of each connection.
async fn serve(answer: &str) -> (SocketAddr, String, Arc<Mutex<Vec<Vec<String>>>>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let (acceptor, answer, gathered) =
        (TlsAcceptor::from(Arc::new(config)), answer.to_owned(), Arc::clone(&heads));
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let Ok(mut io) = acceptor.accept(io).await else { continue };
            let (answer, gathered) = (answer.clone(), Arc::clone(&gathered));
            let connection = {
                let mut connections = gathered.lock().unwrap();
                connections.push(Vec::new());
                connections.len() - 1
            };
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = io.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        let head = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        gathered.lock().unwrap()[connection].push(head);
                        io.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    (address, authority.pem(), heads)
}

fn pod(folder: &Path, server: SocketAddr) -> Result<KubernetesClient, KubernetesError> {
    service_account::client(folder, |name| match name {
        "KUBERNETES_SERVICE_HOST" => Some(server.ip().to_string()),
        "KUBERNETES_SERVICE_PORT" => Some(server.port().to_string()),
        _ => None,
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_pod_presents_the_token_that_is_mounted_now_on_one_connection() {
    let (address, authority, heads) = serve(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("ca.crt", &authority);
    write("namespace", "shop\n");
    write("token", "first\n");
    let client = pod(folder.path(), address).unwrap();
    assert_eq!(client.default_namespace(), "shop");
    for token in ["first", "second", "third"] {
        write("token", token);
        let response = client.get("/apis/x?y=z").await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
        let head = heads.lock().unwrap().last().unwrap().last().unwrap().clone();
        assert!(head.starts_with("GET /apis/x?y=z HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nauthorization: Bearer {token}\r\n")), "{head}");
        assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
        // Time for the connection to become ready for the next request.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(heads.lock().unwrap().len(), 1, "connections");
    assert!(!format!("{client:?}").contains("third"));
}

#[tokio::test]
async fn no_token_leaves_with_a_redirect() {
    let (other, _, others_heads) = serve(OK).await;
    let (address, authority, heads) =
        serve(&format!("HTTP/1.1 307 Elsewhere\r\nlocation: https://{other}/\r\ncontent-length: 0\r\n\r\n"))
            .await;
    let trust = TlsConfig::trusting(authority).unwrap();
    let client =
        KubernetesClient::new(&format!("https://{address}")).unwrap().tls(&trust).unwrap().token("secret");
    assert_eq!(client.get("/").await.unwrap().status(), 307);
    assert_eq!(heads.lock().unwrap().len(), 1);
    assert!(others_heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_trusted_gets_no_request() {
    let (address, _, heads) = serve(OK).await;
    let (_, other_authority, _) = serve(OK).await;
    let trust = TlsConfig::trusting(other_authority).unwrap();
    let client =
        KubernetesClient::new(&format!("https://{address}")).unwrap().tls(&trust).unwrap().token("secret");
    let error = client.get("/").await.unwrap_err();
    assert!(error.contains("an authority that is not trusted"), "{error}");
    assert!(heads.lock().unwrap().is_empty());
    let untrusting = KubernetesClient::new(&format!("https://{address}")).unwrap();
    assert!(untrusting.get("/").await.unwrap_err().contains("KubernetesClient::tls"));
}

#[test]
fn what_a_pod_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let none = service_account::client(folder.path(), |_| None).unwrap_err().to_string();
    assert!(none.contains("this is no pod: $KUBERNETES_SERVICE_HOST is not set"), "{none}");
    let address = "10.96.0.1:443".parse().unwrap();
    let no_token = pod(folder.path(), address).unwrap_err().to_string();
    for part in ["no token is mounted at ", "automountServiceAccountToken: true"] {
        assert!(no_token.contains(part), "{no_token}");
    }
}

#[test]
fn what_is_no_url_is_named() {
    for url in ["", "10.0.0.1:6443", "ftp://10.0.0.1", "https://", "http://a/?b=c", "https://a b"] {
        let error = KubernetesClient::new(url).unwrap_err().to_string();
        assert!(error.contains("is no URL of an API server"), "{url:?}: {error}");
    }
    for url in ["https://10.0.0.1", "http://[::1]:8001", "https://rancher.example/k8s/clusters/c-1/"] {
        KubernetesClient::new(url).unwrap();
    }
}

#[tokio::test]
async fn requests_can_be_sent_by_another_client() {
    let client = KubernetesClient::from_fn(|request| async move {
        let path = request.uri().path().to_owned();
        if path == "/fails" {
            Err("it\nfails")
        } else {
            Ok(Response::new(http_body_util::Full::<Bytes>::from(path)))
        }
    });
    let body = client.get("/a").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/a");
    assert_eq!(client.get("/fails").await.unwrap_err(), "it\\nfails");
}
