//! A pod: a network namespace with one link to the node.
//!
//! The namespace has no name. It exists as long as a process is in it. The first one is a `cat`
//! that waits for its stdin to close: when the pod is dropped, or when this process ends for any
//! reason.

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{KernelNetwork, program};
use crate::network::error::NetworkError;

/// A network namespace with an address. It is removed when the pod is dropped and the processes in
/// it have ended.
#[derive(Debug)]
pub struct KernelPod {
    address: Ipv4Addr,
    /// `/proc/<pid>/ns/net` of the process that keeps the namespace.
    namespace: String,
    is_cut_off: AtomicBool,
    _keeper: Child,
}

impl KernelPod {
    /// Starts the n-th pod, at this address.
    ///
    /// # Errors
    /// If its namespace or its link cannot be created.
    pub(super) async fn start(n: u16, address: Ipv4Addr) -> Result<Self, NetworkError> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", KEEP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C at the terminal is for the parent.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut ready = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready).await?;
        }
        let Some(pid) = keeper.id().filter(|_| !ready.is_empty()) else {
            let output = keeper.wait_with_output().await?;
            let said = program::first_line(&output.stderr, &output.status.to_string());
            return Err(NetworkError::Namespace(said));
        };
        let pod = Self {
            address,
            namespace: format!("/proc/{pid}/ns/net"),
            is_cut_off: AtomicBool::new(false),
            _keeper: keeper,
        };
        let node = KernelNetwork::NODE_ADDRESS;
        // `replace`: the route of an earlier pod with this address may still exist. The index
        // differs from eth0's, which is 2: a link whose index equals its peer's does not count as a
        // link to elsewhere, and the kernel takes up to a second longer to notice that it is up
        // (linkwatch_urgent_event).
        let index = u32::from(n) + INDEX_FIRST;
        let outside = format!(
            "link add pod{n} index {index} type veth peer name eth0 netns {pid}\nlink set pod{n} up\n\
             route replace {address}/32 dev pod{n} src {node}\n"
        );
        program::ip(&outside).await?;
        let inside = format!(
            "address add {address}/32 dev eth0\nlink set eth0 up\n\
             route add {node}/32 dev eth0\nroute add default via {node}\n"
        );
        let mut ip = pod.command(OsStr::new("ip"));
        ip.args(["-batch", "-"]);
        program::feed("ip", ip, &inside).await?;
        pod.wait_until_reachable().await?;
        Ok(pod)
    }

    /// Sends a first SYN until it is answered. A new link loses packets until the kernel has
    /// noticed on both sides that it is up, and a lost SYN would cost a connection a second.
    /// Nothing listens in the pod yet, so success is a refused connection.
    async fn wait_until_reachable(&self) -> Result<(), NetworkError> {
        for _ in 0..REACH_ATTEMPTS {
            match timeout(REACH_TIMEOUT, TcpStream::connect((self.address, REACH_PORT))).await {
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                Ok(_) => sleep(REACH_TIMEOUT).await,
                Err(_) => {}
            }
        }
        Err(NetworkError::Unreachable(self.address))
    }

    /// Returns a command that runs `program` in this namespace.
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace)).arg("--").arg(program);
        command
    }

    /// Returns the file of this namespace, for setns(2).
    #[cfg(test)]
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Drops every packet from and to this pod; neither side is notified.
    ///
    /// # Errors
    /// If the rule is refused.
    pub async fn cut_off(&self) -> Result<(), NetworkError> {
        program::nft(&format!("add element ip {CUT_OFF} {{ {} }}\n", self.address)).await?;
        self.is_cut_off.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    /// If the rule is refused.
    pub async fn reconnect(&self) -> Result<(), NetworkError> {
        if self.is_cut_off.swap(false, Ordering::Relaxed) {
            program::nft(&format!("delete element ip {CUT_OFF} {{ {} }}\n", self.address)).await?;
        }
        Ok(())
    }
}

impl Drop for KernelPod {
    fn drop(&mut self) {
        if !*self.is_cut_off.get_mut() {
            return;
        }
        // The next pod at this address must not start cut off. If this fails, the run is over
        // anyway.
        let mut nft = std::process::Command::new("nft");
        nft.arg(format!("delete element ip {CUT_OFF} {{ {} }}", self.address));
        let _ = nft.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Table and set of the addresses that are cut off.
const CUT_OFF: &str = "meshless-faults cut-off";

/// Before connection tracking on input, after everything on output: there the address is always the
/// pod's, translated or not.
pub(super) const CUT_OFF_RULES: &str = "\
table ip meshless-faults {
  set cut-off {
    type ipv4_addr
  }
  chain from-pods {
    type filter hook prerouting priority -300; policy accept;
    ip saddr @cut-off drop
  }
  chain to-pods {
    type filter hook postrouting priority 300; policy accept;
    ip daddr @cut-off drop
  }
}
";

/// Above the numbers that a new namespace uses itself.
const INDEX_FIRST: u32 = 100;

/// Port of the discard service (RFC 863), which nobody runs.
const REACH_PORT: u16 = 9;

/// How long a connection over one link may take: a thousand times the normal time.
const REACH_TIMEOUT: Duration = Duration::from_millis(50);

/// Ten seconds; the kernel checks a new link within one.
const REACH_ATTEMPTS: u32 = 200;

/// Prints a word when the namespace exists, then keeps it until stdin closes.
///
/// A client with a connection per call needs more ports than Linux's default, and must not wait a
/// minute until each is free again; on loopback the kernel reuses them by itself (tcp_tw_reuse =
/// 2).
const KEEP: &str = "\
ip link set lo up && \
echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range && \
echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse && \
echo ready && exec cat";
