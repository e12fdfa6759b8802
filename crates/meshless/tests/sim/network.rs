//! The simulated network: hosts with an address each, the channel's way to dial them, and what can
//! go wrong between.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use meshless::client::{BoxIo, Connect, Connecting};
use meshless::resolver::Address;
use meshless::server::{Accepted, Listener, Peer};
use meshless_core::Rng;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use crate::link::{End, Link};
use crate::log::Log;

/// All hosts and the wires between them and the channel.
pub(crate) struct Network {
    hosts: Mutex<Vec<Host>>,
    rng: Mutex<Rng>,
    log: Arc<Log>,
    changed: Notify,
    alive: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Host {
    listener: Option<mpsc::UnboundedSender<End>>,
    links: Vec<Weak<Link>>,
    latency: Duration,
    held: bool,
}

/// Where a server's process accepts.
pub(crate) struct Socket(mpsc::UnboundedReceiver<End>);

/// The channel's way into the network.
pub(crate) struct Dialler(pub(crate) Arc<Network>);

impl Network {
    pub(crate) fn new(hosts: usize, rng: Rng, log: &Arc<Log>) -> Self {
        let hosts = (0..hosts).map(|_| Host { latency: LATENCY, ..Host::default() }).collect();
        Self {
            hosts: Mutex::new(hosts),
            rng: Mutex::new(rng),
            log: Arc::clone(log),
            changed: Notify::new(),
            alive: Arc::default(),
        }
    }

    /// A process listens on the host's port.
    pub(crate) fn listen(&self, host: usize) -> Socket {
        let (listener, accepted) = mpsc::unbounded_channel();
        self.hosts()[host].listener = Some(listener);
        Socket(accepted)
    }

    /// The host's process is gone, with all its sockets.
    pub(crate) fn kill(&self, host: usize) {
        let mut hosts = self.hosts();
        hosts[host].listener = None;
        hosts[host].links().for_each(|link| link.reset());
    }

    /// No packet reaches the host or leaves it, until it is no longer held; what was sent then
    /// arrives.
    pub(crate) fn hold(&self, host: usize, held: bool) {
        let mut hosts = self.hosts();
        hosts[host].held = held;
        hosts[host].links().for_each(|link| link.set_held(held));
        self.changed.notify_waiters();
    }

    pub(crate) fn set_latency(&self, host: usize, latency: Duration) {
        let mut hosts = self.hosts();
        hosts[host].latency = latency;
        hosts[host].links().for_each(|link| link.set_latency(latency));
    }

    /// Ends of connections that someone holds.
    pub(crate) fn ends_alive(&self) -> usize {
        self.alive.load(Relaxed)
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<Host>> {
        self.hosts.lock().unwrap()
    }

    async fn dial(&self, host: usize) -> io::Result<BoxIo> {
        self.log.notes().connects.push(Instant::now());
        loop {
            let changed = self.changed.notified();
            let (held, latency) = {
                let hosts = self.hosts();
                (hosts[host].held, hosts[host].latency)
            };
            if held {
                // SYNs are sent again until one gets through.
                changed.await;
                continue;
            }
            sleep(2 * latency).await;
            let mut hosts = self.hosts();
            let at = &mut hosts[host];
            if at.held {
                continue;
            }
            let Some(listener) = at.listener.as_ref().filter(|listener| !listener.is_closed()) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let mut rng = self.rng.lock().unwrap();
            let (link, client, server) = Link::new(latency, &mut rng, host, &self.log, &self.alive);
            if listener.send(server).is_err() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            at.links.retain(|link| link.strong_count() > 0);
            at.links.push(Arc::downgrade(&link));
            *self.log.notes().made.entry(host).or_default() += 1;
            return Ok(Box::new(client));
        }
    }
}

impl Host {
    fn links(&self) -> impl Iterator<Item = Arc<Link>> {
        self.links.iter().filter_map(Weak::upgrade)
    }
}

impl Connect for Dialler {
    fn connect(&self, address: &Address) -> Connecting {
        let network = Arc::clone(&self.0);
        let host = host_of(address);
        Box::pin(async move { network.dial(host).await })
    }
}

impl Listener for Socket {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(end)) => Poll::Ready(Ok(Accepted::new(end, Peer::Other("channel".into())))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The address of a host.
pub(crate) fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(host).unwrap()], 50051))
}

fn host_of(address: &Address) -> usize {
    match address {
        Address::Tcp(SocketAddr::V4(address)) => usize::from(address.ip().octets()[3]),
        other => panic!("nobody lives at {other}"),
    }
}

/// One way, within a zone.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);
