//! A connection as a listener hands it over: the byte stream, who is behind it, and what handlers
//! learn of that.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::peer::Peer;
use crate::shared::io::{BoxIo, Io};

/// A connection that a [`Listener`](crate::server::Listener) has accepted.
pub struct Accepted {
    pub(super) io: BoxIo,
    pub(super) peer: Peer,
    pub(super) info: ConnectInfo,
}

impl Accepted {
    /// A connection over `io`. What `io` tells of itself (tonic's [`Connected`]) reaches handlers
    /// as an extension of each request; `peer` stands in logs and events.
    pub fn new<I: Io + Connected>(io: I, peer: impl Into<Peer>) -> Self {
        let info = ConnectInfo::new(io.connect_info());
        Self { io: Box::new(io), peer: peer.into(), info }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What every request of a connection carries as extensions.
#[derive(Clone)]
pub(super) struct ConnectInfo {
    insert: Arc<dyn Fn(&mut Extensions) + Send + Sync>,
    tcp: TcpConnectInfo,
}

impl ConnectInfo {
    fn new<C: Clone + Send + Sync + 'static>(info: C) -> Self {
        let tcp = (&info as &dyn Any).downcast_ref::<TcpConnectInfo>().cloned();
        Self {
            insert: Arc::new(move |extensions| {
                extensions.insert(info.clone());
            }),
            tcp: tcp.unwrap_or(TcpConnectInfo { local_addr: None, remote_addr: None }),
        }
    }

    /// The same, and what `insert` adds.
    #[cfg(feature = "tls")]
    pub(super) fn and(self, insert: impl Fn(&mut Extensions) + Send + Sync + 'static) -> Self {
        let below = self.insert;
        let both = move |extensions: &mut Extensions| {
            below(extensions);
            insert(extensions);
        };
        Self { insert: Arc::new(both), tcp: self.tcp }
    }

    /// The addresses, where there are any.
    #[cfg(feature = "tls")]
    pub(super) fn tcp(&self) -> TcpConnectInfo {
        self.tcp.clone()
    }

    pub(super) fn insert_into(&self, extensions: &mut Extensions) {
        (self.insert)(extensions);
    }
}

impl fmt::Debug for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectInfo").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}
