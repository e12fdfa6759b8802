//! How a Service's EndpointSlices are read, and which of its endpoints are used.

use std::time::Duration;

use meshless_core::{AddressPreference, WatchScheduleConfig};

use super::client::KubernetesClient;

/// Settings of the Kubernetes resolver. In a pod the defaults need no change.
///
/// Channels of one process share one watch of a Service if they use the same client and the same
/// intervals. Their ports and zones may differ.
#[derive(Clone, Debug, Default)]
pub struct KubernetesConfig {
    pub(super) client: Option<KubernetesClient>,
    pub(super) zone: Option<String>,
    pub(super) addresses: AddressPreference,
    pub(super) schedule: WatchScheduleConfig,
}

impl KubernetesConfig {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the client for the API server. Default: the pod's service account
    /// ([`KubernetesClient::in_pod`]).
    pub fn client(mut self, client: KubernetesClient) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the zone of this process, as in the node's label `topology.kubernetes.io/zone`.
    /// Default: unknown.
    ///
    /// With it, only the endpoints that the Service hints for this zone are used
    /// (`trafficDistribution: PreferSameZone`), as in kube-proxy. If hints are missing or leave no
    /// endpoint for this zone, all endpoints are used, and calls stay in the zone as far as its
    /// capacity allows ([`ChannelBuilder::zone`](crate::ChannelBuilder::zone)). An empty name means
    /// unknown.
    ///
    /// From Kubernetes 1.35 (KEP-4742) an environment variable can hold the pod's zone. Then use
    /// `config.zone(std::env::var("ZONE").unwrap_or_default())`:
    ///
    /// ```yaml
    /// env:
    /// - name: ZONE
    ///   valueFrom: { fieldRef: { fieldPath: "metadata.labels['topology.kubernetes.io/zone']" } }
    /// ```
    ///
    /// Before 1.35, a Deployment for each zone can set the variable as text.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into()).filter(|zone| !zone.is_empty());
        self
    }

    pub(crate) fn own_zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Sets which address of a pod with several is used. Default [`AddressPreference::Ipv4First`].
    pub fn addresses(mut self, preference: AddressPreference) -> Self {
        self.addresses = preference;
        self
    }

    /// Sets how long one watch lasts, ± 20 %, before the API server ends it. Default 2 min.
    ///
    /// The next watch continues from there. A watch that is still silent a tenth later counts as
    /// dead, so this bounds how long a connection that was cut silently hides new pods. After two
    /// watches in a row that bring nothing, for whatever reason, the slices are listed. When every
    /// known endpoint fails, they are listed at once.
    pub fn watch_timeout(mut self, timeout: Duration) -> Self {
        self.schedule = self.schedule.watch_timeout(timeout);
        self
    }

    /// Sets how long changes are collected before they are used. Default 100 ms, and 20 µs more for
    /// each endpoint of the Service.
    ///
    /// A rollout is then tens of updates, not thousands. The first list is used at once.
    pub fn debounce(mut self, wait: Duration) -> Self {
        self.schedule = self.schedule.debounce(wait);
        self
    }

    /// Sets the pause after a failed request. Each further pause is 1.6 times as long, ± 20 %, up
    /// to 30 times. Default 1 s.
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.retry_interval(interval);
        self
    }

    /// Sets the pause between requests while the API server denies this client the EndpointSlices.
    /// Default 3 min.
    pub fn denied_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.denied_interval(interval);
        self
    }
}
