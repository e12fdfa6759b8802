//! The schedule in virtual time: first by example, then against its bounds with random events.

use super::*;
use crate::virtual_time::epoch;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a schedule whose first lookup has just succeeded with a TTL of 30 s, and the time of
/// that.
fn settled() -> (DnsSchedule, Instant) {
    let now = epoch();
    let mut schedule = DnsSchedule::new(DnsScheduleConfig::default(), Rng::new(1, 1), now);
    assert!(schedule.handle_timeout(now));
    schedule.handle_success(30 * SECOND, true, now);
    (schedule, now)
}

fn wait_from(schedule: &DnsSchedule, now: Instant) -> Duration {
    schedule.poll_timeout().expect("no lookup runs").saturating_duration_since(now)
}

#[test]
fn the_first_lookup_is_due_at_once_and_none_while_one_runs() {
    let now = epoch();
    let mut schedule = DnsSchedule::new(DnsScheduleConfig::default(), Rng::new(1, 1), now);
    assert_eq!(schedule.poll_timeout(), Some(now));
    assert!(schedule.handle_timeout(now));
    assert_eq!(schedule.poll_timeout(), None);
    assert!(!schedule.handle_timeout(now + SECOND));
}

#[test]
fn polling_follows_the_ttl_between_floor_and_ceiling() {
    for (ttl_s, expected_s) in [(0, 2.0), (1, 2.0), (5, 5.0), (30, 30.0), (300, 30.0)] {
        let mut waits = Vec::new();
        for seed in 0..200 {
            let now = epoch();
            let mut schedule = DnsSchedule::new(DnsScheduleConfig::default(), Rng::new(seed, 1), now);
            assert!(schedule.handle_timeout(now));
            schedule.handle_success(ttl_s * SECOND, true, now);
            waits.push(wait_from(&schedule, now).as_secs_f64() / expected_s);
        }
        assert!(waits.iter().all(|wait| (0.8..=1.2).contains(wait)), "TTL {ttl_s}: {waits:?}");
        assert!(waits.iter().any(|wait| *wait < 0.85) && waits.iter().any(|wait| *wait > 1.15), "no jitter");
    }
}

#[test]
fn a_stale_set_is_asked_for_again_after_the_minimum_interval() {
    let (mut schedule, now) = settled();
    let later = now + Duration::from_millis(300);
    schedule.handle_hint(ResolveHint::Stale, later);
    assert_eq!(schedule.poll_timeout(), Some(now + SECOND));
    let much_later = now + 5 * SECOND;
    schedule.handle_hint(ResolveHint::Stale, much_later);
    assert_eq!(schedule.poll_timeout(), Some(now + SECOND), "a hint never postpones");
    let (mut schedule, now) = settled();
    schedule.handle_hint(ResolveHint::Stale, now + 5 * SECOND);
    assert_eq!(schedule.poll_timeout(), Some(now + 5 * SECOND));
}

#[test]
fn when_every_address_failed_the_floor_does_not_hold_three_times() {
    let (mut schedule, now) = settled();
    for _ in 0..TOKENS_MAX {
        schedule.handle_hint(ResolveHint::AllFailed, now);
        assert_eq!(schedule.poll_timeout(), Some(now));
        assert!(schedule.handle_timeout(now));
        schedule.handle_success(30 * SECOND, true, now);
    }
    schedule.handle_hint(ResolveHint::AllFailed, now);
    assert_eq!(schedule.poll_timeout(), Some(now + SECOND), "the tokens are used up");
}

#[test]
fn a_lookup_that_is_due_costs_no_token() {
    let (mut schedule, now) = settled();
    for _ in 0..10 {
        schedule.handle_hint(ResolveHint::AllFailed, now);
    }
    for _ in 1..TOKENS_MAX {
        assert!(schedule.handle_timeout(now));
        schedule.handle_success(30 * SECOND, true, now);
        schedule.handle_hint(ResolveHint::AllFailed, now);
        assert_eq!(schedule.poll_timeout(), Some(now));
    }
}

#[test]
fn a_failing_name_backs_off_up_to_five_seconds_and_ignores_weak_hints() {
    let (mut schedule, mut now) = settled();
    let mut nominal: f64 = 1.0;
    for _ in 0..12 {
        now = now.max(schedule.poll_timeout().unwrap());
        assert!(schedule.handle_timeout(now));
        schedule.handle_failure(now);
        let wait = wait_from(&schedule, now).as_secs_f64();
        assert!(
            (nominal * 0.8..=nominal * 1.2).contains(&wait) || wait == 1.0,
            "{wait} s, nominally {nominal} s"
        );
        let before = schedule.poll_timeout();
        schedule.handle_hint(ResolveHint::Stale, now);
        assert_eq!(schedule.poll_timeout(), before);
        nominal = (nominal * 1.6).min(5.0);
    }
    schedule.handle_hint(ResolveHint::Newcomer, now);
    assert_eq!(wait_from(&schedule, now), SECOND, "a newcomer does not sit out the backoff");
    schedule.handle_hint(ResolveHint::AllFailed, now);
    assert_eq!(wait_from(&schedule, now), Duration::ZERO);
    assert!(schedule.handle_timeout(now));
    schedule.handle_success(5 * SECOND, true, now);
    assert!(wait_from(&schedule, now) >= 4 * SECOND, "a success ends the backoff");
}

