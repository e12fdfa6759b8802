//! Which strategies spread which load.

use std::time::Duration;

use crate::experiment::{Planning, STRATEGIES_ON_CLUSTER};
use crate::fleet::{Conditions, Load, Local};
use crate::limits::FILES_SPARE;
use crate::request::CompareRequest;
use crate::strategy::{Entrance, Strategy};

/// A spread that can be made.
#[derive(Clone, Debug)]
pub(crate) struct SpreadPlan {
    pub(crate) load: Load,
    /// How far before and after a rotation to look.
    pub(super) around: Duration,
}

/// Plans it. None if no strategy can take part.
pub(super) fn plan(planning: &mut Planning<'_>) -> Option<SpreadPlan> {
    let request = planning.request;
    let strategies = match planning.site.local() {
        Some(local) => {
            let strategies = planning.strategies(&STRATEGIES);
            fitting(request, local, strategies, planning.notes)
        }
        None => planning.strategies(&STRATEGIES_ON_CLUSTER),
    };
    let conditions = Conditions::of(request);
    (!strategies.is_empty()).then(|| SpreadPlan {
        load: Load {
            name: "spread",
            strategies,
            backends: request.backends.into(),
            rate: request.rate,
            length: length(request),
            conditions,
        },
        // Half an age each way: then the slices of one rotation do not hold its neighbours.
        around: (conditions.max_age / 2).clamp(AROUND_MIN, AROUND_MAX),
    })
}

/// How long the load of each strategy lasts.
pub(crate) fn length(request: &CompareRequest) -> Duration {
    request.length(match (request.is_for_cluster(), request.full) {
        (true, _) => SECONDS_ON_CLUSTER,
        (false, true) => SECONDS_FULL,
        (false, false) => SECONDS,
    })
}

/// The strategies that this machine has addresses and file descriptors for.
fn fitting(
    request: &CompareRequest,
    local: &Local,
    mut strategies: Vec<Strategy>,
    notes: &mut Vec<String>,
) -> Vec<Strategy> {
    let (named, others): (Vec<_>, Vec<_>) = strategies
        .iter()
        .partition(|strategy| matches!(strategy.entrance(), Entrance::Name | Entrance::EndpointSlices));
    if local.limits.addresses < usize::from(request.backends) && !named.is_empty() {
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
    let file_descriptors = local.limits.file_descriptors;
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

/// Those whose balance a steady load compares, unless others are asked for.
const STRATEGIES: [Strategy; 9] = [
    Strategy::ConnectionPerCall,
    Strategy::SingleConnection,
    Strategy::MaxAgeL4,
    Strategy::MaxAgeDns,
    Strategy::L7Proxy,
    Strategy::PickFirst,
    Strategy::RoundRobin,
    Strategy::LeastRequest,
    Strategy::PeakEwma,
];

/// Length of the spread: as much as three minutes for all allow.
const SECONDS: u32 = 6;
/// The same in a full run.
const SECONDS_FULL: u32 = 8;
const SECONDS_ON_CLUSTER: u32 = 10;

/// Shorter than this there are too few calls in a slice around a rotation.
const AROUND_MIN: Duration = Duration::from_millis(250);

/// Nothing that a rotation does lasts longer than this.
const AROUND_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::tests::{FEW, MANY, here, of};
    use crate::fleet::local::Limits;

    fn planned(request: &CompareRequest, limits: Limits, notes: &mut Vec<String>) -> Option<SpreadPlan> {
        plan(&mut Planning { request, site: &here(request, limits), notes })
    }

    #[test]
    fn without_loopback_addresses_only_the_name_is_left_out() {
        let (request, mut notes) = (CompareRequest::default(), Vec::new());
        let load = planned(&request, FEW, &mut notes).unwrap().load;
        assert!(!load.strategies.contains(&Strategy::MaxAgeDns));
        assert!(load.strategies.contains(&Strategy::MaxAgeL4));
        assert!(notes.iter().any(|note| note.contains("sudo ifconfig lo0 alias 127.0.0.2")), "{notes:?}");
        assert_eq!(load.backends, 3);
    }

    #[test]
    fn a_missing_proxy_is_a_note_unless_nothing_else_was_asked_for() {
        let (request, mut notes) = (CompareRequest::default(), Vec::new());
        let with_others = planned(&request, MANY, &mut notes).unwrap();
        assert!(!with_others.load.strategies.contains(&Strategy::L7Proxy));
        assert_eq!(notes, ["l7-proxy was left out: there is none."]);
        let alone = of("spread", &[Strategy::L7Proxy]);
        assert!(planned(&alone, MANY, &mut notes).is_none());
        assert_eq!(notes.len(), 1, "the same note is not said twice");
    }
}
