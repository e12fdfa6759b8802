//! The start time of unit tests: tests count the `now` of machines from here.

use std::time::Instant;

/// The same instant for every caller in the process.
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can only be made from the clock; its value does not matter"
)]
pub(crate) fn epoch() -> Instant {
    static EPOCH: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *EPOCH
}
