//! The longest time that a setting can mean.

use std::time::Duration;

/// A century. Settings are held to it, so that no sum of an instant and a setting, nor ten times
/// it, overflows.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
