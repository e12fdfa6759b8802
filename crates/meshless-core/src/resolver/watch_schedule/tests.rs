//! The reading of a Service, without an API server.

use super::*;
use crate::virtual_time::epoch;

const SECOND: Duration = Duration::from_secs(1);

fn begun() -> WatchSchedule {
    WatchSchedule::new(WatchScheduleConfig::default(), Rng::new(1, 1), epoch())
}

/// A schedule that has a list, and goes on with a watch.
fn listed() -> WatchSchedule {
    let mut schedule = begun();
    assert_eq!(schedule.next_request(), SliceRequest::List);
    assert!(schedule.handle_list(Some("7".to_owned())));
    schedule
}

/// The version that the next watch goes on from; `None` if a list comes next.
fn next(schedule: &mut WatchSchedule) -> Option<String> {
    match schedule.next_request() {
        SliceRequest::List => None,
        SliceRequest::Watch { version, .. } => Some(version),
    }
}

#[test]
fn a_watch_goes_on_from_the_last_version() {
    let mut schedule = listed();
    assert_eq!(next(&mut schedule).as_deref(), Some("7"));
    for (version, known) in [(Some("8"), "8"), (None, "8"), (Some(""), "8"), (Some("9"), "9")] {
        schedule.handle_event(version.map(str::to_owned));
        schedule.handle_watch_end();
        assert_eq!(next(&mut schedule).as_deref(), Some(known));
    }
    assert!(!schedule.handle_list(Some("9".repeat(300))), "no watch can go on from that");
    assert!(!schedule.handle_list(None));
    assert_eq!(next(&mut schedule), None);
}

#[test]
fn watches_last_about_as_long_as_is_said() {
    for seed in 0..100 {
        let mut schedule = WatchSchedule::new(WatchScheduleConfig::default(), Rng::new(seed, 1), epoch());
        assert!(schedule.handle_list(Some("7".to_owned())));
        let SliceRequest::Watch { lasts, silence_max, .. } = schedule.next_request() else {
            panic!("a list is known")
        };
        assert!((96 * SECOND..=144 * SECOND).contains(&lasts), "{lasts:?}");
        assert_eq!(silence_max, lasts + lasts / 10);
    }
}

#[test]
fn the_second_watch_in_a_row_that_brings_nothing_is_followed_by_a_list() {
    let mut schedule = listed();
    assert!(next(&mut schedule).is_some());
    schedule.handle_watch_end();
    assert!(next(&mut schedule).is_some(), "one may be chance");
    schedule.handle_watch_end();
    assert_eq!(next(&mut schedule), None);
    let mut schedule = listed();
    for _ in 0..4 {
        assert!(next(&mut schedule).is_some());
        schedule.handle_watch_end();
        assert!(next(&mut schedule).is_some());
        schedule.handle_event(None);
        schedule.handle_watch_end();
    }
}

#[test]
fn what_is_missed_or_outdated_is_listed_again() {
    let mut schedule = listed();
    schedule.handle_missed();
    assert_eq!(next(&mut schedule), None);
    let mut schedule = listed();
    assert!(next(&mut schedule).is_some());
    schedule.handle_watch_end();
    let retry = schedule.handle_failure(WatchFailure::Outdated, true);
    assert!(retry.is_told && retry.pause <= 2 * SECOND);
    assert_eq!(next(&mut schedule), None);
}

#[test]
fn failures_in_a_row_are_told_and_their_pauses_grow_until_something_is_heard() {
    let mut schedule = listed();
    let mut pauses = Vec::new();
    for failures in 1..=12 {
        let retry = schedule.handle_failure(WatchFailure::Failed, true);
        assert_eq!(retry.failures, failures);
        assert_eq!(retry.is_told, failures > 1, "a watch that breaks is daily life");
        pauses.push(retry.pause);
    }
    assert!((800..=1200).contains(&pauses[0].as_millis()), "{pauses:?}");
    assert!((24..=36).contains(&pauses[11].as_secs()), "{pauses:?}");
    schedule.handle_event(None);
    let retry = schedule.handle_failure(WatchFailure::Failed, true);
    assert!(retry.failures == 1 && !retry.is_told && retry.pause <= pauses[0] * 2);
    let retry = begun().handle_failure(WatchFailure::Failed, false);
    assert!(retry.is_told, "nothing is known, and a channel waits");
}

#[test]
fn a_refusal_is_not_asked_about_for_long_whatever_fails() {
    let mut schedule = begun();
    let retry = schedule.handle_failure(WatchFailure::Denied, false);
    assert_eq!((retry.pause, retry.was_denied), (180 * SECOND, false));
    assert!(!schedule.doubts_end_pause());
    assert!(schedule.handle_failure(WatchFailure::Denied, false).was_denied);
    assert!(schedule.handle_failure(WatchFailure::Failed, false).was_denied);
    assert!(schedule.doubts_end_pause());
}

#[test]
fn doubts_cause_a_list_each_five_seconds() {
    let mut schedule = listed();
    assert_eq!(schedule.next_doubt(), epoch(), "the first one may come at once");
    schedule.handle_doubt(epoch() + SECOND);
    assert_eq!(schedule.next_doubt(), epoch() + 6 * SECOND);
    assert_eq!(next(&mut schedule), None);
}

#[test]
fn the_more_endpoints_there_are_the_longer_changes_are_gathered() {
    let schedule = begun();
    assert_eq!(schedule.gathering(0), Duration::from_millis(100));
    assert_eq!(schedule.gathering(5_000), Duration::from_millis(200));
    assert!(schedule.gathering(usize::MAX) > SECOND);
}
