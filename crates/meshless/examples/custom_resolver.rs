//! A resolver of your own: the channel follows a registry that is neither DNS nor Kubernetes.
//!
//! ```console
//! $ cargo run -p meshless --example custom_resolver
//! ```
//!
//! Whoever knows the backends sends the whole set whenever it changes. To be polled, and to be told
//! when the channel has reason to doubt the last set, implement `Resolver` for a type of yours.

use std::net::SocketAddr;

use meshless::resolver::Resolution;
use meshless::server::bind;
use meshless::{Channel, Endpoint, Policy, Server};
use tokio::sync::mpsc;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (first, second) = (backend()?, backend()?);
    let (registry, resolver) = mpsc::channel::<Resolution>(1);
    // The target is for people, and for the server's `:authority`.
    let channel = Channel::builder("registry:///orders")
        .resolver(resolver)
        .policy(Policy::RoundRobin)
        .connect_lazy()?;
    let mut client = HealthClient::new(channel.clone());
    for backends in [vec![first], vec![first, second], vec![second]] {
        println!("the registry says {backends:?}");
        let endpoints = backends.iter().copied().map(Endpoint::new).collect();
        registry.send(Ok(endpoints)).await?;
        // New backends are connected to before old ones are left: no call waits or fails.
        loop {
            client.check(HealthCheckRequest::default()).await?;
            let state = channel.state().await;
            let serving = state.endpoints.iter().filter(|endpoint| endpoint.connections_serving > 0);
            if serving.map(|endpoint| endpoint.address.clone()).eq(backends.iter().map(|&b| b.into())) {
                break;
            }
        }
    }
    Ok(())
}

fn backend() -> Result<SocketAddr, Box<dyn std::error::Error>> {
    let listener = bind("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?;
    tokio::spawn(Server::builder().serve_with_incoming_shutdown([listener], std::future::pending()));
    Ok(address)
}
