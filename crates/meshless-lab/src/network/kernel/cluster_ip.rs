//! A ClusterIP in the form of kube-proxy's nftables mode.
//!
//! `numgen random mod N` draws once per connection, because a connection's first packet decides the
//! translation and connection tracking remembers it. A change of the backends replaces the rules in
//! one transaction and leaves existing connections where they are. The kernel draws without a seed.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use super::program;
use crate::network::error::NetworkError;

/// A virtual address and its rules. Dropping it removes them; existing connections continue.
#[derive(Debug)]
pub struct KernelClusterIp {
    table: String,
    address: SocketAddr,
}

impl KernelClusterIp {
    /// The n-th one, at this address.
    ///
    /// # Errors
    /// If the rules are refused.
    pub(super) async fn start(
        n: u16,
        address: Ipv4Addr,
        backends: &[SocketAddr],
    ) -> Result<Self, NetworkError> {
        let cluster_ip = Self { table: format!("meshless-service-{n}"), address: (address, PORT).into() };
        cluster_ip.set_backends(backends).await?;
        Ok(cluster_ip)
    }

    /// Sends new connections to `backends` from now on; without any, they are refused.
    ///
    /// # Errors
    /// If the rules are refused; they are then as before.
    pub async fn set_backends(&self, backends: &[SocketAddr]) -> Result<(), NetworkError> {
        program::nft(&rules(&self.table, self.address, backends)).await
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for KernelClusterIp {
    fn drop(&mut self) {
        let mut nft = Command::new("nft");
        nft.args(["delete", "table", "ip", &self.table]);
        // Remaining rules match an address that nobody uses again.
        let _ = nft.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Returns rules that replace the table. It is added first because only an existing table can be
/// deleted.
fn rules(table: &str, address: SocketAddr, backends: &[SocketAddr]) -> String {
    let (ip, port) = (address.ip(), address.port());
    let mut text = format!("add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n");
    let mut verdicts = Vec::new();
    for (n, backend) in backends.iter().enumerate() {
        // Writing into a string does not fail.
        let _ = write!(text, "  chain endpoint-{n} {{\n    meta l4proto tcp dnat to {backend}\n  }}\n");
        verdicts.push(format!("{n} : goto endpoint-{n}"));
    }
    let _ = match backends.len() {
        0 => write!(
            text,
            "  chain no-endpoints {{\n    type filter hook prerouting priority 0; policy accept;\n    \
             ip daddr {ip} tcp dport {port} reject\n  }}\n"
        ),
        many => write!(
            text,
            "  chain service {{\n    numgen random mod {many} vmap {{ {} }}\n  }}\n  \
             chain services {{\n    type nat hook prerouting priority -100; policy accept;\n    \
             ip daddr {ip} tcp dport {port} goto service\n  }}\n",
            verdicts.join(", ")
        ),
    };
    text + "}\n"
}

/// What keeps connections that exist going while tables of cluster IPs come and go, or have no
/// backends: the kernel translates only while there is a chain of type nat, and tracks connections
/// only while there is a rule that asks for it. Without either, packets of old connections would
/// pass untranslated. The rule is one that kube-proxy has as well.
pub(super) const BASE_RULES: &str = "\
table ip meshless-node {
  chain translation {
    type nat hook prerouting priority -100; policy accept;
  }
  chain tracking {
    type filter hook forward priority 0; policy accept;
    ct state invalid drop
  }
}
";

/// The port of every cluster IP.
pub(super) const PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_for(backends: &[&str]) -> String {
        let backends: Vec<_> = backends.iter().map(|backend| backend.parse().unwrap()).collect();
        rules("t", "10.96.0.1:80".parse().unwrap(), &backends)
    }

    #[test]
    fn a_connection_is_drawn_among_all_backends() {
        assert_eq!(
            rules_for(&["10.244.1.1:3001", "10.244.1.2:3002"]),
            "add table ip t\ndelete table ip t\ntable ip t {\n  \
             chain endpoint-0 {\n    meta l4proto tcp dnat to 10.244.1.1:3001\n  }\n  \
             chain endpoint-1 {\n    meta l4proto tcp dnat to 10.244.1.2:3002\n  }\n  \
             chain service {\n    numgen random mod 2 vmap { 0 : goto endpoint-0, 1 : goto endpoint-1 }\n  }\n  \
             chain services {\n    type nat hook prerouting priority -100; policy accept;\n    \
             ip daddr 10.96.0.1 tcp dport 80 goto service\n  }\n}\n"
        );
    }

    #[test]
    fn without_backends_connections_are_refused() {
        let text = rules_for(&[]);
        assert!(
            text.contains("ip daddr 10.96.0.1 tcp dport 80 reject\n") && !text.contains("numgen"),
            "{text}"
        );
    }
}
