//! A server whose connections age, so that its clients spread over all pods again and again.
//!
//! ```console
//! $ cargo run -p meshless --example server -- 127.0.0.1:50051
//! ```
//!
//! Ctrl-C and SIGTERM end it in order: health says NOT_SERVING, clients are told to go, calls
//! finish.

use std::time::Duration;

use meshless::server::bind;
use meshless::{Server, Shutdown};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".into());
    let listener = bind(address.parse()?)?;
    println!("listening on {}", listener.local_addr()?);
    // Stands for the service that tonic generates from your .proto file.
    let (_reporter, service) = tonic_health::server::health_reporter();
    Server::builder()
        .max_connection_age(Duration::from_secs(60)) // ± 10 % for each connection
        .max_connection_age_grace(Duration::from_secs(10)) // for calls that are still running then
        .lame_duck(Duration::from_secs(5)) // until the endpoint has left DNS, after SIGTERM
        .drain_timeout(Duration::from_secs(20))
        .on_connection_event(|event| println!("{}: {:?}", event.peer, event.change))
        .add_service(service)
        .serve_with_incoming_shutdown([listener], Shutdown::on_signals()?)
        .await?;
    Ok(())
}
