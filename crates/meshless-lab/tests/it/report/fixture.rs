//! Made-up runs: one that is plausible, and those that break careless reports. No measurement.

use std::collections::BTreeMap;

use meshless_lab::results::*;

/// Three strategies in bursts of seven sizes, five on three backends for ten seconds.
pub(crate) fn run() -> Results {
    let mut results = empty();
    for (i, calls) in SIZES.into_iter().enumerate() {
        let rates = [
            ("connection-per-call", [0.0, 0.0, 0.0, 0.08, 0.41, 0.72, 0.89][i], 1.5),
            ("single-connection", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.23][i], 1.0),
            ("max-age-l4", [0.0, 0.0, 0.0, 0.0, 0.0, 0.012, 0.26][i], 1.02),
        ];
        for (strategy, rate, slowness) in rates {
            results.burst.push(burst(strategy, calls, rate, slowness));
        }
    }
    results.spread = vec![
        spread("connection-per-call", &|_, q| [0.334 + wobble(q) * 0.1, 0.33, 0.336 - wobble(q) * 0.1], 0, 0),
        spread("single-connection", &|_, _| [0.0, 1.0, 0.0], 0, 0),
        spread("max-age-l4", &|second, _| sticky(second), 10, 61),
        spread("max-age-dns", &|second, _| sticky(second * 5 + 2), 10, 44),
        spread("l7-proxy", &|_, _| [0.334, 0.333, 0.333], 0, 0),
    ];
    churn_into(&mut results);
    servers_into(&mut results);
    results
}

/// The same with one more strategy, even in each second and without a lost call.
pub(crate) fn with_strategy(name: &str) -> Results {
    let mut results = run();
    results.spread.push(spread(name, &|_, _| [0.334, 0.333, 0.333], 10, 0));
    for calls in SIZES {
        results.burst.push(burst(name, calls, if calls < 20_000 { 0.0 } else { 0.11 }, 0.95));
    }
    results
}

/// Runs that have nothing, too little, or only failures.
pub(crate) fn odd_runs() -> Vec<(&'static str, Results)> {
    let one_size = Results { burst: vec![burst("some new thing", 100, 0.5, 1.0)], ..empty() };
    let no_failure = Results { burst: vec![burst("single-connection", 100, 0.0, 1.0)], ..empty() };
    let mut one_backend = Results { spread: run().spread[1..3].to_vec(), ..empty() };
    for row in &mut one_backend.spread {
        row.backends = 1;
        row.share = BTreeMap::from([("127.0.0.2".into(), row.outcome.ok)]);
    }
    let mut all_failed = run();
    for outcome in all_failed
        .burst
        .iter_mut()
        .map(|r| &mut r.outcome)
        .chain(all_failed.spread.iter_mut().map(|r| &mut r.outcome))
    {
        let failed = outcome.ok + outcome.failed;
        *outcome = Outcome { failed, error_rate: 1.0, ..Outcome::default() };
        outcome.causes.deadline = failed;
        outcome.statuses.insert("DEADLINE_EXCEEDED".into(), failed);
    }
    for row in &mut all_failed.burst {
        row.error_rate_by_round = vec![1.0; 5];
    }
    for row in &mut all_failed.spread {
        row.share.clear();
        row.timeline.iter_mut().for_each(|s| *s = Second { failed: 1000, share: BTreeMap::new() });
        row.around_rotation.iter_mut().for_each(|s| {
            *s = AroundRotation { offset_ms: s.offset_ms, failed: 9, ..AroundRotation::default() }
        });
        (row.max_over_mean, row.max_over_mean_per_second) = (0.0, PerSecond::default());
    }
    let mut zero_rows = run();
    for row in &mut zero_rows.burst {
        row.outcome = Outcome::default();
        row.error_rate_by_round.clear();
    }
    for row in &mut zero_rows.spread {
        row.outcome = Outcome::default();
        row.timeline.clear();
        row.around_rotation.clear();
        row.share.clear();
    }
    let mut crowd = run();
    for i in 0..12 {
        let mut row = crowd.spread[2].clone();
        row.strategy = format!("experiment-with-a-rather-long-name-{i}");
        crowd.spread.push(row);
        crowd.burst.push(burst(&format!("experiment-with-a-rather-long-name-{i}"), 5_000, 0.0, 1.0));
    }
    vec![
        ("nothing", empty()),
        ("one size", one_size),
        ("no failure", no_failure),
        ("one backend", one_backend),
        ("all failed", all_failed),
        ("zero rows", zero_rows),
        ("crowd", crowd),
        ("burst only", Results { spread: vec![], churn: vec![], ..run() }),
        ("spread only", Results { burst: vec![], churn: vec![], complete: false, ..run() }),
        ("churn only", Results { burst: vec![], spread: vec![], ..run() }),
        ("odd churn", odd_churn()),
    ]
}

