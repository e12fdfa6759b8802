//! `meshless load`: its arguments, the request made from them, and the output.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use meshless::{Pem, Policy, TlsConfig};
use meshless_lab::load::{self, CALLS_MAX, Length, LoadReport, LoadRequest, Shape};

use crate::values::{positive_duration, whole};
use crate::words::{LoadError, with_flags};

/// What `meshless load` can be asked for.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct LoadArgs {
    /// Whom to call, in gRPC's naming: dns:///host:port, dns://nameserver/host:port,
    /// ipv4:addr:port,addr:port, unix:path or kubernetes:///service.namespace:port
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: String,
    /// How a backend is chosen for each call: pick_first, round_robin, least_request, peak_ewma or
    /// weighted_round_robin
    #[arg(long, default_value_t = Policy::RoundRobin)]
    pub(crate) policy: Policy,
    /// Kind of the calls
    #[arg(long, value_enum, default_value_t = ShapeName::Unary)]
    pub(crate) shape: ShapeName,
    /// How many calls to make
    #[arg(long, default_value_t = 10_000, conflicts_with = "seconds", value_parser = whole(1..=CALLS_MAX))]
    pub(crate) calls: u64,
    /// How long to make calls, instead of how many
    #[arg(long, value_parser = whole(1..=86_400_u32))]
    pub(crate) seconds: Option<u32>,
    /// How many of them at a time
    #[arg(long, default_value_t = 10, value_parser = whole(1..=100_000_u64))]
    pub(crate) in_flight: u64,
    /// Speak TLS with servers whose certificates these authorities have signed, a PEM file
    /// [default: plain text]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Name to expect in the server's certificate [default: the target's host]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub(crate) tls_server_name: Option<String>,
    /// Certificate to present to servers that ask for one, a PEM file
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How long a call may take
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) deadline: Duration,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeName {
    /// hello.HelloService/Echo.
    Unary,
    /// meshless.lab.v1.StreamService/ServerStream, 8 messages, 10 ms apart.
    ServerStream,
    /// meshless.lab.v1.StreamService/ClientStream, likewise.
    ClientStream,
    /// meshless.lab.v1.StreamService/BidiStream, likewise.
    BidiStream,
}

impl LoadArgs {
    /// Returns the request.
    ///
    /// # Errors
    /// If certificate, key or authorities cannot be used.
    pub(crate) fn request(self) -> Result<LoadRequest, LoadError> {
        Ok(LoadRequest {
            tls: self.tls()?,
            target: self.target,
            policy: self.policy,
            shape: match self.shape {
                ShapeName::Unary => Shape::Unary,
                ShapeName::ServerStream => Shape::ServerStream,
                ShapeName::ClientStream => Shape::ClientStream,
                ShapeName::BidiStream => Shape::BidiStream,
            },
            length: match self.seconds {
                Some(seconds) => Length::Time(Duration::from_secs(seconds.into())),
                None => Length::Calls(self.calls),
            },
            in_flight: self.in_flight,
            deadline: self.deadline,
        })
    }

    fn tls(&self) -> Result<Option<TlsConfig>, LoadError> {
        let refused = |flags| move |error| LoadError::Tls { flags, error };
        let Some(authorities) = &self.tls_ca else { return Ok(None) };
        let mut tls = TlsConfig::trusting(Pem::file(authorities)).map_err(refused("--tls-ca"))?;
        if let Some(name) = &self.tls_server_name {
            tls = tls.server_name(name).map_err(refused("--tls-server-name"))?;
        }
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let identity = tls.identity(Pem::file(chain), Pem::file(key));
            tls = identity.map_err(refused("--tls-cert, --tls-key"))?;
        }
        Ok(Some(tls))
    }
}

/// Makes the calls, and prints the result. Returns `None` if a signal came before the first call.
///
/// # Errors
/// If there is no channel to the target. Failed calls are a result, not an error.
pub(crate) async fn run(
    args: LoadArgs,
    interrupt: meshless_lab::interrupt::Interrupt,
) -> Result<Option<LoadReport>, LoadError> {
    let json = args.json;
    let request = args.request()?;
    let target = request.target.clone();
    let Some(mut report) = load::run(request, interrupt).await? else {
        eprintln!("no call was made: there was no connection to {target} yet");
        return Ok(None);
    };
    report.errors.iter_mut().for_each(|error| *error = with_flags(error));
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(Some(report))
}
