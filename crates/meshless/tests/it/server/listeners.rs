//! Unix sockets, and listeners of several kinds at once.

use std::fs;
use std::sync::{Arc, Mutex};

use meshless::server::{ConnectionChange, Listener, Peer, bind_unix};
use meshless::{ServeError, Server, Shutdown};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn tcp_and_unix_sockets_are_served_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let tcp = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unix = bind_unix(&path).unwrap();
    assert_eq!(unix.path(), path);
    let targets = [format!("ipv4:{}", tcp.local_addr().unwrap()), format!("unix:{}", path.display())];
    let listeners: [Box<dyn Listener>; 2] = [Box::new(tcp), Box::new(unix)];
    let peers = Arc::new(Mutex::new(Vec::new()));
    let log = peers.clone();
    let server = Server::builder().on_connection_event(move |event| {
        if event.change == ConnectionChange::Opened {
            log.lock().unwrap().push(event.peer.clone());
        }
    });
    let shutdown = Shutdown::new();
    let handle = shutdown.handle();
    let task = tokio::spawn(async move {
        server.serve_with_incoming_shutdown(listeners, shutdown).await.unwrap();
    });
    for target in targets {
        let channel = meshless::Channel::builder(&target).connect().await.unwrap();
        HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    }
    handle.begin();
    task.await.unwrap();
    assert!(!path.exists(), "its file is left");
    let peers = peers.lock().unwrap();
    assert!(matches!(peers[..], [Peer::Tcp(_), Peer::Unix]), "{peers:?}");
    assert_eq!(peers[1].to_string(), "unix");
    assert!(peers[0].socket_addr().is_some_and(|addr| addr.ip().is_loopback()));
}

#[tokio::test]
async fn a_socket_file_is_replaced_only_if_nobody_listens_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    // As a killed process leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind_unix(&path).unwrap();
    let error = bind_unix(&path).unwrap_err();
    assert!(matches!(error, ServeError::SocketInUse { .. }), "{error}");
    assert!(error.to_string().contains("echo.sock"), "{error}");
    tokio::net::UnixStream::connect(&path).await.unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind_unix(&path), Err(ServeError::SocketInUse { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let nowhere = folder.path().join("missing").join("echo.sock");
    assert!(matches!(bind_unix(&nowhere), Err(ServeError::ListenUnix { .. })));
}

#[tokio::test]
async fn the_file_of_a_successor_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.sock");
    let old = bind_unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let new = bind_unix(&path).unwrap();
    drop(old);
    tokio::net::UnixStream::connect(&path).await.unwrap();
    drop(new);
}
