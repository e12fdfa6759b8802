//! What a run will do, decided and checked before it begins.
//!
//! A [`Plan`] in hand can be run: what this machine cannot do has been left out of it, with a note
//! that says so.

mod parts;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::request::{CompareRequest, ExperimentName, random_seed};
use crate::event::{Event, FLEET, SERVICE_TIME};
use crate::experiment::{self, bounce, levelling};
use crate::limits;
use crate::network::{Network, Proxy};
use crate::results::{ChurnSettings, Settings};
use crate::strategy::Strategy;

/// A run that can be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where its processes live.
    pub(crate) network: Network,
    pub(crate) seed: u32,
    pub(crate) deadline: Duration,
    pub(crate) service_time: Duration,
    pub(crate) max_age: Duration,
    pub(crate) max_age_grace: Duration,
    /// Strategies and numbers of calls of the burst, in the order in which they are measured.
    pub(crate) bursts: Vec<(Strategy, u64)>,
    pub(crate) rounds: u32,
    /// Strategies of the spread, in the order in which they are measured.
    pub(crate) spreads: Vec<Strategy>,
    /// Addresses of the backends of the spread.
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) rate: f64,
    pub(crate) seconds: u32,
    /// Strategies of the churn, all at the same time.
    pub(crate) churns: Vec<Strategy>,
    /// Its events, in order.
    pub(crate) events: Vec<Event>,
    pub(crate) churn_rate: f64,
    pub(crate) churn_deadline: Duration,
    /// Of the strategies that age, in events without quick ageing.
    pub(crate) churn_age: Duration,
    /// How long most events are watched.
    pub(crate) churn_watch: Duration,
    /// Strategies of the levelling, each measured without it and with it.
    pub(crate) levellings: Vec<Strategy>,
    /// Strategies of the bounce, and whether servers do.
    pub(crate) bounces: Vec<(Strategy, bool)>,
    /// How long a row of levelling and bounce is measured, after its warm-up.
    pub(crate) servers_watch: Duration,
    /// The proxy that `l7-proxy` runs, if it is in the plan.
    pub(crate) proxy: Option<Proxy>,
    /// The client that `grpc-go` runs, if it is in the plan.
    pub(crate) grpc_go: Option<PathBuf>,
    /// File descriptors that each process can have.
    pub(crate) file_descriptors: u64,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// A run that cannot be made, and what to ask for instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not even a small run fits.
    #[error("a process may open only {0} files; allow at least {FILES_MIN} (ulimit -n {FILES_MIN})")]
    FileDescriptors(u64),
    /// A strategy needs a program that only the user can bring.
    #[error(
        "grpc-go needs its client: build it with `go -C peers/go build -o ../../target/ ./lab`, and add --grpc-go target/lab"
    )]
    NoGrpcGo,
    /// All of it was left out.
    #[error("nothing of it can be measured here: {0}")]
    Nothing(String),
}

impl Plan {
    /// Plans what `request` asks for on this machine and this network.
    ///
    /// # Errors
    /// If nothing of it can be done here.
    pub(crate) fn new(request: &CompareRequest, network: Network) -> Result<Self, PlanError> {
        let file_descriptors = limits::raise_file_descriptors();
        let proxy = Proxy::find().map_err(|missing| missing.to_string());
        let addresses = |count| network.addresses(count as u8);
        let mut plan = Self::within(request, file_descriptors, addresses, proxy)?;
        if let Network::Kernel(_) = network {
            plan.notes.push(
                "The kernel draws the backend of each connection to the virtual address; the seed does not repeat that."
                    .into(),
            );
        }
        Ok(Self { network, ..plan })
    }

