//! What the lifetime machine does, event by event, and what holds for any events.

#![expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]

use super::*;
use crate::Rng;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine(config: LifetimeConfig, now: Instant) -> Lifetime {
    let mut lifetime = Lifetime::new(config, now, &mut Rng::new(1, 1));
    lifetime.handle_ready(now);
    lifetime
}

/// Lets time run to `until` and lists the actions, in seconds after `start`.
fn actions(lifetime: &mut Lifetime, start: Instant, until: u64) -> Vec<(u64, LifetimeAction)> {
    let mut done = Vec::new();
    while let Some(at) = lifetime.poll_timeout().filter(|at| *at <= start + SECOND * until as u32) {
        lifetime.handle_timeout(at);
        while let Some(action) = lifetime.poll_action() {
            done.push(((at - start).as_secs(), action));
        }
    }
    done
}

const IDLE: LifetimeAction = LifetimeAction::GoAway { reason: GoAwayReason::MaxIdle };
const DRAIN: LifetimeAction = LifetimeAction::GoAway { reason: GoAwayReason::Drain };
const CUT_BY_DRAIN: LifetimeAction = LifetimeAction::Close { reason: CutReason::DrainTimeout };

#[test]
fn age_announces_then_finishes_after_five_seconds_then_cuts_after_the_grace() {
    let start = Instant::now();
    let config = LifetimeConfig::default().max_age(SECOND * 100).max_age_grace(SECOND * 20);
    let mut lifetime = machine(config, start);
    lifetime.handle_call_started();
    let done = actions(&mut lifetime, start, 1000);
    let age = done[0].0;
    assert!((90..=110).contains(&age), "{done:?}");
    assert_eq!(
        done,
        [
            (age, LifetimeAction::GoAway { reason: GoAwayReason::MaxAge }),
            (age + 5, LifetimeAction::FinishGoAway),
            (age + 20, LifetimeAction::Close { reason: CutReason::GraceOver }),
        ]
    );
}

#[test]
fn the_age_jitter_spans_ten_per_cent_either_way() {
    let now = Instant::now();
    let ages: Vec<f64> = (0..1000)
        .map(|id| {
            let config = LifetimeConfig::default().max_age(SECOND * 100);
            let mut lifetime = Lifetime::new(config, now, &mut Rng::new(7, id));
            lifetime.handle_ready(now);
            (lifetime.ages_at().unwrap() - now).as_secs_f64()
        })
        .collect();
    assert!(ages.iter().all(|age| (90.0..=110.0).contains(age)));
    assert!(ages.iter().any(|age| *age < 92.0) && ages.iter().any(|age| *age > 108.0));
}

#[test]
fn idleness_counts_from_the_end_of_the_last_call() {
    let start = Instant::now();
    let mut lifetime = machine(LifetimeConfig::default().max_idle(SECOND * 10), start);
    lifetime.handle_call_started();
    assert_eq!(actions(&mut lifetime, start, 25), []);
    lifetime.handle_call_ended(start + SECOND * 27);
    assert_eq!(actions(&mut lifetime, start, 36), []);
    assert_eq!(actions(&mut lifetime, start, 38), [(37, IDLE)]);
}

#[test]
fn idleness_counts_from_establishment_if_no_call_comes() {
    let start = Instant::now();
    let mut lifetime = machine(LifetimeConfig::default().max_idle(SECOND * 10), start);
    assert_eq!(actions(&mut lifetime, start, 11), [(10, IDLE)]);
}

#[test]
fn a_drain_has_its_own_deadline_and_age_no_say_any_more() {
    let start = Instant::now();
    let config =
        LifetimeConfig::default().max_age(SECOND * 2).max_age_grace(SECOND).drain_timeout(SECOND * 60);
    let mut lifetime = machine(config, start);
    lifetime.handle_call_started();
    lifetime.handle_drain(start);
    assert_eq!(lifetime.poll_action(), Some(DRAIN));
    let done = actions(&mut lifetime, start, 1000);
    assert_eq!(done, [(5, LifetimeAction::FinishGoAway), (60, CUT_BY_DRAIN)]);
}