#[test]
fn a_hint_during_a_lookup_counts_when_it_ends() {
    let (mut schedule, now) = settled();
    schedule.handle_hint(ResolveHint::AllFailed, now);
    assert!(schedule.handle_timeout(now));
    schedule.handle_hint(ResolveHint::Stale, now);
    schedule.handle_hint(ResolveHint::AllFailed, now);
    schedule.handle_hint(ResolveHint::Stale, now);
    schedule.handle_success(30 * SECOND, true, now);
    assert_eq!(schedule.poll_timeout(), Some(now), "the strongest of the hints");
}

mod any_events {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    #[derive(Clone, Debug)]
    enum Event {
        Pass(u64),
        Hint(ResolveHint),
        Succeed(u64),
        Fail,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u64..4_000).prop_map(Event::Pass),
            2 => prop_oneof![Just(ResolveHint::Stale), Just(ResolveHint::Newcomer), Just(ResolveHint::AllFailed)].prop_map(Event::Hint),
            1 => (0u64..120).prop_map(Event::Succeed),
            1 => Just(Event::Fail),
        ]
    }

    proptest! {
        /// For any events, lookups are limited in number, never overlap, and the next one is due
        /// within bounds.
        #[test]
        fn lookups_stay_within_their_bounds(seed in any::<u64>(), events in prop::collection::vec(event(), 1..400)) {
            let config = DnsScheduleConfig::default();
            let begin = epoch();
            let mut now = begin;
            let mut schedule = DnsSchedule::new(config, Rng::new(seed, 1), now);
            let mut looking = false;
            let mut starts = 0u32;
            for event in events {
                match event {
                    Event::Pass(ms) => now += Duration::from_millis(ms),
                    Event::Hint(hint) => schedule.handle_hint(hint, now),
                    Event::Succeed(ttl) if looking => {
                        looking = false;
                        schedule.handle_success(Duration::from_secs(ttl), true, now);
                    }
                    Event::Fail if looking => {
                        looking = false;
                        schedule.handle_failure(now);
                    }
                    Event::Succeed(_) | Event::Fail => {}
                }
                if schedule.handle_timeout(now) {
                    prop_assert!(!looking, "two lookups at once");
                    looking = true;
                    starts += 1;
                }
                prop_assert_eq!(schedule.poll_timeout().is_none(), looking);
                if let Some(until) = schedule.poll_timeout() {
                    prop_assert!(until <= now + config.poll_ceiling.mul_f64(1.0 + JITTER));
                }
                let elapsed = now - begin;
                // One per minimum interval, and the tokens: the first ones, and those that were
                // refilled.
                let refilled = elapsed.as_secs_f64() / (config.min_interval * REFILL_INTERVALS).as_secs_f64();
                let bound = 1.0 + elapsed.as_secs_f64() + f64::from(TOKENS_MAX) + refilled;
                prop_assert!(f64::from(starts) <= bound, "{} lookups within {:?}", starts, elapsed);
            }
        }
    }
}

#[test]
fn a_name_that_fails_is_asked_again_within_six_seconds() {
    let now = epoch();
    let mut schedule = DnsSchedule::new(DnsScheduleConfig::default(), Rng::new(3, 1), now);
    let mut now = now;
    for _ in 0..50 {
        assert!(schedule.handle_timeout(now));
        schedule.handle_failure(now);
        let wait = wait_from(&schedule, now);
        assert!(wait <= Duration::from_millis(6000), "{wait:?}");
        now += wait;
    }
}

#[test]
fn a_family_that_does_not_answer_is_asked_for_soon_and_then_as_rarely_as_records_expire() {
    let now = epoch();
    let mut schedule = DnsSchedule::new(DnsScheduleConfig::default(), Rng::new(3, 1), now);
    let (mut now, mut waits) = (now, Vec::new());
    for _ in 0..12 {
        assert!(schedule.handle_timeout(now));
        schedule.handle_success(60 * SECOND, false, now);
        waits.push(wait_from(&schedule, now));
        now = schedule.poll_timeout().unwrap();
    }
    assert!(waits[0] <= Duration::from_millis(1200), "{waits:?}");
    assert!(waits[11] >= 24 * SECOND && waits.iter().all(|wait| *wait <= 36 * SECOND), "{waits:?}");
    assert!(schedule.handle_timeout(now));
    schedule.handle_success(60 * SECOND, true, now);
    assert!(wait_from(&schedule, now) >= 24 * SECOND);
    now = schedule.poll_timeout().unwrap();
    assert!(schedule.handle_timeout(now));
    schedule.handle_success(60 * SECOND, false, now);
    assert!(wait_from(&schedule, now) <= Duration::from_millis(1200), "it begins anew");
}
