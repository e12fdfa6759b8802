//! Puts data of an API server through the table and the choice of endpoints. Called only by
//! `fuzzing`.

use meshless_core::{AddressPreference, EndpointChoice, KubernetesPort, SliceTable};

use super::object::{EndpointSlice, EndpointSliceList, EventKind, WatchEvent};
use super::slice::read;

/// The data are lines of JSON: events of a watch, lists, or slices as in a list.
pub(crate) fn fuzz(data: &[u8]) {
    let mut table = SliceTable::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(slice) = serde_json::from_slice::<EndpointSlice>(line) {
            let _ = table.replace([(name(&slice), read(&slice))]);
        }
        if let Ok(EndpointSliceList { items: Some(items), .. }) = serde_json::from_slice(line) {
            let _ = table.replace(items.iter().map(|slice| (name(slice), read(slice))));
        }
        match serde_json::from_slice(line) {
            Ok(WatchEvent { kind: EventKind::Added | EventKind::Modified, object }) => {
                let _ = table.put(name(&object), read(&object));
            }
            Ok(WatchEvent { kind: EventKind::Deleted, object }) => {
                table.delete(&name(&object));
            }
            Ok(_) | Err(_) => {}
        }
    }
    let slices = table.snapshot();
    let listed: usize = slices.iter().map(|slice| slice.endpoints().len()).sum();
    assert_eq!(table.endpoints(), listed, "the table counts its endpoints");
    let ports = [KubernetesPort::Name("grpc".to_owned()), KubernetesPort::Number(50051)];
    let families = [
        AddressPreference::Ipv4First,
        AddressPreference::Ipv6First,
        AddressPreference::Ipv4Only,
        AddressPreference::Ipv6Only,
    ];
    for (port, addresses) in ports.iter().flat_map(|port| families.map(|family| (port, family))) {
        for zone in [None, Some("a")] {
            let choice = EndpointChoice { port, addresses, zone };
            if let Ok(endpoints) = choice.of(slices.iter().map(|slice| &**slice)) {
                assert!(!endpoints.is_empty(), "a choice has endpoints");
                let ordered = endpoints.windows(2).all(|pair| pair[0].address < pair[1].address);
                assert!(ordered, "each address once, in order");
            }
        }
    }
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}
