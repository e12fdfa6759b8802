//! tonic's own balancing over all addresses of a name: `Channel::balance_channel`, fed from DNS.
//!
//! tonic takes a stream of changes and leaves it to the caller where they come from. This asks the
//! run's DNS server once a second and reports the difference, as the crate `ginepro` does once
//! every ten seconds by default. An error keeps what is known, and so does an answer without an
//! address, which the resolver reports as an error; as there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tonic::transport::channel::Change;
use tonic::transport::{Channel, Endpoint};

use crate::connector::Connector;

/// A channel to all addresses that DNS gives for the host of `target`.
pub(crate) fn channel(dns: Connector, target: &Endpoint) -> Channel {
    let (channel, changes) = Channel::balance_channel(CHANGES_MAX);
    tokio::spawn(follow(dns, target.clone(), changes));
    channel
}

/// Ends with the channel, which then takes no more changes.
async fn follow(dns: Connector, target: Endpoint, changes: Sender<Change<SocketAddr, Endpoint>>) {
    let host = target.uri().host().unwrap_or_default().to_owned();
    let port = target.uri().port_u16().unwrap_or(80);
    let mut known = BTreeSet::new();
    loop {
        if let Ok(addresses) = dns.addresses(&host).await {
            let found: BTreeSet<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            let inserted = found.difference(&known).filter_map(|address| {
                Some(Change::Insert(*address, Endpoint::from_shared(format!("http://{address}")).ok()?))
            });
            let removed = known.difference(&found).map(|address| Change::Remove(*address));
            for change in inserted.chain(removed) {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
            known = found;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The records' time to live in this lab, so that no client waits longer than another for what it
/// could know.
const PERIOD: Duration = Duration::from_secs(1);

/// Changes that wait for the channel, which takes them whenever a call is made.
const CHANGES_MAX: usize = 1024;
