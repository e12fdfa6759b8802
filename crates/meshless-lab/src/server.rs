//! Runs the echo service on one listener, with connections that age, and tells what becomes of them.
//!
//! Stand-in on tonic's own server until `meshless::Server` is merged: it has no events and no grace.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::echo::Echo;
use crate::echo::hello::hello_service_server::HelloServiceServer;

/// How a server treats its connections. `None` means never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_age_grace: Option<Duration>,
    pub(crate) max_idle: Option<Duration>,
    pub(crate) keepalive_time: Duration,
    pub(crate) keepalive_timeout: Duration,
}

pub(crate) async fn serve(
    listener: TcpListener,
    settings: ConnectionSettings,
    echo: Echo,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let mut server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(settings.keepalive_time))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout));
    if let Some(age) = settings.max_age {
        server = server.max_connection_age(age);
    }
    server
        .add_service(HelloServiceServer::new(echo))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
}
