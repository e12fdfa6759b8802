//! `meshless xds status`: the services of a running control plane, and its clients.

use std::net::SocketAddr;

use clap::Args;
use meshless_xds::status::{ClientStatus, ServiceStatus, clients_table, fetch, services_table};

#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// The control plane's status port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18001")]
    status: SocketAddr,
}

/// Prints two tables.
///
/// # Errors
/// If nobody answers there.
pub(crate) async fn print(args: &StatusArgs) -> Result<(), String> {
    let text = |error: meshless_xds::status::FetchError| error.to_string();
    let services: Vec<ServiceStatus> = fetch(args.status, "/services").await.map_err(text)?;
    let clients: Vec<ClientStatus> = fetch(args.status, "/clients").await.map_err(text)?;
    print!("{}\n{}", services_table(&services), clients_table(&clients));
    Ok(())
}
