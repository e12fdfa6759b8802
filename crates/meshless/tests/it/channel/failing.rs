//! Bad input and bad peers: a clear error from `connect()`, and from the first call after
//! `connect_lazy()`, each before any deadline.

use std::time::Duration;

use meshless::{Channel, ChannelBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::Code;

use super::network::check_within;
#[cfg(feature = "dns")]
use meshless_testkit::dns_server::{DnsServer, Script};

/// What `connect()` says; the first call after `connect_lazy()` must say the same.
async fn error(build: impl Fn() -> ChannelBuilder) -> String {
    let connect = tokio::time::timeout(Duration::from_secs(10), build().connect());
    let error = connect.await.expect("an error before the deadline").unwrap_err().to_string();
    let channel = build().connect_lazy().unwrap();
    let status = check_within(&channel, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(status.message(), error);
    error
}

/// Answers every connection with these bytes.
async fn server_that_says(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = io.read(&mut request).await;
                let _ = io.write_all(bytes).await;
                while io.read(&mut request).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    port
}

#[tokio::test]
async fn a_target_that_is_none_is_refused_at_once() {
    for target in ["", "dns:///", "dns:///host:port", "ipv4:300.0.0.1:80", "ipv4:10.0.0.1", "nonsense:///x:1"]
    {
        let lazy = Channel::builder(target).connect_lazy().unwrap_err().to_string();
        let eager = Channel::builder(target).connect().await.unwrap_err().to_string();
        assert_eq!(lazy, eager);
        assert!(lazy.len() > 20, "it says what to do: {lazy}");
    }
}

#[test]
fn outside_a_runtime_the_error_says_so() {
    let error = Channel::builder("ipv4:10.0.0.1:1").connect_lazy().unwrap_err().to_string();
    assert_eq!(error, "a channel needs a tokio runtime; make it within one");
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn an_unknown_host_is_named() {
    let dns = DnsServer::start().await;
    let target = format!("dns://{}/nowhere.test.:50051", dns.address);
    let error = error(|| Channel::builder(&target)).await;
    let what = "nowhere.test. does not exist in DNS (NXDOMAIN); check the name, its namespace and that the service exists";
    assert_eq!(error, format!("{target}: no endpoint is known: {what}"));
}

#[cfg(feature = "dns")]
#[tokio::test]
async fn a_name_without_addresses_is_named() {
    let dns = DnsServer::start().await;
    dns.set("empty.test.", Script::Addresses { addresses: Vec::new(), ttl_s: 1 });
    let target = format!("dns://{}/empty.test.:50051", dns.address);
    let error = error(|| Channel::builder(&target)).await;
    let what = "empty.test. has no address in DNS; check that the service is headless and has ready pods";
    assert_eq!(error, format!("{target}: no endpoint is known: {what}"));
}

#[tokio::test]
async fn a_refused_port_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let target = format!("ipv4:127.0.0.1:{port}");
    let error = error(|| Channel::builder(&target)).await;
    let endpoint = format!("127.0.0.1:{port}");
    let prefix =
        format!("{target}: no endpoint can be reached: {endpoint}: cannot connect: Connection refused");
    assert!(error.starts_with(&prefix), "{error}");
}

#[tokio::test]
async fn servers_that_speak_something_else_are_told_apart() {
    for (bytes, what) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it answers in HTTP/1"),
        (b"\x15\x03\x01\0\x02\x02\x46", "it answers in TLS; connect with TLS, as for https://"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "something else listens there"),
    ] {
        let port = server_that_says(bytes).await;
        let target = format!("ipv4:127.0.0.1:{port}");
        let error = error(|| Channel::builder(&target)).await;
        let prefix = format!("{target}: no endpoint can be reached: 127.0.0.1:{port}: did not open HTTP/2: ");
        assert!(error.starts_with(&prefix) && error.contains(what), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_missing_socket_is_named() {
    let target = "unix:/nowhere/at/all.sock";
    let error = error(|| Channel::builder(target)).await;
    assert!(error.contains("unix:/nowhere/at/all.sock: cannot connect: No such file"), "{error}");
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use meshless::TlsConfig;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A server with a certificate for `name`, which answers every HTTP/2 call.
    async fn server(name: &str, authority: &Authority) -> u16 {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let chain = vec![
            CertificateDer::from_pem_slice(params.signed_by(&key, authority).unwrap().pem().as_bytes())
                .unwrap(),
        ];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((io, peer)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(io) = acceptor.accept(io).await else { return };
                    let mut connection = h2::server::handshake(io).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let backend = meshless::resolver::Address::Tcp(peer);
                        crate::channel::network::Call { backend, request, respond }.answer();
                    }
                });
            }
        });
        port
    }

    fn trusting(authority: &Authority) -> TlsConfig {
        TlsConfig::trusting(authority.pem()).unwrap()
    }

    #[tokio::test]
    async fn a_server_with_the_right_name_is_called() {
        let authority = authority("ours");
        let port = server("127.0.0.1", &authority).await;
        let builder = Channel::builder(format!("ipv4:127.0.0.1:{port}")).tls(trusting(&authority));
        let channel = builder.connect().await.unwrap();
        check_within(&channel, Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_wrong_name_is_named() {
        let authority = authority("ours");
        let port = server("backend.test", &authority).await;
        let target = format!("ipv4:127.0.0.1:{port}");
        let error = error(|| Channel::builder(&target).tls(trusting(&authority))).await;
        assert!(error.contains("TLS failed: the server's certificate is not for \"127.0.0.1\""), "{error}");
        let named = trusting(&authority).server_name("backend.test").unwrap();
        Channel::builder(&target).tls(named).connect().await.unwrap();
    }

    #[tokio::test]
    async fn an_unknown_authority_is_named() {
        let port = server("127.0.0.1", &authority("ours")).await;
        let target = format!("ipv4:127.0.0.1:{port}");
        // The second has changed its key.
        for stranger in [authority("theirs"), authority("ours")] {
            let error = error(|| Channel::builder(&target).tls(trusting(&stranger))).await;
            let what = "TLS failed: the server's certificate is signed by an authority that is not trusted; \
                        add that authority's certificate";
            assert_eq!(error, format!("{target}: no endpoint can be reached: 127.0.0.1:{port}: {what}"));
        }
    }

    #[tokio::test]
    async fn a_plain_text_server_is_told_apart() {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\0\0\x04\0\0\0\0\0"] {
            let port = server_that_says(bytes).await;
            let target = format!("ipv4:127.0.0.1:{port}");
            let trusted = authority("ours");
            let error = error(|| Channel::builder(&target).tls(trusting(&trusted))).await;
            assert!(error.contains("the server does not speak TLS"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_tls_server_is_told_apart_by_a_plain_text_channel() {
        let port = server("127.0.0.1", &authority("ours")).await;
        let target = format!("ipv4:127.0.0.1:{port}");
        let error = error(|| Channel::builder(&target)).await;
        assert!(error.contains("it answers in TLS; connect with TLS"), "{error}");
    }

    #[tokio::test]
    async fn a_scheme_that_does_not_fit_the_settings_is_refused_at_once() {
        let tls = trusting(&authority("ours"));
        let error = Channel::builder("http://backend:80").tls(tls).connect_lazy().unwrap_err().to_string();
        assert!(error.contains("asks for plain text, but TLS is set"), "{error}");
        let error = Channel::builder("https://backend:443").connect_lazy().unwrap_err().to_string();
        assert!(error.contains("asks for TLS, but whom to trust is not set"), "{error}");
    }
}
