//! Which strategies meet which events, under which load.

use std::time::Duration;

use crate::event::{BACKENDS, Event, FLEET, SERVICE_TIME};
use crate::experiment::{Planning, STRATEGIES_ON_CLUSTER};
use crate::fleet::{Conditions, Happening, Load};
use crate::request::CompareRequest;
use crate::results::ChurnSettings;
use crate::strategy::Strategy;

/// A churn that can be made.
#[derive(Clone, Debug)]
pub(crate) struct ChurnPlan {
    /// All strategies at the same time, event by event.
    pub(crate) events: Vec<(Load, Happening)>,
}

/// Plans it. None if no strategy can take part. Each has all its servers at the same port, so on
/// addresses of their own.
pub(super) fn plan(planning: &mut Planning<'_>) -> Option<ChurnPlan> {
    let request = planning.request;
    let (default, backends) = match planning.site.local() {
        Some(local) if local.limits.addresses < FLEET => {
            planning.notes.push(format!(
                "The churn was left out: it needs a backend on each of 127.0.0.2 to 127.0.0.{}, which this system lacks; get \
                 them with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
                FLEET + 1
            ));
            return None;
        }
        Some(_) => (&STRATEGIES[..], BACKENDS),
        None => (&STRATEGIES_ON_CLUSTER[..], request.backends.into()),
    };
    let mut strategies = planning.strategies(default);
    if strategies.contains(&Strategy::L7Proxy) {
        planning.notes.push(
            "l7-proxy was left out of the churn: the lab's proxy cannot be told of new backends.".into(),
        );
        strategies.retain(|strategy| *strategy != Strategy::L7Proxy);
    }
    let at = |event| {
        let happening = happening(request, event);
        let load = Load {
            name: event.name(),
            strategies: strategies.clone(),
            backends,
            rate: rate(request),
            length: happening.before + happening.watched,
            conditions: conditions(request, event.ages_quickly()),
        };
        (load, happening)
    };
    (!strategies.is_empty()).then(|| ChurnPlan { events: events(request).into_iter().map(at).collect() })
}

/// What a churn is asked for, for the results.
pub(crate) fn settings(request: &CompareRequest) -> ChurnSettings {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let conditions = conditions(request, false);
    ChurnSettings {
        rate: rate(request),
        service_time_ms: milliseconds(conditions.service_time),
        deadline_ms: milliseconds(conditions.deadline),
        seconds: watch(request).as_secs_f64(),
        max_connection_age_ms: milliseconds(conditions.max_age),
    }
}

/// In the order of the report, each once.
fn events(request: &CompareRequest) -> Vec<Event> {
    let there: &[Event] = if request.is_for_cluster() { &Event::ON_CLUSTER } else { &Event::HERE };
    let asked = match (request.events.is_empty(), request.full || request.is_for_cluster()) {
        (false, _) => &request.events[..],
        (true, true) => there,
        (true, false) => &Event::DEFAULT,
    };
    there.iter().copied().filter(|event| asked.contains(event)).collect()
}

fn happening(request: &CompareRequest, event: Event) -> Happening {
    let watch = watch(request);
    let (before, watched) = match request.is_for_cluster() {
        true => (watch / 5, watch),
        false => (watch / 4, event.watched(watch)),
    };
    Happening { event, before, watch, watched }
}

/// How long most events are watched.
fn watch(request: &CompareRequest) -> Duration {
    request.length(match (request.is_for_cluster(), request.full) {
        (true, _) => SECONDS_ON_CLUSTER,
        (false, true) => SECONDS_FULL,
        (false, false) => SECONDS,
    })
}

fn rate(request: &CompareRequest) -> f64 {
    if request.is_for_cluster() { request.rate / 5.0 } else { RATE }
}

/// Where connections age without the event, they age slower than elsewhere: what is lost should be
/// lost to the event. On a cluster servers are those of the spread.
fn conditions(request: &CompareRequest, ages_quickly: bool) -> Conditions {
    let asked = Conditions::of(request);
    if request.is_for_cluster() {
        return asked;
    }
    let max_age = if ages_quickly { asked.max_age } else { asked.max_age * AGES };
    Conditions { deadline: DEADLINE, service_time: SERVICE_TIME, max_age, ..asked }
}

/// Those that differ when things break, unless others are asked for.
const STRATEGIES: [Strategy; 6] = [
    Strategy::SingleConnection,
    Strategy::MaxAgeDns,
    Strategy::TonicBalance,
    Strategy::RoundRobin,
    Strategy::PeakEwma,
    Strategy::RoundRobinRetry,
];

/// How long an event is watched: as much as three minutes for all allow.
const SECONDS: u32 = 4;
/// The same in a full run.
const SECONDS_FULL: u32 = 8;
/// Long enough for a rollout, and for records that a cluster's DNS keeps for up to 30 s.
const SECONDS_ON_CLUSTER: u32 = 40;

/// Calls per second of each client: some in flight at any moment, and six clients at once do not
/// fill a processor.
const RATE: f64 = 200.0;

/// Many times the service time, so that only what is broken or queued misses it, and short beside
/// the watch.
const DEADLINE: Duration = Duration::from_millis(500);

/// Connections age so many times slower than elsewhere.
const AGES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::tests::{FEW, MANY, here, of};

    fn plan_of(request: &CompareRequest) -> ChurnPlan {
        let site = here(request, MANY);
        plan(&mut Planning { request, site: &site, notes: &mut Vec::new() }).unwrap()
    }

    #[test]
    fn events_come_in_their_order_and_all_of_them_in_a_full_run() {
        let events = |request: &CompareRequest| {
            plan_of(request).events.iter().map(|(_, at)| at.event).collect::<Vec<_>>()
        };
        let asked = vec![Event::Outage, Event::Sigkill, Event::Outage];
        let asked = CompareRequest { events: asked, ..of("churn", &[]) };
        assert_eq!(events(&asked), [Event::Sigkill, Event::Outage]);
        assert_eq!(events(&CompareRequest::default()), Event::DEFAULT);
        let full = CompareRequest { full: true, ..CompareRequest::default() };
        assert_eq!(events(&full), Event::HERE);
        assert_eq!(plan_of(&full).events[0].1.watch, Duration::from_secs(8));
        // An event of four seconds takes one more for what comes before it.
        let lengths: Vec<_> = plan_of(&asked).events.iter().map(|(load, _)| load.length.as_secs()).collect();
        assert_eq!(lengths, [5, 5]);
    }

    #[test]
    fn connections_age_quickly_only_where_that_is_the_event() {
        let events = vec![Event::Ageing, Event::Sigkill];
        let plan = plan_of(&CompareRequest { events, ..CompareRequest::default() });
        let ages: Vec<_> = plan.events.iter().map(|(load, _)| load.conditions.max_age.as_secs()).collect();
        assert_eq!(ages, [1, 3]);
    }

    #[test]
    fn it_needs_addresses_and_leaves_the_proxy_out() {
        let request = of("churn", &[Strategy::TonicBalance, Strategy::RoundRobin]);
        assert_eq!(plan_of(&request).events[0].0.strategies, request.strategies);
        let mut notes = Vec::new();
        let site = here(&request, FEW);
        assert!(plan(&mut Planning { request: &request, site: &site, notes: &mut notes }).is_none());
        assert!(notes[0].contains("127.0.0.7"), "{notes:?}");
    }
}
