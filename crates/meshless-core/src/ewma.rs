//! The peak-sensitive moving average of an endpoint's response time, without a lock.
//!
//! Peaks are adopted at once; lower values decay the average towards them (Finagle's `PeakEwma`;
//! tower's `load::peak_ewma` keeps the same state behind a mutex). The whole state, an average and
//! its time, is one 64-bit word: a picker reads it with one load. It is written when a call ends.
//! It counts no calls: `Load` does.
//!
//! Peaks show how bad it can be, and one garbage collection sets them for seconds. They do not show
//! if a server is slow all the time. For that there is a second, faster average, the usual latency.
//! It ignores peaks: each sample is capped at 3× the current value. The weight of a sample is the
//! time since the previous one. After a silence, when the value is old, a few samples weigh more,
//! like the first ones.
//!
//! Failures are recorded as penalties. A penalty replaces the average until it has faded below the
//! measured latency, ten times as fast as a latency fades. At the normal pace, a penalty of 5 s
//! would keep calls of 1 ms away for 85 s: long after a backend has recovered, and too long for a
//! breaker to ever see five consecutive failures.
//!
//! The arithmetic uses IEEE basic operations only. The last bits of `exp` in libm differ from
//! machine to machine, and a seed would then pick different endpoints.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How fast averages fade, and the time from which their ticks count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EwmaDecay {
    epoch: Instant,
    halvings_per_tick: f32,
}

impl EwmaDecay {
    /// Averages fall to 1/e in `decay` (Finagle, tower and Linkerd use 10 s). Time counts from
    /// `epoch`, which must not be after any later `now`. A `decay` below one tick of 100 µs counts
    /// as one tick.
    pub(crate) fn new(epoch: Instant, decay: Duration) -> Self {
        let ticks = (decay.as_secs_f64() * TICKS_PER_SECOND as f64).max(1.0);
        Self { epoch, halvings_per_tick: (std::f64::consts::LOG2_E / ticks) as f32 }
    }

    /// Returns `now` in ticks. It wraps after 119 hours. An endpoint without a call for exactly
    /// that long would look freshly measured, which does no harm.
    #[inline]
    pub(crate) fn ticks(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.epoch);
        (since.as_secs().wrapping_mul(TICKS_PER_SECOND) as u32)
            .wrapping_add(since.subsec_nanos() / NANOS_PER_TICK)
    }

    /// Returns the age of `stamp`, down to a tick.
    pub(crate) fn since(&self, stamp: u32, now: Instant) -> Duration {
        let age = self.ticks(now).wrapping_sub(stamp);
        // As in `remaining`: a stamp from the future is a race.
        let age = if age > u32::MAX - CLOCK_RACE_TICKS { 0 } else { age };
        Duration::from_nanos(u64::from(age) * u64::from(NANOS_PER_TICK))
    }

    /// Returns the fraction that is left of `average`, which was stamped at `stamp`.
    #[inline]
    fn remaining(&self, average: f32, stamp: u32, ticks: u32) -> f32 {
        let age = ticks.wrapping_sub(stamp);
        let pace = if is_penalty(average) { PENALTY_PACE } else { 1.0 };
        self.fall(age, pace)
    }

    #[inline]
    fn fall(&self, age: u32, pace: f32) -> f32 {
        // Another thread may have stamped a moment after this one read its clock.
        if age > u32::MAX - CLOCK_RACE_TICKS {
            return 1.0;
        }
        exp2_neg(age as f32 * self.halvings_per_tick * pace)
    }
}

/// The average of one endpoint. The default is an endpoint without measurements.
#[derive(Debug, Default)]
pub(crate) struct PeakEwma {
    /// High half: the average in ns as an `f32`, 0 for "not measured yet", negative for a penalty.
    /// Low half: its stamp in ticks.
    state: AtomicU64,
    /// The usual latency in ns as the bits of an `f32`, with the same stamp. Its last bits count
    /// the first answers, which all weigh the same; the count goes back when an answer ends a
    /// silence. Two calls that end at the same time may count as one here. A reader may see an old
    /// and a new word together, and is then off by one call.
    usual: AtomicU32,
}

/// The probable latency of the next call to an endpoint, in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    /// The average with peaks.
    pub(crate) peak: f32,
    /// The usual latency. `None` if there are too few answers.
    pub(crate) usual: Option<f32>,
}

