//! What a run of `compare` is asked to be: plain values, whoever asks.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Event;
use crate::network::NetworkKind;
use crate::strategy::Strategy;

/// What to compare, and how. The default is what `meshless compare` does without flags.
#[derive(Clone, Debug)]
pub struct CompareRequest {
    /// Ways of connecting. None: those that differ in an experiment.
    pub strategies: Vec<Strategy>,
    /// Experiments to make. None: burst, spread and churn; all of them in a full run.
    pub experiments: Vec<ExperimentName>,
    /// Where to make them.
    pub place: Place,
    /// Events of the churn. None: one of each kind; all of them in a full run and on a cluster.
    pub events: Vec<Event>,
    /// Client of grpc-go, built from peers/go/lab.
    pub grpc_go: Option<PathBuf>,
    /// Numbers of calls at once in the burst. None: the part of the original range that decides.
    pub calls: Vec<u64>,
    /// True for all experiments, with their whole range.
    pub full: bool,
    /// Rounds of each burst.
    pub rounds: u32,
    /// How long a client waits for a call.
    pub deadline: Duration,
    /// How long a server works on a call.
    pub service_time: Duration,
    /// Backends of the spread; on a cluster those of the churn as well.
    pub backends: u8,
    /// Calls per second of the spread.
    pub rate: f64,
    /// Length in seconds of the spread, of an event's watch and of a row of the servers. `None`:
    /// each has its own.
    pub seconds: Option<u32>,
    /// MaxConnectionAge of the strategies that age, ± 10 % per connection.
    pub max_connection_age: Duration,
    /// How long calls may still run on a connection that reached its age.
    pub max_connection_age_grace: Duration,
    /// Seed of arrivals, virtual address and DNS answers. `None`: a random one.
    pub seed: Option<u32>,
    /// Folder of the report.
    pub out: PathBuf,
    /// True to print the results as JSON, and nothing else.
    pub json: bool,
    /// The words that asked for it, without the program's name. The report repeats them.
    pub command: Vec<String>,
}

/// Where experiments are made.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine, over this network.
    Here(NetworkKind),
    /// On a Kubernetes cluster: spread and churn alone.
    #[cfg(feature = "kubernetes")]
    Cluster(ClusterRequest),
}

/// Which cluster, where on it, and what its pods are.
#[cfg(feature = "kubernetes")]
#[derive(Clone, Debug, Default)]
pub struct ClusterRequest {
    /// Context of the kubeconfig. `None`: its current one; in a pod, the pod's own cluster.
    pub context: Option<String>,
    /// Namespace, which must exist. `None`: the context's.
    pub namespace: Option<String>,
    /// Image of servers and load.
    pub image: String,
    /// Pods that make the load.
    pub workers: u32,
    /// How long pods may take to start, their image's pull included.
    pub start_within: Duration,
    /// True to have the channels read EndpointSlices rather than ask DNS.
    pub endpoint_slices: bool,
}

/// The name of an experiment, as it is asked for. Only names that there are can be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExperimentName(pub(crate) &'static str);

/// A run that cannot be made, and what to ask for instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not even a small run fits.
    #[error("a process may open only {0} files; allow at least {min} (ulimit -n {min})", min = Self::FILES_MIN)]
    FileDescriptors(u64),
    /// A strategy needs a program that only the user can bring.
    #[error(
        "grpc-go needs its client: build it with `go -C peers/go build -o ../../target/ ./lab`, and add --grpc-go target/lab"
    )]
    NoGrpcGo,
    /// The event happens to pods alone.
    #[error("the event `{0}` happens to pods of a cluster; add --kubernetes")]
    EventOfClusters(Event),
    /// The event does not happen to pods.
    #[error("on a cluster there is no event `{0}`; choose from {known}", known = Event::ON_CLUSTER.map(Event::name).join(", "))]
    EventOfHere(Event),
    /// All of it was left out.
    #[error("nothing of it can be measured here: {0}")]
    Nothing(String),
    /// All of it was left out.
    #[error(
        "on a cluster only spread and churn are measured, and not with l7-proxy or grpc-go; name others with --experiments and --strategies"
    )]
    NothingOnCluster,
}

impl PlanError {
    /// Files without which not even a small run fits.
    pub(crate) const FILES_MIN: u64 = 256;
}

impl Default for CompareRequest {
    fn default() -> Self {
        Self {
            strategies: Vec::new(),
            experiments: Vec::new(),
            place: Place::Here(NetworkKind::Loopback),
            events: Vec::new(),
            grpc_go: None,
            calls: Vec::new(),
            full: false,
            rounds: 4,
            deadline: Duration::from_millis(300),
            service_time: Duration::from_millis(100),
            backends: 3,
            rate: 1000.0,
            seconds: None,
            max_connection_age: Duration::from_secs(1),
            max_connection_age_grace: Duration::from_secs(1),
            seed: None,
            out: "report".into(),
            json: false,
            command: vec!["compare".into()],
        }
    }
}

impl CompareRequest {
    /// True if it is for a cluster.
    pub(crate) fn is_for_cluster(&self) -> bool {
        !matches!(self.place, Place::Here(_))
    }

    /// The seconds that were asked for, or an experiment's own.
    pub(crate) fn length(&self, default_seconds: u32) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default_seconds).into())
    }

    /// The command line that makes the run again: as it was given, with the seed that it did not
    /// name.
    pub(crate) fn command(&self, seed: u32) -> String {
        let mut words = vec!["meshless".to_owned()];
        words.extend(self.command.iter().cloned());
        if !words.iter().any(|word| word == "--seed" || word.starts_with("--seed=")) {
            words.extend(["--seed".into(), seed.to_string()]);
        }
        words.join(" ")
    }

    /// Whether its events happen where it is for.
    ///
    /// # Errors
    /// If one does not.
    pub(crate) fn check_events(&self) -> Result<(), PlanError> {
        let (there, elsewhere): (&[Event], fn(Event) -> PlanError) = match self.is_for_cluster() {
            true => (&Event::ON_CLUSTER, PlanError::EventOfHere),
            false => (&Event::HERE, PlanError::EventOfClusters),
        };
        self.events.iter().find(|event| !there.contains(event)).map_or(Ok(()), |event| Err(elsewhere(*event)))
    }
}
