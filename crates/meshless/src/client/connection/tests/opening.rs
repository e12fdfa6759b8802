//! The steps until a connection is ready, and the errors when they fail.

use tokio::io::AsyncWriteExt;

use super::*;

async fn refusal(serve: impl AsyncFnOnce(&mut DuplexStream)) -> String {
    let (io, mut far) = tokio::io::duplex(PIPE);
    let (report, _events) = reporter();
    let connecting = tokio::spawn(dial(io, ConnectionConfig::default(), report));
    serve(&mut far).await;
    let started = tokio::time::Instant::now();
    let error = connecting.await.unwrap().expect_err("the server is no good");
    if !matches!(error, ConnectError::Timeout { .. }) {
        assert_eq!(started.elapsed(), Duration::ZERO, "said at once, not at the deadline");
    }
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_ready_when_the_servers_settings_are_in_force() {
    let (io, far) = tokio::io::duplex(PIPE);
    let (report, _events) = reporter();
    let connecting = tokio::spawn(dial(io, ConnectionConfig::default(), report));
    let mut peer = Peer::accept(far).await;
    settle().await;
    assert!(!connecting.is_finished(), "not before SETTINGS");
    peer.settings(&[(peer::MAX_CONCURRENT_STREAMS, 7)]).await;
    let connection = connecting.await.unwrap().unwrap();
    assert_eq!(connection.max_streams(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_sends_settings_runs_into_the_connect_timeout() {
    let message = refusal(async |_| {}).await;
    assert_eq!(message, "cannot connect to unix:/test: no HTTP/2 SETTINGS from the server within 20s");
}

#[tokio::test(start_paused = true)]
async fn an_http1_server_is_named_at_once() {
    let message = refusal(async |io| {
        io.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    assert!(message.contains("it answers in HTTP/1"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_tls_server_without_tls_is_named_at_once() {
    let message = refusal(async |io| {
        io.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).await.unwrap();
        io.shutdown().await.unwrap();
    })
    .await;
    assert!(message.contains("it answers in TLS"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_is_named_at_once() {
    let message = refusal(async |io| io.shutdown().await.unwrap()).await;
    assert!(message.contains("closed the connection before HTTP/2's SETTINGS"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_dial_error_names_the_address() {
    let address = Address::Unix("/nowhere".into());
    let connector = Connector::Custom(std::sync::Arc::new(Pipe(Mutex::new(None))));
    let destination = Destination {
        address: &address,
        connector: &connector,
        #[cfg(feature = "tls")]
        tls: None,
    };
    let error =
        Connection::connect(destination, &ConnectionConfig::default(), reporter().0).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to unix:/nowhere: connection refused");
}
