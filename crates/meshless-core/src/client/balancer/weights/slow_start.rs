//! Slow start: how fast the share of an endpoint grows.

use std::time::Duration;

use crate::longest::LONGEST;

/// How endpoints that are new, or were out of service, get their share: gradually. Their caches,
/// pools and compiled code warm up in that time (Envoy; gRFC A100).
///
/// Endpoints that a channel finds at its start get their share at once, since all are equally new
/// to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStartConfig {
    window: Duration,
    min_percent: u8,
}

impl SlowStartConfig {
    /// Shares grow in a straight line (Envoy's aggression of 1) over `window`. Some seconds up to a
    /// minute are usual.
    pub fn new(window: Duration) -> Self {
        Self { window: window.min(LONGEST), min_percent: 10 }
    }

    /// The share at the beginning, in percent of the whole. Default 10, Envoy's. 1 to 100.
    pub fn min_percent(mut self, percent: u8) -> Self {
        self.min_percent = percent.clamp(1, 100);
        self
    }

    /// "Weight · max(min_weight_percent, time since start / window)".
    pub(super) fn factor(&self, age: Duration) -> f32 {
        let part = age.as_secs_f32() / self.window.as_secs_f32();
        // With a window of zero this is not a number.
        if part < 1.0 { part.max(f32::from(self.min_percent) / 100.0) } else { 1.0 }
    }

    pub(super) fn step(&self) -> Duration {
        (self.window / STEPS).clamp(STEP_MIN, STEP_MAX)
    }
}

const STEPS: u32 = 20;
const STEP_MIN: Duration = Duration::from_millis(100);
const STEP_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_in_a_straight_line_from_the_least() {
        let slow = SlowStartConfig::new(Duration::from_secs(20));
        let at = |seconds| slow.factor(Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 5, 10, 20, 99].map(at), [0.1, 0.1, 0.1, 0.25, 0.5, 1.0, 1.0]);
        assert_eq!(SlowStartConfig::new(Duration::ZERO).factor(Duration::ZERO), 1.0);
    }
}