fn empty() -> Results {
    let versions = [
        ("meshless", "0.1.0"),
        ("tonic", "0.14.9"),
        ("hyper", "1.12.0"),
        ("h2", "0.4.20"),
        ("HAProxy", "3.2.4"),
    ];
    Results {
        schema_version: 2,
        command: "meshless compare --seed 7".into(),
        seed: 7,
        started_at: "2026-11-23T09:30:00Z".into(),
        took_s: 161.4,
        complete: true,
        versions: versions.into_iter().map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
        network: "loopback".into(),
        machine: Machine {
            os: "Linux 6.12.0".into(),
            cpu: "AMD EPYC 7B13".into(),
            cores: 2,
            memory_mib: 7_941,
            steal_fraction: Some(0.004),
            file_descriptors: 65_536,
        },
        settings: Settings {
            service_time_ms: 100.0,
            deadline_ms: 300.0,
            rounds: 5,
            backends: 3,
            rate: 1000.0,
            seconds: 10.0,
            max_connection_age_ms: 1000.0,
            max_connection_age_grace_ms: 1000.0,
            churn: ChurnSettings {
                rate: 200.0,
                service_time_ms: 20.0,
                deadline_ms: 500.0,
                seconds: 4.0,
                max_connection_age_ms: 3000.0,
            },
        },
        burst: vec![],
        spread: vec![],
        churn: vec![],
        events: vec![],
        levelling: vec![],
        bounce: vec![],
        notes: vec!["This run is made up: it tests the report, and measures nothing.".into()],
    }
}

fn burst(strategy: &str, calls: u64, rate: f64, slowness: f64) -> BurstRow {
    let all = calls * 5;
    let failed = (all as f64 * rate).round() as u64;
    let queue = calls as f64 * 0.011 * slowness;
    let at = |quantile: f64| (101.0 + queue * quantile).min(299.0);
    let latency =
        Latency { mean: at(0.5), p50: at(0.45), p90: at(0.9), p99: at(1.1), p999: at(1.2), max: at(1.25) };
    let spread = rate.min(1.0 - rate) * 0.3;
    BurstRow {
        strategy: strategy.into(),
        calls,
        rounds: 5,
        outcome: outcome(
            all - failed,
            failed,
            0.9,
            latency,
            if strategy == "connection-per-call" { all } else { 5 },
        ),
        error_rate_by_round: [-1.0, 0.5, 0.0, 1.0, -0.5].map(|w| rate + w * spread).to_vec(),
        start_spread_ms: calls as f64 * 0.002,
    }
}

/// Calls of `share(second, …)` among three backends at 1 000 calls a second, with failures spread
/// over the rotations.
fn spread(strategy: &str, share: &dyn Fn(usize, f64) -> [f64; 3], rotations: u64, failed: u64) -> SpreadRow {
    let mut timeline = Vec::new();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let mut maxima = Vec::new();
    for second in 0..10usize {
        let lost = failed / 10 + u64::from((second as u64) < failed % 10);
        let answered = 1000 - lost;
        let parts = share(second, second as f64);
        let mut calls = parts.map(|p| (p * answered as f64) as u64);
        let busiest = (0..3).max_by_key(|i| calls[*i]).unwrap();
        calls[busiest] += answered - calls.iter().sum::<u64>();
        maxima.push(calls[busiest] as f64 * 3.0 / answered as f64);
        let share: BTreeMap<String, u64> = calls
            .iter()
            .enumerate()
            .filter(|(_, c)| **c > 0)
            .map(|(i, c)| (format!("127.0.0.{}", i + 2), *c))
            .collect();
        share.iter().for_each(|(b, c)| *totals.entry(b.clone()).or_default() += c);
        timeline.push(Second { share, failed: lost });
    }
    maxima.sort_by(f64::total_cmp);
    let ok = 10_000 - failed;
    let latency = Latency {
        mean: 102.0,
        p50: 101.4,
        p90: 103.1,
        p99: if rotations > 0 { 141.0 } else { 105.0 },
        p999: 180.0,
        max: 262.0,
    };
    SpreadRow {
        strategy: strategy.into(),
        backends: 3,
        calls: 10_000,
        outcome: outcome(ok, failed, 0.0, latency, rotations + 1),
        max_over_mean: *totals.values().max().unwrap() as f64 * 3.0 / ok as f64,
        share: totals,
        max_over_mean_per_second: PerSecond { p50: maxima[5], max: maxima[9] },
        rotations,
        start_lag_ms_p99: 0.3,
        timeline,
        rotations_at_ms: (0..rotations).map(|i| 930.0 + i as f64 * 985.0).collect(),
        around_rotation: if rotations > 0 { around(failed) } else { vec![] },
    }
}

