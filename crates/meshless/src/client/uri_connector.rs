//! Adapts connectors for tonic or hyper to a channel.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, PoisonError};

use http::Uri;
use hyper_util::rt::TokioIo;
use meshless_core::Address;
use tower_service::Service;

use super::connector::{Connect, Connecting};
use crate::shared::io::BoxIo;

/// Opens byte streams by any `tower::Service<Uri>`, such as one made for tonic's
/// `connect_with_connector`.
///
/// The service is called with `http://<address>`, once for each connection. For a Unix socket it is
/// called with `http://localhost` and the socket's path. TLS, if configured on the channel, runs
/// over the returned stream.
///
/// ```
/// # use hyper_util::rt::TokioIo;
/// # fn service() -> impl tower_service::Service<http::Uri, Response = TokioIo<tokio::net::TcpStream>,
/// #     Error = std::io::Error, Future: Send> + Clone + Send { Never }
/// # #[derive(Clone)] struct Never;
/// # impl tower_service::Service<http::Uri> for Never {
/// #     type Response = TokioIo<tokio::net::TcpStream>;
/// #     type Error = std::io::Error;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: http::Uri) -> Self::Future { std::future::ready(Err(std::io::Error::other("no"))) }
/// # }
/// use meshless::client::UriConnector;
///
/// let builder = meshless::Channel::builder("ipv4:10.0.0.1:50051").connector(UriConnector::new(service()));
/// # let _ = builder;
/// ```
pub struct UriConnector<S>(Mutex<S>);

impl<S> UriConnector<S> {
    /// Wraps a connector. It is cloned for each connection.
    pub fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S> Connect for UriConnector<S>
where
    S: Service<Uri> + Clone + Send + 'static,
    S::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
{
    fn connect(&self, address: &Address) -> Connecting {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let uri = uri(address);
        Box::pin(async move {
            let uri = uri?;
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(io::Error::other)?;
            let stream = service.call(uri).await.map_err(io::Error::other)?;
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }
}

impl<S> fmt::Debug for UriConnector<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UriConnector").finish_non_exhaustive()
    }
}

fn uri(address: &Address) -> io::Result<Uri> {
    let text = match address {
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(path) => format!("http://localhost{}", path.display()),
        other => other.to_string(),
    };
    let unfit = |error| io::Error::new(io::ErrorKind::Unsupported, format!("{text} is no URI: {error}"));
    text.parse().map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_address_has_a_uri() {
        let of = |address: Address| uri(&address).map(|uri| uri.to_string());
        let v4: std::net::SocketAddr = "10.0.0.1:50051".parse().unwrap();
        let v6: std::net::SocketAddr = "[fd00::1]:50051".parse().unwrap();
        assert_eq!(of(v4.into()).unwrap(), "http://10.0.0.1:50051/");
        assert_eq!(of(v6.into()).unwrap(), "http://[fd00::1]:50051/");
        let path = std::path::PathBuf::from("/run/echo.sock");
        assert_eq!(of(Address::Unix(path)).unwrap(), "http://localhost/run/echo.sock");
        let odd = std::path::PathBuf::from("/run/a b");
        assert_eq!(of(Address::Unix(odd)).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
