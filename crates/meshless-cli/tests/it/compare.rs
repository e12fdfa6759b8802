//! `meshless compare`, small: real processes, real sockets, what it writes and prints.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{meshless, run, stderr};

/// What the run wrote, which its schema must allow.
fn results(folder: &tempfile::TempDir) -> Value {
    let text = std::fs::read_to_string(folder.path().join("results.json")).unwrap();
    let results = serde_json::from_str(&text).unwrap();
    let schema = serde_json::from_str(include_str!("../../../meshless-lab/schema.json")).unwrap();
    if let Err(error) = jsonschema::validator_for(&schema).unwrap().validate(&results) {
        panic!("{error}");
    }
    results
}

#[test]
fn a_small_run_measures_what_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display();
    let output = run(&format!(
        "compare --experiments burst,spread --calls 50 --rounds 1 --seconds 2 --rate 100 --backends 3 --service-time 5ms --deadline 5s \
         --max-connection-age 300ms --strategies single-connection,connection-per-call,max-age-l4 --seed 7 --out {out}"
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    for name in ["single-connection", "connection-per-call", "max-age-l4"] {
        assert!(printed.contains(name), "{printed}");
    }
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(page.contains("max-age-l4") && page.contains("<svg"));
    let results = results(&folder);
    assert_eq!((&results["complete"], &results["seed"]), (&true.into(), &7.into()));
    assert_eq!(results["settings"]["service_time_ms"], 5.0);

    let burst = results["burst"].as_array().unwrap();
    assert_eq!(burst.len(), 3);
    for row in burst {
        assert_eq!((&row["calls"], &row["rounds"]), (&50.into(), &1.into()));
        // Five seconds are plenty for fifty calls; one that fails was lost, not late.
        if row["strategy"] != "max-age-l4" {
            assert_eq!((&row["ok"], &row["failed"]), (&50.into(), &0.into()), "{row}");
        }
        assert!(row["latency_ms"]["p50"].as_f64().unwrap() >= 5.0, "{row}");
        assert!(row["cpu_us_per_call"]["client"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["cpu_us_per_call"]["server"].as_f64().unwrap() > 0.0, "{row}");
    }

    let spread = |name: &str| {
        let rows = results["spread"].as_array().unwrap();
        rows.iter().find(|row| row["strategy"] == name).unwrap_or_else(|| panic!("no row {name}"))
    };
    let reached = |name: &str| {
        let share = spread(name)["share"].as_object().unwrap();
        assert_eq!(share.len(), 3, "{share:?}");
        share.values().filter(|calls| calls.as_u64() > Some(0)).count()
    };
    assert_eq!(reached("single-connection"), 1);
    assert_eq!(spread("single-connection")["max_over_mean"], 3.0);
    assert_eq!(spread("single-connection")["connections_opened"], 1);
    // That one of three is missed by 200 random choices has probability 3 · (2/3)²⁰⁰ < 10⁻³⁴.
    assert_eq!(reached("connection-per-call"), 3);
    let per_call = spread("connection-per-call");
    assert_eq!(per_call["connections_opened"], per_call["calls"]);
    let aged = spread("max-age-l4");
    assert!(aged["rotations"].as_u64() >= Some(2), "{aged}");
    assert!(aged["goaways_seen"].as_u64() >= aged["rotations"].as_u64(), "{aged}");
    assert_eq!(aged["around_rotation"].as_array().unwrap().len(), 20);
    for row in results["spread"].as_array().unwrap() {
        let causes: u64 = row["causes"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(row["failed"].as_u64(), Some(causes), "{row}");
        let answered = row["share"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
        assert_eq!(row["ok"].as_u64(), Some(answered), "{row}");
        assert_eq!(row["calls"].as_u64(), Some(answered + causes), "{row}");
        assert_eq!(row["duplicated"], 0, "{row}");
    }
}

#[test]
fn a_small_churn_tells_who_lost_what_to_a_kill_and_who_got_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&format!(
        "compare --experiments churn --events sigkill --seconds 2 --strategies single-connection,round_robin --seed 7 --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("sigkill"));
    let results = results(&folder);
    assert_eq!(results["events"].as_array().unwrap().len(), 1);
    let rows = results["churn"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let calls = row["calls"].as_u64().unwrap();
        assert!(calls > 200, "{row}");
        // Two of three backends live on: most calls are answered, even on a busy machine.
        assert!(row["failed"].as_u64().unwrap() < calls / 2, "{row}");
        let causes: u64 =
            row["failed_by_cause"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(row["failed"].as_u64(), Some(causes), "{row}");
        assert_eq!(row["duplicated"], 0, "{row}");
        assert_eq!(row["converges"], true, "{row}");
        // Two in three calls at least go to a backend that lives, and of those that fail few are
        // sent three times.
        let attempts = row["attempts_per_call"].as_f64().unwrap();
        assert!((0.5..3.0).contains(&attempts), "{row}");
        // One for each backend in use, and one or two after the kill.
        let opened = if row["strategy"] == "round_robin" { 3.0..=6.0 } else { 1.0..=6.0 };
        assert!(opened.contains(&row["connections_per_client"].as_f64().unwrap()), "{row}");
        assert_eq!(row["marks"][0]["name"], "begins");
        let in_slices: u64 =
            row["timeline"].as_array().unwrap().iter().filter_map(|slice| slice["ok"].as_u64()).sum();
        assert!(in_slices > 200, "{row}");
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn a_watch_of_endpoint_slices_brings_new_backends_their_share() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&format!(
        "compare --experiments spread,churn --events scale --seconds 3 --rate 100 --service-time 5ms --deadline 5s \
         --strategies round_robin+kubernetes --seed 7 --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let results = results(&folder);
    let share = results["spread"][0]["share"].as_object().unwrap();
    assert!(share.len() == 3 && share.values().all(|calls| calls.as_u64() > Some(0)), "{share:?}");
    let row = &results["churn"][0];
    assert!(row["converged_ms"].is_number(), "{row}");
    let concerned = |from: f64, to: f64| -> u64 {
        let slices = row["timeline"].as_array().unwrap().iter();
        let slices = slices.filter(|slice| (from..to).contains(&slice["at_ms"].as_f64().unwrap()));
        slices.filter_map(|slice| slice["concerned"].as_u64()).sum()
    };
    // The new backends are there at 0, and leave the Service at 13/20 of the 4.5 s that a scale is
    // watched in 3 s.
    assert!(concerned(500.0, 1500.0) > 0, "{row}");
    assert_eq!(concerned(3500.0, 4500.0), 0, "{row}");
}

#[test]
fn what_servers_do_about_balance_is_measured_beside_what_they_do_without() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&format!(
        "compare --experiments servers --seconds 1 --strategies pick_first,round_robin --seed 7 --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let results = results(&folder);
    let levelling = results["levelling"].as_array().unwrap();
    assert_eq!(levelling.iter().map(|row| &row["exponent"]).collect::<Vec<_>>(), [0, 3]);
    for row in levelling {
        // Each client has one connection, and at times none or, while one replaces the other, two.
        let connections = row["connections"].as_f64().unwrap();
        assert!((10.0..40.0).contains(&connections), "{row}");
        assert!(
            row["rotations_per_age"].as_f64() > Some(0.0) && row["timeline"].as_array().unwrap().len() > 3
        );
        assert_eq!(row["duplicated"], 0, "{row}");
    }
    let bounce = results["bounce"].as_array().unwrap();
    assert_eq!(bounce.iter().map(|row| &row["bounces"]).collect::<Vec<_>>(), [false, true]);
    for row in bounce {
        assert_eq!(
            (&row["duplicated"], row["attempts_per_call"].as_f64() > Some(1.0)),
            (&0.into(), row["bounces"] == true),
            "{row}"
        );
        assert!(row["ok"].as_u64() > Some(0), "{row}");
    }
}

#[test]
fn results_on_stdout_are_json_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&format!(
        "compare --json --experiments burst --strategies single-connection --calls 5 --rounds 1 --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["burst"][0]["ok"], 5);
    assert_eq!(printed, results(&folder));
    assert_eq!(stderr(&output), "");
}

#[test]
fn an_interrupted_run_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let child = meshless(&format!(
        "compare --experiments burst --strategies single-connection --calls 5 --rounds 1000 --service-time 1ms --out {}",
        folder.path().display()
    ))
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // A round takes a tenth of a second: some are done by now, and a thousand are far away.
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(begun.elapsed() < Duration::from_secs(5), "it went on for {:?}", begun.elapsed());
    let results = results(&folder);
    assert_eq!(results["complete"], false);
    let rounds = results["burst"][0]["rounds"].as_u64().unwrap();
    assert!((1..1000).contains(&rounds), "{rounds} rounds");
    assert_eq!(results["burst"][0]["ok"].as_u64(), Some(rounds * 5));
    assert!(results["notes"].to_string().contains("interrupted"), "{}", results["notes"]);
}
