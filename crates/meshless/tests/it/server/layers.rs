//! Layers around the whole server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use meshless::Server;
use tonic::Code;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower_layer::layer_fn;
use tower_service::Service;

/// Writes its name behind those that the response has.
#[derive(Clone)]
struct Signed<S>(S, &'static str);

impl<S> Service<Request<Body>> for Signed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (response, name) = (self.0.call(request), self.1);
        Box::pin(async move {
            let mut response = response.await?;
            response.headers_mut().append("signed", HeaderValue::from_static(name));
            Ok(response)
        })
    }
}

/// Fails each call in its own way, as a layer with a time limit does.
#[derive(Clone)]
struct Failing;

impl Service<Request<Body>> for Failing {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Ready<Result<Response<Body>, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Err(io::Error::other("out of paper")))
    }
}

/// Asks for the server's health.
async fn check(server: Server) -> Result<Vec<String>, tonic::Status> {
    let listener = meshless::server::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = meshless::Shutdown::new();
    let handle = stop.handle();
    let served = tokio::spawn(server.serve_with_incoming_shutdown([listener], stop));
    let channel = tonic::transport::Endpoint::new(url).unwrap().connect_lazy();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    handle.begin();
    served.await.unwrap().unwrap();
    let signed = |value: &tonic::metadata::MetadataValue<_>| value.to_str().unwrap().to_owned();
    Ok(answer?.metadata().get_all("signed").iter().map(signed).collect())
}

#[tokio::test]
async fn the_first_layer_is_the_outermost_whenever_the_services_are_added() {
    let signed = |name| layer_fn(move |routes: Routes| Signed(routes, name));
    let server = Server::builder().layer(signed("outer")).layer(signed("inner"));
    assert_eq!(check(server.clone()).await.unwrap(), ["inner", "outer"]);
    let server = server.routes(Routes::default());
    assert_eq!(check(server).await.unwrap(), ["inner", "outer"]);
}

#[tokio::test]
async fn a_layer_that_fails_is_a_status() {
    let server = Server::builder().layer(layer_fn(|_: Routes| Failing));
    let status = check(server).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "out of paper"));
}
