//! The head of a request (method, URI, headers), kept for another attempt.
//!
//! h2 takes the headers by value, and nearly every call has one attempt. So that attempt gets the
//! map itself. A flat list stays here, in the call's own memory; its names and values share the
//! map's bytes. A second map would be two allocations for every call. A replay builds a map from
//! the list again.
//!
//! [`Outgoing`](super::Outgoing) owns it.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use smallvec::SmallVec;

/// A request's head, for one attempt after another.
pub(super) struct Head {
    method: Method,
    uri: Uri,
    /// The headers for the next attempt. `None` once an attempt took them.
    headers: Option<HeaderMap>,
    /// Copies of the headers that the last attempt took, in the map's order.
    taken: SmallVec<[(HeaderName, HeaderValue); INLINE_HEADERS]>,
}

impl Head {
    /// Drops the extensions: they belong to the caller and are not sent.
    pub(super) fn new(request: http::request::Parts) -> Self {
        let http::request::Parts { method, uri, headers, .. } = request;
        Self { method, uri, headers: Some(headers), taken: SmallVec::new() }
    }

    /// Returns the headers for the next attempt.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers.get_or_insert_with(|| self.taken.drain(..).collect())
    }

    /// Returns one of the headers, also if the last attempt took them.
    pub(super) fn get(&self, name: &str) -> Option<&HeaderValue> {
        match &self.headers {
            Some(headers) => headers.get(name),
            None => self.taken.iter().find(|(taken, _)| taken == name).map(|(_, value)| value),
        }
    }

    /// Returns the method's path, `/package.Service/Method`. Cheap to clone for a generated client,
    /// whose path is static.
    pub(super) fn path(&self) -> Option<PathAndQuery> {
        self.uri.path_and_query().cloned()
    }

    /// Returns a copy of the head.
    pub(super) fn fork(&mut self) -> Self {
        let headers = Some(self.headers_mut().clone());
        Self { method: self.method.clone(), uri: self.uri.clone(), headers, taken: SmallVec::new() }
    }

    /// Returns the head for one attempt, as h2 takes it.
    pub(super) fn take(&mut self) -> http::Request<()> {
        let headers = std::mem::take(self.headers_mut());
        self.headers = None;
        self.taken = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        *request.version_mut() = http::Version::HTTP_2;
        request
    }
}

/// Headers that are kept without an allocation: `te`, `content-type`, `user-agent`, `grpc-timeout`,
/// and two of the caller's own. 72 bytes each.
const INLINE_HEADERS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Head {
        let mut request = http::Request::post("http://shop/orders.Orders/Place");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Head::new(request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn every_attempt_takes_the_same_head() {
        let few = [("te", "trailers"), ("x-tag", "one"), ("x-tag", "two")];
        let many =
            [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6"), ("g", "7"), ("a", "8")];
        for headers in [&few[..], &many] {
            let mut head = head(headers);
            let first = head.take();
            assert_eq!(first.headers().len(), headers.len());
            for _ in 0..2 {
                let again = head.take();
                assert_eq!((again.method(), again.uri()), (first.method(), first.uri()));
                assert_eq!((again.headers(), again.version()), (first.headers(), first.version()));
            }
        }
    }

    #[test]
    fn headers_can_be_changed_between_attempts() {
        let mut head = head(&[("grpc-timeout", "2S"), ("x-tag", "one")]);
        drop(head.take());
        head.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1S"));
        let second = head.take();
        assert_eq!(second.headers()["grpc-timeout"], "1S");
        assert_eq!(second.headers()["x-tag"], "one");
    }
}
