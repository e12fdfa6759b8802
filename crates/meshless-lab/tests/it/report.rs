//! The report, from made-up runs: what it says, that it never says more, and that its JSON keeps
//! its schema.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test that called them")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use meshless_lab::report;
use meshless_lab::results::Results;
use serde_json::Value;

mod fixture;

#[test]
fn writes_the_page_the_json_and_a_csv_per_table() {
    let out = Folder::new("files");
    let written = report::write(&fixture::run(), &out.0).unwrap();
    let names: Vec<_> = written.files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    let csv = [
        "burst.csv",
        "spread.csv",
        "spread_timeline.csv",
        "around_rotation.csv",
        "churn.csv",
        "churn_timeline.csv",
        "levelling.csv",
        "levelling_timeline.csv",
        "bounce.csv",
    ];
    assert_eq!(names, [&["index.html", "results.json"], &csv[..]].concat());
    assert_eq!(written.page, written.files[0]);
    for name in csv {
        let text = fs::read_to_string(out.0.join(name)).unwrap();
        let columns = text.lines().next().unwrap().split(',').count();
        assert!(text.lines().count() > 1, "{name} has rows");
        assert!(text.lines().all(|line| line.split(',').count() == columns), "{name} is ragged");
    }
    let json = fs::read_to_string(out.0.join("results.json")).unwrap();
    let read: Results = serde_json::from_str(&json).unwrap();
    assert_eq!(read.burst.len(), fixture::run().burst.len());
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = page(&fixture::run());
    for tag in ["<script", "<link", "<img", "<iframe", "@import", "url(", "http://", "https://"] {
        assert!(!page.contains(tag), "{tag} in the page");
    }
    let figures = [
        "error-rate",
        "latency",
        "share",
        "per-second",
        "since-start",
        "rotation",
        "causes",
        "churn",
        "churn-time",
        "levelling",
        "bounce",
    ];
    for id in figures {
        assert!(page.contains(&format!("id=\"{id}\"")), "figure {id} is missing");
    }
    assert_balanced(&page);
}

#[test]
fn the_verdict_quotes_this_run() {
    let page = plain(&page(&fixture::run()));
    let first = "with <code>single-connection</code> one of 3 backends got all of 10 000 answered calls, and \
                 <code>connection-per-call</code> began to fail at 2 000 calls at once (8 %), \
                 <code>single-connection</code> only at 20 000.";
    let second = "today&#39;s tonic client lost 44 of 10 000 calls (0.4 %) over 10 rotations, 42 of which no server had executed.";
    assert!(page.contains(first), "{}", verdict(&page));
    assert!(page.contains(second), "{}", verdict(&page));
}

#[test]
fn the_verdict_says_who_lost_least_when_things_broke() {
    let verdict = verdict(&plain(&page(&fixture::run())));
    let said = "When things broke, in 4 events, <code>peak_ewma</code> lost 0 % of its calls (0 of 3 200) and got over each of \
                them; <code>single-connection</code> lost 26 %.";
    assert!(verdict.contains(said), "{verdict}");
}

#[test]
fn the_matrix_has_a_cell_for_each_event_and_strategy_and_says_what_was_not_got_over() {
    let page = plain(&page(&fixture::run()));
    let matrix = &page[page.find("<table class=\"matrix\">").unwrap()..];
    let matrix = &matrix[..matrix.find("</table>").unwrap()];
    assert_eq!(matrix.matches("<td").count(), 12);
    // 800 of 800, 260 of 800, 34 of 800 and 9 of 800 failed.
    for cell in [
        "<b>100 %</b><small class=\"never\">not in 4 s</small>",
        "<b>32 %</b><small class=\"never\">not in 4 s</small>",
        "<b>4.2 %</b><small>after 425 ms</small>",
        "<b>1.1 %</b><small></small>",
        "<b>0</b><small></small>",
    ] {
        assert!(matrix.contains(cell), "{cell} is missing in {matrix}");
    }
    assert!(
        matrix.contains("hung, single-connection: 800 of 800 calls failed (deadline passed 400"),
        "{matrix}"
    );
}

#[test]
fn the_verdict_says_what_servers_can_do_and_at_what_price() {
    let verdict = verdict(&plain(&page(&fixture::run())));
    for said in [
        "Levelled ages took the spread of connections with <code>pick_first</code> from 20 % to 10 % of the mean, 0.50 of it, for 1.10 × the new connections; the closed form says 0.55.",
        "At 95 % of the capacity, bouncing took p99.9 from 400 ms to 200 ms with <code>least_request</code> (0.50 of it, 1.90 attempts a call).",
    ] {
        assert!(verdict.contains(said), "{verdict}");
    }
}

