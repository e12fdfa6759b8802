//! The channel against servers that age, over loopback sockets.

use std::net::SocketAddr;
use std::time::Duration;

use meshless::{Channel, Policy, Server};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

async fn backends(n: usize, age: Duration) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for _ in 0..n {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        let (reporter, health) = tonic_health::server::health_reporter();
        tokio::spawn(async move {
            let _reporter = reporter;
            let server =
                Server::builder().max_connection_age(age).max_connection_age_grace(Duration::from_secs(5));
            server
                .add_service(health)
                .serve_with_incoming_shutdown([listener], std::future::pending::<()>())
                .await
        });
    }
    addresses
}

fn target(addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("ipv4:{}", list.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_connections_age() {
    for policy in Policy::ALL {
        let addresses = backends(3, Duration::from_millis(50)).await;
        let channel = Channel::builder(target(&addresses)).policy(policy).connect().await.unwrap();
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let mut client = HealthClient::new(channel.clone());
            callers.spawn(async move {
                for _ in 0..500 {
                    client.check(HealthCheckRequest::default()).await?;
                }
                Ok::<_, tonic::Status>(())
            });
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap().unwrap_or_else(|status| panic!("{policy}: {status}"));
        }
    }
}