fn around(failed: u64) -> Vec<AroundRotation> {
    let slice = |i: i32| {
        let offset = f64::from(i) * 20.0;
        let after = if offset >= 0.0 { (-offset / 120.0).exp() } else { 0.0 };
        let lost = if i == 0 {
            failed * 2 / 3
        } else if i == 1 {
            failed - failed * 2 / 3
        } else {
            0
        };
        AroundRotation {
            offset_ms: offset,
            ok: 200 - lost,
            failed: lost,
            p50_ms: 101.0 + 14.0 * after,
            p99_ms: 105.0 + 96.0 * after + f64::from(i.rem_euclid(5)),
        }
    };
    (-25..25).map(slice).collect()
}

/// Of the failures a part `late` by the deadline, nearly all others never executed.
fn outcome(ok: u64, failed: u64, late: f64, latency: Latency, connections: u64) -> Outcome {
    let deadline = (failed as f64 * late) as u64;
    let rest = failed - deadline;
    let processed = rest / 20;
    let never_sent = (rest - processed) / 3;
    let statuses =
        [("DEADLINE_EXCEEDED", deadline), ("CANCELLED", never_sent), ("INTERNAL", rest - never_sent)];
    Outcome {
        ok,
        failed,
        error_rate: failed as f64 / (ok + failed) as f64,
        statuses: statuses.into_iter().filter(|s| s.1 > 0).map(|(s, calls)| (s.to_owned(), calls)).collect(),
        causes: Causes { deadline, never_sent, sent_not_processed: rest - processed - never_sent, processed },
        duplicated: 0,
        executed_though_failed: processed,
        latency_ms: latency,
        cpu_us_per_call: Cpu { client: 48.0, server: 39.0 },
        connections_opened: connections,
        goaways_seen: connections - 1,
    }
}

/// Four events for three strategies: one that loses much, one that loses little, one that loses
/// nothing.
fn churn_into(results: &mut Results) {
    let events =
        [("sigkill", [34, 7, 0]), ("hung", [800, 260, 0]), ("scale", [0, 0, 0]), ("ageing", [0, 9, 0])];
    for (event, failed) in events {
        for (strategy, failed) in ["single-connection", "tonic-balance", "peak_ewma"].into_iter().zip(failed)
        {
            results.churn.push(churn(strategy, event, failed));
        }
        results.events.push(EventNote {
            event: event.into(),
            story: format!("What happens in {event}."),
            converged_when: "from its begin to the last call that failed".into(),
            watched_ms: 4000.0,
        });
    }
}

fn churn(strategy: &str, event: &str, failed: u64) -> ChurnRow {
    let latency = Latency { mean: 21.0, p50: 21.0, p90: 22.0, p99: 24.0, p999: 31.0, max: 33.0 };
    let whole = outcome(800 - failed, failed, 0.5, latency.clone(), 3);
    let slice = |i: u64| {
        let lost = if i >= 10 { failed / 40 } else { 0 };
        ChurnSlice {
            at_ms: i as f64 * 100.0 - 1000.0,
            ok: 20 - lost,
            failed: lost,
            concerned: if i > 20 { (20 - lost) / 2 } else { 0 },
            p50_ms: 21.0,
            p99_ms: 24.0 + (i % 7) as f64 * 30.0,
        }
    };
    ChurnRow {
        strategy: strategy.into(),
        event: event.into(),
        calls: 800,
        failed,
        error_rate: whole.error_rate,
        failed_by_cause: whole.causes,
        statuses: whole.statuses,
        duplicated: 0,
        executed_though_failed: whole.executed_though_failed,
        attempts_per_call: Some(1.0),
        connections_per_client: Some(4.0),
        start_lag_ms_p99: 0.4,
        converges: event != "ageing",
        converged_ms: (event != "ageing" && failed < 100).then_some(failed as f64 * 12.5),
        latency_ms: BeforeAfter { before: latency.clone(), after: latency },
        marks: vec![Mark { at_ms: 0.0, name: "begins".into() }, Mark { at_ms: 2000.0, name: "over".into() }],
        timeline: (0..50).map(slice).collect(),
    }
}