    /// The plan on a machine with these limits, and as many addresses as are asked for, where there
    /// are so many.
    fn within(
        request: &CompareRequest,
        file_descriptors: u64,
        addresses_of: impl Fn(usize) -> Option<Vec<Ipv4Addr>>,
        proxy: Result<Proxy, String>,
    ) -> Result<Self, PlanError> {
        if file_descriptors < FILES_MIN {
            return Err(PlanError::FileDescriptors(file_descriptors));
        }
        if request.strategies.contains(&Strategy::GrpcGo) && request.grpc_go.is_none() {
            return Err(PlanError::NoGrpcGo);
        }
        let mut notes = Vec::new();
        // Who brings grpc-go's client wants to see it.
        let brought = request.grpc_go.as_ref().map(|_| Strategy::GrpcGo);
        let named = parts::named(request, &mut notes);
        let chosen = |default: &[Strategy]| match request.strategies.is_empty() {
            true => default.iter().copied().chain(brought).collect(),
            false => named.clone(),
        };
        let makes = |experiment| request.makes(experiment);
        let addresses = addresses_of(request.backends.into());
        let mut strategies = chosen(&Strategy::SPREAD);
        if let (Err(missing), true) = (&proxy, strategies.contains(&Strategy::L7Proxy)) {
            notes.push(format!("l7-proxy was left out: {missing}."));
            strategies.retain(|strategy| *strategy != Strategy::L7Proxy);
        }
        let bursts = match makes(ExperimentName::Burst) {
            true => {
                let mut bursting = strategies.clone();
                if request.strategies.is_empty() {
                    bursting.retain(|strategy| {
                        Strategy::ONE_SERVER.contains(strategy) || brought == Some(*strategy)
                    });
                }
                parts::bursts(request, &bursting, file_descriptors, &mut notes)
            }
            false => Vec::new(),
        };
        let spreads = match makes(ExperimentName::Spread) {
            true => parts::spreads(request, &strategies, file_descriptors, addresses.is_some(), &mut notes),
            false => Vec::new(),
        };
        let churns = match makes(ExperimentName::Churn) {
            true => parts::churns(chosen(&Strategy::CHURN), addresses_of(FLEET).is_some(), &mut notes),
            false => Vec::new(),
        };
        let (levellings, bounces) = match makes(ExperimentName::Servers) {
            true => parts::servers(request, addresses_of(bounce::run::SERVERS).is_some(), &mut notes),
            false => (Vec::new(), Vec::new()),
        };
        let proxied = strategies.contains(&Strategy::L7Proxy) && !(bursts.is_empty() && spreads.is_empty());
        if proxied {
            notes.push("The processor time of l7-proxy is that of client and servers; what the proxy used comes on top.".into());
        }
        let nothing = bursts.is_empty() && spreads.is_empty() && churns.is_empty();
        if nothing && levellings.is_empty() && bounces.is_empty() {
            return Err(PlanError::Nothing(notes.join(" ")));
        }
        Ok(Self {
            network: Network::Loopback,
            seed: request.seed.unwrap_or_else(random_seed),
            deadline: request.deadline,
            service_time: request.service_time,
            max_age: request.max_connection_age,
            max_age_grace: request.max_connection_age_grace,
            bursts,
            rounds: request.rounds,
            spreads,
            addresses: addresses.unwrap_or_else(|| vec![Ipv4Addr::LOCALHOST; usize::from(request.backends)]),
            rate: request.rate,
            seconds: request.seconds.unwrap_or(if request.full { SECONDS_FULL } else { SECONDS }),
            churns,
            events: parts::events(request),
            churn_rate: CHURN_RATE,
            churn_deadline: CHURN_DEADLINE,
            churn_age: request.max_connection_age * CHURN_AGES,
            churn_watch: Duration::from_secs(
                request.seconds.unwrap_or(if request.full { SECONDS_FULL } else { CHURN_SECONDS }).into(),
            ),
            levellings,
            bounces,
            servers_watch: Duration::from_secs(request.seconds.unwrap_or(SERVERS_SECONDS).into()),
            proxy: proxy.ok().filter(|_| proxied),
            grpc_go: request.grpc_go.clone(),
            file_descriptors,
            notes,
        })
    }

    /// The plan as the results tell it.
    pub(crate) fn settings(&self) -> Settings {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        Settings {
            service_time_ms: milliseconds(self.service_time),
            deadline_ms: milliseconds(self.deadline),
            rounds: self.rounds,
            backends: self.addresses.len(),
            rate: self.rate,
            seconds: f64::from(self.seconds),
            max_connection_age_ms: milliseconds(self.max_age),
            max_connection_age_grace_ms: milliseconds(self.max_age_grace),
            churn: ChurnSettings {
                rate: self.churn_rate,
                service_time_ms: milliseconds(SERVICE_TIME),
                deadline_ms: milliseconds(self.churn_deadline),
                seconds: self.churn_watch.as_secs_f64(),
                max_connection_age_ms: milliseconds(self.churn_age),
            },
        }
    }

