//! What a stream knows: who its client is, what it wants, and what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use meshless_core::{AdsRequest, AdsResponse, AdsStream, Verdict};
use tokio::time::Instant as TokioInstant;
use tonic::{Code, Status};

use crate::control_plane::Shared;
use crate::proto::Any;
use crate::proto::discovery::{
    ControlPlane, DiscoveryRequest, DiscoveryResponse, Node, ResourceError, ResourceName, RpcStatus, kind_of,
    type_name,
};
use crate::proto::wrappers::TYPE_URL;
use crate::registry::Command;
use crate::resources::Encoded;
use crate::resources::endpoints::{Assignments, ClientView};
use crate::snapshot::{Snapshot, view_of};

/// One stream, without its I/O. Dropping it forgets the client.
pub(super) struct Session {
    shared: Arc<Shared>,
    peer: Option<SocketAddr>,
    id: u64,
    stream: AdsStream,
    /// What its registry knows it wants.
    names: BTreeSet<Arc<str>>,
    client: Option<ClientView>,
    /// What only this client is told, so that it is not made twice.
    own: BTreeMap<Arc<str>, (Arc<Assignments>, Encoded)>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, peer: Option<SocketAddr>) -> Self {
        let now = TokioInstant::now().into_std();
        let id = shared.clients.add(peer.map(|peer| peer.to_string()).unwrap_or_default(), now);
        shared.stats.streams.fetch_add(1, Ordering::Relaxed);
        let stream = AdsStream::new(shared.names_max);
        let (names, own) = (BTreeSet::new(), BTreeMap::new());
        Self { shared, peer, id, stream, names, client: None, own }
    }

    /// Takes in a request.
    pub(super) fn handle_request(
        &mut self,
        request: DiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<(), Status> {
        if self.client.is_none() {
            self.identify(request.node.as_ref(), snapshot);
        }
        // Types that gRPC clients do not need are left unanswered, as unknown ones are.
        let Some(kind) = kind_of(&request.type_url) else {
            tracing::debug!(type_url = request.type_url, "a type that is not served");
            return Ok(());
        };
        if let Some(long) = request.resource_names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
            let text =
                format!("a resource name of {} bytes; at most {NAME_BYTES_MAX} are answered", long.len());
            return Err(Status::invalid_argument(text));
        }
        let refusal = request.error_detail.as_ref().map(|status| status.message.as_str());
        let shown: Vec<String> = request.resource_names.clone();
        let verdict = self
            .stream
            .handle_request(AdsRequest {
                kind,
                names: request.resource_names,
                version: &request.version_info,
                nonce: &request.response_nonce,
                refusal,
            })
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        self.shared.clients.requested(self.id, kind, &shown, verdict, refusal);
        if verdict == Verdict::Nacked {
            self.shared.stats.nacks.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(peer = ?self.peer, ?kind, reason = refusal, "a client refuses what it was sent");
        }
        self.update_names();
        Ok(())
    }

    /// The next response to send.
    pub(super) fn next_response(&mut self, snapshot: &Snapshot) -> Option<DiscoveryResponse> {
        let client = self.client.clone()?;
        let own = &mut self.own;
        let response = self.stream.poll_response(|kind, name| {
            snapshot.state(kind, name, |assignments| encoded(own, name, assignments, &client))
        })?;
        Some(self.encode(response, snapshot, &client))
    }

    fn encode(
        &mut self,
        response: AdsResponse,
        snapshot: &Snapshot,
        client: &ClientView,
    ) -> DiscoveryResponse {
        let AdsResponse { kind, nonce, version, resources, missing, .. } = response;
        let type_url = format!("{TYPE_URL}{}", type_name(kind));
        let own = &mut self.own;
        let found = resources.iter().filter_map(|name| {
            snapshot.resource(kind, name, |assignments| encoded(own, name, assignments, client))
        });
        let resources: Vec<Any> =
            found.map(|encoded| Any { type_url: type_url.clone(), value: encoded.bytes }).collect();
        let bytes: usize = resources.iter().map(|resource| resource.value.len()).sum();
        self.shared.stats.pushes.fetch_add(1, Ordering::Relaxed);
        self.shared.stats.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let version = format!("{version:016x}");
        self.shared.clients.sent(self.id, kind, &version, &missing);
        let resource_errors = missing.iter().map(|name| error(name, &snapshot.missing(kind, name))).collect();
        DiscoveryResponse {
            version_info: version,
            resources,
            type_url,
            nonce: nonce.to_string(),
            control_plane: Some(ControlPlane { identifier: self.shared.identifier.clone() }),
            resource_errors,
        }
    }

    /// "Only the first message on a gRPC stream" needs to have the node.
    fn identify(&mut self, node: Option<&Node>, snapshot: &Snapshot) {
        let node = node.cloned().unwrap_or_default();
        let told = node.locality.map(|locality| locality.zone).filter(|zone| !zone.is_empty());
        let zone = match told {
            Some(zone) => Some(Arc::from(zone)),
            None => self.peer.and_then(|peer| snapshot.zone_of(peer.ip().to_canonical())),
        };
        let user_agent = format!("{} {}", node.user_agent_name, node.user_agent_version);
        self.shared.clients.identify(self.id, &node.id, user_agent.trim(), zone.as_deref());
        tracing::debug!(peer = ?self.peer, node = node.id, user_agent, ?zone, "a client");
        self.client = Some(view_of(zone, &node.id));
    }

    fn zone(&self) -> Option<Arc<str>> {
        self.client.as_ref().and_then(|client| client.zone.clone())
    }

    /// Tells the registry what this stream wants in addition, and what no longer.
    fn update_names(&mut self) {
        let names = self.stream.names();
        let added: Vec<_> = names.difference(&self.names).cloned().collect();
        let dropped: Vec<_> = self.names.difference(&names).cloned().collect();
        self.own.retain(|name, _| names.contains(name));
        self.names = names;
        let zone = self.zone();
        // It is gone only with the whole control plane.
        let commands = &self.shared.registry.commands;
        if !added.is_empty() {
            drop(commands.send(Command::Subscribe { names: added, zone: zone.clone() }));
        }
        if !dropped.is_empty() {
            drop(commands.send(Command::Unsubscribe { names: dropped, zone }));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.clients.remove(self.id);
        let names: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        if !names.is_empty() {
            drop(self.shared.registry.commands.send(Command::Unsubscribe { names, zone: self.zone() }));
        }
    }
}

/// What this client is told of a service's endpoints.
fn encoded(
    own: &mut BTreeMap<Arc<str>, (Arc<Assignments>, Encoded)>,
    name: &str,
    assignments: &Arc<Assignments>,
    client: &ClientView,
) -> Encoded {
    if assignments.is_shared() {
        return assignments.encoded(client);
    }
    if let Some((of, encoded)) = own.get(name)
        && Arc::ptr_eq(of, assignments)
    {
        return encoded.clone();
    }
    let encoded = assignments.encoded(client);
    own.insert(name.into(), (Arc::clone(assignments), encoded.clone()));
    encoded
}

/// xRFC TP3.
fn error(name: &str, reason: &str) -> ResourceError {
    ResourceError {
        resource_name: Some(ResourceName { name: name.to_owned() }),
        error_detail: Some(RpcStatus { code: Code::NotFound as i32, message: reason.to_owned() }),
    }
}

/// A DNS name with its port has at most 260.
const NAME_BYTES_MAX: usize = 512;
