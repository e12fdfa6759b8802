//! What a run will do, decided and checked before it begins.
//!
//! A [`Plan`] in hand can be run: what this machine cannot do has been left out of it, with a note that says so.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshless_core::Rng;

use crate::cli::{CompareArgs, Experiment};
use crate::compare::{bounce, levelling};
use crate::event::{Event, FLEET, SERVICE_TIME};
use crate::limits;
use crate::network::{Network, Proxy};
use crate::results::{ChurnSettings, Settings};
use crate::strategy::{Entrance, Strategy};

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
    /// File descriptors that each process can have.
    pub(crate) file_descriptors: u64,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// A run that cannot be made, and what to ask for instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// Not even a small run fits.
    #[error("a process may open only {0} files; allow at least {FILES_MIN} (ulimit -n {FILES_MIN})")]
    FileDescriptors(u64),
    /// All of it was left out.
    #[error("nothing of it can be measured here: {0}")]
    Nothing(String),
}

impl Plan {
    /// Plans what `args` ask for on this machine and this network.
    ///
    /// # Errors
    /// If nothing of it can be done here.
    pub(crate) fn new(args: &CompareArgs, network: Network) -> Result<Self, PlanError> {
        let file_descriptors = limits::raise_file_descriptors();
        let proxy = Proxy::find().map_err(|missing| missing.to_string());
        let addresses = |count| network.addresses(count as u8);
        let mut plan = Self::within(args, file_descriptors, addresses, proxy)?;
        if let Network::Kernel(_) = network {
            plan.notes.push(
                "The kernel draws the backend of each connection to the virtual address; the seed does not repeat that."
                    .into(),
            );
        }
        Ok(Self { network, ..plan })
    }