    /// How long the load of a levelling and of a bounce lasts.
    pub(crate) fn levelling_length(&self) -> Duration {
        levelling::run::WARM_UP.min(self.servers_watch) + self.servers_watch
    }

    pub(crate) fn bounce_length(&self) -> Duration {
        bounce::run::WARM_UP.min(self.servers_watch) + self.servers_watch
    }

    /// Steps of its progress: a round of a burst is one, a second of anything else, and an event
    /// one more.
    pub(crate) fn steps(&self) -> u64 {
        experiment::ALL.iter().map(|experiment| experiment.steps(self)).sum()
    }
}

/// Length of the spread, and how long an event is watched: as much as three minutes for all allow.
const SECONDS: u32 = 6;
const CHURN_SECONDS: u32 = 4;
/// Both in a full run.
const SECONDS_FULL: u32 = 8;

/// How long each of their rows is measured: 48 ages, but only three relaxation times of a queue
/// (`bounce::run::WARM_UP`). Rows see the same arrivals, so large differences show; a quantile
/// itself moves by some ten per cent from run to run.
const SERVERS_SECONDS: u32 = 24;

/// Calls per second of each client in the churn: some in flight at any moment, and six clients at
/// once do not fill a processor.
const CHURN_RATE: f64 = 200.0;

/// Many times the service time, so that only what is broken or queued misses it, and short beside
/// the watch.
const CHURN_DEADLINE: Duration = Duration::from_millis(500);

/// In the churn connections age so many times slower than elsewhere: what is lost should be lost to
/// the event.
const CHURN_AGES: u32 = 3;

