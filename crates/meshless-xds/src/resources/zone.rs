//! Which endpoints a client of one zone uses first, and in which shares.
//!
//! gRPC's clients know nothing of zones; they only obey priorities and weights of localities. So
//! each zone's clients are told something else. Weights hold within one priority; a client goes to
//! the next one when it can connect to no endpoint of the first. Pure.

use std::collections::BTreeMap;

use crate::policy::ZoneMode;

/// Endpoints that a client is told of as one locality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Empty for endpoints of several zones.
    pub(super) zone: String,
    pub(super) priority: u32,
    /// Its share of the calls of its priority.
    pub(super) weight: u32,
    /// Indices, ascending.
    pub(super) endpoints: Vec<usize>,
}

/// How many clients there are in each zone, as shares of 20: so that one client more does not make
/// every other one hear of it.
pub(crate) type Demand = BTreeMap<String, u32>;

/// Groups the endpoints, of which `zones` has the zones, for a client in `own`.
pub(super) fn groups(
    mode: ZoneMode,
    zones: &[Option<String>],
    own: Option<&str>,
    demand: &Demand,
) -> Vec<Group> {
    if zones.is_empty() {
        return Vec::new();
    }
    let mut by_zone: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, zone) in zones.iter().enumerate() {
        by_zone.entry(zone.as_deref().unwrap_or_default()).or_default().push(at);
    }
    let preferred = match (mode, own.filter(|own| by_zone.contains_key(own))) {
        (ZoneMode::Prefer, Some(own)) => prefer(&by_zone, own),
        (ZoneMode::Capacity, Some(own)) => by_capacity(&by_zone, own, demand),
        (ZoneMode::Off, _) | (_, None) => None,
    };
    preferred.unwrap_or_else(|| vec![group("", 0, 1, (0..zones.len()).collect())])
}

/// The own zone, and the others only when all of it is lost. `None` if the own zone has less than
/// half of its share: the few endpoints that it has left would drown.
fn prefer(by_zone: &BTreeMap<&str, Vec<usize>>, own: &str) -> Option<Vec<Group>> {
    let all: usize = by_zone.values().map(Vec::len).sum();
    let endpoints = by_zone.get(own)?.clone();
    if endpoints.len() * by_zone.len() * 2 < all {
        return None;
    }
    let mut groups = vec![group(own, 0, 1, endpoints)];
    groups.extend(rest(by_zone, |zone| zone != own));
    Some(groups)
}

