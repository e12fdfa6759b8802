//! No call is lost and none runs twice on a real HTTP/2 server that ends connections after some
//! requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshless_core::AttemptFate;
use tokio::sync::{Mutex, Notify};

use super::*;

/// A server behind a connector: every connect is a new connection to it.
#[derive(Clone, Default)]
struct Server {
    executed: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Connect for Server {
    fn connect(&self, _address: &Address) -> Connecting {
        let (near, far) = tokio::io::duplex(PIPE);
        self.connections.fetch_add(1, Ordering::Relaxed);
        let executed = Arc::clone(&self.executed);
        tokio::spawn(async move {
            let (served, old) = (AtomicU32::new(0), Arc::new(Notify::new()));
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                if served.fetch_add(1, Ordering::Relaxed) == REQUESTS_PER_CONNECTION {
                    old.notify_one();
                }
                executed.fetch_add(1, Ordering::Relaxed);
                async {
                    let echoed = request.into_body().collect().await.unwrap_or_default().to_bytes();
                    tokio::task::yield_now().await;
                    let head = http::Response::builder().header("content-type", "application/grpc");
                    let status =
                        [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))];
                    let trailers = async { Some(Ok(http::HeaderMap::from_iter(status))) };
                    Ok::<_, Infallible>(head.body(Full::new(echoed).with_trailers(trailers)).unwrap())
                }
            });
            let io = TokioIo::new(far);
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                _ = serving.as_mut() => {}
                () = old.notified() => {
                    serving.as_mut().graceful_shutdown();
                    let _ = serving.await;
                }
            }
        });
        Box::pin(async move { Ok(Box::new(near) as BoxIo) })
    }
}

/// A channel in its simplest form: one connection, replaced when it goes away.
struct Client {
    connector: Connector,
    current: Mutex<Option<Connection>>,
}

impl Client {
    async fn slot(&self) -> StreamPermit {
        let mut current = self.current.lock().await;
        loop {
            if let Some(slot) = current.as_ref().and_then(Connection::try_reserve) {
                return slot;
            }
            if current.as_ref().is_some_and(Connection::is_accepting) {
                tokio::task::yield_now().await;
                continue;
            }
            let destination = Destination {
                address: &Address::Unix("/test".into()),
                connector: &self.connector,
                #[cfg(feature = "tls")]
                tls: None,
            };
            let report = Box::new(|_| {});
            *current =
                Some(Connection::connect(destination, &ConnectionConfig::default(), report).await.unwrap());
        }
    }

    /// Makes one call, and repeats it while it was provably not executed.
    async fn call(&self, number: usize) -> Result<(), Failure> {
        let bytes = Bytes::from(number.to_be_bytes().to_vec());
        let mut outgoing = request(Body::new(Full::new(bytes.clone())));
        loop {
            match attempt(self.slot().await, &mut outgoing).await {
                Ok(response) => {
                    let echoed = response.into_body().collect().await.expect("the response is whole");
                    assert_eq!(echoed.to_bytes(), bytes);
                    return Ok(());
                }
                Err(failure) if failure.fate() == AttemptFate::MaybeProcessed => return Err(failure),
                Err(_) => assert!(outgoing.can_replay()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotating_connections_lose_no_call_and_repeat_none() {
    let server = Server::default();
    let client = Arc::new(Client {
        connector: Connector::Custom(Arc::new(server.clone())),
        current: Mutex::new(None),
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for call in 0..CALLS_EACH {
                    client.call(caller * CALLS_EACH + call).await.expect("no call is lost");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(server.executed.load(Ordering::Relaxed), CALLERS * CALLS_EACH, "each call ran once");
    let rotations = server.connections.load(Ordering::Relaxed) - 1;
    assert!(rotations >= 20, "only {rotations} rotations: the test tested nothing");
}

const CALLERS: usize = 32;
const CALLS_EACH: usize = 200;
const REQUESTS_PER_CONNECTION: u32 = 100;
