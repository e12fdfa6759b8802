//! Backends from the EndpointSlices of a Service: as they are now, and as they come and go.
//!
//! ```console
//! $ cargo run -p meshless --features kubernetes --example kubernetes -- kubernetes:///echo.shop:50051
//! ```
//!
//! It runs in a pod whose service account may `list` and `watch` the `endpointslices` of the
//! namespace (`deploy/overlays/endpointslices/role.yaml` grants it). Where it may not, the channel
//! asks DNS in place of the API server, and says so.

use std::time::Duration;

use meshless::Channel;
use meshless::resolver::KubernetesConfig;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "kubernetes:///echo.shop:50051".into());
    // The zone of the pod's node: calls stay there as far as it can take them. Empty is unknown.
    let zone = std::env::var("ZONE").unwrap_or_default();
    let channel = Channel::builder(target).kubernetes(KubernetesConfig::new().zone(zone)).connect_lazy()?;
    let mut client = HealthClient::new(channel.clone());
    loop {
        match client.check(HealthCheckRequest::default()).await {
            Ok(answer) => println!("{}", answer.into_inner().status().as_str_name()),
            Err(status) => println!("{:?}: {}", status.code(), status.message()),
        }
        let state = channel.state().await;
        println!("from {}:", state.resolved_by.as_deref().unwrap_or("nowhere yet"));
        for endpoint in state.endpoints {
            println!("  {}: {:?}", endpoint.address, endpoint.state);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