/// Files without which not even a small run fits.
const FILES_MIN: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(request: CompareRequest, file_descriptors: u64, many_addresses: bool) -> Result<Plan, PlanError> {
        let addresses = |count: usize| many_addresses.then(|| vec![Ipv4Addr::new(127, 0, 0, 2); count]);
        Plan::within(&request, file_descriptors, addresses, Err("there is none".into()))
    }

    fn of(experiment: ExperimentName, strategies: &[Strategy]) -> CompareRequest {
        CompareRequest {
            experiments: vec![experiment],
            strategies: strategies.to_vec(),
            ..CompareRequest::default()
        }
    }

    fn full() -> CompareRequest {
        CompareRequest { full: true, ..CompareRequest::default() }
    }

    #[test]
    fn bursts_change_their_order_with_each_size() {
        let (a, b) = (Strategy::SingleConnection, Strategy::MaxAgeL4);
        let request = CompareRequest { calls: vec![500, 100], ..of(ExperimentName::Burst, &[a, b]) };
        assert_eq!(plan(request, 4096, true).unwrap().bursts, [(a, 100), (b, 100), (b, 500), (a, 500)]);
    }

    #[test]
    fn what_does_not_fit_the_descriptors_is_left_out_and_said() {
        let strategies = vec![Strategy::ConnectionPerCall, Strategy::SingleConnection];
        let request = CompareRequest { calls: vec![100, 5000], strategies, ..CompareRequest::default() };
        let plan = plan(request, 1024, true).unwrap();
        assert!(plan.bursts.contains(&(Strategy::SingleConnection, 5000)));
        assert!(plan.bursts.contains(&(Strategy::ConnectionPerCall, 100)));
        assert!(!plan.bursts.contains(&(Strategy::ConnectionPerCall, 5000)));
        assert!(
            plan.notes[0].contains("at 5000 calls") && plan.notes[0].contains("1024"),
            "{:?}",
            plan.notes
        );
    }

    #[test]
    fn too_few_descriptors_for_anything_are_refused() {
        let error = plan(CompareRequest::default(), 64, true).unwrap_err();
        assert_eq!(error, PlanError::FileDescriptors(64));
        assert!(error.to_string().contains("ulimit -n"));
    }

    #[test]
    fn without_loopback_addresses_only_the_name_is_left_out() {
        let plan = plan(CompareRequest::default(), 100_000, false).unwrap();
        assert!(!plan.spreads.contains(&Strategy::MaxAgeDns) && plan.spreads.contains(&Strategy::MaxAgeL4));
        assert!(plan.notes.iter().any(|note| note.contains("sudo ifconfig lo0 alias 127.0.0.2")));
        assert_eq!(plan.addresses, [Ipv4Addr::LOCALHOST; 3]);
    }

    #[test]
    fn a_missing_proxy_is_a_note_unless_nothing_else_was_asked_for() {
        let with_others = plan(CompareRequest::default(), 100_000, true).unwrap();
        assert!(!with_others.spreads.contains(&Strategy::L7Proxy));
        assert!(with_others.notes.iter().any(|note| note.contains("l7-proxy was left out: there is none")));
        let alone = of(ExperimentName::Spread, &[Strategy::L7Proxy]);
        let alone = plan(alone, 100_000, true).unwrap_err();
        assert!(matches!(alone, PlanError::Nothing(_)));
    }

    #[test]
    fn a_build_without_kubernetes_says_how_to_get_it() {
        let strategies = vec![Strategy::RoundRobin, Strategy::RoundRobinKubernetes];
        let plan = plan(CompareRequest { strategies, ..CompareRequest::default() }, 100_000, true).unwrap();
        let takes_part = plan.spreads.contains(&Strategy::RoundRobinKubernetes);
        assert_eq!(takes_part, cfg!(feature = "kubernetes"));
        assert_eq!(plan.churns, plan.spreads);
        let said = plan.notes.iter().filter(|note| note.contains("--no-default-features")).count();
        assert_eq!(said, usize::from(!takes_part), "{:?}", plan.notes);
    }

    #[test]
    fn events_come_in_their_order_and_all_of_them_in_a_full_run() {
        let events = vec![Event::Outage, Event::Sigkill, Event::Outage];
        let asked = CompareRequest { events, ..of(ExperimentName::Churn, &[]) };
        let asked = plan(asked, 100_000, true).unwrap();
        assert_eq!(asked.events, [Event::Sigkill, Event::Outage]);
        assert_eq!(plan(CompareRequest::default(), 100_000, true).unwrap().events, Event::DEFAULT);
        let full = plan(full(), 100_000, true).unwrap();
        assert_eq!((full.events.len(), full.churn_watch.as_secs()), (Event::ALL.len(), 8));
        assert!(asked.bursts.is_empty() && asked.spreads.is_empty());
        // An event of four seconds takes one more for what comes before it.
        assert_eq!(asked.steps(), 10);
    }

    #[test]
    fn a_churn_needs_addresses_and_leaves_the_proxy_out() {
        let strategies = [Strategy::L7Proxy, Strategy::RoundRobin];
        let plan_of = |addresses| plan(of(ExperimentName::Churn, &strategies), 100_000, addresses);
        let plan = plan_of(true).unwrap();
        assert_eq!(plan.churns, [Strategy::RoundRobin]);
        assert!(plan.notes.iter().any(|note| note.contains("l7-proxy was left out")), "{:?}", plan.notes);
        assert!(plan_of(false).unwrap_err().to_string().contains("127.0.0.7"));
    }

    #[test]
    fn what_servers_do_is_measured_if_asked_for_or_in_a_full_run() {
        let plan_of = |request, addresses| plan(request, 100_000, addresses);
        assert!(plan_of(CompareRequest::default(), true).unwrap().bounces.is_empty());
        let full = plan_of(full(), true).unwrap();
        assert_eq!((full.levellings.len(), full.bounces.len()), (2, 5));
        let row = Strategy::RoundRobin;
        let asked = CompareRequest { seconds: Some(2), ..of(ExperimentName::Servers, &[row]) };
        let asked = plan_of(asked, true).unwrap();
        assert_eq!((asked.levellings.len(), &*asked.bounces), (0, &[(row, false), (row, true)][..]));
        // Two rows, and no longer warm-up than what is measured.
        assert_eq!(asked.steps(), 2 * (2 + 2));
        assert!(asked.bursts.is_empty() && asked.spreads.is_empty() && asked.churns.is_empty());
        let nobody = plan_of(of(ExperimentName::Servers, &[Strategy::L7Proxy]), true).unwrap_err();
        assert!(nobody.to_string().contains("least_request"), "{nobody}");
        assert!(
            plan_of(of(ExperimentName::Servers, &[]), false).unwrap_err().to_string().contains("127.0.0.11")
        );
    }

    #[test]
    fn a_seed_is_kept() {
        assert_eq!(
            plan(CompareRequest { seed: Some(7), ..CompareRequest::default() }, 100_000, true).unwrap().seed,
            7
        );
    }
}
