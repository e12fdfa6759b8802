//! How much of a channel's traffic goes to each zone: calls stay near, but overload no zone.
//!
//! A call within a zone is faster, and clouds charge for calls between zones. But "always the own
//! zone" sends a third of all calls to one pod if one of three zones has only one pod. A zone can
//! keep only as many calls as its pods have capacity for; the rest must go where there is room. Let
//! `c` be a zone's share of the capacity, and `s` its share of the clients:
//!
//! ```text
//! own zone       min(1, c / s)
//! other zones    what is left, in proportion to their room:  max(0, c − s)
//! ```
//!
//! If every client does this, each zone gets exactly the share `c` of all calls. A client does not
//! know `s`; it assumes 1 ∕ Z, equal zones, unless the user sets it. Envoy's zone-aware routing has
//! the same rule.
//!
//! This is a pure function. It is called whenever a picker is made, with the endpoints that can be
//! picked now. If pods of a zone fail, its capacity shrinks, and the calls spill over without
//! further rules. No endpoint is left out of the picker: an endpoint of weight 0 gets calls if all
//! others are full, or have failed the call before.

use std::collections::{BTreeMap, BTreeSet};

/// The zone of a channel's client, and the zones of the service's other clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ZonePreference {
    own: String,
    /// By zone, not normalised; `None` if all zones have equally many.
    clients: Option<BTreeMap<String, f64>>,
}

impl ZonePreference {
    /// A client in the zone `own`. All zones with endpoints are assumed to have equally many
    /// clients.
    pub fn new(own: impl Into<String>) -> Self {
        Self { own: own.into(), clients: None }
    }

    /// How the service's clients are spread over the zones, in any unit: numbers of pods, or
    /// shares. A zone that is not named has no clients. Numbers that are not positive are ignored.
    pub fn clients(mut self, clients: impl IntoIterator<Item = (impl Into<String>, f64)>) -> Self {
        let positive = clients.into_iter().filter(|(_, share)| share.is_finite() && *share > 0.0);
        let clients: BTreeMap<_, _> = positive.map(|(zone, share)| (zone.into(), share)).collect();
        self.clients = Some(clients).filter(|clients| !clients.is_empty());
        self
    }

    /// Returns the client's zone.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Returns each zone's share of the clients. A zone that is missing has none.
    fn client_shares<'a>(&'a self, with_endpoints: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, f64> {
        match &self.clients {
            Some(clients) => {
                let total: f64 = clients.values().sum();
                clients.iter().map(|(zone, share)| (zone.as_str(), share / total)).collect()
            }
            None => {
                let zones: BTreeSet<&str> = with_endpoints.chain([self.own.as_str()]).collect();
                let share = 1.0 / zones.len() as f64;
                zones.into_iter().map(|zone| (zone, share)).collect()
            }
        }
    }
}

/// Returns the weight of each endpoint for a client with this preference, in the order given. Each
/// endpoint is a zone and a capacity: its weight without a preference. The sum of all weights does
/// not change. Endpoints of unknown zone belong to no zone and take what others leave.
pub(super) fn zone_weights(endpoints: &[(Option<&str>, f32)], preference: &ZonePreference) -> Vec<f32> {
    let mut capacities: BTreeMap<Option<&str>, f64> = BTreeMap::new();
    for (zone, capacity) in endpoints {
        *capacities.entry(*zone).or_default() += f64::from(*capacity);
    }
    let total: f64 = capacities.values().sum();
    if total <= 0.0 {
        return vec![1.0; endpoints.len()];
    }
    let shares = capacities.iter().map(|(zone, capacity)| (*zone, capacity / total)).collect();
    let fractions = zone_fractions(&shares, preference);
    let weight = |(zone, capacity): &(Option<&str>, f32)| match capacities[zone] {
        of_zone if of_zone > 0.0 => (fractions[zone] / of_zone * f64::from(*capacity) * total) as f32,
        _ => 0.0,
    };
    endpoints.iter().map(weight).collect()
}

