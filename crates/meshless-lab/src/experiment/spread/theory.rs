//! Closed forms for the spread of sticky connections, drawn beside what was measured.
//!
//! Model: N connections, each chosen uniformly among M backends again whenever its age T ends. The
//! calls per backend are then Binomial(N, 1/M); their relative standard deviation at an instant is
//! √((M−1)/N). For one connection this is exact, and so is max/mean = M: everything is on one
//! backend. (The common 1 + e_M·√((M−1)/N), with e_M the mean of the largest of M normals, holds
//! for many connections only; at N = 1, M = 3 it says 2.2 where the truth is 3.)

/// Relative standard deviation over a window of `window` ages: √((M−1)/N · g), where g averages the
/// autocorrelation max(0, 1 − |τ|/T) of "this backend has the connection" over the window.
pub(crate) fn relative_deviation(backends: usize, connections: f64, window: f64) -> f64 {
    (backends.saturating_sub(1) as f64 / connections * averaging(window)).sqrt()
}

/// g(w) = 1 − w/3 up to one age, 1/w − 1/(3w²) beyond: from 1 (an instant) to 0 (for ever).
fn averaging(w: f64) -> f64 {
    if w <= 1.0 { 1.0 - w.max(0.0) / 3.0 } else { 1.0 / w - 1.0 / (3.0 * w * w) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_at_an_instant_is_as_uneven_as_can_be() {
        // (3, 0, 0): mean 1, variance ((3−1)² + 1 + 1) / 3 = 2.
        assert_eq!(relative_deviation(3, 1.0, 0.0), 2f64.sqrt());
    }

    #[test]
    fn averaging_has_no_step_at_one_age_and_falls_like_one_over_w() {
        assert!((averaging(1.0) - averaging(1.0 + 1e-9)).abs() < 1e-6);
        assert!((averaging(1000.0) * 1000.0 - 1.0).abs() < 1e-3);
    }
}