#[test]
fn a_row_without_its_counterpart_is_drawn_and_not_compared() {
    let mut results = fixture::run();
    results.levelling.truncate(1);
    results.bounce.remove(0);
    let page = page(&results);
    assert_balanced(&page);
    assert!(page.contains("id=\"levelling\"") && page.contains("id=\"bounce\""));
    assert!(!verdict(&page).contains("evelled") && !verdict(&page).contains("bouncing"));
}

#[test]
fn a_strategy_of_its_own_that_is_even_and_lossless_is_the_advice() {
    let page = page(&fixture::with_strategy("round_robin"));
    let verdict = verdict(&plain(&page));
    assert!(verdict.contains("Use <code>round_robin</code>: it reached all 3 backends"), "{verdict}");
    assert!(verdict.contains("lost none of 10 000 calls"), "{verdict}");
}

#[test]
fn a_strategy_measured_only_at_small_bursts_is_not_said_to_last_longest() {
    let runs: BTreeMap<_, _> = fixture::odd_runs().into_iter().collect();
    let verdict = verdict(&plain(&page(&runs["crowd"])));
    assert!(verdict.contains("<code>single-connection</code> only at 20 000"), "{verdict}");
}

#[test]
fn an_even_strategy_that_lost_a_call_is_not_called_lossless() {
    let mut results = fixture::with_strategy("round_robin");
    let row = results.spread.iter_mut().find(|row| row.strategy == "round_robin").unwrap();
    row.outcome.failed = 1;
    row.outcome.ok -= 1;
    let verdict = verdict(&plain(&page(&results)));
    assert!(!verdict.contains("round_robin"), "{verdict}");
}

#[test]
fn every_odd_run_still_makes_a_page_and_a_table() {
    for (name, results) in fixture::odd_runs() {
        let page = page(&results);
        assert_balanced(&page);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{name}");
        let sentences = match (results.burst.len() + results.spread.len(), results.churn.len()) {
            (0, 1..) => 1,
            (_, 0) => 2,
            _ => 3,
        };
        let sentences = sentences + usize::from(!results.bounce.is_empty());
        assert_eq!(page.matches("class=\"verdict\"").count(), sentences, "{name}");
        for width in [0, 80, 120, u16::MAX] {
            assert!(!report::terminal(&results, width, true).is_empty(), "{name}");
        }
    }
}

#[test]
fn an_odd_run_is_not_given_a_finding() {
    let runs: BTreeMap<_, _> = fixture::odd_runs().into_iter().collect();
    let said = |name: &str| verdict(&plain(&page(&runs[name])));
    assert!(said("nothing").contains("measured no call"), "{}", said("nothing"));
    assert!(said("all failed").contains("No strategy answered any"), "{}", said("all failed"));
    assert!(!said("one backend").contains("got all of"), "{}", said("one backend"));
    assert!(said("one size").contains("failed already at 100"), "{}", said("one size"));
    assert!(said("no failure").contains("No burst failed a call"), "{}", said("no failure"));
}

#[test]
fn strings_of_a_run_cannot_become_markup() {
    let mut results = fixture::run();
    let evil = "\"><script>alert('x')</script>".to_owned();
    results.burst[0].strategy.clone_from(&evil);
    results.spread[0].strategy.clone_from(&evil);
    results.churn[0].strategy.clone_from(&evil);
    results.levelling[0].strategy.clone_from(&evil);
    results.bounce[0].strategy.clone_from(&evil);
    results.levelling[1].timeline[0].connections.insert(evil.clone(), 1);
    results.churn[3].event.clone_from(&evil);
    results.events[0].story.clone_from(&evil);
    results.command.clone_from(&evil);
    results.notes.push(evil.clone());
    results.machine.cpu = evil.clone();
    results.versions.insert(evil.clone(), evil);
    assert!(!page(&results).contains("<script"));
}

#[test]
fn an_interrupted_run_says_so() {
    let mut results = fixture::run();
    assert!(!page(&results).contains("Interrupted"));
    results.complete = false;
    assert!(page(&results).contains("Interrupted"));
    assert!(report::terminal(&results, 80, false).starts_with("Interrupted"));
}

#[test]
fn terminal_lines_fit_and_have_no_colour_unless_asked() {
    for width in [80, 120] {
        let text = report::terminal(&fixture::run(), width, false);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= usize::from(width), "{longest} columns in {width}:\n{text}");
        assert!(!text.contains('\x1b') && report::terminal(&fixture::run(), width, true).contains('\x1b'));
        assert!(text.contains("connection-per-call") && text.contains("61"), "{text}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_run() {
    let out = Folder::new("refused");
    fs::create_dir_all(&out.0).unwrap();
    let file = out.0.join("file");
    fs::write(&file, "").unwrap();
    let error = report::check_writable(&file).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("--out"), "{error}");
    assert!(report::check_writable(&file.join("below")).is_err());
    let new = out.0.join("made/when/missing");
    report::check_writable(&new).unwrap();
    assert_eq!(fs::read_dir(&new).unwrap().count(), 0, "leaves nothing behind");
}

