//! The longest time that a setting can have.

use std::time::Duration;

/// A century. Longer settings count as this, so no sum of an instant and a setting, nor ten times
/// it, overflows.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
