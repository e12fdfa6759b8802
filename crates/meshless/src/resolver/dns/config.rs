//! How often DNS is asked, and for what.

use std::time::Duration;

use meshless_core::DnsScheduleConfig;

/// Settings of the DNS resolver. The defaults suit Kubernetes.
///
/// A name is looked up again when its records expire, so the cluster's TTL bounds how late a change
/// is seen. CoreDNS's TTL is 5 s by default, and 30 s in many installations. Caches in between
/// (NodeLocal DNSCache, CoreDNS's `cache`) count the TTL down, so the answer can first be different
/// when it expires.
///
/// Channels of one process that look up the same name with the same settings share its lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnsConfig {
    pub(super) schedule: DnsScheduleConfig,
    pub(super) lookup_timeout: Duration,
    pub(super) families: AddressFamilies,
}

impl DnsConfig {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the shortest wait between two lookups by polling, whatever the TTL. Default 2 s.
    ///
    /// Each wait is stretched or shortened by up to 20 %. The default is below CoreDNS's TTL of
    /// 5 s: it only matters for records of 0 or 1 s and for the last second of a TTL that was
    /// counted down. With 1 000 pods and 2 s, DNS gets 1 000 queries a second for A and AAAA. A
    /// lower ceiling is raised to this.
    pub fn poll_floor(mut self, floor: Duration) -> Self {
        self.schedule = self.schedule.poll_floor(floor);
        self
    }

    /// Sets the longest wait between two lookups by polling. Default 30 s.
    ///
    /// New pods get calls within that time even if their records have a TTL of minutes. A name that
    /// fails is looked up again after 5 s at most, or after this if it is shorter. A higher floor
    /// is lowered to this.
    pub fn poll_ceiling(mut self, ceiling: Duration) -> Self {
        self.schedule = self.schedule.poll_ceiling(ceiling);
        self
    }

    /// Sets the shortest time between two lookups on demand, for instance after a lost connection.
    ///
    /// It is also the first backoff of a name that fails. Default 1 s, where gRPC has 30 s: a
    /// rolling restart replaces every pod in less. When every known address has failed, up to three
    /// lookups do not wait for it; one of these three is available again every five intervals.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.schedule = self.schedule.min_interval(interval);
        self
    }

    /// Sets how long one lookup may take, including the search path, both families and a retry over
    /// TCP. Default 5 s.
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout.clamp(LEAST, MOST);
        self
    }

    /// Sets which records are looked up. Default [`AddressFamilies::Both`].
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
/// DNS does not tell which IPv4 and which IPv6 address belong to the same pod. With both families a
/// dual-stack pod is two endpoints: it has two connections, and twice the share of a pod with one
/// family. If all pods of a service are alike, the shares stay equal; if not, choose one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressFamilies {
    /// A and AAAA records; every address is an endpoint (gRFC A61 treats them alike). If this host
    /// has no route for one family and the other one has addresses, the first is left out: a client
    /// without IPv6 would only get failures.
    #[default]
    Both,
    /// A records only: half the queries.
    Ipv4,
    /// AAAA records only.
    Ipv6,
}

/// The minimum for all intervals.
const LEAST: Duration = Duration::from_millis(10);
/// The maximum for all intervals: it keeps sums of instants far from overflow.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);
