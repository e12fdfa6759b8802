//! What a client dials: a listener with its routes inline, which saves a round trip and a type.

use meshless_core::ResourceKind;

use super::{Encoded, route};
use crate::policy::ServicePolicy;
use crate::proto::listener::{ApiListener, HttpConnectionManager, HttpFilter, Listener};
use crate::proto::pack;
use crate::proto::wrappers::Empty;

/// The listener `name`.
pub(crate) fn listener(name: &str, policy: &ServicePolicy) -> Encoded {
    // The last filter must be the router, and there is no other.
    let router = HttpFilter { name: "router".to_owned(), typed_config: Some(pack(ROUTER, &Empty {})) };
    let manager = HttpConnectionManager {
        route_config: Some(route::configuration(name, policy)),
        http_filters: vec![router],
    };
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(pack(MANAGER, &manager)) }),
    };
    Encoded::of(ResourceKind::Listener, &listener)
}

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