    /// The plan on a machine with these limits, and as many addresses as are asked for, where there are so many.
    fn within(
        args: &CompareArgs,
        file_descriptors: u64,
        addresses_of: impl Fn(usize) -> Option<Vec<Ipv4Addr>>,
        proxy: Result<Proxy, String>,
    ) -> Result<Self, PlanError> {
        if file_descriptors < FILES_MIN {
            return Err(PlanError::FileDescriptors(file_descriptors));
        }
        let mut notes = Vec::new();
        let chosen = |default: &[Strategy]| match args.strategies.is_empty() {
            true => default.to_vec(),
            false => distinct(&args.strategies),
        };
        let makes = |experiment| args.makes(experiment);
        let addresses = addresses_of(args.backends.into());
        let mut strategies = chosen(&Strategy::SPREAD);
        if let (Err(missing), true) = (&proxy, strategies.contains(&Strategy::L7Proxy)) {
            notes.push(format!("l7-proxy was left out: {missing}."));
            strategies.retain(|strategy| *strategy != Strategy::L7Proxy);
        }
        let bursts = match makes(Experiment::Burst) {
            true => {
                let mut bursting = strategies.clone();
                if args.strategies.is_empty() {
                    bursting.retain(|strategy| Strategy::ONE_SERVER.contains(strategy));
                }
                bursts(args, &bursting, file_descriptors, &mut notes)
            }
            false => Vec::new(),
        };
        let spreads = match makes(Experiment::Spread) {
            true => spreads(args, &strategies, file_descriptors, addresses.is_some(), &mut notes),
            false => Vec::new(),
        };
        let churns = match makes(Experiment::Churn) {
            true => churns(chosen(&Strategy::CHURN), addresses_of(FLEET).is_some(), &mut notes),
            false => Vec::new(),
        };
        let (levellings, bounces) = match makes(Experiment::Servers) {
            true => servers(args, addresses_of(bounce::SERVERS).is_some(), &mut notes),
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
            seed: args.seed.unwrap_or_else(random_seed),
            deadline: args.deadline,
            service_time: args.service_time,
            max_age: args.max_connection_age,
            max_age_grace: args.max_connection_age_grace,
            bursts,
            rounds: args.rounds,
            spreads,
            addresses: addresses.unwrap_or_else(|| vec![Ipv4Addr::LOCALHOST; usize::from(args.backends)]),
            rate: args.rate,
            seconds: args.seconds.unwrap_or(if args.full { SECONDS_FULL } else { SECONDS }),
            churns,
            events: events(args),
            churn_rate: CHURN_RATE,
            churn_deadline: CHURN_DEADLINE,
            churn_age: args.max_connection_age * CHURN_AGES,
            churn_watch: Duration::from_secs(
                args.seconds.unwrap_or(if args.full { SECONDS_FULL } else { CHURN_SECONDS }).into(),
            ),
            levellings,
            bounces,
            servers_watch: Duration::from_secs(args.seconds.unwrap_or(SERVERS_SECONDS).into()),
            proxy: proxy.ok().filter(|_| proxied),
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
        levelling::WARM_UP.min(self.servers_watch) + self.servers_watch
    }

    pub(crate) fn bounce_length(&self) -> Duration {
        bounce::WARM_UP.min(self.servers_watch) + self.servers_watch
    }

    /// Steps of its progress: a round of a burst is one, a second of anything else, and an event one more.
    pub(crate) fn steps(&self) -> u64 {
        let events = match self.churns.is_empty() {
            true => 0,
            false => self.events.iter().map(|event| event.watched(self.churn_watch).as_secs() + 1).sum(),
        };
        let levelling = self.levellings.len() as u64 * self.levelling_length().as_secs();
        let bounce = self.bounces.len() as u64 * self.bounce_length().as_secs();
        events
            + levelling
            + bounce
            + self.bursts.len() as u64 * u64::from(self.rounds)
            + self.spreads.len() as u64 * u64::from(self.seconds)
    }
}

fn bursts(
    args: &CompareArgs,
    strategies: &[Strategy],
    file_descriptors: u64,
    notes: &mut Vec<String>,
) -> Vec<(Strategy, u64)> {
    let mut sizes = match (args.full, args.calls.is_empty()) {
        (true, _) => FULL_CALLS.to_vec(),
        (false, true) => CALLS.to_vec(),
        (false, false) => args.calls.clone(),
    };
    sizes.sort_unstable();
    sizes.dedup();
    let fits =
        |strategy: Strategy, calls| strategy.keeps_connection() || calls + FILES_SPARE <= file_descriptors;
    let mut bursts = Vec::new();
    for (turn, calls) in sizes.iter().enumerate() {
        let mut row: Vec<_> = strategies.iter().map(|strategy| (*strategy, *calls)).collect();
        // A B, B A: whatever drifts on the machine does not always hit the same strategy.
        if turn % 2 == 1 {
            row.reverse();
        }
        bursts.extend(row);
    }
    let too_large: Vec<_> = bursts
        .iter()
        .filter(|(strategy, calls)| !fits(*strategy, *calls))
        .map(|(_, calls)| calls.to_string())
        .collect();
    if !too_large.is_empty() {
        notes.push(format!(
            "connection-per-call was left out at {} calls: each call needs a file descriptor in each process, and the \
             hard limit is {file_descriptors} (ulimit -Hn).",
            too_large.join(", ")
        ));
    }
    bursts.retain(|(strategy, calls)| fits(*strategy, *calls));
    bursts
}

fn spreads(
    args: &CompareArgs,
    strategies: &[Strategy],
    file_descriptors: u64,
    many_addresses: bool,
    notes: &mut Vec<String>,
) -> Vec<Strategy> {
    let mut strategies = strategies.to_vec();
    let (named, others): (Vec<_>, Vec<_>) =
        strategies.iter().partition(|strategy| strategy.entrance() == Entrance::Name);
    if !many_addresses && !named.is_empty() {
        let last = u32::from(args.backends) + 1;
        let named: Vec<_> = named.into_iter().map(Strategy::name).collect();
        notes.push(format!(
            "Left out of the spread: {}. A name needs a backend on each of 127.0.0.2 to 127.0.0.{last}, which this \
             system lacks; get them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
            named.join(", ")
        ));
        strategies = others;
    }
    // The virtual address holds two sockets per connection, each for as long as a call may last.
    let sockets = 2.0 * args.rate * args.deadline.max(args.service_time).as_secs_f64() + FILES_SPARE as f64;
    if sockets > file_descriptors as f64 && strategies.contains(&Strategy::ConnectionPerCall) {
        notes.push(format!(
            "connection-per-call was left out of the spread: {} calls per second need up to {sockets:.0} file \
             descriptors, and the hard limit is {file_descriptors} (ulimit -Hn); choose a lower --rate.",
            args.rate
        ));
        strategies.retain(|strategy| strategy.keeps_connection());
    }
    strategies
}

/// All strategies that can take part. Each has all its backends at the same port, so on addresses of their own.
fn churns(mut strategies: Vec<Strategy>, many_addresses: bool, notes: &mut Vec<String>) -> Vec<Strategy> {
    if !many_addresses {
        notes.push(format!(
            "The churn was left out: it needs a backend on each of 127.0.0.2 to 127.0.0.{}, which this system lacks; get \
             them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
            FLEET + 1
        ));
        return Vec::new();
    }
    if strategies.contains(&Strategy::L7Proxy) {
        notes.push(
            "l7-proxy was left out of the churn: the lab's proxy cannot be told of new backends.".into(),
        );
        strategies.retain(|strategy| *strategy != Strategy::L7Proxy);
    }
    strategies
}

/// What servers do, for the strategies that are asked for, if any are.
fn servers(
    args: &CompareArgs,
    many_addresses: bool,
    notes: &mut Vec<String>,
) -> (Vec<Strategy>, Vec<(Strategy, bool)>) {
    if !many_addresses {
        notes.push(format!(
            "The experiment `servers` was left out: it needs a backend on each of 127.0.0.2 to 127.0.0.{}, which this system \
             lacks; get them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
            bounce::SERVERS + 1
        ));
        return (Vec::new(), Vec::new());
    }
    let asked = |strategy: &Strategy| args.strategies.is_empty() || args.strategies.contains(strategy);
    let levellings: Vec<_> = LEVELLINGS.into_iter().filter(asked).collect();
    let bounces: Vec<_> = BOUNCES.into_iter().filter(|(strategy, _)| asked(strategy)).collect();
    if levellings.is_empty() && bounces.is_empty() {
        notes.push(
            "The experiment `servers` was left out: it compares max-age-l4, pick_first, round_robin, least_request and \
             peak_ewma."
                .into(),
        );
    }
    (levellings, bounces)
}

/// In the order of the report, each once.
fn events(args: &CompareArgs) -> Vec<Event> {
    let asked = match (args.events.is_empty(), args.full) {
        (false, _) => args.events.clone(),
        (true, true) => Event::ALL.to_vec(),
        (true, false) => Event::DEFAULT.to_vec(),
    };
    Event::ALL.into_iter().filter(|event| asked.contains(event)).collect()
}

/// In the order of the report, each once.
fn distinct(strategies: &[Strategy]) -> Vec<Strategy> {
    Strategy::ALL.into_iter().filter(|strategy| strategies.contains(strategy)).collect()
}

/// 32 bits, so that a seed is short to type and survives every JSON reader.
pub(crate) fn random_seed() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Rng::new(now.as_nanos() as u64, u64::from(std::process::id())).next_u64() as u32
}

