//! `meshless xds bootstrap`: what a client of a language needs.

use clap::Args;
use meshless_xds::bootstrap::{Language, json};

#[derive(Clone, Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// The client's language: go, java, python, node or rust
    #[arg(long, value_name = "LANGUAGE")]
    language: Language,
    /// The control plane, as clients dial it, such as meshless-xds.shop:18000
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The service that the client calls
    #[arg(long, value_name = "NAME", default_value = "echo.shop:50051")]
    service: String,
    /// The client's zone [default: the control plane looks its address up]
    #[arg(long)]
    zone: Option<String>,
    /// The client's id; Kubernetes fills in variables of the pod
    #[arg(long, value_name = "ID", default_value = "$(POD_NAME).$(POD_NAMESPACE)")]
    node: String,
}

pub(crate) fn print(args: &BootstrapArgs) {
    let language = args.language;
    let bootstrap = json(&language.server_uri(&args.server), &args.node, args.zone.as_deref());
    println!("Environment:\n  GRPC_XDS_BOOTSTRAP_CONFIG='{bootstrap}'");
    println!("Package:\n  {}", language.package());
    println!("Code:\n  {}", language.line(&args.service).replace('\n', "\n  "));
    if !language.caveat().is_empty() {
        println!("Mind:\n  {}", language.caveat());
    }
}
