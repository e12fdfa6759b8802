//! The command line: what can be asked for, in which words, and what is refused before anything runs.
//!
//! Lists of names in the help are made of the names themselves, so that none is forgotten. [`values`] reads what comes after
//! a flag.

mod cluster;
mod event_name;
mod values;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use meshless::Policy;
use meshless::resolver::Address;

pub(crate) use self::cluster::ClusterArgs;
pub(crate) use self::event_name::EventName;
use self::values::{duration, listen_address, positive_duration, program, rate, whole};
use crate::event::Event;
use crate::network::NetworkKind;
use crate::strategy::Strategy;

/// gRPC load balancing on Kubernetes without a service mesh: the lab.
///
/// Exit codes: 0 when the work was done, 1 when calls of `load` failed, 2 when it could not be (one line on stderr says why and what to do),
/// 130 when Ctrl-C ended `compare` or `load` early; the report then holds what was measured until there.
#[derive(Debug, Parser)]
// Each flag's help begins on a line of its own: beside the flags, it is a word wide on a narrow terminal.
#[command(name = "meshless", version, next_line_help = true, max_term_width = 100)]
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
    /// A pod of the load of `compare --kubernetes`
    #[cfg(feature = "kubernetes")]
    #[command(hide = true)]
    Worker {
        /// What to call, when and how
        #[arg(long)]
        score: String,
    },
}

/// What `meshless compare` can be asked for.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct CompareArgs {
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help = strategies_help())]
    pub(crate) strategies: Vec<Strategy>,
    /// Experiments to make: burst (N calls at once, one server), spread (steady load, several servers), churn (steady load
    /// while things break), servers (what servers can do: level the ages of connections, bounce calls) [default: the first
    /// three; with --full all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) experiments: Vec<Experiment>,
    /// What lies between the processes: loopback, or kernel, a network namespace per pod and kube-proxy's kind of nftables rules
    /// (Linux, as root; the host's network is not touched)
    #[arg(long, value_enum, default_value_t = NetworkKind::Loopback, hide_possible_values = true)]
    pub(crate) network: NetworkKind,
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help = events_help())]
    pub(crate) events: Vec<EventName>,
    /// Client of grpc-go, built from peers/go/lab: adds the strategy grpc-go
    #[arg(long, value_name = "PROGRAM", value_parser = program)]
    pub(crate) grpc_go: Option<PathBuf>,
    /// Numbers of calls at once in the burst [default: 100,500,1000,2000,5000,10000,20000]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", conflicts_with = "full", value_parser = whole(1..=CALLS_MAX))]
    pub(crate) calls: Vec<u64>,
    /// All experiments: burst with the whole range of the original one, up to 100000 calls at once, churn with every event
    #[arg(long)]
    pub(crate) full: bool,
    /// Rounds of each burst
    #[arg(long, default_value_t = 4, value_parser = whole(1..=1000_u32))]
    pub(crate) rounds: u32,
    /// How long a client waits for a call
    #[arg(long, default_value = "300ms", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) deadline: Duration,
    /// How long a server works on a call
    #[arg(long, default_value = "100ms", value_name = "DURATION", value_parser = duration)]
    pub(crate) service_time: Duration,
    /// Backends of the spread
    #[arg(long, default_value_t = 3, value_parser = whole(1..=200_u8))]
    pub(crate) backends: u8,
    /// Calls per second of the spread
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Length of the spread in seconds, for each strategy, how long an event of the churn is watched, and a row of servers
    /// measured [default: 6, 4 and 24; with --full 8, 8 and 24]
    #[arg(long, value_parser = whole(1..=3600_u32))]
    pub(crate) seconds: Option<u32>,
    /// MaxConnectionAge of the strategies that age, ± 10 % per connection
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Duration,
    /// How long calls may still run on a connection that reached its age
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Duration,
    /// Seed of arrivals, virtual address and DNS answers, to repeat a run [default: random, and printed]
    #[arg(long, value_parser = whole(0..=u32::MAX))]
    pub(crate) seed: Option<u32>,
    /// Folder of the report
    #[arg(long, default_value = "report", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Print the results as JSON on stdout, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the experiments are made, if not here.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

impl CompareArgs {
    /// Whether to make this experiment.
    pub(crate) fn makes(&self, experiment: Experiment) -> bool {
        match self.experiments.is_empty() {
            true => self.full || experiment != Experiment::Servers,
            false => self.experiments.contains(&experiment),
        }
    }
}

/// An experiment of `meshless compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Experiment {
    /// N calls at once on one server.
    Burst,
    /// Open-loop load on several servers.
    Spread,
    /// The same while things break.
    Churn,
    /// What servers do about balance: levelled ages and bounced calls.
    Servers,
}

impl FromStr for Experiment {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "burst" => Ok(Self::Burst),
            "spread" => Ok(Self::Spread),
            "churn" => Ok(Self::Churn),
            "servers" => Ok(Self::Servers),
            _ => Err(format!("there is no experiment `{name}`; choose from burst, spread, churn, servers")),
        }
    }
}