/// One strategy on plain ages and on levelled ones, one on servers that queue and on servers that
/// bounce.
fn servers_into(results: &mut Results) {
    results.levelling = vec![levelling(0), levelling(3)];
    results.bounce = vec![bounce(false), bounce(true)];
}

fn levelling(exponent: u32) -> LevellingRow {
    let sway = if exponent > 0 { 2.0 } else { 4.0 };
    let sample = |i: u32| {
        let shift = (f64::from(i) / 7.0).sin() * sway;
        let servers = [("backend-1", 20.0 + shift), ("backend-2", 20.0 - shift), ("backend-3", 20.0)];
        LevellingSample {
            at_ms: 5000.0 + f64::from(i) * 100.0,
            connections: servers.into_iter().map(|(name, n)| (name.to_owned(), n as u64)).collect(),
        }
    };
    LevellingRow {
        strategy: "pick_first".into(),
        exponent,
        backends: 3,
        clients: 60,
        max_connection_age_ms: 500.0,
        ages: 48.0,
        connections: 20.0,
        deviation: sway / 20.0,
        deviation_expected: if exponent > 0 { 0.101 } else { 0.183 },
        max_over_mean: 1.0 + sway / 25.0,
        rotations_per_age: if exponent > 0 { 1.1 } else { 1.0 },
        connections_opened: if exponent > 0 { 3300 } else { 3000 },
        calls: 28_800,
        failed: 0,
        duplicated: 0,
        timeline: (0..240).map(sample).collect(),
    }
}

fn bounce(bounces: bool) -> BounceRow {
    let k = if bounces { 0.5 } else { 1.0 };
    let latency = Latency {
        mean: 50.0 * k,
        p50: 40.0 * k,
        p90: 120.0 * k,
        p99: 260.0 * k,
        p999: 400.0 * k,
        max: 410.0,
    };
    BounceRow {
        strategy: "least_request".into(),
        bounces,
        backends: 10,
        workers: 4,
        clients: 100,
        service_time_ms: 20.0,
        service_time_ms_measured: 20.1,
        load: 0.95,
        calls: 45_600,
        goodput: 1900.0,
        attempts_per_call: if bounces { 1.9 } else { 1.0 },
        start_lag_ms_p99: 0.4,
        outcome: outcome(45_600, 0, 0.0, latency, 1000),
    }
}

/// An event without a note, one without a call, and one of which only some strategies have a row.
fn odd_churn() -> Results {
    let mut results = run();
    results.events.clear();
    results.churn[0] =
        ChurnRow { calls: 0, failed: 0, timeline: vec![], marks: vec![], ..results.churn[0].clone() };
    results.churn.remove(4);
    for row in results.churn.iter_mut().filter(|row| row.event == "scale") {
        *row = ChurnRow { failed: 800, error_rate: 1.0, converged_ms: None, ..row.clone() };
        row.timeline.iter_mut().for_each(|slice| (slice.ok, slice.failed) = (0, 20));
    }
    results
}

/// One backend for most of a second, its neighbour for the rest.
fn sticky(second: usize) -> [f64; 3] {
    let order = [1, 1, 0, 2, 0, 1, 2, 2, 0, 1, 0];
    let (here, next) = (order[second % 11], order[(second + 1) % 11]);
    let mut share = [0.0; 3];
    share[here] += 0.85;
    share[next] += 0.15;
    share
}

fn wobble(q: f64) -> f64 {
    (q * 2.3).sin()
}

const SIZES: [u64; 7] = [100, 500, 1_000, 2_000, 5_000, 10_000, 20_000];
