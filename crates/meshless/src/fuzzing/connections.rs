//! A peer that sends what it likes, in pieces and with pauses as it likes, to a whole server and to
//! a whole channel.
//!
//! The first byte seeds pieces and pauses; the others are what the peer sends before it closes.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use meshless_core::{CLIENT_PREFACE, LifetimeConfig, Rng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tonic::body::Body;
use tower_service::Service;

use crate::client::{BoxIo, Connect, Connecting};
use crate::resolver::Address;
use crate::server::ConnectionConfig;
use crate::{Channel, Policy, serve_connection};

/// A client's bytes after the preface. The connection ends, and so do its calls.
pub fn server_connection(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let (bytes, seed) = ([CLIENT_PREFACE, bytes].concat(), *seed);
    // Ages while the peer pauses, so that the filter which follows a GOAWAY reads, too.
    let lifetime = LifetimeConfig::default().max_age(AGE).max_age_grace(AGE);
    let config = ConnectionConfig::default().lifetime(lifetime).max_concurrent_streams(10).seed(1);
    within_an_hour(async move {
        drop(serve_connection(Script::new(bytes, seed), Answering, &config, pending()).await);
    });
}

/// A server's bytes. The call ends by its deadline, the same on every connection.
pub fn client_connection(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    let (bytes, seed) = (bytes.to_vec(), *seed);
    within_an_hour(async move {
        let mut channel = Channel::builder("ipv4:10.0.0.1:1")
            .policy(Policy::RoundRobin)
            .connector(Scripted { bytes, seed })
            .timeout(DEADLINE)
            .seed(1)
            .connect_lazy()
            .expect("the settings fit");
        let begun = Instant::now();
        let body = Body::new(Full::from("\0\0\0\0\0"));
        let request = http::Request::post("/fuzz.Fuzz/Fuzz").body(body).expect("a path and a body");
        if let Ok(response) = channel.call(request).await {
            let _ = response.into_body().collect().await;
        }
        assert!(begun.elapsed() <= DEADLINE + Duration::from_millis(10), "{:?}", begun.elapsed());
    });
}

fn within_an_hour(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    runtime.block_on(async { timeout(HOUR, run).await.expect("it ends") });
}

/// Reads every request to its end and answers.
#[derive(Clone)]
struct Answering;

impl Service<http::Request<crate::server::RequestBody>> for Answering {
    type Response = http::Response<Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<crate::server::RequestBody>) -> Self::Future {
        Box::pin(async move {
            let _ = request.into_body().collect().await;
            Ok(http::Response::new(Empty::new()))
        })
    }
}

/// The peer of a channel, anew for each connection.
struct Scripted {
    bytes: Vec<u8>,
    seed: u8,
}

impl Connect for Scripted {
    fn connect(&self, _: &Address) -> Connecting {
        let script = Script::new(self.bytes.clone(), self.seed);
        Box::pin(async move { Ok(Box::new(script) as BoxIo) })
    }
}

/// A stream that says what it is to say, and hears nothing.
struct Script {
    bytes: Vec<u8>,
    said: usize,
    /// Where the next pause is, and until when.
    pause_at: usize,
    pause: Pin<Box<Sleep>>,
    rng: Rng,
}

impl Script {
    fn new(bytes: Vec<u8>, seed: u8) -> Self {
        let pause = Box::pin(sleep_until(Instant::now()));
        Self { bytes, said: 0, pause_at: 0, pause, rng: Rng::new(u64::from(seed), 0) }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        std::task::ready!(me.pause.as_mut().poll(cx));
        if me.said >= me.pause_at {
            me.pause_at = me.said + 1 + me.rng.below(PIECE_MAX);
            let pause = if me.rng.below(4) == 0 { me.rng.jittered(AGE, 1.0) } else { Duration::ZERO };
            me.pause.as_mut().reset(Instant::now() + pause);
            std::task::ready!(me.pause.as_mut().poll(cx));
        }
        let end = me.pause_at.min(me.bytes.len()).min(me.said + buf.remaining());
        buf.put_slice(&me.bytes[me.said..end]);
        me.said = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Of a server's connection: some pauses long.
const AGE: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that come at once.
const PIECE_MAX: usize = 64;
