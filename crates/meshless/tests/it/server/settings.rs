//! Settings of a server at their edges: no duration panics.

use std::time::Duration;

use meshless::Server;
use meshless::server::{ConnectionConfig, LifetimeConfig};

use super::pipes::{Piped, check};

const SECOND: Duration = Duration::from_secs(1);

type Setter = (&'static str, fn(Server, Duration) -> Server);

/// Every setting of a server that is a duration.
const SETTERS: &[Setter] = &[
    ("max_connection_age", |server, duration| server.max_connection_age(duration)),
    ("max_connection_age levelled", |server, duration| {
        server.max_connection_age(duration).level_connections(3)
    }),
    ("max_connection_age_grace", |server, duration| {
        server.max_connection_age(SECOND).max_connection_age_grace(duration)
    }),
    ("max_connection_idle", |server, duration| server.max_connection_idle(duration)),
    ("keepalive time", |server, duration| server.keepalive(duration, SECOND)),
    ("keepalive timeout", |server, duration| server.keepalive(SECOND, duration)),
    ("ping_enforcement", |server, duration| server.ping_enforcement(duration, true)),
    ("lame_duck", |server, duration| server.lame_duck(duration)),
    ("drain_timeout", |server, duration| server.drain_timeout(duration)),
    ("max_stream_age", |server, duration| server.max_stream_age(duration, SECOND)),
    ("max_stream_age grace", |server, duration| server.max_stream_age(SECOND, duration)),
    ("the others", |server, duration| {
        let lifetime = LifetimeConfig::default().slow_reader_timeout(duration);
        server.connection_config(ConnectionConfig::default().lifetime(lifetime))
    }),
];

#[tokio::test(start_paused = true)]
async fn no_duration_is_too_short_or_too_long_to_be_set() {
    for (name, set) in SETTERS {
        for duration in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let server = Piped::start(set(Server::builder(), duration));
            let mut peer = server.connect().await;
            peer.call(1, "/test.Stuck/Stream").await;
            tokio::time::sleep(3 * SECOND).await;
            // Another client is served, however the first one fares. A name for what hangs.
            let mut other = server.connect().await;
            let answered = tokio::time::timeout(SECOND, check(&mut other, 1)).await;
            assert_eq!(answered, Ok(1), "{name} {duration:?}");
            server.shutdown.begin();
            tokio::time::sleep(30 * SECOND).await;
            server.shutdown.hurry();
            server.ended().await;
        }
    }
}
