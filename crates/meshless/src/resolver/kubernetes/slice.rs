//! From the API server's JSON to the slices that the core decides on.

use meshless_core::{
    AddressType, EndpointCondition, EndpointIdentity, EndpointSlice, SliceEndpoint, SlicePort,
};

use super::object;

/// What `slice` says.
pub(super) fn read(slice: &object::EndpointSlice) -> EndpointSlice {
    let address_type = AddressType::from_name(slice.address_type.as_deref());
    let ports = slice.ports.iter().flatten();
    EndpointSlice::new(
        ports.filter_map(|port| SlicePort::new(port.name.as_deref(), port.port, port.protocol.as_deref())),
        slice.endpoints.iter().flatten().filter_map(|endpoint| read_endpoint(endpoint, address_type)),
    )
}

fn read_endpoint(endpoint: &object::Endpoint, address_type: AddressType) -> Option<SliceEndpoint> {
    let ip = address_type.first_of(endpoint.addresses.iter().flatten().map(String::as_str))?;
    let uid = endpoint.target_ref.as_ref().and_then(|object| object.uid.as_deref());
    let identity =
        EndpointIdentity::new(uid, endpoint.node_name.as_deref(), endpoint.hostname.as_deref(), ip);
    let object::Conditions { ready, serving, terminating } = endpoint.conditions.unwrap_or_default();
    let zones = endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
    Some(
        SliceEndpoint::new(ip, identity, EndpointCondition::new(ready, serving, terminating))
            .with_zone(endpoint.zone.as_deref())
            .with_hinted_zones(zones.map(|zone| zone.name.as_str())),
    )
}

#[cfg(test)]
mod tests {
    use meshless_core::{AddressPreference, EndpointChoice, KubernetesPort, NoEndpoint};
    use serde_json::{Value, from_value, json};

    use super::*;

    /// What is chosen of a slice as an API server sends it: addresses and zones.
    fn chosen(slice: Value, port: &KubernetesPort) -> Result<Vec<(String, Option<String>)>, NoEndpoint> {
        let slice = read(&from_value(slice).unwrap());
        let choice = EndpointChoice { port, addresses: AddressPreference::default(), zone: Some("a") };
        let endpoints = choice.of([&slice])?.into_iter();
        Ok(endpoints.map(|endpoint| (endpoint.address.to_string(), endpoint.zone)).collect())
    }

    fn number() -> KubernetesPort {
        KubernetesPort::Number(50051)
    }

    #[test]
    fn every_field_is_read() {
        let endpoint = |ip: &str, uid: &str, extra: Value| {
            let mut endpoint = json!({ "addresses": [ip], "targetRef": { "kind": "Pod", "uid": uid } });
            endpoint.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            endpoint
        };
        let going = json!({ "conditions": { "ready": false, "serving": true, "terminating": true } });
        let ended = json!({ "conditions": { "ready": false, "serving": false, "terminating": true } });
        let slice = |endpoints: Value| {
            json!({
                "metadata": { "name": "echo-x" }, "addressType": "IPv4", "endpoints": endpoints,
                "ports": [{ "name": "grpc", "port": 50051, "protocol": "TCP" }, { "name": "udp", "protocol": "UDP" }],
            })
        };
        let hinted = |zone: &str| json!({ "zone": "b", "hints": { "forZones": [{ "name": zone }] } });
        for (endpoints, expected) in [
            (
                json!([
                    endpoint("10.0.0.1", "a", json!({ "zone": "b" })),
                    endpoint("10.0.0.2", "b", going.clone())
                ]),
                Ok(vec![("10.0.0.1:50051".to_owned(), Some("b".to_owned()))]),
            ),
            (json!([endpoint("10.0.0.2", "b", going)]), Ok(vec![("10.0.0.2:50051".to_owned(), None)])),
            (
                json!([endpoint("10.0.0.1", "a", json!({})), endpoint("10.0.0.1", "a", ended)]),
                Err(NoEndpoint::NoneReady { listed: 1 }),
            ),
            (
                json!([endpoint("10.0.0.1", "a", hinted("a")), endpoint("10.0.0.2", "b", hinted("b"))]),
                Ok(vec![("10.0.0.1:50051".to_owned(), None)]),
            ),
        ] {
            assert_eq!(chosen(slice(endpoints.clone()), &number()), expected, "{endpoints}");
        }
        let udp = chosen(slice(json!([])), &KubernetesPort::Name("udp".to_owned()));
        assert_eq!(udp, Err(NoEndpoint::NoSuchPort { listed: vec!["grpc (50051)".to_owned()] }));
    }

    #[test]
    fn every_field_may_be_missing_or_null() {
        let ready = Ok(vec![("10.0.0.1:50051".to_owned(), None)]);
        let null = json!({
            "addresses": ["10.0.0.1"], "conditions": null, "hints": null, "hostname": null, "nodeName": null,
            "targetRef": null, "zone": null,
        });
        for endpoint in [null, json!({ "addresses": ["10.0.0.1"], "conditions": {}, "hints": {} })] {
            for ports in [json!([{ "port": 50051 }]), json!([]), json!(null)] {
                let slice = json!({ "addressType": "IPv4", "ports": ports, "endpoints": [endpoint] });
                assert_eq!(chosen(slice.clone(), &number()), ready, "{slice}");
            }
        }
        for slice in [json!({}), json!({ "addressType": "IPv4", "endpoints": null })] {
            assert_eq!(chosen(slice.clone(), &number()), Err(NoEndpoint::NoneReady { listed: 0 }), "{slice}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_passed_over() {
        let endpoints = json!([
            { "addresses": ["echo.example"] }, { "addresses": [] }, { "addresses": null },
            { "addresses": ["fd00::1", "10.0.0.1"] },
        ]);
        let of = |kind: &str| chosen(json!({ "addressType": kind, "endpoints": endpoints }), &number());
        assert_eq!(of("IPv4"), Ok(vec![("10.0.0.1:50051".to_owned(), None)]));
        for kind in ["FQDN", "MAC", ""] {
            assert_eq!(of(kind), Err(NoEndpoint::NoneReady { listed: 0 }), "{kind}");
        }
    }
}
