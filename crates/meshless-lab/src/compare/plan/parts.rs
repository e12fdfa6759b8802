//! Who takes part in a plan: strategies, sizes of bursts and events, as they were asked for and as
//! far as this machine and this build can.
//!
//! What is left out leaves a note that says why, and how to get it.

use crate::compare::CompareRequest;
use crate::event::{Event, FLEET};
use crate::experiment::bounce;
use crate::strategy::{Entrance, Strategy};

/// The strategies that the user named and this build has, in the order of the report, each once.
pub(super) fn named(request: &CompareRequest, notes: &mut Vec<String>) -> Vec<Strategy> {
    let named = |strategy: &Strategy| request.strategies.contains(strategy);
    let mut strategies: Vec<_> = Strategy::ALL.into_iter().filter(named).collect();
    if !cfg!(feature = "kubernetes") && strategies.contains(&Strategy::RoundRobinKubernetes) {
        notes.push(
            "round_robin+kubernetes was left out: this program was built without Kubernetes; build it without --no-default-features."
                .into(),
        );
        strategies.retain(|strategy| *strategy != Strategy::RoundRobinKubernetes);
    }
    strategies
}

/// Strategies and numbers of calls, in the order in which they are measured.
pub(super) fn bursts(
    request: &CompareRequest,
    strategies: &[Strategy],
    file_descriptors: u64,
    notes: &mut Vec<String>,
) -> Vec<(Strategy, u64)> {
    let mut sizes = match (request.full, request.calls.is_empty()) {
        (true, _) => FULL_CALLS.to_vec(),
        (false, true) => CALLS.to_vec(),
        (false, false) => request.calls.clone(),
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

/// The strategies of the spread that this machine has addresses and file descriptors for.
pub(super) fn spreads(
    request: &CompareRequest,
    strategies: &[Strategy],
    file_descriptors: u64,
    many_addresses: bool,
    notes: &mut Vec<String>,
) -> Vec<Strategy> {
    let mut strategies = strategies.to_vec();
    let (named, others): (Vec<_>, Vec<_>) = strategies
        .iter()
        .partition(|strategy| matches!(strategy.entrance(), Entrance::Name | Entrance::EndpointSlices));
    if !many_addresses && !named.is_empty() {
        let last = u32::from(request.backends) + 1;
        let named: Vec<_> = named.into_iter().map(Strategy::name).collect();
        notes.push(format!(
            "Left out of the spread: {}. A name needs a backend on each of 127.0.0.2 to 127.0.0.{last}, which this \
             system lacks; get them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
            named.join(", ")
        ));
        strategies = others;
    }
    // The virtual address holds two sockets per connection, each for as long as a call may last.
    let sockets =
        2.0 * request.rate * request.deadline.max(request.service_time).as_secs_f64() + FILES_SPARE as f64;
    if sockets > file_descriptors as f64 && strategies.contains(&Strategy::ConnectionPerCall) {
        notes.push(format!(
            "connection-per-call was left out of the spread: {} calls per second need up to {sockets:.0} file \
             descriptors, and the hard limit is {file_descriptors} (ulimit -Hn); choose a lower --rate.",
            request.rate
        ));
        strategies.retain(|strategy| strategy.keeps_connection());
    }
    strategies
}

/// All strategies that can take part. Each has all its backends at the same port, so on addresses
/// of their own.
pub(super) fn churns(
    mut strategies: Vec<Strategy>,
    many_addresses: bool,
    notes: &mut Vec<String>,
) -> Vec<Strategy> {
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
pub(super) fn servers(
    request: &CompareRequest,
    many_addresses: bool,
    notes: &mut Vec<String>,
) -> (Vec<Strategy>, Vec<(Strategy, bool)>) {
    if !many_addresses {
        notes.push(format!(
            "The experiment `servers` was left out: it needs a backend on each of 127.0.0.2 to 127.0.0.{}, which this system \
             lacks; get them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
            bounce::run::SERVERS + 1
        ));
        return (Vec::new(), Vec::new());
    }
    let asked = |strategy: &Strategy| request.strategies.is_empty() || request.strategies.contains(strategy);
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
pub(super) fn events(request: &CompareRequest) -> Vec<Event> {
    let asked = match (request.events.is_empty(), request.full) {
        (false, _) => &request.events[..],
        (true, true) => &Event::ALL,
        (true, false) => &Event::DEFAULT,
    };
    Event::ALL.into_iter().filter(|event| asked.contains(event)).collect()
}

/// Clients of one connection each, which come back through the virtual address: today's tonic, and
/// the channel.
const LEVELLINGS: [Strategy; 2] = [Strategy::MaxAgeL4, Strategy::PickFirst];

/// Policies on servers that queue (false) and bounce (true).
const BOUNCES: [(Strategy, bool); 5] = [
    (Strategy::RoundRobin, false),
    (Strategy::RoundRobin, true),
    (Strategy::LeastRequest, false),
    (Strategy::LeastRequest, true),
    (Strategy::PeakEwma, false),
];

/// Calls at once by default: the part of the original experiment's range that decides, in a minute
/// or two.
const CALLS: [u64; 7] = [100, 500, 1000, 2000, 5000, 10_000, 20_000];

/// The original experiment's whole range.
const FULL_CALLS: [u64; 9] = [100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

/// Files that a process has open beside its calls' connections, generously.
const FILES_SPARE: u64 = 64;
