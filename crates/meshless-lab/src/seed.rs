//! A seed for those who name none.

use std::time::{SystemTime, UNIX_EPOCH};

use meshless_core::Rng;

/// 32 bits, so that a seed is short to type and survives every JSON reader.
pub(crate) fn random() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Rng::new(now.as_nanos() as u64, u64::from(std::process::id())).next_u64() as u32
}
