//! Keepalive of a silent client (gRFC A9). It works with or without calls, also on a connection
//! that is going away, as in grpc-go (`http2_server.go`, `keepalive`).

use super::*;
use crate::virtual_time::epoch;

fn at(seconds: u64) -> Instant {
    epoch() + Duration::from_secs(seconds)
}

fn lifetime() -> Lifetime {
    let config = LifetimeConfig { handshake_timeout: None, ..LifetimeConfig::default() };
    let lifetime = Lifetime::new(config, epoch(), &mut Rng::new(1, 1));
    lifetime.keepalive(Duration::from_secs(60), Duration::from_secs(20))
}

#[test]
fn what_comes_puts_the_ping_off_without_moving_the_timer() {
    let mut lifetime = lifetime();
    lifetime.handle_ready(at(0));
    for second in 1..50 {
        lifetime.handle_received(at(second));
        assert_eq!(lifetime.timers.at(Timer::Keepalive), Some(at(60)));
    }
    lifetime.handle_timeout(at(60));
    assert_eq!((lifetime.poll_action(), lifetime.timers.at(Timer::Keepalive)), (None, Some(at(109))));
    lifetime.handle_timeout(at(109));
    assert_eq!(lifetime.poll_action(), Some(LifetimeAction::Ping));
    lifetime.handle_received(at(110));
    assert_eq!(lifetime.timers.at(Timer::Keepalive), Some(at(170)), "the answer moves it");
}

#[test]
fn before_the_connection_is_established_nothing_is_due() {
    let mut lifetime = lifetime();
    lifetime.handle_received(at(0));
    lifetime.handle_timeout(at(1000));
    assert_eq!((lifetime.poll_action(), lifetime.timers.at(Timer::Keepalive)), (None, None));
}
