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
    let addresses: Vec<_> = (0..count).map(|n| Ipv4Addr::new(127, 0, 0, n.saturating_add(2))).collect();
    addresses.iter().all(|address| TcpListener::bind((*address, 0)).is_ok()).then_some(addresses)
}

/// macOS reports no hard limit, but refuses a soft one above `OPEN_MAX`.
const MACOS_OPEN_MAX: u64 = 10_240;