/// What `meshless serve` can be asked for. Its limits are the library's, so that it behaves as a user's server does.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct ServeArgs {
    /// Where to listen, an IP address with its port or unix:path; can be given more than once
    #[arg(long, default_value = "0.0.0.0:3001", value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) listen: Vec<Address>,
    /// How long to work on a call
    #[arg(long, default_value = "100ms", value_name = "DURATION", value_parser = duration)]
    pub(crate) service_time: Duration,
    /// Draw how long to work on each call from an exponential distribution with that mean
    #[arg(long)]
    pub(crate) exponential: bool,
    /// Age at which a connection is told to go, ± 10 % per connection [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Option<Duration>,
    /// How long calls may still run on a connection that was told to go [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Option<Duration>,
    /// Time without a call after which a connection is told to go [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_idle: Option<Duration>,
    /// Ages connections sooner while there are more than usual: the exponent, 3 being a good one [default: off]
    #[arg(long, value_name = "EXPONENT", value_parser = whole(1..=8_u32))]
    pub(crate) level_connections: Option<u32>,
    /// How long a stream may last, ± 10 %, before it is told to end, and 10 s later ended [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_stream_age: Option<Duration>,
    /// How many calls a client may have open on one connection
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_concurrent_streams: u32,
    /// How many connections may be open at once
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_connections: u32,
    /// How many calls to work on at once, on all connections [default: no limit]
    #[arg(long, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_concurrent_calls: Option<u32>,
    /// How many calls may wait for that [default: as many as run]
    #[arg(long, value_name = "NUMBER", requires = "max_concurrent_calls", value_parser = whole(0..=u32::MAX))]
    pub(crate) queue: Option<u32>,
    /// Refuse a call's first attempt rather than let it wait
    #[arg(long, requires = "max_concurrent_calls")]
    pub(crate) bounce: bool,
    /// Silence after which the server pings
    #[arg(long, default_value = "2h", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_time: Duration,
    /// How long the answer to a ping may take
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_timeout: Duration,
    /// How often a client may ping; after two strikes it is told too_many_pings
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub(crate) permit_keepalive_time: Duration,
    /// Let clients ping as often while they have no call [default: every 2 h]
    #[arg(long)]
    pub(crate) permit_keepalive_without_calls: bool,
    /// How long to go on serving and accepting after SIGTERM, with health at NOT_SERVING, before connections are told to go
    /// [default: 5s; after Ctrl-C 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) lame_duck: Option<Duration>,
    /// How long calls may still run after that; a second signal cuts them at once
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
    /// Certificate and intermediates for TLS, a PEM file, read again every minute [default: plain text]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate of these authorities, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Name of this backend in the response header meshless-backend [default: its first address;
    /// where that is a wildcard such as 0.0.0.0, $POD_NAME or $HOSTNAME]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Calls to work on at a time; the others wait their turn [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = whole(1..=WORKERS_MAX))]
    pub(crate) workers: Option<usize>,
    /// File in which to note the ids of calls
    #[arg(long, hide = true, requires = "control")]
    pub(crate) journal: Option<PathBuf>,
    /// Seed of the jitter of ages
    #[arg(long, hide = true)]
    pub(crate) seed: Option<u64>,
    /// Speak with a parent process on stdin and stdout
    #[arg(long, hide = true)]
    pub(crate) control: bool,
}

/// What `meshless load` can be asked for.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct LoadArgs {
    /// Whom to call, in gRPC's naming: dns:///host:port, dns://nameserver/host:port, ipv4:addr:port,addr:port, unix:path or
    /// kubernetes:///service.namespace:port
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: String,
    /// How a backend is chosen for each call: pick_first, round_robin, least_request, peak_ewma or
    /// weighted_round_robin
    #[arg(long, default_value_t = Policy::RoundRobin)]
    pub(crate) policy: Policy,
    /// Kind of the calls
    #[arg(long, value_enum, default_value_t = Shape::Unary)]
    pub(crate) shape: Shape,
    /// How many calls to make
    #[arg(long, default_value_t = 10_000, conflicts_with = "seconds", value_parser = whole(1..=LOAD_CALLS_MAX))]
    pub(crate) calls: u64,
    /// How long to make calls, instead of how many
    #[arg(long, value_parser = whole(1..=86_400_u32))]
    pub(crate) seconds: Option<u32>,
    /// How many of them at a time
    #[arg(long, default_value_t = 10, value_parser = whole(1..=100_000_u64))]
    pub(crate) in_flight: u64,
    /// Speak TLS with servers whose certificates these authorities have signed, a PEM file [default: plain text]
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

fn strategies_help() -> String {
    let names = Strategy::ALL.map(Strategy::name).join(", ");
    format!(
        "Ways of connecting to compare, separated by commas: {names} (that one with --grpc-go) [default: those that differ in an \
         experiment]"
    )
}

fn events_help() -> String {
    format!(
        "Events of the churn, separated by commas: {}; with --kubernetes: {} [default: one of each kind; with --full or \
         --kubernetes all]",
        Event::ALL.map(Event::name).join(", "),
        cluster::EVENTS.join(", ")
    )
}

/// Ten times the largest burst of the original experiment; a client needs some tens of kB per call.
const CALLS_MAX: u64 = 1_000_000;

/// More is no limit at all.
const WORKERS_MAX: usize = 1_000_000;

/// More than anybody waits for, and a number that every peer can hold, JavaScript's included.
pub(crate) const LOAD_CALLS_MAX: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests;
