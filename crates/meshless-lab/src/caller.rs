//! Makes an echo call in the way of a [`Strategy`].
//!
//! Today's tonic `Channel` with its defaults, which is what users have now, or the channel of this
//! project with its own. Without the feature `kubernetes` it cannot read an API server; `compare`
//! does not ask it to then.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshless::Policy;
use meshless_core::Rng;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::connector::{Connector, Counters, CountingDialer};
use crate::control::Target;
use crate::echo::hello::hello_service_client::HelloServiceClient;
use crate::echo::{BACKEND_HEADER, CALL_ID_HEADER, hello};
use crate::record::{CallResult, Failure};
use crate::strategy::Strategy;
use crate::tonic_balance;

/// One or more clients of the echo service. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Caller {
    clients: Arc<[Client]>,
    deadline: Duration,
}

#[derive(Clone)]
enum Client {
    /// One channel for all calls.
    Kept(HelloServiceClient<Channel>),
    /// A channel for each call.
    New(Arc<Endpoint>, Connector),
    /// The channel of this project.
    Balanced(meshless::Channel, HelloServiceClient<meshless::Channel>),
}

impl Caller {
    /// The clients that `target` asks for, which count in `counters`. Each connects at its first
    /// call.
    ///
    /// # Errors
    /// If the target's authority is not one, or its resolver cannot be made.
    pub(crate) fn new(target: &Target, counters: Arc<Counters>) -> io::Result<Self> {
        let clients: io::Result<Arc<_>> =
            (0..target.clients).map(|_| Client::new(target, counters.clone())).collect();
        Ok(Self { clients: clients?, deadline: target.deadline })
    }

    /// Each of the clients alone.
    pub(crate) fn each(&self) -> impl Iterator<Item = Self> + '_ {
        let alone = |client: &Client| Self { clients: Arc::new([client.clone()]), deadline: self.deadline };
        self.clients.iter().map(alone)
    }

    /// Attempts so far that needed no policy, of the clients that count them.
    pub(crate) fn resent(&self) -> u64 {
        self.clients.iter().map(Client::resent).sum()
    }

    /// By what the clients that resolve a name themselves know their backends, in the words of
    /// their resolvers.
    pub(crate) async fn found_by(&self) -> BTreeSet<String> {
        let mut sources = BTreeSet::new();
        for client in self.clients.iter() {
            if let Client::Balanced(channel, _) = client {
                sources.extend(channel.state().await.resolved_by.map(|source| source.to_string()));
            }
        }
        sources
    }

    /// Makes one call. It ends at the deadline at the latest, whatever it waits for.
    pub(crate) async fn call(&self, id: Option<u64>) -> CallResult {
        let mut request = Request::new(hello::Request { message: MESSAGE.into() });
        request.set_timeout(self.deadline);
        if let Some(id) = id {
            request.metadata_mut().insert(CALL_ID_HEADER, MetadataValue::from(id));
        }
        // tonic's own timer starts only when a connection has taken the request.
        match tokio::time::timeout(self.deadline, self.client(id).send(request)).await {
            Ok(Ok(response)) => CallResult::Answered(backend(&response)),
            Ok(Err(failure)) => CallResult::Failed(failure),
            Err(_) => CallResult::Failed(Failure::DEADLINE),
        }
    }

    /// Drawn, not in turn: each client's calls then come as those of many independent users do.
    fn client(&self, id: Option<u64>) -> &Client {
        match (&*self.clients, id) {
            ([client], _) => client,
            (clients, id) => &clients[Rng::new(CLIENTS, id.unwrap_or_default()).below(clients.len())],
        }
    }
}

impl Client {
    fn new(target: &Target, counters: Arc<Counters>) -> io::Result<Self> {
        if let Some(policy) = target.strategy.policy() {
            let channel = balanced(target, policy, counters)?;
            return Ok(Self::Balanced(channel.clone(), HelloServiceClient::new(channel)));
        }
        let connector = Connector::new(target.dns, counters)?;
        let endpoint =
            Endpoint::try_from(format!("http://{}", target.authority)).map_err(io::Error::other)?;
        Ok(match target.strategy {
            Strategy::ConnectionPerCall => Self::New(Arc::new(endpoint), connector),
            Strategy::TonicBalance => {
                Self::Kept(HelloServiceClient::new(tonic_balance::channel(connector, &endpoint)))
            }
            _ => Self::Kept(HelloServiceClient::new(endpoint.connect_with_connector_lazy(connector))),
        })
    }