#[test]
fn a_drain_cuts_short_an_endless_grace() {
    let start = Instant::now();
    let mut lifetime = machine(LifetimeConfig::default().max_idle(SECOND).drain_timeout(SECOND * 7), start);
    assert_eq!(actions(&mut lifetime, start, 2), [(1, IDLE)]);
    lifetime.handle_go_away_finished();
    lifetime.handle_drain(start + SECOND * 3);
    lifetime.handle_drain(start + SECOND * 4);
    assert_eq!(actions(&mut lifetime, start, 100), [(10, CUT_BY_DRAIN)]);
}

#[test]
fn a_peer_that_never_opens_the_connection_is_cut() {
    let start = Instant::now();
    let cut = LifetimeAction::Close { reason: CutReason::HandshakeTimeout };
    let mut lifetime = Lifetime::new(LifetimeConfig::default(), start, &mut Rng::new(1, 1));
    assert_eq!(actions(&mut lifetime, start, 100), [(20, cut)]);
    let mut lifetime = Lifetime::new(LifetimeConfig::default(), start, &mut Rng::new(1, 1));
    lifetime.handle_drain(start);
    assert_eq!(lifetime.poll_action(), Some(DRAIN));
    assert_eq!(actions(&mut lifetime, start, 100), [(5, cut)]);
}

#[test]
fn the_second_go_away_follows_the_acknowledgement_after_another_round_trip() {
    let millis = Duration::from_millis;
    for (round_trip, wait) in [(millis(0), millis(5)), (millis(40), millis(40)), (SECOND * 2, millis(100))] {
        let start = Instant::now();
        let mut lifetime = machine(LifetimeConfig::default().max_idle(SECOND), start);
        assert_eq!(actions(&mut lifetime, start, 1), [(1, IDLE)]);
        let acknowledged = start + SECOND + round_trip;
        lifetime.handle_go_away_acknowledged(acknowledged);
        assert_eq!(lifetime.poll_timeout(), Some(acknowledged + wait));
        lifetime.handle_go_away_acknowledged(acknowledged + SECOND);
        lifetime.handle_timeout(acknowledged + wait);
        assert_eq!(lifetime.poll_action(), Some(LifetimeAction::FinishGoAway));
    }
}

#[test]
fn a_client_that_takes_nothing_while_responses_wait_is_cut() {
    let start = Instant::now();
    let cut = LifetimeAction::Close { reason: CutReason::SlowReader };
    let mut lifetime = machine(LifetimeConfig::default().slow_reader_timeout(SECOND * 60), start);
    lifetime.handle_call_started();
    lifetime.handle_blocked(start + SECOND * 10);
    lifetime.handle_blocked(start + SECOND * 30);
    lifetime.handle_unblocked();
    lifetime.handle_bytes_taken(start + SECOND * 50);
    assert_eq!(actions(&mut lifetime, start, 1000), [(110, cut)]);
}

#[test]
fn a_client_that_takes_a_little_now_and_then_is_not_and_neither_is_one_with_nothing_to_take() {
    let start = Instant::now();
    let mut lifetime = machine(LifetimeConfig::default().slow_reader_timeout(SECOND * 60), start);
    lifetime.handle_call_started();
    lifetime.handle_blocked(start);
    for minute in 1..100 {
        lifetime.handle_bytes_taken(start + SECOND * (60 * minute - 1));
        assert_eq!(actions(&mut lifetime, start, u64::from(60 * minute)), []);
    }
    lifetime.handle_unblocked();
    assert_eq!(actions(&mut lifetime, start, 1_000_000), []);
}

#[test]
fn a_stream_is_told_to_end_at_its_age_and_ended_after_the_grace() {
    let now = Instant::now();
    let config = LifetimeConfig::default().max_stream_age(SECOND * 100).max_stream_age_grace(SECOND * 7);
    let mut lifetime = machine(config, now);
    let ages: Vec<f64> = (0..1000)
        .map(|_| {
            let StreamAge { ending_at, ended_at } = lifetime.stream_age(now);
            assert_eq!(ended_at, ending_at.map(|at| at + SECOND * 7));
            (ending_at.unwrap() - now).as_secs_f64()
        })
        .collect();
    assert!(ages.iter().all(|age| (90.0..=110.0).contains(age)));
    assert!(ages.iter().any(|age| *age < 92.0) && ages.iter().any(|age| *age > 108.0));
    assert_eq!(machine(LifetimeConfig::default(), now).stream_age(now), StreamAge::default());
}

