//! The help is complete, and readable on a narrow terminal.

use std::time::Duration;

use clap::CommandFactory;
use meshless_lab::compare::{CompareRequest, ExperimentName};
use meshless_lab::event::Event;
use meshless_lab::strategy::Strategy;

use super::*;
use crate::values::whole;

fn help(command: &str, width: usize) -> String {
    let mut cli = Cli::command().term_width(width);
    cli.build();
    let command = cli.find_subcommand_mut(command).expect("there is this command");
    command.render_long_help().to_string()
}

#[test]
fn the_help_names_every_strategy_event_and_experiment() {
    // As one line: a name may be at a line's end.
    let help = help("compare", 10_000);
    for strategy in Strategy::ALL {
        assert!(help.contains(strategy.name()), "{strategy}: {help}");
    }
    for event in Event::HERE.into_iter().chain(Event::ON_CLUSTER) {
        assert!(help.contains(event.name()), "{event}: {help}");
    }
    for name in ["burst", "spread", "churn", "servers"] {
        assert!(name.parse::<ExperimentName>().is_ok() && help.contains(name), "{name}: {help}");
    }
}

#[test]
fn the_help_can_be_read_on_a_narrow_terminal() {
    for command in ["compare", "serve", "load"] {
        let help = help(command, 50);
        let lines: Vec<_> = help.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{help}");
        // A column of single words has many more lines than the text needs.
        let words = help.split_whitespace().count();
        assert!(lines.len() < words / 2, "{} lines for {words} words: {help}", lines.len());
    }
}

#[test]
fn a_refused_number_says_what_to_write() {
    for (text, bounds) in
        [("0", "1 to 9"), ("1e6", "1 to 9"), ("abc", "1 to 9"), ("", "1 to 9"), ("-1", "1 to 9")]
    {
        let said = whole(1..=9_u32)(text).unwrap_err();
        assert_eq!(said, format!("write a whole number from {bounds}, in digits alone"));
    }
    assert_eq!(whole(1..=9_u32)("9"), Ok(9));
}

#[test]
fn the_defaults_of_serve_are_the_library_s() {
    let Command::Serve(args) = Cli::parse_from(["meshless", "serve"]).command else { panic!("serve") };
    // The defaults in the documentation of `ConnectionConfig` and `Server`.
    assert_eq!((args.max_concurrent_streams, args.max_connections), (10_000, 10_000));
    assert_eq!(
        (args.keepalive_time, args.keepalive_timeout),
        (Duration::from_secs(7200), Duration::from_secs(20))
    );
    assert_eq!(
        (args.permit_keepalive_time, args.permit_keepalive_without_calls),
        (Duration::from_secs(300), false)
    );
    assert_eq!((args.lame_duck, args.drain_timeout), (None, Duration::from_secs(20)));
}

#[test]
fn the_defaults_of_compare_are_those_of_its_request() {
    let Command::Compare(args) = Cli::parse_from(["meshless", "compare"]).command else { panic!("compare") };
    let asked = CompareRequest { command: vec!["compare".into()], ..args.request().unwrap() };
    assert_eq!(format!("{asked:?}"), format!("{:?}", CompareRequest::default()));
}
