//! The kernel's network with real namespaces and rules.
//!
//! Ignored by default, because they need root, `nft` and `ip`: `cargo test -p meshless-lab --lib
//! kernel -- --ignored`. Each starts itself again in its own namespace, so that the host's network
//! is not changed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;

#[test]
fn no_two_pods_share_an_address_and_none_looks_like_a_network() {
    let addresses: std::collections::BTreeSet<_> = (0..50_000).map(|n| nth([10, 0, 0], n)).collect();
    assert_eq!(addresses.len(), 50_000);
    assert!(addresses.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
    assert!(!(0..=u16::MAX).any(|n| nth([10, 244, 1], n) == KernelNetwork::NODE_ADDRESS));
    assert_eq!(nth([10, 244, 1], 254), Ipv4Addr::new(10, 244, 2, 1));
}

#[test]
#[ignore = "needs root, nft and ip"]
fn each_connection_reaches_a_random_backend() {
    in_a_namespace("each_connection_reaches_a_random_backend", async {
        let network = KernelNetwork::make_node().await.unwrap();
        let pods = [backend(&network, 0).await, backend(&network, 1).await, backend(&network, 2).await];
        let cluster_ip =
            network.cluster_ip(pods.iter().map(|(_, address)| *address).collect()).await.unwrap();
        let client = network.pod(network.address()).await.unwrap();
        let mut counts = [0_u32; 3];
        let n = 300;
        for _ in 0..n {
            counts
                [usize::from(TestStream::open(&client, cluster_ip.local_addr()).unwrap().ask().unwrap())] +=
                1;
        }
        // Five standard deviations of a binomial count, √(n · ⅓ · ⅔): the kernel's draw has no seed
        // to repeat.
        let tolerance = 5.0 * (f64::from(n) * 2.0 / 9.0).sqrt();
        assert!(counts.iter().all(|count| (f64::from(*count) - 100.0).abs() <= tolerance), "{counts:?}");
    });
}

#[test]
#[ignore = "needs root, nft and ip"]
fn connections_that_exist_stay_when_backends_change() {
    in_a_namespace("connections_that_exist_stay_when_backends_change", async {
        let network = KernelNetwork::make_node().await.unwrap();
        let ((_old_pod, old), (_new_pod, new)) = (backend(&network, 0).await, backend(&network, 1).await);
        let cluster_ip = network.cluster_ip(vec![old]).await.unwrap();
        let client = network.pod(network.address()).await.unwrap();
        let mut kept = TestStream::open(&client, cluster_ip.local_addr()).unwrap();
        assert_eq!(kept.ask().unwrap(), 0);
        cluster_ip.set_backends(&[new]).await.unwrap();
        assert_eq!(TestStream::open(&client, cluster_ip.local_addr()).unwrap().ask().unwrap(), 1);
        assert_eq!(kept.ask().unwrap(), 0);
        cluster_ip.set_backends(&[]).await.unwrap();
        let refused = TestStream::open(&client, cluster_ip.local_addr()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(kept.ask().unwrap(), 0);
    });
}

#[test]
#[ignore = "needs root, nft and ip"]
fn a_pod_that_is_cut_off_is_silent_until_it_is_reconnected() {
    in_a_namespace("a_pod_that_is_cut_off_is_silent_until_it_is_reconnected", async {
        let network = KernelNetwork::make_node().await.unwrap();
        let (pod, address) = backend(&network, 0).await;
        let client = network.pod(network.address()).await.unwrap();
        let mut kept = TestStream::open(&client, address).unwrap();
        assert_eq!(kept.ask().unwrap(), 0);
        pod.cut_off().await.unwrap();
        // Neither a refusal nor a reset: nothing at all.
        assert_eq!(TestStream::open(&client, address).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(kept.ask().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        pod.reconnect().await.unwrap();
        assert_eq!(TestStream::open(&client, address).unwrap().ask().unwrap(), 0);
    });
}

#[test]
#[ignore = "needs root, nft and ip"]
fn an_address_can_be_used_again_at_once_and_is_not_born_cut_off() {
    in_a_namespace("an_address_can_be_used_again_at_once_and_is_not_born_cut_off", async {
        let network = KernelNetwork::make_node().await.unwrap();
        let address = network.address();
        for _ in 0..3 {
            let (pod, address) = backend_at(&network, address, 0).await;
            let client = network.pod(network.address()).await.unwrap();
            assert_eq!(TestStream::open(&client, address).unwrap().ask().unwrap(), 0);
            pod.cut_off().await.unwrap();
        }
    });
}

/// Runs `body` in a new network namespace: this test, started again inside one.
fn in_a_namespace(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(async { tokio::time::timeout(LONGEST, body).await.unwrap() });
    }
    let mut again = Command::new("unshare");
    again.args(["--net", "--"]).arg(std::env::current_exe().unwrap());
    again.args(["--ignored", "--exact", &format!("network::kernel::tests::{test}")]).env(INSIDE, "1");
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Returns a pod at a new address that answers each byte with its index.
async fn backend(network: &KernelNetwork, index: u8) -> (KernelPod, SocketAddr) {
    backend_at(network, network.address(), index).await
}

async fn backend_at(network: &KernelNetwork, address: Ipv4Addr, index: u8) -> (KernelPod, SocketAddr) {
    let pod = network.pod(address).await.unwrap();
    let listener = inside(&pod, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 3001))).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(
                move || while stream.read_exact(&mut [0]).is_ok() && stream.write_all(&[index]).is_ok() {},
            );
        }
    });
    (pod, (address, 3001).into())
}

#[derive(Debug)]
struct TestStream(TcpStream);

impl TestStream {
    fn open(client: &KernelPod, to: SocketAddr) -> io::Result<Self> {
        let stream = inside(client, move || TcpStream::connect_timeout(&to, PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    fn ask(&mut self) -> io::Result<u8> {
        let mut answer = [0];
        self.0.write_all(b"?")?;
        self.0.read_exact(&mut answer)?;
        Ok(answer[0])
    }
}

/// Makes a socket in the pod. Any thread can use it; only the thread that makes it must enter the
/// namespace.
fn inside<T: Send + 'static>(pod: &KernelPod, make: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = fs::File::open(pod.namespace()).unwrap();
    let made = thread::spawn(move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
            .unwrap();
        make()
    });
    made.join().unwrap()
}

/// Set if a test runs in its namespace.
const INSIDE: &str = "MESHLESS_TEST_INSIDE";

/// How long no answer must come.
const PATIENCE: Duration = Duration::from_millis(500);

/// No test may hang.
const LONGEST: Duration = Duration::from_secs(20);
