//! What is chosen from slices.

use super::super::endpoint_slice::AddressType;
use super::*;

/// An endpoint of a slice, as a test wants it.
#[derive(Clone, Default)]
struct Entry<'a> {
    ip: &'a str,
    conditions: [Option<bool>; 3],
    uid: Option<&'a str>,
    host: Option<&'a str>,
    zone: Option<&'a str>,
    hints: &'a [&'a str],
}

const READY: [Option<bool>; 3] = [Some(true), Some(true), Some(false)];
const NOT_READY: [Option<bool>; 3] = [Some(false), Some(false), Some(false)];
const GOING: [Option<bool>; 3] = [Some(false), Some(true), Some(true)];
const ENDED: [Option<bool>; 3] = [Some(false), Some(false), Some(true)];

/// Says nothing but its address, which makes it ready.
fn at(ip: &str) -> Entry<'_> {
    Entry { ip, ..Entry::default() }
}

impl<'a> Entry<'a> {
    fn that_is(self, conditions: [Option<bool>; 3]) -> Self {
        Self { conditions, ..self }
    }

    fn of_pod(self, uid: &'a str) -> Self {
        Self { uid: Some(uid), ..self }
    }

    /// The zone it is in, and those that it is meant for.
    fn in_zone(self, zone: &'a str, hints: &'a [&'a str]) -> Self {
        Self { zone: Some(zone), hints, ..self }
    }

    fn endpoint(&self) -> SliceEndpoint {
        let address_type = AddressType::from_name(Some(if self.ip.contains(':') { "IPv6" } else { "IPv4" }));
        let ip = address_type.first_of([self.ip]).unwrap();
        let identity = EndpointIdentity::new(self.uid, self.host.map(|_| "node"), self.host, ip);
        let [ready, serving, terminating] = self.conditions;
        SliceEndpoint::new(ip, identity, EndpointCondition::new(ready, serving, terminating))
            .with_zone(self.zone)
            .with_hinted_zones(self.hints.iter().copied())
    }
}

/// A slice with these ports, by name and number.
fn slice_with(ports: &[(&str, Option<i32>)], entries: &[Entry<'_>]) -> EndpointSlice {
    let ports = ports.iter().map(|(name, number)| SlicePort::new(Some(name), *number, None).unwrap());
    EndpointSlice::new(ports, entries.iter().map(Entry::endpoint))
}

fn slice(entries: &[Entry<'_>]) -> EndpointSlice {
    slice_with(&[("grpc", Some(50051))], entries)
}

fn choice(port: &KubernetesPort) -> EndpointChoice<'_> {
    EndpointChoice { port, addresses: AddressPreference::default(), zone: None }
}

const NUMBER: KubernetesPort = KubernetesPort::Number(50051);

fn named(name: &str) -> KubernetesPort {
    KubernetesPort::Name(name.to_owned())
}

fn addresses(chosen: Result<Vec<Endpoint>, NoEndpoint>) -> Vec<String> {
    chosen.unwrap().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// What is chosen of the port 50051.
fn chosen(slices: &[EndpointSlice]) -> Vec<String> {
    addresses(choice(&NUMBER).of(slices))
}

#[test]
fn the_endpoints_of_all_slices_are_one_set() {
    let slices =
        [slice(&[at("10.0.0.2"), at("10.0.0.1")]), slice(&[at("10.0.0.3").that_is(READY), at("10.0.0.1")])];
    assert_eq!(chosen(&slices), ["10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051"]);
}

#[test]
fn a_terminating_pod_gets_calls_only_if_no_pod_is_ready() {
    let (going, unfit) = (at("10.0.0.1").that_is(GOING), at("10.0.0.2").that_is(NOT_READY));
    assert_eq!(chosen(&[slice(&[going.clone(), unfit.clone(), at("10.0.0.3")])]), ["10.0.0.3:50051"]);
    assert_eq!(chosen(&[slice(&[going, unfit.clone()])]), ["10.0.0.1:50051"]);
    assert_eq!(choice(&NUMBER).of(&[slice(&[unfit])]), Err(NoEndpoint::NoneReady { listed: 1 }));
    assert_eq!(choice(&NUMBER).of(&[slice(&[])]), Err(NoEndpoint::NoneReady { listed: 0 }));
    assert_eq!(choice(&NUMBER).of(&[]), Err(NoEndpoint::NoSlice));
}

#[test]
fn a_named_port_is_each_pods_own_number() {
    let of = |number, ip| slice_with(&[("metrics", Some(9090)), ("grpc", Some(number))], &[at(ip)]);
    let slices = [of(50051, "10.0.0.1"), of(60061, "10.0.0.2")];
    assert_eq!(addresses(choice(&named("grpc")).of(&slices)), ["10.0.0.1:50051", "10.0.0.2:60061"]);
    assert_eq!(addresses(choice(&KubernetesPort::Number(60061)).of(&slices)), ["10.0.0.2:60061"]);
    let listed = ["grpc (50051)", "grpc (60061)", "metrics (9090)"].map(str::to_owned).to_vec();
    let none = NoEndpoint::NoSuchPort { listed };
    assert_eq!(choice(&named("http")).of(&slices), Err(none.clone()));
    assert_eq!(choice(&KubernetesPort::Number(80)).of(&slices), Err(none));
}

#[test]
fn where_ports_are_open_a_number_is_believed_and_a_name_is_not() {
    for ports in [&[("any", None)][..], &[]] {
        let slices = [slice_with(ports, &[at("10.0.0.1")])];
        assert_eq!(chosen(&slices), ["10.0.0.1:50051"], "{ports:?}");
        let none = choice(&named("any")).of(&slices);
        assert!(matches!(none, Err(NoEndpoint::NoSuchPort { .. })), "{ports:?}: {none:?}");
    }
}

#[test]
fn a_dual_stack_pod_is_one_endpoint() {
    let slices = [
        slice(&[at("10.0.0.1").of_pod("a")]),
        slice(&[at("fd00::1").of_pod("a")]),
        slice(&[at("fd00::2").of_pod("b")]),
        slice(&[at("10.0.0.3").of_pod("c")]),
    ];
    for (addresses_of, expected) in [
        (AddressPreference::Ipv4First, &["10.0.0.1:50051", "10.0.0.3:50051", "[fd00::2]:50051"][..]),
        (AddressPreference::Ipv6First, &["10.0.0.3:50051", "[fd00::1]:50051", "[fd00::2]:50051"]),
        (AddressPreference::Ipv4Only, &["10.0.0.1:50051", "10.0.0.3:50051"]),
        (AddressPreference::Ipv6Only, &["[fd00::1]:50051", "[fd00::2]:50051"]),
    ] {
        let choice = EndpointChoice { addresses: addresses_of, ..choice(&NUMBER) };
        assert_eq!(addresses(choice.of(&slices)), expected, "{addresses_of:?}");
    }
}

#[test]
fn slices_that_lag_behind_do_not_keep_a_pod_that_is_ending() {
    let none = || Err(NoEndpoint::NoneReady { listed: 1 });
    let fresh = Endpoint::new("10.0.0.1:50051".parse::<SocketAddr>().unwrap());
    let other = slice(&[at("10.0.0.2")]);
    for (older_ip, newer_ip) in [("10.0.0.1", "fd00::1"), ("fd00::1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1")] {
        let of = |older, newer| {
            let entry = |ip, conditions| slice(&[at(ip).of_pod("a").that_is(conditions)]);
            let mut slices = vec![entry(older_ip, older), entry(newer_ip, newer)];
            let first = choice(&NUMBER).of(&slices);
            slices.reverse();
            assert_eq!(choice(&NUMBER).of(&slices), first, "the order of the slices does not matter");
            slices.push(other.clone());
            (first, chosen(&slices))
        };
        let only_other = vec!["10.0.0.2:50051".to_owned()];
        assert_eq!(of(READY, ENDED), (none(), only_other.clone()));
        assert_eq!(of(NOT_READY, ENDED), (none(), only_other.clone()));
        assert_eq!(of(GOING, ENDED).1, only_other);
        assert_eq!(of(READY, GOING), (Ok(vec![fresh.clone()]), only_other.clone()), "the last resort");
        // By the preferred address, whichever of the two families knows that the pod is ready.
        let both = vec!["10.0.0.1:50051".to_owned(), "10.0.0.2:50051".to_owned()];
        assert_eq!(of(NOT_READY, READY), (Ok(vec![fresh.clone()]), both.clone()));
        assert_eq!(of(READY, NOT_READY), (Ok(vec![fresh.clone()]), both));
    }
}

#[test]
fn an_address_without_a_pod_comes_back_from_its_end() {
    // As when a StatefulSet's pod is made again: only a uid is never used twice.
    for host in [None, Some("echo-0")] {
        let entry = |conditions| slice(&[Entry { host, ..at("10.0.0.1").that_is(conditions) }]);
        assert_eq!(chosen(&[entry(ENDED), entry(READY)]), ["10.0.0.1:50051"]);
    }
}

#[test]
fn pods_that_lack_the_services_port_are_not_taken() {
    // The controller gives a slice without ports to pods in which it does not find the port that
    // the Service names.
    let without = slice_with(&[], &[at("10.0.0.2")]);
    assert_eq!(chosen(&[without.clone(), slice(&[at("10.0.0.1")])]), ["10.0.0.1:50051"]);
    assert_eq!(chosen(&[without]), ["10.0.0.2:50051"], "a headless Service without ports");
}

#[test]
fn slices_of_one_service_have_their_own_port_lists() {
    let slices = [
        slice_with(&[("grpc", Some(1001)), ("admin", Some(50051))], &[at("10.0.0.1")]),
        slice_with(&[("admin", Some(1002))], &[at("10.0.0.2")]),
        slice_with(&[("", Some(1003))], &[at("10.0.0.3")]),
        slice_with(&[("grpc", None), ("grpc", Some(1005))], &[at("10.0.0.5")]),
    ];
    let of = |name: &str| addresses(choice(&named(name)).of(&slices));
    assert_eq!(of("grpc"), ["10.0.0.1:1001", "10.0.0.5:1005"]);
    assert_eq!(of("admin"), ["10.0.0.1:50051", "10.0.0.2:1002"]);
    let numbered = |number: u16| addresses(choice(&KubernetesPort::Number(number)).of(&slices));
    assert_eq!(numbered(1003), ["10.0.0.3:1003", "10.0.0.5:1003"], "an open port is any");
    assert_eq!(numbered(50051), ["10.0.0.1:50051", "10.0.0.5:50051"]);
}

#[test]
fn the_last_resort_is_every_pod_that_still_answers_whatever_its_hint() {
    let slices = [slice(&[
        at("10.0.0.1").that_is(GOING).in_zone("a", &["a"]),
        at("10.0.0.2").that_is(GOING).in_zone("b", &["b"]),
    ])];
    let choice = EndpointChoice { zone: Some("a"), ..choice(&NUMBER) };
    assert_eq!(addresses(choice.of(&slices)), ["10.0.0.1:50051", "10.0.0.2:50051"]);
}

#[test]
fn without_a_pod_node_and_host_name_join_the_families() {
    let of = |ip| slice(&[Entry { host: Some("echo-0"), ..at(ip) }]);
    assert_eq!(chosen(&[of("10.0.0.1"), of("fd00::1")]), ["10.0.0.1:50051"]);
}

#[test]
fn a_pod_that_moves_between_slices_is_there_once_and_ready_if_any_slice_says_so() {
    let pod = |conditions| slice(&[at("10.0.0.1").of_pod("a").that_is(conditions)]);
    assert_eq!(chosen(&[pod(READY), pod(NOT_READY)]), ["10.0.0.1:50051"]);
    assert_eq!(chosen(&[pod(NOT_READY), pod(READY)]), ["10.0.0.1:50051"]);
}

#[test]
fn an_address_that_a_new_pod_has_taken_over_is_there_once() {
    let pod = |uid| slice(&[at("10.0.0.1").of_pod(uid)]);
    assert_eq!(chosen(&[pod("old"), pod("new")]), ["10.0.0.1:50051"]);
}

#[test]
fn zones_are_told_and_hints_are_followed_where_they_leave_something() {
    let hinted = [slice(&[
        at("10.0.0.1").in_zone("a", &["a"]),
        at("10.0.0.2").in_zone("b", &["b", "c"]),
        at("10.0.0.3").in_zone("b", &["b"]),
    ])];
    let of = |slices: &[EndpointSlice], zone: Option<&str>| {
        addresses(EndpointChoice { zone, ..choice(&NUMBER) }.of(slices))
    };
    assert_eq!(of(&hinted, Some("a")), ["10.0.0.1:50051"]);
    assert_eq!(of(&hinted, Some("b")), ["10.0.0.2:50051", "10.0.0.3:50051"]);
    assert_eq!(of(&hinted, Some("c")), ["10.0.0.2:50051"]);
    for all in [Some("d"), None] {
        assert_eq!(of(&hinted, all).len(), 3, "{all:?}");
    }
    let half = [slice(&[at("10.0.0.1").in_zone("a", &["a"]), at("10.0.0.2").in_zone("b", &[])])];
    assert_eq!(of(&half, Some("a")).len(), 2, "while hints are rolled out they do not count");
    let zones = |zone| -> Vec<_> {
        let chosen = EndpointChoice { zone, ..choice(&NUMBER) }.of(&hinted).unwrap();
        chosen.into_iter().map(|endpoint| endpoint.zone).collect()
    };
    for unhinted in [None, Some("d")] {
        assert_eq!(zones(unhinted), ["a", "b", "b"].map(|zone| Some(zone.to_owned())));
    }
    assert_eq!(zones(Some("c")), [None], "lent by \"b\": a preference must not count again");
}

mod any_slices {
    use proptest::prelude::*;
    use std::sync::Arc;

    use super::super::super::slice_table::SliceTable;
    use super::*;

    /// (slice, event, endpoints): what becomes of which slice. Endpoints are (pod, address,
    /// conditions, zone).
    type Event = (u8, bool, Vec<(u8, u8, u8, u8)>);

    fn event() -> impl Strategy<Value = Event> {
        let endpoint = (0..5_u8, 0..8_u8, 0..5_u8, 0..3_u8);
        (0..4_u8, proptest::bool::weighted(0.7), proptest::collection::vec(endpoint, 0..4))
    }

    fn read(name: u8, endpoints: &[(u8, u8, u8, u8)]) -> EndpointSlice {
        let is_v6 = name % 2 == 1;
        EndpointSlice::new(
            [SlicePort::new(Some("grpc"), Some(50051), None).unwrap()],
            endpoints.iter().map(|&(pod, address, conditions, zone)| {
                let ip = if is_v6 { format!("fd00::{address}") } else { format!("10.0.0.{address}") };
                let conditions = match conditions {
                    0 => [Some(false), None, None],
                    1 => GOING,
                    2 => ENDED,
                    _ => READY,
                };
                let (pod, zone) = (format!("pod-{pod}"), format!("zone-{zone}"));
                at(&ip).that_is(conditions).of_pod(&pod).in_zone(&zone, &[&zone]).endpoint()
            }),
        )
    }

    fn choose(slices: &[Arc<EndpointSlice>], zone: Option<&str>) -> Result<Vec<Endpoint>, NoEndpoint> {
        EndpointChoice { zone, ..choice(&NUMBER) }.of(slices.iter().map(|slice| &**slice))
    }

    proptest! {
        #[test]
        fn events_lead_to_the_same_endpoints_as_a_list_of_what_they_leave(
            events in proptest::collection::vec(event(), 0..24), listed in 0..24_usize
        ) {
            let (mut watched, mut truth) = (SliceTable::default(), BTreeMap::new());
            for (at, (name, present, endpoints)) in events.iter().enumerate() {
                if at == listed {
                    // A relist in the midst of it changes nothing.
                    watched.replace(truth.clone()).unwrap();
                }
                let (key, slice) = (format!("echo-{name}"), read(*name, endpoints));
                if *present {
                    watched.put(key.clone(), slice.clone()).unwrap();
                    truth.insert(key, slice);
                } else {
                    watched.delete(&key);
                    truth.remove(&key);
                }
            }
            let mut relisted = SliceTable::default();
            relisted.replace(truth).unwrap();
            for zone in [None, Some("zone-1")] {
                prop_assert_eq!(choose(&watched.snapshot(), zone), choose(&relisted.snapshot(), zone));
            }
        }

        #[test]
        fn how_endpoints_are_spread_over_slices_does_not_matter(
            endpoints in proptest::collection::vec((0..5_u8, 0..8_u8, 0..5_u8, 0..3_u8), 1..16), cuts in 1..5_usize,
            rotate in 0..16_usize,
        ) {
            let whole = [Arc::new(read(0, &endpoints))];
            let mut turned = endpoints.clone();
            turned.rotate_left(rotate % endpoints.len());
            let parts: Vec<_> = turned.chunks(cuts).map(|part| Arc::new(read(0, part))).collect();
            for zone in [None, Some("zone-1")] {
                prop_assert_eq!(choose(&whole, zone), choose(&parts, zone));
            }
        }

        #[test]
        fn no_address_of_a_pod_that_is_unfit_is_chosen_and_none_twice(
            endpoints in proptest::collection::vec((0..5_u8, 0..8_u8, 0..5_u8, 0..3_u8), 0..16)
        ) {
            let slices = [Arc::new(read(0, &endpoints))];
            let says = |pod: u8, wanted: &[u8]| endpoints.iter().any(|entry| entry.0 == pod && wanted.contains(&entry.2));
            let is_fit = |pod: u8| if says(pod, &[1, 2]) { says(pod, &[1]) } else { says(pod, &[3, 4]) };
            let fit: BTreeSet<_> =
                endpoints.iter().filter(|entry| is_fit(entry.0)).map(|entry| format!("10.0.0.{}:50051", entry.1)).collect();
            match choose(&slices, None) {
                Ok(chosen) => {
                    let addresses: BTreeSet<_> = chosen.iter().map(|endpoint| endpoint.address.to_string()).collect();
                    prop_assert_eq!(addresses.len(), chosen.len());
                    prop_assert!(addresses.is_subset(&fit), "{:?} of {:?}", addresses, fit);
                }
                Err(none) => prop_assert!(fit.is_empty(), "{:?}", none),
            }
        }
    }
}