#[test]
fn durations_without_bound_are_no_limit_and_overflow_nothing() {
    let start = Instant::now();
    let config = LifetimeConfig::default()
        .max_age(Duration::MAX)
        .max_age_grace(Duration::MAX)
        .max_idle(Duration::MAX)
        .drain_timeout(Duration::MAX)
        .handshake_timeout(None)
        .slow_reader_timeout(Duration::MAX);
    let mut lifetime = machine(config, start);
    assert_eq!(lifetime.poll_timeout(), None);
    lifetime.handle_drain(start);
    assert_eq!(actions(&mut lifetime, start, 1_000_000), [(5, DRAIN), (5, LifetimeAction::FinishGoAway)]);
}

#[derive(Clone, Debug)]
enum Event {
    Ready,
    CallStarted,
    CallEnded,
    Ping,
    Sent,
    Received,
    Blocked,
    Unblocked,
    Taken,
    Acknowledged,
    Finished,
    Drain,
    /// The driver calls when `poll_timeout` says so.
    Timer,
    /// Milliseconds pass, but not beyond `poll_timeout`: a driver is never late. Events may come at
    /// any time.
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => Just(Event::Ready),
        4 => Just(Event::CallStarted),
        4 => Just(Event::CallEnded),
        1 => Just(Event::Ping),
        1 => Just(Event::Sent),
        2 => Just(Event::Received),
        1 => Just(Event::Blocked),
        1 => Just(Event::Unblocked),
        1 => Just(Event::Taken),
        1 => Just(Event::Acknowledged),
        1 => Just(Event::Finished),
        1 => Just(Event::Drain),
        4 => Just(Event::Timer),
        4 => (0u64..20_000).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 0..120)
}

fn configs() -> impl Strategy<Value = LifetimeConfig> {
    let millis = || prop_oneof![Just(0u64), 1u64..30_000, Just(u64::MAX)];
    (millis(), millis(), millis(), millis()).prop_map(|(age, grace, idle, drain)| {
        LifetimeConfig::default()
            .max_age(Duration::from_millis(age))
            .max_age_grace(Duration::from_millis(grace))
            .max_idle(Duration::from_millis(idle))
            .drain_timeout(Duration::from_millis(drain))
    })
}

