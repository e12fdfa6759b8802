//! The table of docs/guides/choosing-age.md, "What ageing cannot do": sticky connections lie as
//! thrown balls do.

use meshless_core::Rng;

/// Clients, then mean and 99th percentile of max / mean for 3, 10 and 100 servers, as the page has
/// them.
const TABLE: [(usize, [(f64, f64); 3]); 4] = [
    (3, [(1.89, 3.0), (4.3, 10.0), (34.0, 67.0)]),
    (10, [(1.48, 2.4), (2.7, 5.0), (14.0, 30.0)]),
    (100, [(1.15, 1.4), (1.5, 2.0), (4.2, 6.0)]),
    (1000, [(1.05, 1.1), (1.16, 1.3), (1.9, 2.4)]),
];
const SERVERS: [usize; 3] = [3, 10, 100];
const THROWS: usize = 3000;

#[test]
fn the_busiest_server_of_sticky_clients_is_as_the_docs_say() {
    let mut rng = Rng::new(1, 1);
    for (clients, row) in TABLE {
        for (servers, (mean, p99)) in SERVERS.into_iter().zip(row) {
            let mut ratios: Vec<f64> = (0..THROWS).map(|_| busiest(clients, servers, &mut rng)).collect();
            ratios.sort_by(f64::total_cmp);
            let seen = (ratios.iter().sum::<f64>() / THROWS as f64, ratios[THROWS * 99 / 100]);
            // The page rounds to two digits, and one more ball on the busiest is a step of servers
            // / clients.
            let step = servers as f64 / clients as f64;
            assert!(
                (seen.0 - mean).abs() <= 0.03 * mean,
                "{clients} on {servers}: mean {seen:?}, not {mean}"
            );
            assert!(
                (seen.1 - p99).abs() <= 0.05 * p99 + step,
                "{clients} on {servers}: p99 {seen:?}, not {p99}"
            );
        }
    }
}

/// The most connections that a server has, by the mean.
fn busiest(clients: usize, servers: usize, rng: &mut Rng) -> f64 {
    let mut connections = vec![0usize; servers];
    for _ in 0..clients {
        connections[rng.below(servers)] += 1;
    }
    let most = connections.into_iter().max().unwrap_or_default();
    most as f64 * servers as f64 / clients as f64
}