    fn resent(&self) -> u64 {
        match self {
            Self::Balanced(channel, _) => channel.retry_stats().transparent_retries,
            Self::Kept(_) | Self::New(..) => 0,
        }
    }

    async fn send(&self, request: Request<hello::Request>) -> Result<Response<hello::Response>, Failure> {
        let mut client = match self {
            Self::Balanced(_, client) => {
                return client.clone().echo(request).await.map_err(|status| Failure::of(&status));
            }
            Self::Kept(client) => client.clone(),
            Self::New(endpoint, connector) => {
                let channel = endpoint.connect_with_connector(connector.clone()).await;
                HelloServiceClient::new(channel.map_err(|error| {
                    tracing::debug!(%error, "not connected");
                    Failure::NOT_CONNECTED
                })?)
            }
        };
        client.echo(request).await.map_err(|status: Status| {
            tracing::debug!(?status, "call failed");
            Failure::of(&status)
        })
    }
}

/// The channel asks the run's own DNS server, where there is one and the authority is no target of
/// another kind.
fn balanced(target: &Target, policy: Policy, counters: Arc<Counters>) -> io::Result<meshless::Channel> {
    let Target { authority, .. } = target;
    let uri = match target.dns {
        _ if authority.contains("://") => authority.clone(),
        Some(dns) => format!("dns://{dns}/{authority}"),
        None => format!("dns:///{authority}"),
    };
    let mut channel = meshless::Channel::builder(uri).policy(policy).connector(CountingDialer(counters));
    if target.strategy.retries() {
        channel = channel.retry(retry_policy());
    }
    if target.api_server.is_some() || authority.starts_with("kubernetes:") {
        channel = reading(channel, target.api_server)?;
    }
    channel.connect_lazy().map_err(io::Error::other)
}

/// A channel that reads the EndpointSlices of this API server, which asks nobody who they are, or
/// of the one that the kubeconfig names. Without both it asks that of its pod.
#[cfg(feature = "kubernetes")]
fn reading(
    channel: meshless::ChannelBuilder,
    api_server: Option<SocketAddr>,
) -> io::Result<meshless::ChannelBuilder> {
    let client = match api_server {
        Some(at) => Some(
            meshless::resolver::KubernetesClient::new(&format!("http://{at}")).map_err(io::Error::other)?,
        ),
        None => crate::kubeconfig::client(),
    };
    Ok(match client {
        Some(client) => channel.kubernetes(meshless::resolver::KubernetesConfig::new().client(client)),
        None => channel,
    })
}

#[cfg(not(feature = "kubernetes"))]
fn reading(
    channel: meshless::ChannelBuilder,
    api_server: Option<SocketAddr>,
) -> io::Result<meshless::ChannelBuilder> {
    match api_server {
        Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no Kubernetes")),
        None => Ok(channel),
    }
}

/// What the strategies with retries retry: backends that are gone, and backends that have too much
/// to do.
///
/// No timeout per attempt: where processors are short, attempts take longer than usual, and a
/// timeout ends those that would have been answered. The policy would then lose calls that succeed
/// without it.
fn retry_policy() -> meshless::RetryPolicy {
    let codes = [meshless::retry::Code::Unavailable, meshless::retry::Code::ResourceExhausted];
    meshless::RetryPolicy::new(4, codes).expect("four attempts and two codes make a policy")
}

fn backend(response: &Response<hello::Response>) -> Option<String> {
    Some(response.metadata().get(BACKEND_HEADER)?.to_str().ok()?.to_owned())
}

/// The message of every call; short, as the original experiment's.
const MESSAGE: &str = "hello";

/// Id of the random stream that draws a call's client.
const CLIENTS: u64 = 0x0063_6c69_656e_7473;
