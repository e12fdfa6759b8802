//! `meshless xds`: what the control plane can be asked for, and how it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use meshless::server::bind;
use meshless::{Pem, Server, ServerTlsConfig, Shutdown, Target};
use meshless_xds::bootstrap::json;
use meshless_xds::{ControlPlane, ControlPlaneConfig, Source};
use tokio::net::TcpListener;

use crate::values::duration;

/// What the control plane can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where clients reach it in plain text
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18000")]
    listen: SocketAddr,
    /// A service that clients dial as xds:///NAME, and where its endpoints come from, such as
    /// echo.shop:50051=ipv4:127.0.0.1:3001,127.0.0.2:3001; can be given more than once
    #[arg(long, value_name = "NAME=TARGET", value_parser = service)]
    service: Vec<(String, Target)>,
    /// Serve every Service of this Kubernetes namespace, dialled as xds:///SERVICE.NAMESPACE:PORT;
    /// can be given more than once
    #[arg(long)]
    namespace: Vec<String>,
    /// A JSON file of services with their endpoints, read again when it changes
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// A JSON file of what holds for the services: gRPC's service config, read again when it changes
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How long the last endpoints of a service are held when its source says that there are none
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    hold: Duration,
    /// Where /services, /clients, /metrics and /ready are answered over HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18001")]
    status: SocketAddr,
    /// What clients are told to dial [default: the address of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where clients with a certificate reach it, beside --listen
    #[arg(long, value_name = "ADDRESS")]
    tls_listen: Option<SocketAddr>,
    /// Certificate and intermediates for --tls-listen, a PEM file, read again every minute
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_cert: Option<PathBuf>,
    /// Private key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_key: Option<PathBuf>,
    /// The authorities of the clients' certificates, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    client_ca: Option<PathBuf>,
    /// The Kubernetes API server without a login, such as that of kubectl proxy [default: the pod's
    /// own]
    #[arg(long, value_name = "URL")]
    api_server: Option<String>,
}

/// Serves until a signal.
///
/// # Errors
/// In one line, if it cannot start.
pub(crate) async fn run(args: ServeArgs) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // From here on no signal is lost.
    let shutdown = Shutdown::on_signals().map_err(|error| text(&error))?;
    let listener = bind(args.listen).map_err(|error| text(&error))?;
    let status = bind(args.status).map_err(|error| format!("--status: {error}"))?;
    let tls = match args.tls_listen {
        Some(address) => Some((bind(address).map_err(|error| text(&error))?, tls(&args)?)),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| text(&error))?;
    let control_plane = config(&args)?.start().map_err(|error| text(&error))?;
    announce(&args, address, &status);
    let answers = tokio::spawn({
        let control_plane = control_plane.clone();
        async move { control_plane.serve_status(status).await }
    });
    let served = serve(&control_plane, listener, tls, shutdown).await;
    answers.abort();
    served
}

/// Both ports, until the one shutdown.
async fn serve(
    control_plane: &ControlPlane,
    listener: TcpListener,
    tls: Option<(TcpListener, ServerTlsConfig)>,
    shutdown: Shutdown,
) -> Result<(), String> {
    let plain = control_plane.server();
    let Some((tls_listener, tls)) = tls else {
        let served = plain.serve_with_incoming_shutdown([listener], shutdown).await;
        return served.map_err(|error| error.to_string());
    };
    let second = Shutdown::on_signals().map_err(|error| error.to_string())?;
    let secure: Server = control_plane.server().tls(tls);
    let (one, other) = tokio::join!(
        plain.serve_with_incoming_shutdown([listener], shutdown),
        secure.serve_with_incoming_shutdown([tls_listener], second),
    );
    one.and(other).map_err(|error| error.to_string())
}

fn config(args: &ServeArgs) -> Result<ControlPlaneConfig, String> {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_default();
    let mut config = ControlPlaneConfig::new().hold(args.hold).identifier(host);
    for (name, target) in &args.service {
        config = config.service(name.clone(), Source::Target(target.clone()));
    }
    if let Some(path) = &args.endpoints {
        config = config.endpoints_file(path);
    }
    if let Some(path) = &args.policy {
        config = config.policy_file(path);
    }
    kubernetes(args, config)
}

#[cfg(feature = "kubernetes")]
fn kubernetes(args: &ServeArgs, mut config: ControlPlaneConfig) -> Result<ControlPlaneConfig, String> {
    use meshless::resolver::{KubernetesClient, KubernetesConfig, TargetKind};
    let is_kubernetes = |target: &Target| matches!(target.kind(), TargetKind::Kubernetes { .. });
    if args.namespace.is_empty() && !args.service.iter().any(|(_, target)| is_kubernetes(target)) {
        return Ok(config);
    }
    let client = match &args.api_server {
        Some(url) => KubernetesClient::new(url).map_err(|error| format!("--api-server: {error}"))?,
        None => KubernetesClient::in_pod().map_err(|error| {
            format!(
                "{error}; outside of a pod, run `kubectl proxy` and add --api-server http://127.0.0.1:8001"
            )
        })?,
    };
    for namespace in &args.namespace {
        config = config.namespace(namespace);
    }
    Ok(config.kubernetes(KubernetesConfig::new().client(client)))
}

#[cfg(not(feature = "kubernetes"))]
fn kubernetes(args: &ServeArgs, config: ControlPlaneConfig) -> Result<ControlPlaneConfig, String> {
    if args.namespace.is_empty() && args.api_server.is_none() {
        return Ok(config);
    }
    Err("--namespace: this program was built without Kubernetes; build it without --no-default-features"
        .into())
}

fn tls(args: &ServeArgs) -> Result<ServerTlsConfig, String> {
    let (Some(cert), Some(key), Some(authorities)) = (&args.tls_cert, &args.tls_key, &args.client_ca) else {
        return Err("--tls-listen needs --tls-cert, --tls-key and --client-ca".to_owned());
    };
    let tls = ServerTlsConfig::new(Pem::file(cert), Pem::file(key)).map_err(|error| error.to_string())?;
    tls.client_ca(Pem::file(authorities)).map_err(|error| format!("--client-ca: {error}"))
}

/// On stdout, for whoever tries it: what a client needs. The JSON is the only line that begins with a
/// brace.
fn announce(args: &ServeArgs, address: SocketAddr, status: &TcpListener) {
    let server = args.advertise.clone().unwrap_or_else(|| address.to_string());
    println!("xDS control plane on {address}; give clients this as GRPC_XDS_BOOTSTRAP_CONFIG:");
    println!("{}", json(&server, "client", None));
    if let Some((name, _)) = args.service.first() {
        println!("They dial xds:///{name}");
    }
    if let Ok(status) = status.local_addr() {
        println!(
            "Status: http://{status}/services.txt and /clients.txt, or `meshless xds status --status {status}`"
        );
    }
}

fn service(text: &str) -> Result<(String, Target), String> {
    let (name, target) = text
        .split_once('=')
        .ok_or("write NAME=TARGET, such as echo.shop:50051=ipv4:127.0.0.1:3001,127.0.0.2:3001")?;
    let target = target.parse().map_err(|error| format!("{error}"))?;
    Ok((name.to_owned(), target))
}
