//! Retries: a call that may run twice is sent again, one that may not is not.
//!
//! ```console
//! $ cargo run -p meshless --example retries
//! ```
//!
//! What no server has processed is sent again in any case, without a policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshless::retry::Code;
use meshless::server::bind;
use meshless::{Channel, Retry, RetryPolicy, Server};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A backend that fails two calls of three.
    let (_reporter, service) = tonic_health::server::health_reporter();
    let calls = Arc::new(AtomicU32::new(0));
    let service = InterceptedService::new(service, move |request: Request<()>| {
        match calls.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => Ok(request),
            _ => Err(Status::unavailable("the database restarts")),
        }
    });
    let listener = bind("127.0.0.1:0".parse()?)?;
    let target = format!("ipv4:{}", listener.local_addr()?);
    let server = Server::builder().without_health().add_service(service);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));

    // At most 4 attempts, the first included; pauses of 25, 50 and 100 ms, ± 20 %.
    let policy = RetryPolicy::new(4, [Code::Unavailable])?.with_backoff(
        Duration::from_millis(25),
        Duration::from_secs(1),
        2.0,
    )?;
    let channel = Channel::builder(target).retry(policy).connect().await?;
    let mut client = HealthClient::new(channel.clone());
    let answer = client.check(HealthCheckRequest::default()).await?.into_inner();
    println!("with retries: {}", answer.status().as_str_name());

    // This one must not run twice.
    let mut once = Request::new(HealthCheckRequest::default());
    once.extensions_mut().insert(Retry::by(None));
    let failed = client.check(once).await.err().ok_or("the first attempt should have failed")?;
    println!("without: {:?}: {}", failed.code(), failed.message());
    println!("{:?}", channel.retry_stats());
    Ok(())
}
