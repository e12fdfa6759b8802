//! Not only gRPC: an axum router over HTTP/2, on connections that age, drain and report their
//! health.
//!
//! ```console
//! $ cargo run -p meshless --example axum
//! $ curl --http2-prior-knowledge http://127.0.0.1:8080/hello/world
//! ```
//!
//! The server speaks HTTP/2 and nothing else. So Kubernetes probes it with `grpc: {port: 8080}`:
//! the health service `grpc.health.v1` is built in and in step with the shutdown. An `httpGet`
//! probe speaks HTTP/1.1 and fails here; a container that needs one serves it on a second port,
//! with `axum::serve`.
//!
//! Ctrl-C drains it. For hyper's services, or an accept loop of your own,
//! `meshless::serve_connection` drives one connection at a time.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = meshless::server::bind(address.parse()?)?;
    let server = meshless::Server::builder()
        .max_connection_age(Duration::from_secs(60))
        .max_connection_age_grace(Duration::from_secs(10))
        .on_connection_event(|event| println!("{}: {:?}", event.peer, event.change));
    let app = Router::new().route("/hello/{name}", get(hello));
    println!("listening on {}", listener.local_addr()?);
    let shutdown = meshless::Shutdown::on_signals()?;
    server.routes(app).serve_with_incoming_shutdown([listener], shutdown).await?;
    Ok(())
}

async fn hello(Path(name): Path<String>) -> String {
    format!("Hello, {name}!\n")
}