/// Calls at once by default: the part of the original experiment's range that decides, in a minute or two.
const CALLS: [u64; 7] = [100, 500, 1000, 2000, 5000, 10_000, 20_000];

/// The original experiment's whole range.
const FULL_CALLS: [u64; 9] = [100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/// Length of the spread, and how long an event is watched: as much as three minutes for all allow.
const SECONDS: u32 = 6;
const CHURN_SECONDS: u32 = 4;
/// Both in a full run.
const SECONDS_FULL: u32 = 8;

/// Clients of one connection each, which come back through the virtual address: today's tonic, and the channel.
const LEVELLINGS: [Strategy; 2] = [Strategy::MaxAgeL4, Strategy::PickFirst];

/// Policies on servers that queue (false) and bounce (true).
const BOUNCES: [(Strategy, bool); 5] = [
    (Strategy::RoundRobin, false),
    (Strategy::RoundRobin, true),
    (Strategy::LeastRequest, false),
    (Strategy::LeastRequest, true),
    (Strategy::PeakEwma, false),
];

/// How long each of their rows is measured: some dozens of ages and of relaxation times of a queue.
const SERVERS_SECONDS: u32 = 24;

/// Calls per second of each client in the churn: some in flight at any moment, and six clients at once do not fill a processor.
const CHURN_RATE: f64 = 200.0;

/// Many times the service time, so that only what is broken or queued misses it, and short beside the watch.
const CHURN_DEADLINE: Duration = Duration::from_millis(500);

/// In the churn connections age so many times slower than elsewhere: what is lost should be lost to the event.
const CHURN_AGES: u32 = 3;

/// Files that a process has open beside its calls' connections, generously.
const FILES_SPARE: u64 = 64;

/// Files without which not even a small run fits.
const FILES_MIN: u64 = 256;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn plan(line: &str, file_descriptors: u64, many_addresses: bool) -> Result<Plan, PlanError> {
        let args = Line::parse_from(std::iter::once("compare").chain(line.split_whitespace())).args;
        let addresses = |count: usize| many_addresses.then(|| vec![Ipv4Addr::new(127, 0, 0, 2); count]);
        Plan::within(&args, file_descriptors, addresses, Err("there is none".into()))
    }

    #[test]
    fn bursts_change_their_order_with_each_size() {
        let plan =
            plan("--strategies single-connection,max-age-l4 --calls 500,100 --experiments burst", 4096, true);
        let (a, b) = (Strategy::SingleConnection, Strategy::MaxAgeL4);
        assert_eq!(plan.unwrap().bursts, [(a, 100), (b, 100), (b, 500), (a, 500)]);
    }

    #[test]
    fn what_does_not_fit_the_descriptors_is_left_out_and_said() {
        let plan =
            plan("--calls 100,5000 --strategies connection-per-call,single-connection", 1024, true).unwrap();
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
        let error = plan("", 64, true).unwrap_err();
        assert_eq!(error, PlanError::FileDescriptors(64));
        assert!(error.to_string().contains("ulimit -n"));
    }

    #[test]
    fn without_loopback_addresses_only_the_name_is_left_out() {
        let plan = plan("--backends 3", 100_000, false).unwrap();
        assert!(!plan.spreads.contains(&Strategy::MaxAgeDns) && plan.spreads.contains(&Strategy::MaxAgeL4));
        assert!(plan.notes.iter().any(|note| note.contains("sudo ifconfig lo0 alias 127.0.0.2")));
        assert_eq!(plan.addresses, [Ipv4Addr::LOCALHOST; 3]);
    }

    #[test]
    fn a_missing_proxy_is_a_note_unless_nothing_else_was_asked_for() {
        let with_others = plan("", 100_000, true).unwrap();
        assert!(!with_others.spreads.contains(&Strategy::L7Proxy));
        assert!(with_others.notes.iter().any(|note| note.contains("l7-proxy was left out: there is none")));
        let alone = plan("--strategies l7-proxy", 100_000, true).unwrap_err();
        assert!(matches!(alone, PlanError::Nothing(_)));
    }

    #[test]
    fn events_come_in_their_order_and_all_of_them_in_a_full_run() {
        let asked = plan("--experiments churn --events outage,sigkill,outage", 100_000, true).unwrap();
        assert_eq!(asked.events, [Event::Sigkill, Event::Outage]);
        assert_eq!(plan("", 100_000, true).unwrap().events, Event::DEFAULT);
        let full = plan("--full", 100_000, true).unwrap();
        assert_eq!((full.events.len(), full.churn_watch.as_secs()), (Event::ALL.len(), 8));
        assert!(asked.bursts.is_empty() && asked.spreads.is_empty());
        // An event of four seconds takes one more for what comes before it.
        assert_eq!(asked.steps(), 10);
    }

    #[test]
    fn a_churn_needs_addresses_and_leaves_the_proxy_out() {
        let plan_of =
            |addresses| plan("--experiments churn --strategies l7-proxy,round_robin", 100_000, addresses);
        let plan = plan_of(true).unwrap();
        assert_eq!(plan.churns, [Strategy::RoundRobin]);
        assert!(plan.notes.iter().any(|note| note.contains("l7-proxy was left out")), "{:?}", plan.notes);
        assert!(plan_of(false).unwrap_err().to_string().contains("127.0.0.7"));
    }

    #[test]
    fn what_servers_do_is_measured_if_asked_for_or_in_a_full_run() {
        let plan_of = |line, addresses| plan(line, 100_000, addresses);
        assert!(plan_of("", true).unwrap().bounces.is_empty());
        let full = plan_of("--full", true).unwrap();
        assert_eq!((full.levellings.len(), full.bounces.len()), (2, 5));
        let asked = plan_of("--experiments servers --strategies round_robin --seconds 2", true).unwrap();
        let row = Strategy::RoundRobin;
        assert_eq!((asked.levellings.len(), &*asked.bounces), (0, &[(row, false), (row, true)][..]));
        // Two rows, and no longer warm-up than what is measured.
        assert_eq!(asked.steps(), 2 * (2 + 2));
        assert!(asked.bursts.is_empty() && asked.spreads.is_empty() && asked.churns.is_empty());
        let nobody = plan_of("--experiments servers --strategies l7-proxy", true).unwrap_err();
        assert!(nobody.to_string().contains("least_request"), "{nobody}");
        assert!(plan_of("--experiments servers", false).unwrap_err().to_string().contains("127.0.0.11"));
    }

    #[test]
    fn a_seed_is_kept() {
        assert_eq!(plan("--seed 7", 100_000, true).unwrap().seed, 7);
    }
}
