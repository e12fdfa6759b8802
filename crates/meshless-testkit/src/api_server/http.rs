//! HTTP as an API server speaks it: JSON whole, or a body of lines that come as things happen.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

/// Answers every request on `listener`. Connections end with this future.
pub(super) async fn serve<F>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Bytes>) -> Response<Reply> + Clone + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        // As in Go. Else an event waits for the acknowledgement of the one before it.
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let response = match Limited::new(body, MAX_REQUEST).collect().await {
                    Ok(body) => answer(Request::from_parts(head, body.to_bytes())),
                    Err(error) => failure(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string()),
                };
                Ok::<_, Infallible>(response)
            }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The body of a response.
pub(super) enum Reply {
    Whole(Option<Bytes>),
    /// What comes, until its sender is gone.
    Lines(mpsc::UnboundedReceiver<io::Result<Bytes>>),
    /// The same, ended by the time at the latest.
    LinesUntil(mpsc::UnboundedReceiver<io::Result<Bytes>>, Pin<Box<Sleep>>),
    /// Spaces without end, which JSON allows.
    Endless,
    Silent,
}

impl Reply {
    pub(super) fn lines_for(lines: mpsc::UnboundedReceiver<io::Result<Bytes>>, lasts: Duration) -> Self {
        Self::LinesUntil(lines, Box::pin(sleep(lasts)))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let lines = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Endless => return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(SPACES))))),
            Self::Silent => return Poll::Pending,
            Self::Lines(lines) => lines,
            Self::LinesUntil(lines, end) => {
                if end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                lines
            }
        };
        lines.poll_recv(cx).map(|line| Some(line?.map(Frame::data)))
    }
}

/// An object, or what stands in its place.
pub(super) fn json_reply(code: StatusCode, object: &Value) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some(object.to_string().into())));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A Status of failure.
pub(super) fn failure(code: StatusCode, reason: &str, message: &str) -> Response<Reply> {
    json_reply(code, &status(code.as_u16(), reason, message))
}

/// The object of a failure.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    })
}

const SPACES: &[u8] = &[b' '; 1 << 16];

/// The most that a request may hold; etcd takes 1.5 MiB by default.
const MAX_REQUEST: usize = 1 << 20;
