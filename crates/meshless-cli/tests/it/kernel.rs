//! `meshless compare --network kernel`: refused in one line where it cannot be, and gone without a
//! trace where it can.
//!
//! Those that need root, `nft` and `ip` run when asked for: `cargo test -p meshless-cli --test it
//! kernel -- --ignored`.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{meshless, run, stderr};

fn assert_refused(output: &Output, says: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{stderr}");
    for words in says {
        assert!(stderr.contains(words), "{stderr} does not say {words}");
    }
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let output = meshless("compare --network kernel").env("PATH", "").output().unwrap();
    match cfg!(target_os = "linux") {
        true => assert_refused(&output, &["program nft", "apt-get install nftables"]),
        false => assert_refused(&output, &["needs Linux"]),
    }
}

#[test]
#[ignore = "needs root, nft and ip"]
fn a_user_who_is_not_root_is_told_so() {
    // Where any user may run it.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = folder.path().join("meshless");
    fs::copy(env!("CARGO_BIN_EXE_meshless"), &program).unwrap();
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()).status().unwrap().success());
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    assert_refused(
        &nobody.args(["compare", "--network", "kernel"]).output().unwrap(),
        &["only root", "sudo"],
    );
}

#[test]
#[ignore = "needs root, nft and ip"]
fn root_without_rights_is_told_so() {
    let mut bounded = Command::new("setpriv");
    bounded.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).arg(env!("CARGO_BIN_EXE_meshless"));
    assert_refused(
        &bounded.args(["compare", "--network", "kernel"]).output().unwrap(),
        &["network namespace", "--privileged"],
    );
}

#[test]
#[ignore = "needs root, nft and ip"]
fn every_way_in_leads_to_pods_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&format!(
        "compare --network kernel --calls 50 --rounds 1 --seconds 3 --rate 100 --service-time 5ms --deadline 5s \
         --max-connection-age 300ms --strategies single-connection,connection-per-call,max-age-l4,round_robin --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let results: Value =
        serde_json::from_slice(&fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    assert_eq!((&results["complete"], &results["network"]), (&true.into(), &"kernel".into()));
    for row in results["burst"].as_array().unwrap() {
        assert!(row["ok"].as_u64() >= Some(49), "{row}");
    }
    let reached = |name: &str| {
        let rows = results["spread"].as_array().unwrap();
        let row = rows.iter().find(|row| row["strategy"] == name).unwrap();
        row["share"].as_object().unwrap().values().filter(|calls| calls.as_u64() > Some(0)).count()
    };
    assert_eq!(reached("single-connection"), 1);
    // 300 draws miss one of three with probability 3 · (2/3)³⁰⁰ < 10⁻⁵²; with about ten
    // connections, two are reached but with probability 3⁻⁹.
    assert_eq!(reached("connection-per-call"), 3);
    assert!(reached("max-age-l4") >= 2);
    assert_eq!(reached("round_robin"), 3);
}

#[test]
#[ignore = "needs root, nft and ip"]
fn channels_lose_no_call_to_a_rolling_restart_however_they_hear_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let kubernetes = if cfg!(feature = "kubernetes") { ",round_robin+kubernetes" } else { "" };
    let output = run(&format!(
        "compare --network kernel --experiments churn --events rolling --seconds 4 --strategies round_robin{kubernetes} \
         --out {}",
        folder.path().display()
    ));
    assert!(output.status.success(), "{}", stderr(&output));
    let results: Value =
        serde_json::from_slice(&fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    let rows = results["churn"].as_array().unwrap();
    assert_eq!(rows.len(), if cfg!(feature = "kubernetes") { 2 } else { 1 });
    for row in rows {
        // A machine that is busy makes calls late; that is not what this is about.
        let lost = row["failed"].as_u64().unwrap() - row["failed_by_cause"]["deadline"].as_u64().unwrap();
        assert_eq!(lost, 0, "{row}");
        let slices = row["timeline"].as_array().unwrap();
        // All are new in the end.
        let last = &slices[slices.len() - 3..];
        assert!(last.iter().all(|slice| slice["concerned"] == slice["ok"]), "{row}");
    }
}

#[test]
#[ignore = "needs root, nft and ip"]
fn nothing_is_left_of_a_run_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut compare = meshless(&format!(
        "compare --network kernel --experiments spread --strategies round_robin --seconds 60 --out {}",
        folder.path().display()
    ))
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    // Three backends and a client, each with the process that keeps its namespace.
    let children = wait_for(|| Some(children(&compare)).filter(|children| children.len() == 8));
    compare.kill().unwrap();
    compare.wait().unwrap();
    wait_for(|| children.iter().all(|pid| !is_running(*pid)).then_some(()));
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn children(parent: &Child) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent.id())).collect()
}

/// Neither gone nor a zombie that nobody has looked after yet.
fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// State and parent, fields 3 and 4 of `/proc/<pid>/stat`; the second, a name in brackets, may
/// contain anything.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