impl PeakEwma {
    /// Returns the averages, faded until `ticks`, or `None` if nothing was measured. A penalty is
    /// both.
    #[inline]
    pub(crate) fn read(&self, decay: &EwmaDecay, ticks: u32) -> Option<Latency> {
        let (nanos, stamp) = unpack(self.state.load(Ordering::Relaxed));
        if nanos == 0.0 {
            return None;
        }
        let remaining = decay.remaining(nanos, stamp, ticks);
        let peak = nanos.abs() * remaining;
        if is_penalty(nanos) {
            return Some(Latency { peak, usual: Some(peak) });
        }
        let (usual, answers) = unpack_usual(self.usual.load(Ordering::Relaxed));
        Some(Latency { peak, usual: (answers >= ENOUGH).then_some(usual * remaining) })
    }

    /// Forgets all measurements.
    pub(crate) fn forget(&self) {
        self.state.store(0, Ordering::Relaxed);
        self.usual.store(0, Ordering::Relaxed);
    }

    /// Records that a call which ended at `ticks` took `latency`.
    pub(crate) fn record(&self, decay: &EwmaDecay, ticks: u32, latency: Duration) {
        let measured = (latency.as_nanos() as f32).max(1.0);
        let update = |state| {
            let (nanos, stamp) = unpack(state);
            if !is_penalty(nanos) && measured >= nanos {
                return Some(pack(measured, ticks));
            }
            let weight = decay.remaining(nanos, stamp, ticks);
            match is_penalty(nanos) {
                true => (nanos.abs() * weight <= measured).then(|| pack(measured, ticks)),
                false => Some(pack(nanos * weight + measured * (1.0 - weight), ticks)),
            }
        };
        // Refused while a penalty holds.
        if let Ok(before) = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            let (_, stamp) = unpack(before);
            self.record_usual(measured, decay.fall(ticks.wrapping_sub(stamp), USUAL_PACE));
        }
    }

    /// Records that a call was given up at `ticks` without an answer after `waited`. It would have
    /// taken longer.
    pub(crate) fn outlast(&self, decay: &EwmaDecay, ticks: u32, waited: Duration) {
        let waited = (waited.as_nanos() as f32).max(1.0);
        let update = |state| {
            let (nanos, stamp) = unpack(state);
            (nanos.abs() * decay.remaining(nanos, stamp, ticks) < waited).then(|| pack(waited, ticks))
        };
        // A call that waited no longer than expected shows nothing.
        if let Ok(before) = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            let (_, stamp) = unpack(before);
            self.record_usual(waited, decay.fall(ticks.wrapping_sub(stamp), USUAL_PACE));
        }
    }

    /// `fallen` is the faded average.
    fn record_usual(&self, measured: f32, fallen: f32) {
        let (usual, answers) = unpack_usual(self.usual.load(Ordering::Relaxed));
        let since = 1.0 - fallen;
        let answers = if since < SILENCE { answers } else { answers.min(ENOUGH) };
        let usual = match answers {
            0 => measured,
            _ => {
                let first = if answers < ANSWERS { 1.0 / (answers + 1) as f32 } else { 0.0 };
                let weight = first.max(since.min(WEIGHT_MAX));
                usual + (measured.min(usual * UNUSUAL) - usual) * weight
            }
        };
        let answers = ANSWERS.min(answers + 1);
        self.usual.store(usual.to_bits() & !ANSWERS | answers, Ordering::Relaxed);
    }

    /// Records that a call which ended at `ticks` failed. It counts like a latency of `penalty`.
    pub(crate) fn penalise(&self, decay: &EwmaDecay, ticks: u32, penalty: Duration) {
        let penalty = (penalty.as_nanos() as f32).max(1.0);
        let update = |state| {
            let (nanos, stamp) = unpack(state);
            // An average above the penalty does not change.
            (nanos * decay.remaining(nanos, stamp, ticks) < penalty).then(|| pack(-penalty, ticks))
        };
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }
}

fn pack(nanos: f32, stamp: u32) -> u64 {
    u64::from(nanos.to_bits()) << 32 | u64::from(stamp)
}

#[inline]
fn unpack(state: u64) -> (f32, u32) {
    (f32::from_bits((state >> 32) as u32), state as u32)
}

/// Returns the usual latency, and the count of its answers up to [`ANSWERS`].
#[inline]
fn unpack_usual(bits: u32) -> (f32, u32) {
    (f32::from_bits(bits & !ANSWERS), bits & ANSWERS)
}

#[inline]
fn is_penalty(nanos: f32) -> bool {
    nanos < 0.0
}

