//! Converts values to positions on an axis, and chooses its ticks. Pure arithmetic.

/// An axis: values `lo..=hi` over pixels `from..to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    lo: f64,
    hi: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Even steps. An empty range is extended, so that a single value has a position.
    pub(crate) fn linear(lo: f64, hi: f64) -> Self {
        let (lo, hi) = if lo.is_finite() && hi.is_finite() && hi > lo { (lo, hi) } else { (lo, lo + 1.0) };
        Self { lo, hi, from: 0.0, to: 1.0, log: false }
    }

    /// Even factors, for values above zero; others are at the low end.
    pub(crate) fn log(lo: f64, hi: f64) -> Self {
        let lo = if lo.is_finite() && lo > 0.0 { lo } else { 1.0 };
        let (lo, hi) = if hi.is_finite() && hi > lo { (lo, hi) } else { (lo / 2.0, lo * 2.0) };
        Self { lo, hi, from: 0.0, to: 1.0, log: true }
    }

    /// Returns the same scale over other pixels.
    pub(crate) fn over(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    /// Returns the position of a value; values outside are at the edge.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.lo, self.hi);
        let t = if self.log {
            (value / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (value - self.lo) / (self.hi - self.lo)
        };
        self.from + t * (self.to - self.from)
    }

    /// Returns about `wanted` round values in the range: 1, 2 or 5 times a power of ten.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<f64> {
        if self.log {
            return self.log_ticks(wanted);
        }
        let step = round_up((self.hi - self.lo) / wanted.max(1) as f64);
        let first = (self.lo / step).ceil() as i64;
        let last = ((self.hi / step) + 1e-9).floor() as i64;
        (first..=last.min(first + MAX_TICKS)).map(|i| i as f64 * step).collect()
    }

    fn log_ticks(&self, wanted: usize) -> Vec<f64> {
        let decades = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
        let every = |digits: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|e| digits.iter().map(move |d| d * 10f64.powi(e)));
            all.filter(|v| *v >= self.lo * 0.999 && *v <= self.hi * 1.001).collect()
        };
        let fine = every(&[1.0, 2.0, 5.0]);
        if fine.len() <= wanted.max(2) { fine } else { every(&[1.0]) }
    }
}

/// Returns the next round number, or `value` itself: 1, 2 or 5 times a power of ten.
pub(crate) fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|d| d * power >= value * 0.999_999).unwrap_or(10.0);
    digit * power
}

/// More would not be readable, whatever the range.
const MAX_TICKS: i64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear(0.0, 0.43).ticks(4).len(), 3);
        assert_eq!(Scale::linear(0.0, 10.0).ticks(5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Scale::log(100.0, 20_000.0).ticks(4), [100.0, 1_000.0, 10_000.0]);
        assert_eq!(Scale::log(90.0, 600.0).ticks(4), [100.0, 200.0, 500.0]);
    }

    #[test]
    fn odd_ranges_still_place_a_value() {
        for scale in [
            Scale::linear(5.0, 5.0),
            Scale::log(0.0, 0.0),
            Scale::log(7.0, 7.0),
            Scale::linear(0.0, f64::NAN),
        ] {
            assert!(scale.over(10.0, 20.0).at(7.0).is_finite(), "{scale:?}");
        }
        assert_eq!(Scale::log(100.0, 100.0).over(0.0, 10.0).at(100.0), 5.0);
    }
}
