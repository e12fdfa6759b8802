//! What is chosen from slices as API servers send them.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::serde_json::{Value, from_value, json};

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
        (json!({ "ready": false, "terminating": true }), Fitness::Unfit),
        (json!({ "ready": false, "serving": false, "terminating": true }), Fitness::Unfit),
        (json!({ "ready": false, "serving": true, "terminating": true }), Fitness::LastResort),
    ] {
        let slice = v4(json!([{ "addresses": ["10.0.0.1"], "conditions": conditions }]));
        assert_eq!(slice.endpoints[0].fitness, fitness, "{conditions}");
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

    /// (slice, event, endpoints): what becomes of which slice. Endpoints are (pod, address, conditions, zone).
    type Event = (u8, bool, Vec<(u8, u8, u8, u8)>);

    fn event() -> impl Strategy<Value = Event> {
        let endpoint = (0..5_u8, 0..8_u8, 0..4_u8, 0..3_u8);
        (0..4_u8, proptest::bool::weighted(0.7), proptest::collection::vec(endpoint, 0..4))
    }

    fn read(slice: u8, endpoints: &[(u8, u8, u8, u8)]) -> Slice {
        let v6 = slice % 2 == 1;
        let endpoints = endpoints.iter().map(|&(pod, address, conditions, zone)| {
            let ip = if v6 { format!("fd00::{address}") } else { format!("10.0.0.{address}") };
            let conditions = match conditions {
                0 => json!({ "ready": false }),
                1 => json!({ "ready": false, "serving": true, "terminating": true }),
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
                    watched.replace(truth.clone());
                }
                let (key, slice) = (format!("echo-{name}"), read(*name, endpoints));
                if *present {
                    watched.put(key.clone(), slice.clone());
                    truth.insert(key, slice);
                } else {
                    watched.delete(&key);
                    truth.remove(&key);
                }
            }
            let mut relisted = SliceTable::default();
            relisted.replace(truth);
            for zone in [None, Some("zone-1")] {
                prop_assert_eq!(choose(&watched.snapshot(), zone), choose(&relisted.snapshot(), zone));
            }
        }

        #[test]
        fn how_endpoints_are_spread_over_slices_does_not_matter(
            endpoints in proptest::collection::vec((0..5_u8, 0..8_u8, 0..4_u8, 0..3_u8), 1..16), cuts in 1..5_usize,
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
        fn nothing_unfit_is_chosen_and_no_address_twice(
            endpoints in proptest::collection::vec((0..5_u8, 0..8_u8, 0..4_u8, 0..3_u8), 0..16)
        ) {
            let slices = [Arc::new(read(0, &endpoints))];
            let fit: BTreeSet<_> = endpoints.iter().filter(|endpoint| endpoint.2 > 0).map(|endpoint| endpoint.1).collect();
            match choose(&slices, None) {
                Ok(chosen) => {
                    let addresses: BTreeSet<_> = chosen.iter().map(|endpoint| endpoint.address.to_string()).collect();
                    prop_assert_eq!(addresses.len(), chosen.len());
                    let fit: BTreeSet<_> = fit.iter().map(|last| format!("10.0.0.{last}:50051")).collect();
                    prop_assert!(addresses.is_subset(&fit), "{:?} of {:?}", addresses, fit);
                }
                Err(none) => prop_assert!(fit.is_empty(), "{:?}", none),
            }
        }
    }
}
