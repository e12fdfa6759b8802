//! A running server, from the first connection to the last. This one function sets the order.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::Server;
use super::accepted::Accepted;
use super::admission::Admitting;
use super::connections::Connections;
use super::grpc_service::GrpcService;
use super::listener::{Acceptor, Listener};
use super::shutdown::Shutdown;

/// Serves until the shutdown is complete. Then no connection and no listener is left.
pub(super) async fn serve(mut server: Server, listeners: Vec<Box<dyn Listener>>, mut shutdown: Shutdown) {
    if server.has_own_health {
        server.routes = server.routes.add_service(GrpcService::new(server.health.service()));
        server.services.push(super::HEALTH_SERVICE);
    }
    server.routes = server.layers.around(server.routes).prepare();
    #[cfg(feature = "tls")]
    let mut reload = server.tls.take().map(super::tls::Reload::new);
    let server = Arc::new(server);
    let mut door = Door { acceptor: Acceptor::new(listeners), admission: Admitting::new(server.limits) };
    let mut connections = Connections::new(server.clone());
    #[cfg(feature = "tls")]
    connections.set_tls(reload.as_ref().map(super::tls::Reload::current));

    let begun = shutdown.begun();
    #[cfg(feature = "tls")]
    let begun = reloading(&mut reload, begun);
    let trigger = accept_until(begun, &mut door, &mut connections).await;

    server.health.shut_down();
    let lame_duck = server.lame_duck.unwrap_or_else(|| trigger.default_lame_duck());
    tracing::info!(?trigger, ?lame_duck, "shutdown has begun");
    if !lame_duck.is_zero() {
        let over = tokio::time::timeout(lame_duck, shutdown.hurried());
        let _ = accept_until(over, &mut door, &mut connections).await;
    }

    // A client whose connection waits in the backlog believes that it is connected: it gets a
    // GOAWAY, not a reset.
    let Door { acceptor, mut admission } = door;
    let mut acceptor = Some(acceptor);
    let waiting = std::future::poll_fn(|cx| {
        Poll::Ready(acceptor.take().map_or_else(Vec::new, |acceptor| acceptor.close(cx)))
    });
    for accepted in waiting.await {
        connections.admit(accepted, admission.admit());
    }
    server.health.drain();
    connections.drain();
    tokio::select! {
        biased;
        () = connections.all_ended() => return,
        () = shutdown.hurried() => {}
    }
    connections.hurry();
    connections.all_ended().await;
}

async fn accept_until<T>(end: impl Future<Output = T>, door: &mut Door, connections: &mut Connections) -> T {
    let mut end: Pin<&mut _> = pin!(end);
    loop {
        tokio::select! {
            biased;
            ended = &mut end => return ended,
            Some(()) = connections.ended() => {}
            accepted = door.accept() => connections.admit(accepted, door.admission.admit()),
        }
    }
}

/// Accepts connections.
struct Door {
    acceptor: Acceptor,
    admission: Admitting,
}

impl Door {
    /// Dropping the future loses nothing.
    async fn accept(&mut self) -> Accepted {
        self.admission.ready().await;
        self.acceptor.accept().await
    }
}

/// Keeps the certificates up to date until `end` completes.
#[cfg(feature = "tls")]
async fn reloading<T>(reload: &mut Option<super::tls::Reload>, end: impl Future<Output = T>) -> T {
    let Some(reload) = reload else { return end.await };
    tokio::select! {
        biased;
        ended = end => ended,
        never = reload.run() => match never {},
    }
}
