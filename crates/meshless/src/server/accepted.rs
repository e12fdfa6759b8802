//! A connection from a listener: the byte stream, its client, and what handlers learn about it.

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
    /// Returns a connection over `io`. Handlers find the information of `io` (tonic's
    /// [`Connected`]) in the extensions of each request. `peer` is shown in logs and events.
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

/// The extensions of every request of a connection.
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

    /// Returns the same, which also calls `insert`.
    #[cfg(feature = "tls")]
    pub(super) fn and(self, insert: impl Fn(&mut Extensions) + Send + Sync + 'static) -> Self {
        let below = self.insert;
        let both = move |extensions: &mut Extensions| {
            below(extensions);
            insert(extensions);
        };
        Self { insert: Arc::new(both), tcp: self.tcp }
    }

    /// Returns the addresses, if there are any.
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
