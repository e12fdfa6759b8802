//! Layers around the whole server: those of tower, as tonic's servers take them.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tonic::service::Routes;
use tower_layer::Layer;
use tower_service::Service;

/// What was given to [`Server::layer`](crate::Server::layer), the outermost first.
#[derive(Clone, Default)]
pub(super) struct Layers(Vec<Arc<dyn Fn(Routes) -> Routes + Send + Sync>>);

impl Layers {
    pub(super) fn push<L, B>(&mut self, layer: L)
    where
        L: Layer<Routes> + Send + Sync + 'static,
        L::Service:
            Service<Request<tonic::body::Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<tonic::body::Body>>>::Future: Send,
        <L::Service as Service<Request<tonic::body::Body>>>::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.0.push(Arc::new(move |routes| {
            let around = Around(layer.layer(routes));
            Routes::from(Routes::default().into_axum_router().fallback_service(around))
        }));
    }

    /// The routes with the layers around them.
    pub(super) fn around(&self, routes: Routes) -> Routes {
        self.0.iter().rev().fold(routes, |routes, layer| layer(routes))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}

/// A layered service as a router takes it: any body in, and no error out.
#[derive(Clone)]
struct Around<S>(S);

impl<S, R, B> Service<Request<R>> for Around<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each call asks its own clone, so that one which waits for a limit holds up no other.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let mut service = self.0.clone();
        Box::pin(async move {
            let answer = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request.map(tonic::body::Body::new)).await
            };
            Ok(match answer.await {
                Ok(response) => response.map(tonic::body::Body::new),
                Err(error) => Status::from_error(error.into()).into_http(),
            })
        })
    }
}
