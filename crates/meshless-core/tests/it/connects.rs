//! How many connections a channel makes when pods drain, restart, age and idle out, for fleets of
//! 12, 100 and 1 000 pods: as many as were ended, and none to anybody else. What is learned from
//! one pod must not move the fleet.

use std::num::NonZeroUsize;
use std::time::Duration;

use meshless_core::{BalancerConfig, Policy};

use crate::fleet::{Fleet, Lifetime, PodId};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const SIZES: [u32; 3] = [12, 100, 1000];
const ENDPOINTS_MAX: NonZeroUsize = NonZeroUsize::new(2000).unwrap();

/// The policies that are connected to every pod, on a small fleet; and one of them on each size,
/// since they connect alike.
fn of_all_on_each_size() -> impl Iterator<Item = (Policy, u32)> {
    let of_all = Policy::ALL.into_iter().filter(|policy| *policy != Policy::PickFirst);
    of_all.map(|policy| (policy, 12)).chain([100, 1000].map(|pods| (Policy::RoundRobin, pods)))
}

/// A fleet whose connections are all made.
fn connected(policy: Policy, pods: u32, lifetime: impl Fn(PodId) -> Lifetime) -> Fleet {
    // A rolling restart lists one pod more for a moment; a subset would exchange another one for
    // it.
    let config = BalancerConfig::new(policy).endpoints_max(ENDPOINTS_MAX);
    let mut fleet = Fleet::new(config, (1..=pods).map(|pod| (pod, lifetime(pod))));
    // At most 200 at once, and 100 a second after that.
    fleet.run(10 * SECOND);
    fleet
}

fn ages_at(age: Duration) -> Lifetime {
    Lifetime { age: Some(age), idle: None }
}

fn lives_for_ever(_: PodId) -> Lifetime {
    Lifetime::default()
}

/// Every connection that a pod ended was replaced by one to the same pod, and no other was made.
fn each_is_replaced_once(fleet: &Fleet, pods: u32, what: &str) {
    let of = |counts: &std::collections::BTreeMap<PodId, usize>, pod| counts.get(&pod).copied().unwrap_or(0);
    for pod in 1..=pods {
        let (made, ended) = (of(&fleet.counts.made, pod), of(&fleet.counts.ended, pod));
        // The last one may be on its way.
        assert!((ended..=ended + 1).contains(&made), "{what}, pod {pod}: {made} made, {ended} ended");
    }
    assert_eq!(fleet.counts.refused, 0, "{what}");
}

#[test]
fn one_drained_pod_costs_one_connection_to_its_successor() {
    for (policy, pods) in of_all_on_each_size() {
        let mut fleet = connected(policy, pods, lives_for_ever).calls_every(10 * MS);
        assert_eq!(fleet.counts.made(), pods as usize, "{policy}");
        let successor = pods + 1;
        fleet.start(successor, Lifetime::default());
        fleet.drain(1);
        fleet.run(2 * SECOND);
        assert_eq!(fleet.counts.made(), pods as usize, "{policy}: nobody else was connected to");
        fleet.unlist(1);
        fleet.list(successor);
        fleet.run(60 * SECOND);
        assert_eq!(fleet.counts.made(), pods as usize + 1, "{policy}");
        assert_eq!(fleet.counts.made[&successor], 1, "{policy}");
        // At once, and a second later: the pauses begin at 1 s.
        assert!(fleet.counts.refused <= 3, "{policy}: {} attempts at the drained pod", fleet.counts.refused);
        assert_eq!(fleet.counts.waited, 0, "{policy}: others serve");
    }
}

#[test]
fn pick_first_makes_one_connection_when_its_pod_drains() {
    for pods in SIZES {
        let mut fleet = connected(Policy::PickFirst, pods, lives_for_ever).calls_every(10 * MS);
        assert_eq!(fleet.counts.made(), 1);
        let drained = fleet.connected_to();
        fleet.drain(drained);
        fleet.run(SECOND);
        fleet.unlist(drained);
        fleet.run(60 * SECOND);
        assert_eq!((fleet.counts.made(), fleet.counts.refused), (2, 0));
        assert!(fleet.counts.waited <= 1, "a handshake takes a third of the time between two calls");
    }
}

#[test]
fn a_rolling_restart_connects_to_each_new_pod_once() {
    for (policy, pods) in of_all_on_each_size() {
        // Either order on the small ones.
        for unlisted_first in [true, false].into_iter().take(if pods < 1000 { 2 } else { 1 }) {
            let mut fleet = connected(policy, pods, lives_for_ever).calls_every(10 * MS);
            for old in 1..=pods {
                let new = pods + old;
                fleet.start(new, Lifetime::default());
                fleet.list(new);
                fleet.run(50 * MS);
                if unlisted_first {
                    fleet.unlist(old);
                    fleet.run(10 * MS);
                    fleet.drain(old);
                } else {
                    fleet.drain(old);
                    fleet.run(10 * MS);
                    fleet.unlist(old);
                }
            }
            fleet.run(10 * SECOND);
            assert_eq!(fleet.counts.made(), 2 * pods as usize, "{policy}");
            assert!(fleet.counts.made.values().all(|made| *made == 1), "{policy}");
            let refused = if unlisted_first { 0 } else { pods as usize };
            assert_eq!(fleet.counts.refused, refused, "{policy}: one attempt at each that is still listed");
            assert_eq!(fleet.counts.waited, 0, "{policy}");
        }
    }
}

