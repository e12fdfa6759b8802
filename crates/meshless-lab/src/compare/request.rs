//! What a run is asked to be: plain values, whoever asks.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshless_core::Rng;

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
    /// What lies between the processes.
    pub network: NetworkKind,
    /// Events of the churn. None: one of each kind; all of them in a full run.
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
    /// Backends of the spread.
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

impl Default for CompareRequest {
    fn default() -> Self {
        Self {
            strategies: Vec::new(),
            experiments: Vec::new(),
            network: NetworkKind::Loopback,
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
    /// Whether to make this experiment.
    pub(crate) fn makes(&self, experiment: ExperimentName) -> bool {
        match self.experiments.is_empty() {
            true => self.full || experiment != ExperimentName::Servers,
            false => self.experiments.contains(&experiment),
        }
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
}

/// An experiment of `meshless compare`, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExperimentName {
    /// N calls at once on one server.
    Burst,
    /// Open-loop load on several servers.
    Spread,
    /// The same while things break.
    Churn,
    /// What servers do about balance: levelled ages and bounced calls.
    Servers,
}

impl FromStr for ExperimentName {
    type Err = UnknownExperiment;

    fn from_str(name: &str) -> Result<Self, UnknownExperiment> {
        match name {
            "burst" => Ok(Self::Burst),
            "spread" => Ok(Self::Spread),
            "churn" => Ok(Self::Churn),
            "servers" => Ok(Self::Servers),
            _ => Err(UnknownExperiment(name.to_owned())),
        }
    }
}

/// There is no experiment of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no experiment `{0}`; choose from burst, spread, churn, servers")]
pub struct UnknownExperiment(String);

/// 32 bits, so that a seed is short to type and survives every JSON reader.
pub(crate) fn random_seed() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Rng::new(now.as_nanos() as u64, u64::from(std::process::id())).next_u64() as u32
}
