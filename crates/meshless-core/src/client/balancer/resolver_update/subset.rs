//! A subset of the endpoints, for when every client connecting to every endpoint makes too many
//! connections (gRFC A68).
//!
//! Rendezvous hashing: each client ranks the endpoints by its own hash, and takes the first ones.
//! Clients then spread over the endpoints at random, and "a change of one endpoint changes at most
//! one entry" of any client's subset. Random is uneven: with subsets of `d` of `m` endpoints at `n`
//! clients, the standard deviation of the load is √((m−d)/(d·n)) of its mean, 10 % for 20 of 100 at
//! 400 clients. The subset does not depend on the health of endpoints; otherwise it would not be
//! stable.

use std::num::NonZeroUsize;

use crate::client::balancer::BalancerConfig;
use crate::client::picker::Policy;
use crate::endpoint::{Address, Endpoint};
use crate::rng::Rng;
use crate::xxh64::xxh64;

/// The endpoints that one client uses, of those that the resolver names. It is a subset if one is
/// set, and never more than [`endpoints_max`](crate::BalancerConfig::endpoints_max).
#[derive(Debug)]
pub(super) struct Subset {
    asked_for: Option<NonZeroUsize>,
    max: NonZeroUsize,
    /// This client's seed, drawn when first needed.
    seed: Option<u64>,
    left_out: usize,
    /// True if `endpoints_max` leaves endpoints out, and not a configured subset.
    is_bounded: bool,
}

impl Subset {
    pub(super) fn new(config: &BalancerConfig) -> Self {
        Self {
            asked_for: config.subset_size.filter(|_| config.policy != Policy::PickFirst),
            max: config.most_endpoints(),
            seed: None,
            left_out: 0,
            is_bounded: false,
        }
    }

    /// Returns how many endpoints of the last set the subset leaves out.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Returns the endpoints to use. The flag is true if `endpoints_max`, and not a configured
    /// subset, leaves some out from now on. It is set once each time this begins, for the log.
    pub(super) fn of(&mut self, full: Vec<Endpoint>, rng: &mut Rng) -> (Vec<Endpoint>, bool) {
        let size = self.asked_for.map_or(self.max, |size| size.min(self.max));
        let (used, left_out) = if self.asked_for.is_some() || full.len() > size.get() {
            subset(full, size, *self.seed.get_or_insert_with(|| rng.next_u64()))
        } else {
            (full, 0)
        };
        self.left_out = left_out;
        let was_bounded = self.is_bounded;
        self.is_bounded = left_out > 0 && self.asked_for.is_none_or(|size| size > self.max);
        (used, self.is_bounded && !was_bounded)
    }
}

/// Returns the endpoints to use, each address once, and how many are left out. `seed` is the
/// client's.
fn subset(full: Vec<Endpoint>, size: NonZeroUsize, seed: u64) -> (Vec<Endpoint>, usize) {
    let mut ranked: Vec<_> =
        full.into_iter().map(|endpoint| (rank(&endpoint.address, seed), endpoint)).collect();
    // The sort is stable: of endpoints with the same address the first counts, as without a subset.
    ranked.sort_by(|(a, left), (b, right)| (a, &left.address).cmp(&(b, &right.address)));
    ranked.dedup_by(|(_, later), (_, earlier)| later.address == earlier.address);
    let left_out = ranked.len().saturating_sub(size.get());
    (ranked.into_iter().take(size.get()).map(|(_, endpoint)| endpoint).collect(), left_out)
}

/// "XXH64 of the endpoint's first address, as a string, with the client's seed".
fn rank(address: &Address, seed: u64) -> u64 {
    xxh64(address.to_string().as_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    fn full(servers: impl IntoIterator<Item = u8>) -> Vec<Endpoint> {
        let endpoint = |n| Endpoint::new(SocketAddr::from(([10, 0, 0, n], 50051)));
        servers.into_iter().map(endpoint).collect()
    }

    fn chosen(servers: impl IntoIterator<Item = u8>, seed: u64) -> BTreeSet<Address> {
        let (chosen, _) = subset(full(servers), NonZeroUsize::new(5).unwrap(), seed);
        assert!(chosen.len() <= 5);
        chosen.into_iter().map(|endpoint| endpoint.address).collect()
    }

    #[test]
    fn one_endpoint_more_or_less_changes_at_most_one_entry() {
        for seed in 0..200 {
            let before = chosen(1..=20, seed);
            assert_eq!(before.len(), 5);
            for gone in 1..=20 {
                let after = chosen((1..=20).filter(|server| *server != gone), seed);
                assert!(before.difference(&after).count() <= 1 && after.difference(&before).count() <= 1);
            }
        }
    }

    #[test]
    fn clients_spread_over_the_endpoints() {
        let mut counts = [0u32; 21];
        for seed in 0..4000 {
            for address in chosen(1..=20, seed) {
                let Address::Tcp(SocketAddr::V4(address)) = address else { panic!("{address}") };
                counts[usize::from(address.ip().octets()[3])] += 1;
            }
        }
        // 1000 ± 5 standard deviations (√(4000 · ¼ · ¾) ≈ 27).
        assert!(counts[1..].iter().all(|count| count.abs_diff(1000) < 137), "{counts:?}");
    }

    #[test]
    fn fewer_than_the_size_are_all_used_once() {
        let (chosen, left_out) = subset(full([3, 1, 3]), NonZeroUsize::new(5).unwrap(), 7);
        assert_eq!((chosen.len(), left_out), (2, 0));
    }
}