/// As in a StatefulSet whose pods have addresses of their own: the same address is back, as another
/// process.
#[test]
fn pods_that_restart_at_their_address_are_connected_to_once_more() {
    for (policy, pods) in of_all_on_each_size() {
        let mut fleet = connected(policy, pods, lives_for_ever);
        for pod in 1..=pods {
            fleet.drain(pod);
            fleet.run(30 * MS);
            fleet.start(pod, Lifetime::default());
            fleet.run(70 * MS);
        }
        fleet.run(10 * SECOND);
        assert_eq!(fleet.counts.made(), 2 * pods as usize, "{policy}");
        assert!(fleet.counts.made.values().all(|made| *made == 2), "{policy}");
        assert_eq!(fleet.counts.refused, pods as usize, "{policy}: one attempt while it was away");
    }
}

#[test]
fn connections_of_any_age_are_replaced_once_each_and_no_call_waits() {
    for (policy, pods) in of_all_on_each_size() {
        // More than the bound on connects per second allows is no test of this.
        for age in [2 * SECOND, 30 * SECOND, 120 * SECOND]
            .into_iter()
            .filter(|age| pods < 50 * age.as_secs().max(1) as u32)
        {
            let what = format!("{policy}, {pods} pods that age at {age:?}");
            let mut fleet = connected(policy, pods, |_| ages_at(age)).calls_every(10 * MS);
            fleet.run(age * 23 / 10);
            each_is_replaced_once(&fleet, pods, &what);
            assert!(fleet.counts.ended() >= 2 * pods as usize, "{what}");
            assert_eq!(fleet.counts.waited, 0, "{what}");
        }
    }
}

#[test]
fn pods_of_mixed_ages_do_not_age_by_each_others() {
    let mixed = |pod| match pod % 4 {
        0 => Lifetime::default(),
        1 => ages_at(10 * SECOND),
        2 => ages_at(60 * SECOND),
        _ => Lifetime { age: Some(300 * SECOND), idle: Some(120 * SECOND) },
    };
    for (policy, pods) in of_all_on_each_size() {
        let mut fleet = connected(policy, pods, mixed).calls_every(10 * MS);
        fleet.run(70 * SECOND);
        each_is_replaced_once(&fleet, pods, &policy.to_string());
        let never = (1..=pods).filter(|pod| pod % 4 == 0).all(|pod| fleet.counts.made[&pod] == 1);
        assert!(never, "{policy}: pods that do not age are connected to once");
        assert_eq!(fleet.counts.waited, 0, "{policy}");
    }
}

#[test]
fn ages_that_grow_and_shrink_are_followed() {
    for (policy, pods) in of_all_on_each_size() {
        let mut fleet = connected(policy, pods, |_| ages_at(20 * SECOND)).calls_every(10 * MS);
        for age in [20, 90, 15] {
            (1..=pods).for_each(|pod| fleet.set_lifetime(pod, ages_at(age * SECOND)));
            fleet.run(30 * SECOND);
        }
        each_is_replaced_once(&fleet, pods, &policy.to_string());
    }
}

#[test]
fn pods_that_let_idle_connections_go_are_connected_to_once_each_time() {
    for (policy, pods) in of_all_on_each_size() {
        let idle = Lifetime { age: None, idle: Some(15 * SECOND) };
        let mut fleet = connected(policy, pods, |_| idle);
        fleet.run(35 * SECOND);
        each_is_replaced_once(&fleet, pods, &policy.to_string());
        assert!(fleet.counts.ended() >= 2 * pods as usize, "{policy}");
    }
}

/// Each end of the only connection looks like an outage, and each new one like the end of it.
#[test]
fn the_only_pod_that_lives_does_not_bring_the_dead_ones_to_mind_each_time_it_ages() {
    for (policy, pods) in of_all_on_each_size() {
        let mut fleet = connected(policy, pods, |_| ages_at(2 * SECOND));
        (2..=pods).for_each(|pod| fleet.drain(pod));
        fleet.run(100 * SECOND);
        let before = fleet.counts.refused;
        fleet.run(50 * SECOND);
        // The pauses have grown to 1.6^8 = 43 s, less 20 %.
        let each = (fleet.counts.refused - before) as f64 / f64::from(pods - 1);
        assert!(each <= 2.0, "{policy}, {pods} pods: {each} attempts at each of the dead in 50 s");
    }
}
