//! Endpoints that never change: address lists, Unix sockets, and IP literals in place of names.

use std::task::{Context, Poll};

use meshless_core::{Address, Endpoint};

use super::{Resolution, Resolver};

/// Returns one list, once: "IP literals resolve once". Hints are ignored, since there is nothing to
/// resolve again.
#[derive(Clone, Debug)]
pub struct StaticResolver {
    resolution: Option<Resolution>,
}

impl StaticResolver {
    /// Returns a resolver for these addresses.
    pub fn new(addresses: impl IntoIterator<Item = impl Into<Address>>) -> Self {
        let endpoints = addresses.into_iter().map(Endpoint::new).collect();
        Self { resolution: Some(Ok(endpoints)) }
    }
}

impl Resolver for StaticResolver {
    fn poll_resolution(&mut self, _: &mut Context<'_>) -> Poll<Resolution> {
        // No waker is kept: there is no second resolution.
        self.resolution.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::task::Waker;

    #[test]
    fn the_list_comes_once_and_whole() {
        let addresses = ["10.0.0.1:1", "10.0.0.2:1"].map(|address| address.parse::<SocketAddr>().unwrap());
        let mut resolver = StaticResolver::new(addresses);
        let mut cx = Context::from_waker(Waker::noop());
        let expected = addresses.map(Endpoint::new).to_vec();
        assert_eq!(resolver.poll_resolution(&mut cx), Poll::Ready(Ok(expected)));
        assert_eq!(resolver.poll_resolution(&mut cx), Poll::Pending);
    }
}
