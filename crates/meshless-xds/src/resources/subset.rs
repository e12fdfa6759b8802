//! Which endpoints one client is told of, when it is not told of all.
//!
//! Rendezvous hashing: each client ranks the endpoints by a hash of both, and takes the first. So
//! the load is even over many clients, and an endpoint that comes or goes concerns only the clients
//! that have it. No gRPC client can do this itself by xDS (gRFC A68 has no xDS form).

use meshless_core::xxh64;

/// The `size` of `candidates` that rank highest for this client, in their order. `hashes` are those
/// of all endpoints' addresses.
pub(super) fn choose(candidates: &[usize], hashes: &[u64], client: u64, size: usize) -> Vec<usize> {
    if candidates.len() <= size {
        return candidates.to_vec();
    }
    let mut ranked: Vec<(u64, usize)> =
        candidates.iter().map(|at| (xxh64(&hashes[*at].to_le_bytes(), client), *at)).collect();
    ranked.select_nth_unstable_by(size, |one, other| other.cmp(one));
    ranked.truncate(size);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, at)| at).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: usize) -> Vec<u64> {
        (0..count).map(|n| xxh64(format!("10.0.0.{n}:1").as_bytes(), 0)).collect()
    }

    #[test]
    fn an_endpoint_that_goes_concerns_only_the_clients_that_had_it() {
        let hashes = hashes(200);
        let all: Vec<usize> = (0..200).collect();
        let without: Vec<usize> = (0..200).filter(|at| *at != 17).collect();
        let mut concerned = 0;
        for client in 0..1000 {
            let before = choose(&all, &hashes, client, 20);
            let after = choose(&without, &hashes, client, 20);
            assert_eq!((before.len(), after.len()), (20, 20));
            let kept = before.iter().filter(|at| after.contains(at)).count();
            assert_eq!(kept, if before.contains(&17) { 19 } else { 20 });
            concerned += usize::from(kept == 19);
        }
        // A tenth of them, 100 ± 9.5.
        assert!((60..=140).contains(&concerned), "{concerned}");
    }

    #[test]
    fn the_load_is_even_over_many_clients() {
        let hashes = hashes(100);
        let all: Vec<usize> = (0..100).collect();
        let mut load = [0u32; 100];
        for client in 0..5000 {
            for at in choose(&all, &hashes, client, 10) {
                load[at] += 1;
            }
        }
        // 500 ± 21 each; five deviations.
        assert!(load.iter().all(|load| (394..=606).contains(load)), "{load:?}");
    }

    #[test]
    fn a_subset_that_is_large_enough_is_all() {
        assert_eq!(choose(&[0, 1, 2], &hashes(3), 1, 3), [0, 1, 2]);
    }
}
