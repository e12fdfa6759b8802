//! What the channel, the servers and the faults say of a run, with the run's own clock: written if
//! `RUST_LOG` asks for it.

use std::fmt;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::simulation::epoch;

/// Runs `run` on this thread, and writes what is said meanwhile.
pub(crate) fn traced<T>(run: impl FnOnce() -> T) -> T {
    let filter = EnvFilter::from_default_env();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_timer(Clock);
    tracing::subscriber::with_default(subscriber.with_test_writer().finish(), run)
}

/// Time since the beginning of the run.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match epoch() {
            Some(epoch) => write!(writer, "{:9.3}", (Instant::now() - epoch).as_secs_f64()),
            None => Ok(()),
        }
    }
}