/// Returns how much of the client's traffic each zone gets; the sum is 1.
fn zone_fractions<'a>(
    capacity_shares: &BTreeMap<Option<&'a str>, f64>,
    preference: &ZonePreference,
) -> BTreeMap<Option<&'a str>, f64> {
    let clients = preference.client_shares(capacity_shares.keys().copied().flatten());
    let clients_in = |zone: Option<&str>| zone.and_then(|zone| clients.get(zone)).copied().unwrap_or(0.0);
    let own = Some(preference.own());
    let own_capacity = capacity_shares.get(&own).copied().unwrap_or(0.0);
    let own_clients = clients_in(own);
    let local = match own_clients > 0.0 {
        true if own_capacity >= own_clients - ROUNDING => 1.0,
        true => own_capacity / own_clients,
        // By the user's numbers this zone has no clients, so this client takes no room that
        // matters.
        false if own_capacity > 0.0 => 1.0,
        false => 0.0,
    };
    let room = |zone: Option<&str>, capacity: f64| match zone == own {
        true => 0.0,
        false if capacity - clients_in(zone) < ROUNDING => 0.0,
        false => capacity - clients_in(zone),
    };
    let room_in_all: f64 = capacity_shares.iter().map(|(zone, capacity)| room(*zone, *capacity)).sum();
    let fraction = |zone: Option<&str>, capacity: f64| match (zone == own, room_in_all > 0.0) {
        (true, true) => local,
        (false, true) => (1.0 - local) * room(zone, capacity) / room_in_all,
        // No zone has room to spare: either the own zone suffices, or each zone takes by its
        // capacity.
        (_, false) if local >= 1.0 => f64::from(u8::from(zone == own)),
        (_, false) => capacity,
    };
    capacity_shares.iter().map(|(zone, capacity)| (*zone, fraction(*zone, *capacity))).collect()
}