proptest! {
    #[test]
    fn whatever_happens_the_limits_hold(
        config in configs(), keepalive in prop::option::of((1_000u64..30_000, 1u64..30_000)), events in events(), seed: u64
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut lifetime = Lifetime::new(config.clone(), now, &mut Rng::new(seed, 1));
        let keepalive = keepalive.map(|(time, timeout)| (Duration::from_millis(time), Duration::from_millis(timeout)));
        if let Some((time, timeout)) = keepalive {
            lifetime = lifetime.keepalive(time, timeout);
        }
        let (mut heard, mut pinged) = (None, None);
        let (mut gone_away, mut finished, mut closed, mut drained) = (None, false, None, None);
        let (mut acknowledged, mut blocked) = (None, 0usize);
        let mut calls = 0usize;
        for event in events {
            let idle_before = calls == 0;
            match event {
                Event::Ready => {
                    if closed.is_none() { heard.get_or_insert(now); }
                    lifetime.handle_ready(now);
                }
                Event::CallStarted => { calls += 1; lifetime.handle_call_started() }
                Event::CallEnded if calls > 0 => { calls -= 1; lifetime.handle_call_ended(now) }
                Event::CallEnded => {}
                Event::Ping => lifetime.handle_ping(now),
                Event::Sent => lifetime.handle_response_sent(),
                Event::Received => {
                    if heard.is_some() { (heard, pinged) = (Some(now), None); }
                    lifetime.handle_received(now);
                }
                Event::Blocked => { blocked += 1; lifetime.handle_blocked(now) }
                Event::Unblocked if blocked > 0 => { blocked -= 1; lifetime.handle_unblocked() }
                Event::Unblocked => {}
                Event::Taken => lifetime.handle_bytes_taken(now),
                Event::Acknowledged => {
                    if gone_away.is_some() { acknowledged.get_or_insert(now); }
                    lifetime.handle_go_away_acknowledged(now);
                }
                Event::Finished => if gone_away.is_some() { lifetime.handle_go_away_finished() },
                Event::Drain => { drained.get_or_insert(now); lifetime.handle_drain(now) }
                Event::Timer => if let Some(at) = lifetime.poll_timeout() {
                    now = now.max(at);
                    lifetime.handle_timeout(now);
                    prop_assert!(lifetime.poll_timeout().is_none_or(|at| at > now), "it would spin");
                },
                Event::Pass(millis) => {
                    let then = now + Duration::from_millis(millis);
                    now = lifetime.poll_timeout().map_or(then, |at| then.min(at));
                    lifetime.handle_timeout(now);
                }
            }
            while let Some(action) = lifetime.poll_action() {
                prop_assert!(closed.is_none(), "{action:?} after close");
                match action {
                    LifetimeAction::GoAway { reason } => {
                        prop_assert!(gone_away.is_none(), "sent away twice");
                        prop_assert!(reason != GoAwayReason::MaxIdle || idle_before, "idle while a call is open");
                        prop_assert_eq!(reason == GoAwayReason::Drain, drained.is_some());
                        gone_away = Some(now);
                    }
                    LifetimeAction::FinishGoAway => {
                        let waited = |since: Option<Instant>, least| since.is_some_and(|at| now - at >= least);
                        prop_assert!(!finished);
                        prop_assert!(waited(gone_away, GO_AWAY_CAP) || waited(acknowledged, FINISH_DELAY_MIN));
                        finished = true;
                    }
                    LifetimeAction::Ping => {
                        prop_assert_eq!(Some(now - heard.unwrap()), keepalive.map(|(time, _)| time));
                        prop_assert!(pinged.replace(now).is_none(), "pinged twice in one silence");
                    }
                    LifetimeAction::Close { reason } => {
                        match reason {
                            CutReason::GraceOver =>
                                prop_assert!(now - gone_away.unwrap() >= config.max_age_grace.unwrap()),
                            CutReason::DrainTimeout =>
                                prop_assert!(now - drained.unwrap() >= config.drain_timeout.unwrap()),
                            CutReason::SlowReader => prop_assert!(blocked > 0),
                            CutReason::KeepaliveTimeout =>
                                prop_assert_eq!(Some(now - pinged.unwrap()), keepalive.map(|(_, timeout)| timeout)),
                            CutReason::TooManyPings | CutReason::HandshakeTimeout
                                | CutReason::FrameFlood => {}
                        }
                        closed = Some(now);
                    }
                }
            }
            if let (Some(since), Some(timeout)) = (drained, config.drain_timeout) {
                prop_assert!(closed.is_some() || lifetime.poll_timeout().is_some_and(|at| at <= since + timeout),
                    "the drain has no end");
            }
            if let (Some((time, timeout)), Some(heard), None) = (keepalive, heard, closed) {
                let last = pinged.map_or(heard + time, |at: Instant| at + timeout);
                prop_assert!(lifetime.poll_timeout().is_some_and(|at| at <= last), "the silence has no end");
            }
            prop_assert!(closed.is_none() || lifetime.poll_timeout().is_none());
        }
    }

    /// The driver keeps an armed timer while calls come and go, and must not lose a timeout by
    /// that.
    #[test]
    fn calls_never_bring_the_timeout_forward(events in events(), idle in 1u64..5_000) {
        let mut now = Instant::now();
        let config = LifetimeConfig::default().max_idle(Duration::from_millis(idle));
        let mut lifetime = Lifetime::new(config, now, &mut Rng::new(1, 1)).keepalive(SECOND, SECOND);
        lifetime.handle_ready(now);
        let (mut calls, mut pinged) = (0usize, false);
        for event in events {
            let armed = lifetime.poll_timeout();
            match event {
                Event::CallStarted => { calls += 1; lifetime.handle_call_started() }
                Event::CallEnded if calls > 0 => { calls -= 1; lifetime.handle_call_ended(now) }
                Event::Blocked => lifetime.handle_blocked(now),
                Event::Taken => lifetime.handle_bytes_taken(now),
                // Except for the answer to a PING; there is one PING per keepalive time.
                Event::Received if !std::mem::take(&mut pinged) => lifetime.handle_received(now),
                Event::Received => { lifetime.handle_received(now); continue }
                Event::Pass(millis) => {
                    let then = now + Duration::from_millis(millis);
                    now = armed.map_or(then, |at| then.min(at));
                    lifetime.handle_timeout(now);
                    while let Some(action) = lifetime.poll_action() {
                        pinged |= action == LifetimeAction::Ping;
                    }
                    continue;
                }
                _ => continue,
            }
            prop_assert_eq!(lifetime.poll_timeout(), armed);
        }
    }
}