#[test]
fn who_sends_most_again_is_said() {
    let mut results = fixture::run();
    results.churn[3].attempts_per_call = Some(1.37);
    let (strategy, event) = (results.churn[3].strategy.clone(), results.churn[3].event.clone());
    let said = format!("again by <code>{strategy}</code> in <code>{event}</code>: 1.37 attempts a call");
    assert!(page(&results).contains(&said));
    let said = format!("up to 1.37 attempts a call ({strategy}, {event})");
    assert!(report::terminal(&results, 140, false).contains(&said));
    // One attempt for each call is nothing to speak of.
    assert!(!report::terminal(&fixture::run(), 140, false).contains("; up to"));
}

#[test]
fn the_checked_in_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let wanted = report::schema();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "schema.json is stale; refresh it with: UPDATE=1 cargo test -p meshless-lab --test it schema"
    );
}

#[test]
fn what_is_written_is_valid_by_the_schema() {
    let schema: Value = serde_json::from_str(&report::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let runs = fixture::odd_runs().into_iter().chain([("plausible", fixture::run())]);
    for (name, results) in runs {
        let out = Folder::new("schema");
        report::write(&results, &out.0).unwrap();
        let json = fs::read_to_string(out.0.join("results.json")).unwrap();
        let mut value: Value = serde_json::from_str(&json).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        value.as_object_mut().unwrap().remove("seed");
        assert!(!validator.is_valid(&value), "a schema that accepts anything proves nothing");
    }
}

#[test]
fn scripts_find_the_promised_fields() {
    let value = serde_json::to_value(fixture::run()).unwrap();
    let has = |value: &Value, fields: &[&str]| {
        for field in fields {
            assert!(value.pointer(&format!("/{field}")).is_some(), "{field} is missing");
        }
    };
    let outcome = [
        "latency_ms/mean",
        "latency_ms/p50",
        "latency_ms/p90",
        "latency_ms/p99",
        "latency_ms/p999",
        "latency_ms/max",
    ];
    has(
        &value["burst"][0],
        &["strategy", "calls", "rounds", "ok", "failed", "error_rate", "causes/deadline"],
    );
    has(&value["burst"][0], &["cpu_us_per_call/client", "cpu_us_per_call/server"]);
    has(&value["burst"][0], &outcome);
    has(
        &value["spread"][0],
        &["strategy", "backends", "calls", "failed", "duplicated", "share", "max_over_mean"],
    );
    has(&value["spread"][0], &["max_over_mean_per_second/p50", "max_over_mean_per_second/max", "rotations"]);
    has(&value["spread"][0], &outcome);
    has(
        &value["churn"][0],
        &["strategy", "event", "calls", "failed", "failed_by_cause/never_sent", "duplicated", "converged_ms"],
    );
    has(
        &value["churn"][0],
        &["attempts_per_call", "connections_per_client", "latency_ms/before/p50", "latency_ms/after/p999"],
    );
    has(
        &value["levelling"][0],
        &["strategy", "exponent", "deviation", "deviation_expected", "timeline/0/connections/backend-1"],
    );
    has(&value["bounce"][0], &["strategy", "bounces", "load", "attempts_per_call", "ok", "latency_ms/p999"]);
    has(&value["churn"][0], &["marks/0/at_ms", "timeline/0/failed", "timeline/0/p99_ms"]);
}

/// A folder of this test alone, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("meshless-report-{}-{name}-{id}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn page(results: &Results) -> String {
    let out = Folder::new("page");
    fs::read_to_string(report::write(results, &out.0).unwrap().page).unwrap()
}

/// Special spaces as plain ones.
fn plain(page: &str) -> String {
    page.replace(['\u{a0}', '\u{202f}'], " ")
}

fn verdict(page: &str) -> String {
    page.lines().filter(|line| line.contains("class=\"verdict\"")).collect()
}

/// Every element that opens also closes, in order.
fn assert_balanced(page: &str) {
    const VOID: [&str; 2] = ["meta", "wbr"];
    let mut open: Vec<&str> = Vec::new();
    let body = page.split_once("<html").unwrap().1;
    let style = body.find("<style>").unwrap()..body.find("</style>").unwrap();
    let (head, rest) = (&body[..style.start], &body[style.end + "</style>".len()..]);
    for part in [head, rest].iter().flat_map(|text| text.split('<').skip(1)) {
        let tag = part.split(['>', ' ']).next().unwrap();
        let inside = part.split('>').next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            if closed != "html" {
                assert_eq!(open.pop(), Some(closed), "near <{part}");
            }
        } else if !inside.ends_with('/') && !VOID.contains(&tag) {
            open.push(tag);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
