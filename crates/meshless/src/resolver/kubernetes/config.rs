//! How a Service's EndpointSlices are read, and which of its endpoints are wanted.

use std::time::Duration;

use meshless_core::{AddressPreference, WatchScheduleConfig};

use super::client::KubernetesClient;

/// Settings of the Kubernetes resolver. The defaults need no change in a pod.
///
/// Channels of one process that want the same Service, with the same client and the same intervals,
/// share one watch of it, whatever their ports and zones.
#[derive(Clone, Debug, Default)]
pub struct KubernetesConfig {
    pub(super) client: Option<KubernetesClient>,
    pub(super) zone: Option<String>,
    pub(super) addresses: AddressPreference,
    pub(super) schedule: WatchScheduleConfig,
}

impl KubernetesConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the API server through this client. Default: the pod's service account
    /// ([`KubernetesClient::in_pod`]).
    pub fn client(mut self, client: KubernetesClient) -> Self {
        self.client = Some(client);
        self
    }

    /// The zone that this process runs in, as in the node's label `topology.kubernetes.io/zone`.
    /// Default: unknown. With it, only the endpoints that the Service hints for this zone are used
    /// (`trafficDistribution: PreferSameZone`), as kube-proxy does. Where hints are missing or
    /// leave this zone nothing, all of them are, and calls stay in the zone as far as it can take
    /// them ([`ChannelBuilder::zone`](crate::ChannelBuilder::zone)). An empty name is no zone.
    ///
    /// From Kubernetes 1.35 (KEP-4742) a pod can be told its zone in an environment variable, and
    /// its process then says `config.zone(std::env::var("ZONE").unwrap_or_default())`:
    ///
    /// ```yaml
    /// env:
    /// - name: ZONE
    ///   valueFrom: { fieldRef: { fieldPath: "metadata.labels['topology.kubernetes.io/zone']" } }
    /// ```
    ///
    /// Before that, a Deployment for each zone can set it as text.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into()).filter(|zone| !zone.is_empty());
        self
    }

    pub(crate) fn own_zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Which address of a pod that has several is used. Default [`AddressPreference::Ipv4First`].
    pub fn addresses(mut self, preference: AddressPreference) -> Self {
        self.addresses = preference;
        self
    }

    /// How long one watch lasts, ± 20 %, before the API server ends it and the next one goes on
    /// from there; one that is still silent a tenth later counts as dead. Default 2 min: it bounds
    /// how long a connection that was cut without a word hides new pods. The second watch in a row
    /// that brings nothing, for whatever reason, is followed by a list. When every known endpoint
    /// fails, the slices are listed again at once.
    pub fn watch_timeout(mut self, timeout: Duration) -> Self {
        self.schedule = self.schedule.watch_timeout(timeout);
        self
    }

    /// How long changes are gathered before they are used, so that a rollout is tens of updates and
    /// not thousands. Default 100 ms, and 20 µs more for each endpoint of the Service. The first
    /// list is used at once.
    pub fn debounce(mut self, wait: Duration) -> Self {
        self.schedule = self.schedule.debounce(wait);
        self
    }

    /// The pause after a failed request. Each further one is 1.6 times as long, ± 20 %, up to 30
    /// times. Default 1 s.
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.retry_interval(interval);
        self
    }

    /// How often it is tried again after the API server has said that this client may not read
    /// EndpointSlices. Default 3 min.
    pub fn denied_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.denied_interval(interval);
        self
    }
}