/// A third of three is not 1 in floating point. Such a remainder must not count as room, nor as a
/// lack of it.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Weights for endpoints of these zones and capacities; an empty zone is unknown. Scaled so
    /// that the mean is 1.
    fn weights(of: &[(&'static str, u32)], preference: &ZonePreference) -> Vec<f32> {
        let endpoint = |(zone, capacity): &(&'static str, u32)| {
            (Some(*zone).filter(|zone| !zone.is_empty()), *capacity as f32)
        };
        let endpoints: Vec<_> = of.iter().map(endpoint).collect();
        let total: f32 = endpoints.iter().map(|(_, capacity)| capacity).sum();
        let mean = if total > 0.0 { total / of.len() as f32 } else { 1.0 };
        zone_weights(&endpoints, preference).into_iter().map(|weight| weight / mean).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn a_zone_with_its_share_of_the_pods_keeps_its_calls() {
        let of = [("a", 1), ("a", 1), ("b", 1), ("b", 1)];
        assert_eq!(weights(&of, &ZonePreference::new("a")), [2.0, 2.0, 0.0, 0.0]);
        let of = [("a", 1), ("b", 1), ("c", 1)];
        assert_eq!(weights(&of, &ZonePreference::new("a"))[1..], [0.0; 2], "not even by rounding");
    }

    #[test]
    fn a_zone_with_more_than_its_share_keeps_its_calls_too() {
        let of = [("a", 1), ("a", 1), ("a", 1), ("b", 1)];
        assert!(close(&weights(&of, &ZonePreference::new("a")), &[4.0 / 3.0, 4.0 / 3.0, 4.0 / 3.0, 0.0]));
    }

    #[test]
    fn a_zone_with_too_few_pods_spills_to_those_with_room_in_proportion() {
        // Capacities 1/8, 4/8, 3/8 for clients of 1/3 each: "a" keeps 3/8. Of the rest, "b" has 4
        // parts of room, "c" 1.
        let of = [("a", 1), ("b", 4), ("c", 3)];
        let expected = [3.0 / 8.0, 5.0 / 8.0 * 4.0 / 5.0, 5.0 / 8.0 / 5.0].map(|share: f32| share * 3.0);
        assert!(close(&weights(&of, &ZonePreference::new("a")), &expected));
    }

    #[test]
    fn a_zone_without_pods_goes_everywhere_there_is_room() {
        let of = [("b", 1), ("c", 1), ("c", 1)];
        let expected = [(1.0 / 3.0 - 1.0 / 3.0) * 3.0, 1.5, 1.5];
        assert!(close(&weights(&of, &ZonePreference::new("a")), &expected));
    }

    #[test]
    fn without_zones_or_weights_all_endpoints_are_alike() {
        assert!(close(&weights(&[("", 1), ("", 1), ("", 1)], &ZonePreference::new("a")), &[1.0; 3]));
        assert!(close(&weights(&[("a", 0), ("b", 0)], &ZonePreference::new("a")), &[1.0; 2]));
        assert!(weights(&[], &ZonePreference::new("a")).is_empty());
    }

    #[test]
    fn within_a_zone_weights_count() {
        let of = [("a", 3), ("a", 1), ("b", 4)];
        assert!(close(&weights(&of, &ZonePreference::new("a")), &[3.0 * 0.75, 3.0 * 0.25, 0.0]));
    }

    #[test]
    fn what_the_user_knows_of_the_clients_replaces_the_assumption() {
        let of = [("a", 1), ("b", 1)];
        let most_in_a =
            ZonePreference::new("a").clients([("a", 30.0), ("b", 10.0), ("c", f64::NAN), ("d", -1.0)]);
        // 1/2 of the capacity for 3/4 of the clients: 2/3 of the calls stay.
        assert!(close(&weights(&of, &most_in_a), &[4.0 / 3.0, 2.0 / 3.0]));
        let elsewhere = ZonePreference::new("b").clients([("a", 1.0)]);
        assert!(close(&weights(&of, &elsewhere), &[0.0, 2.0]));
        let nonsense = ZonePreference::new("a").clients([("a", 0.0)]);
        assert_eq!(nonsense, ZonePreference::new("a"));
    }

    proptest! {
        #[test]
        fn if_every_client_follows_it_every_endpoint_gets_its_share(
            of in proptest::collection::vec((0..4_usize, 1..5_u32), 1..20),
            clients in proptest::option::of(proptest::collection::vec(0.1..10.0_f64, 4)),
        ) {
            const ZONES: [&str; 4] = ["", "a", "b", "c"];
            let of: Vec<_> = of.into_iter().map(|(zone, weight)| (ZONES[zone], weight)).collect();
            // Without numbers, every zone with endpoints has clients.
            let known: BTreeSet<_> = of.iter().map(|(zone, _)| *zone).filter(|zone| !zone.is_empty()).collect();
            let clients: BTreeMap<&str, f64> = match &clients {
                Some(numbers) => ZONES[1..].iter().copied().zip(numbers.iter().copied()).collect(),
                None => known.into_iter().map(|zone| (zone, 1.0)).collect(),
            };
            prop_assume!(!clients.is_empty());
            let everyone: f64 = clients.values().sum();
            let mut load = vec![0.0; of.len()];
            for (zone, number) in &clients {
                let preference = ZonePreference::new(*zone).clients(clients.clone());
                let weights = weights(&of, &preference);
                let sum: f32 = weights.iter().sum();
                prop_assert!((sum - of.len() as f32).abs() < 1e-3, "{} of {}", sum, of.len());
                for (load, weight) in load.iter_mut().zip(weights) {
                    prop_assert!(weight >= 0.0);
                    *load += f64::from(weight) * number / everyone / of.len() as f64;
                }
            }
            let capacity: f64 = of.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (load, (_, weight)) in load.iter().zip(&of) {
                let fair = f64::from(*weight) / capacity;
                prop_assert!((load - fair).abs() < 1e-4, "{} for a share of {}", load, fair);
            }
        }

        #[test]
        fn the_own_zone_never_gets_less_than_without_preference(
            of in proptest::collection::vec((0..4_usize, 1..5_u32), 1..20)
        ) {
            const ZONES: [&str; 4] = ["", "a", "b", "c"];
            let of: Vec<_> = of.into_iter().map(|(zone, weight)| (ZONES[zone], weight)).collect();
            let own: f32 = weights(&of, &ZonePreference::new("a"))
                .iter().zip(&of).filter(|(_, (zone, _))| *zone == "a").map(|(weight, _)| weight).sum();
            let capacity = |wanted: fn(&str) -> bool| -> f32 {
                of.iter().filter(|(zone, _)| wanted(zone)).map(|(_, weight)| *weight as f32).sum()
            };
            let fair = capacity(|zone| zone == "a") / capacity(|_| true) * of.len() as f32;
            prop_assert!(own >= fair - 1e-3, "{} < {}", own, fair);
        }
    }
}