/// 2⁻ˣ for x ≥ 0, within 0.3 %. The exponent is exact; the mantissa is a parabola through both ends
/// of its interval.
#[inline]
fn exp2_neg(x: f32) -> f32 {
    if x >= 126.0 {
        return 0.0;
    }
    let whole = x as u32;
    let part = x - whole as f32;
    (1.0 - part * (0.669 - 0.169 * part)) * f32::from_bits((127 - whole) << 23)
}

/// A penalty of 5 s fades to 100 ms in 4 s, to 1 ms in 8.5 s (with the usual decay of 10 s).
const PENALTY_PACE: f32 = 10.0;
/// With the usual decay of 10 s, the usual latency covers the last 2.5 s.
const USUAL_PACE: f32 = 4.0;
/// The cap of a sample, as a multiple of the usual latency. A pause of 300 ms, which all calls of
/// that moment share, then raises it to at most 1.3 times its value.
const UNUSUAL: f32 = 3.0;
/// The largest weight of one sample, after a silence of any length. With [`UNUSUAL`], one sample at
/// most doubles the usual latency, which is the picker's threshold.
const WEIGHT_MAX: f32 = 0.4;
/// A sample ends a silence if the time since the previous one gives it this weight. With the usual
/// decay, that is a silence of 0.56 s. No pause of 300 ms does that. Earlier samples count as
/// [`ENOUGH`] from then on. Otherwise a slow server that gets few calls because of its peak needs
/// 25 samples to show that it is usually slow, once a hiccup has given its peers the same peak.
const SILENCE: f32 = 0.2;
/// This many first samples weigh the same. The count takes five bits of the average, which keeps
/// 18.
const ANSWERS: u32 = 31;
/// After this many samples the usual latency is roughly known.
const ENOUGH: u32 = 8;
/// A tick is 100 µs: small compared to a decay of seconds, and 32 bits of it last for days.
const TICKS_PER_SECOND: u64 = 10_000;
const NANOS_PER_TICK: u32 = 100_000;
/// Stamps up to 1 s ahead count as a race between threads, not as a wrapped counter.
const CLOCK_RACE_TICKS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    const SECOND: u32 = TICKS_PER_SECOND as u32;

    fn decay() -> EwmaDecay {
        EwmaDecay::new(epoch(), Duration::from_secs(10))
    }

    fn peak(ewma: &PeakEwma, decay: &EwmaDecay, ticks: u32) -> Option<f32> {
        ewma.read(decay, ticks).map(|latency| latency.peak)
    }

    #[test]
    fn the_power_is_close_and_falls_all_the_way() {
        let mut previous = 1.0;
        for step in 0..12_600 {
            let x = step as f32 / 100.0;
            let (approximate, exact) = (exp2_neg(x), (-x).exp2());
            assert!((approximate / exact - 1.0).abs() < 0.003, "2^-{x}: {approximate}, not {exact}");
            assert!(approximate <= previous);
            previous = approximate;
        }
        assert_eq!(exp2_neg(1e9), 0.0);
    }

    #[test]
    fn peaks_are_adopted_at_once_and_fade_slowly() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        assert_eq!(peak(&ewma, &decay, 0), None);
        ewma.record(&decay, 0, Duration::from_millis(1));
        ewma.record(&decay, 0, Duration::from_millis(100));
        assert_eq!(peak(&ewma, &decay, 0), Some(1e8));
        ewma.record(&decay, 10 * SECOND, Duration::from_millis(1));
        let after = peak(&ewma, &decay, 10 * SECOND).unwrap();
        // 1/e of the old value, the rest of the new one.
        let expected = 1e8 * (-1f32).exp() + 1e6 * (1.0 - (-1f32).exp());
        assert!((after / expected - 1.0).abs() < 0.01, "{after}, not {expected}");
    }

    #[test]
    fn an_average_fades_without_calls() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, 5, Duration::from_millis(100));
        let later = peak(&ewma, &decay, 5 + 20 * SECOND).unwrap();
        assert!((later / (1e8 * (-2f32).exp()) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_penalty_fades_in_seconds_and_is_not_averaged_with_successes() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, 0, Duration::from_millis(1));
        ewma.penalise(&decay, 0, Duration::from_secs(5));
        assert_eq!(peak(&ewma, &decay, 0), Some(5e9));
        ewma.record(&decay, SECOND, Duration::from_millis(1));
        let after_one = peak(&ewma, &decay, SECOND).unwrap();
        assert!((after_one / (5e9 * (-1f32).exp()) - 1.0).abs() < 0.01, "{after_one}");
        ewma.record(&decay, 9 * SECOND, Duration::from_millis(1));
        assert_eq!(peak(&ewma, &decay, 9 * SECOND), Some(1e6));
        ewma.record(&decay, 9 * SECOND, Duration::from_secs(60));
        ewma.penalise(&decay, 9 * SECOND, Duration::from_secs(5));
        assert_eq!(peak(&ewma, &decay, 9 * SECOND), Some(6e10), "it is no reward for what is slower still");
    }

    #[test]
    fn what_is_usual_follows_within_seconds_and_heeds_no_single_peak() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        let mut now = 0;
        // A hundred answers a second.
        let mut usual_after = |answers: u32, millis, pause: u32| {
            now += pause;
            for _ in 0..answers {
                now += SECOND / 100;
                ewma.record(&decay, now, Duration::from_millis(millis));
            }
            ewma.read(&decay, now).unwrap().usual.map_or(0.0, |nanos| nanos / 1e6)
        };
        usual_after(100, 10, 0);
        let paused = usual_after(1, 333, SECOND / 3);
        assert!((12.0..13.0).contains(&paused), "{paused} ms");
        usual_after(1000, 10, 0);
        let slow = usual_after(200, 30, 0);
        assert!((20.0..22.0).contains(&slow), "{slow} ms");
        assert!(usual_after(1000, 30, 0) > 29.0);
        assert!(usual_after(1000, 10, 0) < 11.0);
    }

    #[test]
    fn after_a_silence_a_few_answers_tell_what_is_usual_but_not_one() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        let record = |now, millis| {
            ewma.record(&decay, now, Duration::from_millis(millis));
            ewma.read(&decay, now).unwrap().usual.map_or(0.0, |nanos| nanos / 1e6)
        };
        for tick in 0..100 {
            record(tick * SECOND / 100, 10);
        }
        let after = |seconds: u32, answer: u32| seconds * SECOND + answer * SECOND / 100;
        let one = record(after(5, 0), 1000);
        assert!((17.9..18.1).contains(&one), "{one} ms");
        for answer in 1..6 {
            record(after(5, answer), 30);
        }
        let few = record(after(5, 6), 30);
        assert!(few > 22.0, "{few} ms");
        for answer in 0..9 {
            record(after(10, answer), 10);
        }
        let well = record(after(10, 9), 10);
        assert!(well < 15.0, "{well} ms");
    }

    #[test]
    fn what_is_usual_is_known_after_a_few_answers_whichever_came_first() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        for millis in [10, 30, 10, 30, 10, 10, 10] {
            ewma.record(&decay, 0, Duration::from_millis(millis));
            assert_eq!(ewma.read(&decay, 0).unwrap().usual, None);
        }
        ewma.record(&decay, 0, Duration::from_millis(10));
        let usual = ewma.read(&decay, 0).unwrap().usual.unwrap() / 1e6;
        assert!((14.9..15.1).contains(&usual), "{usual} ms");
    }

    #[test]
    fn a_penalty_is_what_is_usual_while_it_stands() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, 0, Duration::from_millis(1));
        ewma.penalise(&decay, 0, Duration::from_secs(5));
        assert_eq!(ewma.read(&decay, 0), Some(Latency { peak: 5e9, usual: Some(5e9) }));
        ewma.record(&decay, 9 * SECOND, Duration::from_millis(1));
        assert_eq!(ewma.read(&decay, 9 * SECOND), Some(Latency { peak: 1e6, usual: None }));
    }

    #[test]
    fn a_call_that_was_given_up_counts_if_it_had_waited_longer_than_expected() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, 0, Duration::from_millis(20));
        ewma.outlast(&decay, 0, Duration::from_millis(10));
        assert_eq!(peak(&ewma, &decay, 0), Some(2e7));
        ewma.outlast(&decay, SECOND, Duration::from_millis(60));
        assert_eq!(peak(&ewma, &decay, SECOND), Some(6e7));
    }

    #[test]
    fn a_stamp_from_the_future_does_not_erase_the_average() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, 7, Duration::from_millis(5));
        assert_eq!(peak(&ewma, &decay, 6), Some(5e6));
    }

    #[test]
    fn ticks_wrap_without_a_jump() {
        let (ewma, decay) = (PeakEwma::default(), decay());
        ewma.record(&decay, u32::MAX - 1, Duration::from_millis(5));
        let after = peak(&ewma, &decay, 2).unwrap();
        assert!((after / 5e6 - 1.0).abs() < 0.001);
    }
}
