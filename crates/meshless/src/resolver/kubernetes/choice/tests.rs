//! What is chosen from slices as API servers send them.

use serde_json::{Value, from_value, json};

use super::super::object::EndpointSlice;
use super::*;

fn slice(address_type: &str, ports: Value, endpoints: Value) -> Slice {
    let slice: EndpointSlice = from_value(json!({
        "metadata": { "name": "echo-x" }, "addressType": address_type, "ports": ports, "endpoints": endpoints,
    }))
    .unwrap();
    Slice::read(&slice)
}

fn grpc() -> Value {
    json!([{ "name": "grpc", "port": 50051, "protocol": "TCP" }])
}

fn v4(endpoints: Value) -> Slice {
    slice("IPv4", grpc(), endpoints)
}

fn choice(port: &KubernetesPort) -> Choice<'_> {
    Choice { port, addresses: AddressPreference::default(), zone: None }
}

fn number() -> KubernetesPort {
    KubernetesPort::Number(50051)
}

fn addresses(chosen: Result<Vec<Endpoint>, NoEndpoint>) -> Vec<String> {
    chosen.unwrap().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// What is chosen from IPv4 slices with one port.
fn chosen(slices: &[Slice]) -> Vec<String> {
    addresses(choice(&number()).of(slices))
}

#[test]
fn the_endpoints_of_all_slices_are_one_set() {
    let slices = [
        v4(json!([{ "addresses": ["10.0.0.2"] }, { "addresses": ["10.0.0.1"] }])),
        v4(
            json!([{ "addresses": ["10.0.0.3"], "conditions": { "ready": true } }, { "addresses": ["10.0.0.1"] }]),
        ),
    ];
    assert_eq!(chosen(&slices), ["10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051"]);
}

#[test]
fn conditions_left_out_have_their_meaning() {
    for (conditions, fitness) in [
        (json!(null), Fitness::Ready),
        (json!({}), Fitness::Ready),
        (json!({ "ready": true, "terminating": true, "serving": true }), Fitness::Ready),
        (json!({ "ready": false }), Fitness::Unfit),
        (json!({ "ready": false, "serving": true }), Fitness::Unfit),
        (json!({ "ready": false, "terminating": true }), Fitness::LastResort),
        (json!({ "ready": false, "serving": false, "terminating": true }), Fitness::Unfit),
        (json!({ "ready": false, "serving": true, "terminating": true }), Fitness::LastResort),
    ] {
        let slice = v4(json!([{ "addresses": ["10.0.0.1"], "conditions": conditions }]));
        assert_eq!(slice.endpoints[0].condition.fitness, fitness, "{conditions}");
    }
}

#[test]
fn a_terminating_pod_gets_calls_only_if_no_pod_is_ready() {
    let going = json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": false, "serving": true, "terminating": true } });
    let unfit = json!({ "addresses": ["10.0.0.2"], "conditions": { "ready": false } });
    let ready = json!({ "addresses": ["10.0.0.3"] });
    assert_eq!(chosen(&[v4(json!([going, unfit, ready]))]), ["10.0.0.3:50051"]);
    assert_eq!(chosen(&[v4(json!([going, unfit]))]), ["10.0.0.1:50051"]);
    assert_eq!(choice(&number()).of(&[v4(json!([unfit]))]), Err(NoEndpoint::NoneReady { listed: 1 }));
    assert_eq!(choice(&number()).of(&[v4(json!([]))]), Err(NoEndpoint::NoneReady { listed: 0 }));
    assert_eq!(choice(&number()).of(&[]), Err(NoEndpoint::NoSlice));
}

#[test]
fn a_named_port_is_each_pods_own_number() {
    let ports =
        |number: u16| json!([{ "name": "metrics", "port": 9090 }, { "name": "grpc", "port": number }]);
    let slices = [
        slice("IPv4", ports(50051), json!([{ "addresses": ["10.0.0.1"] }])),
        slice("IPv4", ports(60061), json!([{ "addresses": ["10.0.0.2"] }])),
    ];
    let named = |name: &str| choice(&KubernetesPort::Name(name.to_owned())).of(&slices);
    assert_eq!(addresses(named("grpc")), ["10.0.0.1:50051", "10.0.0.2:60061"]);
    assert_eq!(addresses(choice(&KubernetesPort::Number(60061)).of(&slices)), ["10.0.0.2:60061"]);
    let listed = ["grpc (50051)", "grpc (60061)", "metrics (9090)"].map(str::to_owned).to_vec();
    assert_eq!(named("http"), Err(NoEndpoint::NoSuchPort { listed: listed.clone() }));
    assert_eq!(choice(&KubernetesPort::Number(80)).of(&slices), Err(NoEndpoint::NoSuchPort { listed }));
}

#[test]
fn ports_that_are_not_tcp_or_no_port_do_not_count() {
    let ports =
        json!([{ "name": "grpc", "port": 50051, "protocol": "UDP" }, { "name": "grpc", "port": 70000 }]);
    let slices = [slice("IPv4", ports, json!([{ "addresses": ["10.0.0.1"] }]))];
    let named = KubernetesPort::Name("grpc".to_owned());
    assert_eq!(choice(&named).of(&slices), Err(NoEndpoint::NoSuchPort { listed: vec![] }));
}

#[test]
fn where_ports_are_open_a_number_is_believed_and_a_name_is_not() {
    for ports in [json!([{ "name": "any" }]), json!([]), json!(null)] {
        let slices = [slice("IPv4", ports.clone(), json!([{ "addresses": ["10.0.0.1"] }]))];
        assert_eq!(chosen(&slices), ["10.0.0.1:50051"], "{ports}");
        let named = choice(&KubernetesPort::Name("any".to_owned())).of(&slices);
        assert!(matches!(named, Err(NoEndpoint::NoSuchPort { .. })), "{ports}: {named:?}");
    }
}

#[test]
fn a_dual_stack_pod_is_one_endpoint() {
    let pod =
        |ip: &str, uid: &str| json!([{ "addresses": [ip], "targetRef": { "kind": "Pod", "uid": uid } }]);
    let slices = [
        v4(pod("10.0.0.1", "a")),
        slice("IPv6", grpc(), pod("fd00::1", "a")),
        slice("IPv6", grpc(), pod("fd00::2", "b")),
        v4(pod("10.0.0.3", "c")),
    ];
    for (preference, expected) in [
        (AddressPreference::Ipv4First, &["10.0.0.1:50051", "10.0.0.3:50051", "[fd00::2]:50051"][..]),
        (AddressPreference::Ipv6First, &["10.0.0.3:50051", "[fd00::1]:50051", "[fd00::2]:50051"]),
        (AddressPreference::Ipv4Only, &["10.0.0.1:50051", "10.0.0.3:50051"]),
        (AddressPreference::Ipv6Only, &["[fd00::1]:50051", "[fd00::2]:50051"]),
    ] {
        let port = number();
        let choice = Choice { addresses: preference, ..choice(&port) };
        assert_eq!(addresses(choice.of(&slices)), expected, "{preference:?}");
    }
}

/// Entries of one pod: (slice of IPv6, conditions).
fn entries_of_one_pod(entries: &[(bool, Value)]) -> Vec<Slice> {
    let entry = |(v6, conditions): &(bool, Value)| {
        let (kind, ip) = if *v6 { ("IPv6", "fd00::1") } else { ("IPv4", "10.0.0.1") };
        slice(
            kind,
            grpc(),
            json!([{ "addresses": [ip], "conditions": conditions, "targetRef": { "uid": "a" } }]),
        )
    };
    entries.iter().map(entry).collect()
}

#[test]
fn slices_that_lag_behind_do_not_keep_a_pod_that_is_ending() {
    let ready = || json!({ "ready": true, "serving": true, "terminating": false });
    let not_ready = || json!({ "ready": false, "serving": false, "terminating": false });
    let going = || json!({ "ready": false, "serving": true, "terminating": true });
    let ended = || json!({ "ready": false, "serving": false, "terminating": true });
    let none = || Err(NoEndpoint::NoneReady { listed: 1 });
    let fresh = Endpoint::new("10.0.0.1:50051".parse::<SocketAddr>().unwrap());
    let other = v4(json!([{ "addresses": ["10.0.0.2"] }]));
    for (v6_lags, newer_v6) in [(false, true), (true, false), (false, false)] {
        let of = |older: Value, newer: Value| {
            let mut slices = entries_of_one_pod(&[(v6_lags, older), (newer_v6, newer)]);
            let first = choice(&number()).of(&slices);
            slices.reverse();
            assert_eq!(choice(&number()).of(&slices), first, "the order of the slices does not matter");
            slices.push(other.clone());
            (first, chosen(&slices))
        };
        let only_other = vec!["10.0.0.2:50051".to_owned()];
        assert_eq!(of(ready(), ended()), (none(), only_other.clone()));
        assert_eq!(of(not_ready(), ended()), (none(), only_other.clone()));
        assert_eq!(of(going(), ended()).1, only_other);
        assert_eq!(of(ready(), going()), (Ok(vec![fresh.clone()]), only_other.clone()), "the last resort");
        // By the preferred address, whichever of the two families knows that the pod is ready.
        let both = vec!["10.0.0.1:50051".to_owned(), "10.0.0.2:50051".to_owned()];
        assert_eq!(of(not_ready(), ready()), (Ok(vec![fresh.clone()]), both.clone()));
        assert_eq!(of(ready(), not_ready()), (Ok(vec![fresh.clone()]), both));
    }
}

#[test]
fn an_address_without_a_pod_comes_back_from_its_end() {
    // As when a StatefulSet's pod is made again: only a uid is never used twice.
    let entry = |conditions: Value, host: Value| {
        let mut endpoint = json!({ "addresses": ["10.0.0.1"], "conditions": conditions });
        endpoint.as_object_mut().unwrap().extend(host.as_object().unwrap().clone());
        v4(json!([endpoint]))
    };
    for host in [json!({}), json!({ "nodeName": "n1", "hostname": "echo-0" })] {
        let ended = entry(json!({ "ready": false, "serving": false, "terminating": true }), host.clone());
        assert_eq!(chosen(&[ended, entry(json!({ "ready": true }), host)]), ["10.0.0.1:50051"]);
    }
}

#[test]
fn pods_that_lack_the_services_port_are_not_taken() {
    // The controller gives a slice without ports to pods in which it does not find the port that
    // the Service names.
    let with = v4(json!([{ "addresses": ["10.0.0.1"] }]));
    for ports in [json!([]), json!(null)] {
        let without = slice("IPv4", ports.clone(), json!([{ "addresses": ["10.0.0.2"] }]));
        assert_eq!(chosen(&[without.clone(), with.clone()]), ["10.0.0.1:50051"], "{ports}");
        assert_eq!(chosen(&[without]), ["10.0.0.2:50051"], "a headless Service without ports: {ports}");
    }
}

#[test]
fn slices_of_one_service_have_their_own_port_lists() {
    let slices = [
        slice(
            "IPv4",
            json!([{ "name": "grpc", "port": 1001 }, { "name": "admin", "port": 50051 }]),
            json!([{ "addresses": ["10.0.0.1"] }]),
        ),
        slice("IPv4", json!([{ "name": "admin", "port": 1002 }]), json!([{ "addresses": ["10.0.0.2"] }])),
        slice("IPv4", json!([{ "port": 1003 }]), json!([{ "addresses": ["10.0.0.3"] }])),
        slice("IPv4", json!([{ "name": "", "port": 1004 }]), json!([{ "addresses": ["10.0.0.4"] }])),
        slice(
            "IPv4",
            json!([{ "name": "grpc" }, { "name": "grpc", "port": 1005 }]),
            json!([{ "addresses": ["10.0.0.5"] }]),
        ),
    ];
    let named = |name: &str| addresses(choice(&KubernetesPort::Name(name.to_owned())).of(&slices));
    assert_eq!(named("grpc"), ["10.0.0.1:1001", "10.0.0.5:1005"]);
    assert_eq!(named("admin"), ["10.0.0.1:50051", "10.0.0.2:1002"]);
    let numbered = |number: u16| addresses(choice(&KubernetesPort::Number(number)).of(&slices));
    assert_eq!(numbered(1003), ["10.0.0.3:1003", "10.0.0.5:1003"], "an open port is any");
    assert_eq!(numbered(50051), ["10.0.0.1:50051", "10.0.0.5:50051"]);
}

#[test]
fn the_last_resort_is_every_pod_that_still_answers_whatever_its_hint() {
    let going = |last: u8, zone: &str| {
        json!({
            "addresses": [format!("10.0.0.{last}")], "zone": zone, "hints": { "forZones": [{ "name": zone }] },
            "conditions": { "ready": false, "serving": true, "terminating": true },
        })
    };
    let slices = [v4(json!([going(1, "a"), going(2, "b")]))];
    let port = number();
    let choice = Choice { zone: Some("a"), ..choice(&port) };
    assert_eq!(addresses(choice.of(&slices)), ["10.0.0.1:50051", "10.0.0.2:50051"]);
}

#[test]
fn without_a_pod_node_and_host_name_join_the_families() {
    let host = |ip: &str| json!([{ "addresses": [ip], "nodeName": "n1", "hostname": "echo-0" }]);
    assert_eq!(chosen(&[v4(host("10.0.0.1")), slice("IPv6", grpc(), host("fd00::1"))]), ["10.0.0.1:50051"]);
}

#[test]
fn addresses_that_are_none_are_passed_over() {
    let endpoints = json!([{ "addresses": ["echo.example"] }, { "addresses": [] }, { "addresses": ["fd00::1", "10.0.0.1"] }]);
    assert_eq!(chosen(&[v4(endpoints.clone())]), ["10.0.0.1:50051"]);
    for address_type in ["FQDN", "MAC", ""] {
        let none = choice(&number()).of(&[slice(address_type, grpc(), endpoints.clone())]);
        assert_eq!(none, Err(NoEndpoint::NoneReady { listed: 0 }), "{address_type}");
    }
}

#[test]
fn a_pod_that_moves_between_slices_is_there_once_and_ready_if_any_slice_says_so() {
    let pod = |ready: bool| json!([{ "addresses": ["10.0.0.1"], "targetRef": { "uid": "a" }, "conditions": { "ready": ready } }]);
    let mut slices = [v4(pod(true)), v4(pod(false))];
    assert_eq!(chosen(&slices), ["10.0.0.1:50051"]);
    slices.reverse();
    assert_eq!(chosen(&slices), ["10.0.0.1:50051"]);
}

#[test]
fn an_address_that_a_new_pod_has_taken_over_is_there_once() {
    let pod = |uid: &str| json!([{ "addresses": ["10.0.0.1"], "targetRef": { "uid": uid } }]);
    assert_eq!(chosen(&[v4(pod("old")), v4(pod("new"))]), ["10.0.0.1:50051"]);
}

#[test]
fn zones_are_told_and_hints_are_followed_where_they_leave_something() {
    let endpoint = |last: u8, zone: &str, hints: &[&str]| {
        let zones: Vec<_> = hints.iter().map(|zone| json!({ "name": zone })).collect();
        json!({ "addresses": [format!("10.0.0.{last}")], "zone": zone, "hints": { "forZones": zones } })
    };
    let hinted =
        [v4(json!([endpoint(1, "a", &["a"]), endpoint(2, "b", &["b", "c"]), endpoint(3, "b", &["b"])]))];
    let of =
        |slices: &[Slice], zone: Option<&str>| addresses(Choice { zone, ..choice(&number()) }.of(slices));
    assert_eq!(of(&hinted, Some("a")), ["10.0.0.1:50051"]);
    assert_eq!(of(&hinted, Some("b")), ["10.0.0.2:50051", "10.0.0.3:50051"]);
    assert_eq!(of(&hinted, Some("c")), ["10.0.0.2:50051"]);
    for all in [Some("d"), None] {
        assert_eq!(of(&hinted, all).len(), 3, "{all:?}");
    }
    let half = [v4(json!([endpoint(1, "a", &["a"]), endpoint(2, "b", &[])]))];
    assert_eq!(of(&half, Some("a")).len(), 2, "while hints are rolled out they do not count");
    let zones = |zone| -> Vec<_> {
        let chosen = Choice { zone, ..choice(&number()) }.of(&hinted).unwrap();
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

    use super::super::super::table::SliceTable;
    use super::*;

    /// (slice, event, endpoints): what becomes of which slice. Endpoints are (pod, address,
    /// conditions, zone).
    type Event = (u8, bool, Vec<(u8, u8, u8, u8)>);

    fn event() -> impl Strategy<Value = Event> {
        let endpoint = (0..5_u8, 0..8_u8, 0..5_u8, 0..3_u8);
        (0..4_u8, proptest::bool::weighted(0.7), proptest::collection::vec(endpoint, 0..4))
    }

    fn read(slice: u8, endpoints: &[(u8, u8, u8, u8)]) -> Slice {
        let v6 = slice % 2 == 1;
        let endpoints = endpoints.iter().map(|&(pod, address, conditions, zone)| {
            let ip = if v6 { format!("fd00::{address}") } else { format!("10.0.0.{address}") };
            let conditions = match conditions {
                0 => json!({ "ready": false }),
                1 => json!({ "ready": false, "serving": true, "terminating": true }),
                2 => json!({ "ready": false, "serving": false, "terminating": true }),
                _ => json!({ "ready": true }),
            };
            let zone = format!("zone-{zone}");
            let hints = json!({ "forZones": [{ "name": &zone }] });
            let pod = json!({ "uid": format!("pod-{pod}") });
            json!({ "addresses": [ip], "conditions": conditions, "zone": &zone, "hints": hints, "targetRef": pod })
        });
        slice_of(v6, endpoints.collect())
    }

    fn slice_of(v6: bool, endpoints: Vec<Value>) -> Slice {
        slice(if v6 { "IPv6" } else { "IPv4" }, grpc(), Value::Array(endpoints))
    }

    fn choose(slices: &[Arc<Slice>], zone: Option<&str>) -> Result<Vec<Endpoint>, NoEndpoint> {
        Choice { zone, ..choice(&number()) }.of(slices.iter().map(|slice| &**slice))
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
