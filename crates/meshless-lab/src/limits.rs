//! What the system allows a run: file descriptors, and addresses of the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's soft limit of file descriptors as far as the hard one allows, and returns
/// what it is then. Children inherit it.
pub(crate) fn raise_file_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    for wanted in [limit.maximum, Some(MACOS_OPEN_MAX)] {
        // An error is no harm: the next smaller wish is tried, or the limit stays.
        if wanted > limit.current && setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit }).is_ok()
        {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The addresses of `count` backends: 127.0.0.2 and those after it, because a DNS name gives
/// addresses but no ports. None if the system has not got them all.
pub(crate) fn loopback_addresses(count: u8) -> Option<Vec<Ipv4Addr>> {
    let addresses: Vec<_> = (0..count).map(loopback_address).collect();
    addresses.iter().all(is_here).then_some(addresses)
}

/// How many of these addresses the system has, of the first `max`.
pub(crate) fn loopback_addresses_max(max: u8) -> usize {
    (0..max).map(loopback_address).take_while(is_here).count()
}

fn loopback_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, n.saturating_add(2))
}

fn is_here(address: &Ipv4Addr) -> bool {
    TcpListener::bind((*address, 0)).is_ok()
}

/// Files that a process has open beside its calls' connections, generously.
pub(crate) const FILES_SPARE: u64 = 64;

/// macOS reports no hard limit, but refuses a soft one above `OPEN_MAX`.
const MACOS_OPEN_MAX: u64 = 10_240;
