//! What a control plane counts, with OpenTelemetry (feature `otel`).
//!
//! | name | kind | unit | meaning |
//! |---|---|---|---|
//! | `meshless.xds.streams` | gauge | `{stream}` | streams of clients that are open |
//! | `meshless.xds.pushes` | counter | `{response}` | responses sent |
//! | `meshless.xds.push_bytes` | counter | `By` | of the resources in them |
//! | `meshless.xds.nacks` | counter | `{response}` | responses that clients refused |
//! | `meshless.xds.encodings` | counter | `{encoding}` | sets of endpoints encoded |
//! | `meshless.xds.services` | gauge | `{service}` | services declared or dialled |
//! | `meshless.xds.services_holding` | gauge | `{service}` | of these, those whose last endpoints are held although their source names none |
//! | `meshless.xds.services_unreadable` | gauge | `{service}` | of these, those whose source gave no endpoints when it last spoke |

use std::sync::{Arc, Weak};

use opentelemetry::metrics::Meter;

use crate::control_plane::Shared;
use crate::stats::StatsSnapshot;

/// Measures until the control plane ends.
pub(crate) fn observe(meter: &Meter, shared: &Arc<Shared>) {
    counter(meter, shared, "meshless.xds.pushes", "{response}", "Responses sent.", |stats| stats.pushes);
    counter(meter, shared, "meshless.xds.push_bytes", "By", "Bytes of their resources.", |stats| stats.bytes);
    counter(meter, shared, "meshless.xds.nacks", "{response}", "Responses refused.", |stats| stats.nacks);
    let encodings = "Sets of endpoints encoded.";
    counter(meter, shared, "meshless.xds.encodings", "{encoding}", encodings, |stats| stats.encodings);
    gauge(meter, shared, "meshless.xds.streams", "{stream}", "Open streams.", |shared| {
        shared.clients.len() as u64
    });
    gauge(meter, shared, "meshless.xds.services", "{service}", "Declared or dialled.", |shared| {
        shared.stats.read().services
    });
    gauge(meter, shared, "meshless.xds.services_holding", "{service}", "Endpoints are held.", |shared| {
        shared.stats.read().services_holding
    });
    gauge(
        meter,
        shared,
        "meshless.xds.services_unreadable",
        "{service}",
        "No endpoints at last.",
        |shared| shared.stats.read().services_unreadable,
    );
}

fn counter(
    meter: &Meter,
    shared: &Arc<Shared>,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    read: fn(&StatsSnapshot) -> u64,
) {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
    counter
        .with_callback(move |observer| {
            if let Some(shared) = shared.upgrade() {
                observer.observe(read(&shared.stats.read()), &[]);
            }
        })
        .build();
}

fn gauge(
    meter: &Meter,
    shared: &Arc<Shared>,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    read: fn(&Shared) -> u64,
) {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(description);
    gauge
        .with_callback(move |observer| {
            if let Some(shared) = shared.upgrade() {
                observer.observe(read(&shared), &[]);
            }
        })
        .build();
}
