//! A client: each call goes to the next backend of a service.
//!
//! ```console
//! $ cargo run -p meshless --example server -- 127.0.0.1:50051   # in another terminal
//! $ cargo run -p meshless --example client -- dns:///localhost:50051
//! ```
//!
//! `HealthClient` stands for the client that tonic generates for your service: any of them works on
//! a channel. The target of a service in Kubernetes is `dns:///NAME.NAMESPACE:PORT`, where the
//! Service is headless.

use std::time::Duration;

use meshless::{Channel, Policy};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "dns:///localhost:50051".into());
    // One channel per service and process. A clone is cheap, and uses the same connections.
    let channel = Channel::builder(target)
        .policy(Policy::RoundRobin)
        .timeout(Duration::from_secs(2)) // of a call, with all that is done for it
        .connect_lazy()?; // the first call connects
    let mut client = HealthClient::new(channel.clone());
    for _ in 0..10 {
        let answer = client.check(HealthCheckRequest::default()).await?.into_inner();
        println!("{}", answer.status().as_str_name());
    }
    for endpoint in channel.state().await.endpoints {
        println!("{}: {:?}", endpoint.address, endpoint.state);
    }
    Ok(())
}
