//! `meshless compare`: its arguments, and the request made from them.
//!
//! Lists in the help are made from the names themselves, so that none is missing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use meshless_lab::compare::{CompareRequest, ExperimentName, Place};
use meshless_lab::event::Event;
use meshless_lab::network::NetworkKind;
use meshless_lab::strategy::Strategy;

use crate::cluster::{ClusterArgs, NoKubernetes};
use crate::values::{duration, positive_duration, program, rate, whole};

/// What `meshless compare` can be asked for.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct CompareArgs {
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help = strategies_help())]
    pub(crate) strategies: Vec<Strategy>,
    /// Experiments to make: burst (N calls at once, one server), spread (steady load, several
    /// servers), churn (steady load while things break), servers (what servers can do: level the
    /// ages of connections, bounce calls) [default: the first three; with --full all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) experiments: Vec<ExperimentName>,
    /// What lies between the processes: loopback, or kernel, a network namespace per pod and
    /// kube-proxy's kind of nftables rules (Linux, as root; the host's network is not touched)
    #[arg(long, value_enum, default_value_t = NetworkName::Loopback, hide_possible_values = true)]
    pub(crate) network: NetworkName,
    #[arg(long, value_delimiter = ',', value_name = "NAMES", help = events_help())]
    pub(crate) events: Vec<Event>,
    /// Client of grpc-go, built from peers/go/lab: adds the strategy grpc-go
    #[arg(long, value_name = "PROGRAM", value_parser = program)]
    pub(crate) grpc_go: Option<PathBuf>,
    /// Numbers of calls at once in the burst [default: 100,500,1000,2000,5000,10000,20000]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", conflicts_with = "full", value_parser = whole(1..=CALLS_MAX))]
    pub(crate) calls: Vec<u64>,
    /// All experiments: burst with the whole range of the original one, up to 100000 calls at once,
    /// churn with every event
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
    /// Length of the spread in seconds, for each strategy, how long an event of the churn is
    /// watched, and a row of servers measured [default: 6, 4 and 24; with --full 8, 8 and 24]
    #[arg(long, value_parser = whole(1..=3600_u32))]
    pub(crate) seconds: Option<u32>,
    /// MaxConnectionAge of the strategies that age, ± 10 % per connection
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Duration,
    /// How long calls may still run on a connection that reached its age
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Duration,
    /// Seed of arrivals, virtual address and DNS answers, to repeat a run [default: random, and
    /// printed]
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

/// What lies between the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkName {
    /// The loopback interface.
    Loopback,
    /// The kernel, with a network namespace per pod.
    Kernel,
}

impl CompareArgs {
    /// What is asked for.
    ///
    /// # Errors
    /// If it is for a cluster, and this program was built without Kubernetes.
    pub(crate) fn request(self) -> Result<CompareRequest, NoKubernetes> {
        let network = match self.network {
            NetworkName::Loopback => NetworkKind::Loopback,
            NetworkName::Kernel => NetworkKind::Kernel,
        };
        Ok(CompareRequest {
            strategies: self.strategies,
            experiments: self.experiments,
            place: match self.cluster.kubernetes {
                true => self.cluster.place()?,
                false => Place::Here(network),
            },
            events: self.events,
            grpc_go: self.grpc_go,
            calls: self.calls,
            full: self.full,
            rounds: self.rounds,
            deadline: self.deadline,
            service_time: self.service_time,
            backends: self.backends,
            rate: self.rate,
            seconds: self.seconds,
            max_connection_age: self.max_connection_age,
            max_connection_age_grace: self.max_connection_age_grace,
            seed: self.seed,
            out: self.out,
            json: self.json,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).skip(1).collect(),
        })
    }
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
        Event::HERE.map(Event::name).join(", "),
        Event::ON_CLUSTER.map(Event::name).join(", ")
    )
}

/// Ten times the largest burst of the original experiment. A client needs some tens of kB per call.
const CALLS_MAX: u64 = 1_000_000;
