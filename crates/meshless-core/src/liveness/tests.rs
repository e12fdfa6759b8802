//! The three uses of the machine in virtual time.

use std::time::{Duration, Instant};

use super::LivenessAction::{Close, Ping, Suspect};
use super::Received::{Answer, Bytes};
use super::*;
use crate::virtual_time::epoch;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn at(seconds: u64) -> Instant {
    epoch() + secs(seconds)
}

fn at_ms(ms: u64) -> Instant {
    epoch() + Duration::from_millis(ms)
}

fn server(time: u64, timeout: u64) -> Liveness {
    Liveness::new(LivenessConfig::server_keepalive(secs(time), secs(timeout)), epoch())
}

fn client(config: LivenessConfig) -> Liveness {
    Liveness::new(config, epoch())
}

fn stall() -> Liveness {
    client(LivenessConfig::stall(secs(1)))
}

#[test]
fn a_silent_client_is_asked_once_and_then_given_up() {
    let mut liveness = server(60, 20);
    assert_eq!(liveness.handle_timeout(at(59), false), None);
    assert_eq!(liveness.handle_timeout(at(60), false), Some(Ping));
    assert_eq!(liveness.handle_timeout(at(79), false), None);
    assert_eq!(liveness.poll_timeout(false), Some(at(80)));
    assert_eq!(liveness.handle_timeout(at(80), false), Some(Close));
}

#[test]
fn anything_that_comes_after_a_ping_is_life_even_at_the_last_moment_and_with_a_long_timeout() {
    for timeout in [20, 200] {
        let mut liveness = server(60, timeout);
        assert_eq!(liveness.handle_timeout(at(60), true), Some(Ping));
        assert!(!liveness.handle_received(at(60 + timeout), Bytes));
        assert_eq!(liveness.handle_timeout(at(60 + timeout), true), None);
        assert_eq!(liveness.poll_timeout(true), Some(at(120 + timeout)));
        assert_eq!(liveness.handle_timeout(at(120 + timeout), true), Some(Ping));
    }
}

#[test]
fn boundless_times_never_pass_and_the_shortest_are_raised() {
    let config = LivenessConfig::server_keepalive(Duration::MAX, Duration::ZERO);
    assert_eq!(client(config).poll_timeout(true), None);
    let mut liveness = client(LivenessConfig::server_keepalive(Duration::ZERO, Duration::MAX));
    assert_eq!(liveness.handle_timeout(at(1), true), Some(Ping));
    assert_eq!(liveness.poll_timeout(true), None);
    let longest = LivenessConfig::keepalive(Duration::MAX).timeout(Duration::MAX).doubled(u32::MAX);
    let mut liveness = client(longest);
    let due = liveness.poll_timeout(true).unwrap();
    assert_eq!(liveness.handle_timeout(due, true), Some(Ping));
    assert!(liveness.poll_timeout(true).unwrap() > due);
}

#[test]
fn without_calls_a_client_sends_no_ping_until_a_call_opens() {
    let mut liveness = client(LivenessConfig::keepalive(secs(30)));
    assert_eq!(liveness.poll_timeout(false), None);
    assert_eq!(liveness.handle_timeout(at(600), false), None);
    assert_eq!(liveness.handle_timeout(at(600), true), Some(Ping));
    assert_eq!(liveness.poll_timeout(false), Some(at(620)), "also if the call ends");
    let eager = client(LivenessConfig::keepalive(secs(30)).without_calls(true));
    assert_eq!(eager.poll_timeout(false), Some(at(30)));
}

#[test]
fn a_client_s_pings_are_never_closer_than_ten_seconds_and_a_scolding_doubles_them() {
    let config = LivenessConfig::keepalive(secs(1));
    assert_eq!(config, LivenessConfig::keepalive(secs(10)));
    assert_eq!(config.doubled(1), LivenessConfig::keepalive(secs(20)));
    assert_eq!(config.doubled(3), LivenessConfig::keepalive(secs(80)));
}

#[test]
fn a_quiet_server_is_spared_after_two_pings_until_it_speaks() {
    let mut liveness = client(LivenessConfig::keepalive(secs(20)).sparing());
    for n in [20, 40] {
        assert_eq!(liveness.handle_timeout(at(n), true), Some(Ping));
        liveness.handle_received(at(n), Bytes);
    }
    assert_eq!(liveness.poll_timeout(true), Some(at(370)), "a third would be a strike too many");
    liveness.handle_received(at(50), Answer);
    assert_eq!(liveness.poll_timeout(true), Some(at(70)));
}

