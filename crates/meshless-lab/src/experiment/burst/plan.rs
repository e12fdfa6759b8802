//! Which strategies make which bursts.

use crate::experiment::Planning;
use crate::fleet::{Conditions, Local};
use crate::limits::FILES_SPARE;
use crate::request::CompareRequest;
use crate::strategy::Strategy;

/// Bursts that this machine can make.
#[derive(Clone, Debug)]
pub(crate) struct BurstPlan {
    pub(super) local: Local,
    pub(super) conditions: Conditions,
    pub(super) rounds: u32,
    /// Strategies and numbers of calls, in the order in which they are measured.
    pub(crate) bursts: Vec<(Strategy, u64)>,
}

/// Plans it. None on a cluster, and where no burst fits.
pub(super) fn plan(planning: &mut Planning<'_>) -> Option<BurstPlan> {
    let local = planning.site.local()?;
    let strategies = planning.strategies(&STRATEGIES);
    let Planning { request, notes, .. } = planning;
    let bursts = bursts(request, &strategies, local.limits.file_descriptors, notes);
    (!bursts.is_empty()).then(|| BurstPlan {
        local: local.clone(),
        conditions: Conditions::of(request),
        rounds: request.rounds,
        bursts,
    })
}

/// Strategies and numbers of calls, in the order in which they are measured.
fn bursts(
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

/// Those that differ when there is one server to choose from, and so no choice, unless others are
/// asked for.
const STRATEGIES: [Strategy; 5] = [
    Strategy::ConnectionPerCall,
    Strategy::SingleConnection,
    Strategy::MaxAgeL4,
    Strategy::L7Proxy,
    Strategy::RoundRobin,
];

/// Calls at once by default: the part of the original experiment's range that decides, in a minute
/// or two.
const CALLS: [u64; 7] = [100, 500, 1000, 2000, 5000, 10_000, 20_000];

/// The original experiment's whole range.
const FULL_CALLS: [u64; 9] = [100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::tests::{MANY, here, of};
    use crate::fleet::local::Limits;

    fn plan_of(request: &CompareRequest, file_descriptors: u64) -> (BurstPlan, Vec<String>) {
        let mut notes = Vec::new();
        let site = here(request, Limits { file_descriptors, ..MANY });
        let plan = plan(&mut Planning { request, site: &site, notes: &mut notes });
        (plan.unwrap(), notes)
    }

    #[test]
    fn bursts_change_their_order_with_each_size() {
        let (a, b) = (Strategy::SingleConnection, Strategy::MaxAgeL4);
        let request = CompareRequest { calls: vec![500, 100], ..of("burst", &[a, b]) };
        assert_eq!(plan_of(&request, 4096).0.bursts, [(a, 100), (b, 100), (b, 500), (a, 500)]);
    }

    #[test]
    fn what_does_not_fit_the_descriptors_is_left_out_and_said() {
        let strategies = vec![Strategy::ConnectionPerCall, Strategy::SingleConnection];
        let request = CompareRequest { calls: vec![100, 5000], strategies, ..CompareRequest::default() };
        let (plan, notes) = plan_of(&request, 1024);
        assert!(plan.bursts.contains(&(Strategy::SingleConnection, 5000)));
        assert!(plan.bursts.contains(&(Strategy::ConnectionPerCall, 100)));
        assert!(!plan.bursts.contains(&(Strategy::ConnectionPerCall, 5000)));
        assert!(notes[0].contains("at 5000 calls") && notes[0].contains("1024"), "{notes:?}");
    }
}