/// The own zone takes what its endpoints can of its clients' calls; the rest goes where there are
/// more endpoints than clients.
fn by_capacity(by_zone: &BTreeMap<&str, Vec<usize>>, own: &str, demand: &Demand) -> Option<Vec<Group>> {
    let all: usize = by_zone.values().map(Vec::len).sum();
    let clients: u32 = by_zone.keys().filter_map(|zone| demand.get(*zone)).sum();
    let supply = |zone: &str| by_zone.get(zone).map_or(0, Vec::len) as f64 / all as f64;
    let wanted = |zone: &str| match clients {
        0 => 0.0,
        clients => f64::from(demand.get(zone).copied().unwrap_or(0)) / f64::from(clients),
    };
    let at_home = if wanted(own) > 0.0 { (supply(own) / wanted(own)).min(1.0) } else { 1.0 };
    let spare = |zone: &str| if zone == own { 0.0 } else { (supply(zone) - wanted(zone)).max(0.0) };
    let spare_all: f64 = by_zone.keys().map(|zone| spare(zone)).sum();
    let share = |zone: &str| match zone == own {
        true => at_home,
        false if spare_all > 0.0 => (1.0 - at_home) * spare(zone) / spare_all,
        false => 0.0,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and WEIGHT_ALL")]
    let weight = |zone: &str| (share(zone) * WEIGHT_ALL).round() as u32;
    let mut groups: Vec<Group> = by_zone
        .iter()
        .filter(|(zone, _)| weight(zone) > 0)
        .map(|(zone, endpoints)| group(zone, 0, weight(zone), endpoints.clone()))
        .collect();
    if groups.is_empty() {
        return None;
    }
    groups.extend(rest(by_zone, |zone| weight(zone) == 0));
    Some(groups)
}

/// The endpoints of some zones as one group of the last resort.
fn rest(by_zone: &BTreeMap<&str, Vec<usize>>, of: impl Fn(&str) -> bool) -> Option<Group> {
    let zones = by_zone.iter().filter(|(zone, _)| of(zone));
    let mut endpoints: Vec<usize> = zones.flat_map(|(_, endpoints)| endpoints.iter().copied()).collect();
    endpoints.sort_unstable();
    (!endpoints.is_empty()).then(|| group("", 1, 1, endpoints))
}

fn group(zone: &str, priority: u32, weight: u32, endpoints: Vec<usize>) -> Group {
    Group { zone: zone.to_owned(), priority, weight, endpoints }
}

const WEIGHT_ALL: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(counts: &[(&str, usize)]) -> Vec<Option<String>> {
        counts.iter().flat_map(|(zone, count)| vec![Some((*zone).to_owned()); *count]).collect()
    }

    fn demand(clients: &[(&str, u32)]) -> Demand {
        clients.iter().map(|(zone, clients)| ((*zone).to_owned(), *clients)).collect()
    }

    /// Zone, priority, weight, number of endpoints.
    fn shown(groups: &[Group]) -> Vec<(&str, u32, u32, usize)> {
        groups
            .iter()
            .map(|group| (group.zone.as_str(), group.priority, group.weight, group.endpoints.len()))
            .collect()
    }

    #[test]
    fn without_zones_everybody_gets_everything() {
        let all = zones(&[("a", 2), ("b", 2)]);
        for (mode, own) in
            [(ZoneMode::Off, Some("a")), (ZoneMode::Prefer, None), (ZoneMode::Capacity, Some("c"))]
        {
            assert_eq!(shown(&groups(mode, &all, own, &demand(&[]))), [("", 0, 1, 4)], "{mode:?}");
        }
        assert!(groups(ZoneMode::Prefer, &[], Some("a"), &demand(&[])).is_empty());
    }

    #[test]
    fn the_own_zone_comes_first_while_it_has_half_of_its_share() {
        let told = |a, b| {
            let all = zones(&[("a", a), ("b", b)]);
            groups(ZoneMode::Prefer, &all, Some("a"), &demand(&[]))
        };
        assert_eq!(shown(&told(4, 4)), [("a", 0, 1, 4), ("", 1, 1, 4)]);
        assert_eq!(shown(&told(2, 4)), [("a", 0, 1, 2), ("", 1, 1, 4)]);
        assert_eq!(shown(&told(1, 4)), [("", 0, 1, 5)], "three of four died");
        assert_eq!(shown(&told(4, 0)), [("a", 0, 1, 4)]);
    }

    /// The load of an endpoint of each zone, if its clients do what they are told.
    fn loads(endpoints: &[(&str, usize)], clients: &[(&str, u32)]) -> BTreeMap<String, f64> {
        let all = zones(endpoints);
        let mut loads = BTreeMap::new();
        for (own, count) in clients {
            let groups = groups(ZoneMode::Capacity, &all, Some(own), &demand(clients));
            let first = groups.iter().filter(|group| group.priority == 0);
            let weights: u32 = first.clone().map(|group| group.weight).sum();
            for group in first {
                let share = f64::from(*count) * f64::from(group.weight) / f64::from(weights);
                let share = share / group.endpoints.len() as f64;
                for at in &group.endpoints {
                    *loads.entry(format!("{}{at}", all[*at].as_deref().unwrap_or(""))).or_insert(0.0) +=
                        share;
                }
            }
        }
        loads
    }

    #[test]
    fn no_endpoint_gets_more_than_its_share_whatever_the_zones_are() {
        for (endpoints, clients) in [
            (vec![("a", 4), ("b", 4)], vec![("a", 10), ("b", 10)]),
            (vec![("a", 1), ("b", 4)], vec![("a", 10), ("b", 10)]),
            (vec![("a", 3), ("b", 5), ("c", 4)], vec![("a", 18), ("b", 1), ("c", 1)]),
            (vec![("a", 1), ("b", 1), ("c", 10)], vec![("a", 7), ("b", 7), ("c", 6)]),
        ] {
            let loads = loads(&endpoints, &clients);
            let count: usize = endpoints.iter().map(|(_, count)| count).sum();
            let mean = loads.values().sum::<f64>() / count as f64;
            let most = loads.values().copied().fold(0.0, f64::max);
            assert!(most <= 1.02 * mean, "{endpoints:?} {clients:?}: {loads:?}");
        }
    }

    #[test]
    fn calls_stay_at_home_where_there_is_room() {
        let all = zones(&[("a", 4), ("b", 4)]);
        let even = groups(ZoneMode::Capacity, &all, Some("a"), &demand(&[("a", 10), ("b", 10)]));
        assert_eq!(shown(&even), [("a", 0, 1000, 4), ("", 1, 1, 4)]);
        let few = groups(
            ZoneMode::Capacity,
            &zones(&[("a", 1), ("b", 4)]),
            Some("a"),
            &demand(&[("a", 10), ("b", 10)]),
        );
        assert_eq!(shown(&few), [("a", 0, 400, 1), ("b", 0, 600, 4)]);
    }
}