#[test]
fn silence_after_a_call_is_suspect_and_then_ends() {
    let mut liveness = stall();
    assert_eq!(liveness.poll_timeout(true), None, "nobody has asked anything");
    liveness.handle_call(at_ms(0));
    liveness.handle_call(at_ms(700));
    assert_eq!(liveness.poll_timeout(true), Some(at_ms(1000)), "the first call counts");
    for (ms, action) in [(999, None), (1000, Some(Ping)), (1249, None), (1250, Some(Suspect))] {
        assert_eq!(liveness.handle_timeout(at_ms(ms), true), action);
    }
    assert_eq!(liveness.handle_timeout(at_ms(4999), false), None);
    assert_eq!(liveness.handle_timeout(at_ms(5000), false), Some(Close), "though its calls have ended");
    assert_eq!(liveness.config().limit(), secs(5));
}

#[test]
fn a_stream_that_rests_is_asked_about_once_at_most() {
    let mut liveness = stall();
    liveness.handle_call(epoch());
    assert_eq!(liveness.handle_timeout(at(1), true), Some(Ping));
    assert!(!liveness.handle_received(at(1), Bytes), "the PONG came before anyone had doubts");
    assert_eq!(liveness.poll_timeout(true), None);
}

#[test]
fn a_late_sign_of_life_ends_the_suspicion() {
    let mut liveness = stall();
    liveness.handle_call(epoch());
    assert_eq!(liveness.handle_timeout(at_ms(1000), true), Some(Ping));
    assert_eq!(liveness.handle_timeout(at_ms(1250), true), Some(Suspect));
    assert!(liveness.handle_received(at_ms(1300), Bytes));
    assert!(!liveness.handle_received(at_ms(1300), Bytes), "once");
    assert_eq!(liveness.poll_timeout(true), None);
}

#[test]
fn a_stall_s_pings_are_ten_seconds_apart_unless_a_call_was_answered_in_between() {
    for (doublings, expected) in [(0, 11_000), (1, 21_000)] {
        let mut liveness = client(LivenessConfig::stall(secs(1)).doubled(doublings));
        liveness.handle_call(epoch());
        assert_eq!(liveness.handle_timeout(at_ms(1000), true), Some(Ping));
        liveness.handle_received(at_ms(1000), Bytes);
        liveness.handle_call(at_ms(1500));
        assert_eq!(liveness.poll_timeout(true), Some(at_ms(expected)));
        liveness.handle_received(at_ms(1500), Answer);
        liveness.handle_call(at_ms(1500));
        assert_eq!(liveness.poll_timeout(true), Some(at_ms(2500)));
    }
}

#[test]
fn a_third_ping_without_an_answer_keeps_to_what_servers_permit() {
    let mut liveness = stall();
    for ping_at in [1, 11] {
        liveness.handle_call(at(0));
        assert_eq!(liveness.handle_timeout(at(ping_at), true), Some(Ping));
        liveness.handle_received(at(ping_at), Bytes);
    }
    liveness.handle_call(at(12));
    assert_eq!(liveness.poll_timeout(true), Some(at(341)));
}

/// Servers count PINGs that arrive less than 5 min apart, and forgive two of them (A8).
#[test]
fn no_third_ping_is_a_strike_although_the_one_before_was_late() {
    let keepalive = LivenessConfig::keepalive(secs(20)).sparing();
    for config in [LivenessConfig::stall(secs(1)), keepalive] {
        let longest_delay = config.patience();
        let (mut liveness, mut arrivals, mut now) = (client(config), Vec::new(), epoch());
        for nth in 1..=6 {
            liveness.handle_call(now);
            now = now.max(liveness.poll_timeout(true).unwrap());
            assert_eq!(liveness.handle_timeout(now, true), Some(Ping));
            // Every other one comes as late as it may without being given up.
            let delay = if nth % 2 == 0 { longest_delay } else { Duration::ZERO };
            arrivals.push(now + delay);
            now += delay;
            liveness.handle_received(now, Bytes);
        }
        let strikes = arrivals.windows(2).filter(|pair| pair[1] - pair[0] < secs(300)).count();
        assert_eq!(strikes, 1, "the second one: {arrivals:?}");
    }
}
