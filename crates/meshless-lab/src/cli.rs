//! The command line: what can be asked for, in which words, and what is refused before anything runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use meshless::Policy;

use crate::strategy::Strategy;

/// gRPC load balancing on Kubernetes without a service mesh: the lab.
///
/// Exit codes: 0 when the work was done, 1 when calls of `load` failed, 2 when it could not be (one line on stderr says why and what to do),
/// 130 when Ctrl-C ended `compare` early; its report then holds what was measured until there.
#[derive(Debug, Parser)]
#[command(name = "meshless", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every way of connecting over real sockets and draw the comparison
    Compare(CompareArgs),
    /// Serve hello.HelloService/Echo, and the streams of meshless.lab.v1.StreamService, with connections that age
    Serve(ServeArgs),
    /// Call live servers through the channel, and say what became of the calls
    Load(LoadArgs),
    /// The client process of `compare`
    #[command(hide = true)]
    Client,
}

/// What `meshless compare` can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// Ways of connecting to compare, separated by commas: connection-per-call, single-connection, max-age-l4,
    /// max-age-dns, l7-proxy, pick_first, round_robin, least_request, peak_ewma [default: all; in the burst those
    /// that differ with one server]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) strategies: Vec<Strategy>,
    /// Experiments to make: burst (N calls at once, one server), spread (steady load, several servers)
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "burst,spread")]
    pub(crate) experiments: Vec<Experiment>,
    /// Numbers of calls at once in the burst [default: 100,500,1000,2000,5000,10000,20000]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", conflicts_with = "full", value_parser = calls)]
    pub(crate) calls: Vec<u64>,
    /// Burst with the whole range of the original experiment, up to 100000 calls at once
    #[arg(long)]
    pub(crate) full: bool,
    /// Rounds of each burst
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// How long a client waits for a call
    #[arg(long, default_value = "300ms", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) deadline: Duration,
    /// How long a server works on a call
    #[arg(long, default_value = "100ms", value_name = "DURATION", value_parser = duration)]
    pub(crate) service_time: Duration,
    /// Backends of the spread
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) backends: u8,
    /// Calls per second of the spread
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Length of the spread in seconds, for each strategy
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// MaxConnectionAge of the strategies that age, ± 10 % per connection
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Duration,
    /// How long calls may still run on a connection that reached its age
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Duration,
    /// Seed of arrivals, virtual address and DNS answers, to repeat a run [default: random, and printed]
    #[arg(long)]
    pub(crate) seed: Option<u32>,
    /// Folder of the report
    #[arg(long, default_value = "report", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Print the results as JSON on stdout, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// An experiment of `meshless compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Experiment {
    /// N calls at once on one server.
    Burst,
    /// Open-loop load on several servers.
    Spread,
}

/// What `meshless serve` can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; can be given more than once
    #[arg(long, default_value = "0.0.0.0:3001", value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// How long to work on a call
    #[arg(long, default_value = "100ms", value_name = "DURATION", value_parser = duration)]
    pub(crate) service_time: Duration,
    /// Age at which a connection is told to go, ± 10 % per connection [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Option<Duration>,
    /// How long calls may still run on a connection that was told to go [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Option<Duration>,
    /// Time without a call after which a connection is told to go [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_idle: Option<Duration>,
    /// Silence after which the server pings
    #[arg(long, default_value = "2h", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_time: Duration,
    /// How long the answer to a ping may take
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_timeout: Duration,
    /// Name of this backend in the response header meshless-backend [default: its first address]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Seed of the jitter of ages
    #[arg(long, hide = true)]
    pub(crate) seed: Option<u64>,
    /// Speak with a parent process on stdin and stdout
    #[arg(long, hide = true)]
    pub(crate) control: bool,
}

/// What `meshless load` can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// Whom to call, in gRPC's naming: dns:///host:port, dns://nameserver/host:port, ipv4:addr:port,addr:port, unix:path, and
    /// kubernetes:///service.namespace:port if built with the feature `kubernetes`
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: String,
    /// How a backend is chosen for each call: pick_first, round_robin, least_request or peak_ewma
    #[arg(long, default_value_t = Policy::RoundRobin)]
    pub(crate) policy: Policy,
    /// Kind of the calls
    #[arg(long, value_enum, default_value_t = Shape::Unary)]
    pub(crate) shape: Shape,
    /// How many calls to make
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) calls: u64,
    /// How many of them at a time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) in_flight: u64,
    /// How long a call may take
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) deadline: Duration,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// hello.HelloService/Echo.
    Unary,
    /// meshless.lab.v1.StreamService/ServerStream, 8 messages, 10 ms apart.
    ServerStream,
    /// meshless.lab.v1.StreamService/ClientStream, likewise.
    ClientStream,
    /// meshless.lab.v1.StreamService/BidiStream, likewise.
    BidiStream,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 0.0.0.0:3001 or [::]:3001".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 100ms, 2s or 1m"))
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than zero, such as 100ms, 2s or 1m".into()),
        duration => Ok(duration),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("give a number of calls per second above 0, at most {RATE_MAX}")),
    }
}

fn calls(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(calls) if (1..=CALLS_MAX).contains(&calls) => Ok(calls),
        _ => Err(format!("give numbers of calls from 1 to {CALLS_MAX}, separated by commas")),
    }
}

/// Ten times the largest burst of the original experiment; a client needs some tens of kB per call.
const CALLS_MAX: u64 = 1_000_000;

/// One pacing thread begins no more than this.
const RATE_MAX: f64 = 200_000.0;
