//! How often DNS is asked, and for what.

use std::time::Duration;

use meshless_core::DnsScheduleConfig;

/// Settings of the DNS resolver. The defaults suit Kubernetes.
///
/// A name is asked again when its records expire, so a cluster's own TTL is what bounds how late a
/// change is seen: CoreDNS hands out 5 s by default, 30 s in many installations. What lies between
/// (NodeLocal DNSCache, CoreDNS's `cache`) counts the TTL down, so asking at its end is asking when
/// the answer can first be different.
///
/// Channels of one process that look up the same name with the same settings share its lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnsConfig {
    pub(super) schedule: DnsScheduleConfig,
    pub(super) lookup_timeout: Duration,
    pub(super) families: AddressFamilies,
}

impl DnsConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shortest wait between two lookups by polling, whatever the TTL; each wait is stretched
    /// or shortened by up to 20 %. Default 2 s: below CoreDNS's TTL of 5 s, so that it only guards
    /// against records of 0 or 1 s and the last second of a counted-down TTL. With 1 000 pods and 2
    /// s, DNS sees 1 000 queries a second for A and AAAA. A ceiling below it is raised to it.
    pub fn poll_floor(mut self, floor: Duration) -> Self {
        self.schedule = self.schedule.poll_floor(floor);
        self
    }

    /// The longest wait between two lookups by polling. A name that fails is asked again after 5 s
    /// at most, or after this if it is shorter. Default 30 s: new pods get calls within that time
    /// even if their records were published with a TTL of minutes. A floor above it is lowered to
    /// it.
    pub fn poll_ceiling(mut self, ceiling: Duration) -> Self {
        self.schedule = self.schedule.poll_ceiling(ceiling);
        self
    }

    /// The shortest time between two lookups on demand, such as after a connection was lost; also
    /// the first backoff of a name that fails. Default 1 s, where gRPC has 30 s: a rolling restart
    /// replaces every pod in less. When every known address has failed, up to three lookups do not
    /// wait for it; one of these comes back every five intervals.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.min_interval(interval);
        self
    }

    /// How long one lookup may take, search path, both families and a change to TCP included.
    /// Default 5 s.
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout.clamp(LEAST, MOST);
        self
    }

    /// Which records to ask for. Default [`AddressFamilies::Both`].
    pub fn families(mut self, families: AddressFamilies) -> Self {
        self.families = families;
        self
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            schedule: DnsScheduleConfig::default(),
            lookup_timeout: Duration::from_secs(5),
            families: AddressFamilies::Both,
        }
    }
}

/// Which addresses of a name become endpoints.
///
/// DNS does not say which IPv4 and which IPv6 address belong to the same pod, so with both families
/// a dual-stack pod is two endpoints: two connections, and twice the share of a pod that has one
/// family only. In a service whose pods are all alike the shares stay equal; where they are not,
/// choose one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressFamilies {
    /// A and AAAA records, every address an endpoint (gRFC A61 treats them alike). A family that
    /// this host has no route for is left out if the other one has addresses: a client without IPv6
    /// would only collect failures.
    #[default]
    Both,
    /// A records only: half the queries.
    Ipv4,
    /// AAAA records only.
    Ipv6,
}

/// Nothing is done more often than this, whatever is asked for.
const LEAST: Duration = Duration::from_millis(10);
/// Nothing waits longer: it keeps sums of instants far from overflow.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);
