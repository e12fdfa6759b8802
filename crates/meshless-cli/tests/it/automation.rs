//! The files that a forge reads, in `.github/`: they parse, and what they run is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[test]
fn every_step_of_a_workflow_runs_something_that_is_there() {
    let mut steps = 0;
    for (name, workflow) in yaml_files("workflows") {
        assert!(!workflow["on"].is_null() && !workflow["permissions"].is_null(), "{name}");
        for (job, plan) in workflow["jobs"].as_object().unwrap() {
            let reused = plan["uses"].as_str();
            assert!(reused.is_none_or(|path| root().join(path).is_file()), "{name}: {job}: {reused:?}");
            for step in plan["steps"].as_array().into_iter().flatten() {
                assert!(step["uses"].is_string() != step["run"].is_string(), "{name}: {job}: {step}");
                let words = step["run"].as_str().unwrap_or_default().split_whitespace();
                for script in words.filter(|word| word.starts_with(".ci/")) {
                    let mode = fs::metadata(root().join(script)).unwrap_or_else(|e| panic!("{script}: {e}"));
                    assert_ne!(mode.permissions().mode() & 0o111, 0, "{script} cannot be executed");
                }
                steps += 1;
            }
            for needed in plan["needs"].as_array().into_iter().flatten().chain([&plan["needs"]]) {
                let known = needed.as_str().is_none_or(|needed| workflow["jobs"][needed].is_object());
                assert!(known, "{name}: {job} needs {needed}");
            }
        }
    }
    assert!(steps > 10, "{steps}");
}

#[test]
fn ci_runs_the_one_script_that_contributors_run_too() {
    let ci = yaml(&github().join("workflows/ci.yml"));
    let steps = ci["jobs"]["run"]["steps"].as_array().unwrap();
    let runs: Vec<_> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert_eq!(runs, [".ci/run"]);
}

#[test]
fn every_folder_whose_dependencies_are_watched_is_there() {
    let dependabot = yaml(&github().join("dependabot.yml"));
    for update in dependabot["updates"].as_array().unwrap() {
        let folders = update["directories"].as_array().into_iter().flatten().chain([&update["directory"]]);
        let folders: Vec<_> = folders.filter_map(Value::as_str).collect();
        assert!(!folders.is_empty(), "{update}");
        for folder in folders {
            assert!(root().join(folder.trim_start_matches('/')).is_dir(), "{folder}");
        }
    }
}

#[test]
fn issue_forms_ask_each_question_under_a_name_of_its_own() {
    for (name, form) in yaml_files("ISSUE_TEMPLATE").into_iter().filter(|(name, _)| name != "config.yml") {
        let fields = form["body"].as_array().unwrap().iter().filter(|field| field["type"] != "markdown");
        let mut ids: Vec<_> = fields.map(|field| field["id"].as_str().unwrap()).collect();
        let asked = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(asked > 0 && ids.len() == asked, "{name}: {ids:?}");
        assert!(form["name"].is_string() && form["description"].is_string(), "{name}");
    }
}

fn yaml_files(folder: &str) -> Vec<(String, Value)> {
    let entries = fs::read_dir(github().join(folder)).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), yaml(&entry.path())));
    named.collect()
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn github() -> PathBuf {
    root().join(".github")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
