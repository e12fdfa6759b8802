//! The random stream for decisions: small, fast, and equal on every machine.
//!
//! Each entity (a connection, a channel, a simulated client) has its own stream, derived from
//! (seed, id). So a new entity does not change what the others draw. Not for secrets.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Creates the stream of entity `id` under `seed`.
    pub fn new(seed: u64, id: u64) -> Self {
        // Both pass through the mixer; otherwise neighbouring ids would yield shifted copies of one
        // stream.
        let mut rng = Self { state: seed };
        let mixed = rng.next_u64();
        Self { state: mixed ^ Self { state: id }.next_u64() }
    }

    /// Returns the next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a uniform number in `0..n`. The bias is below n / 2⁶⁴.
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "nothing to choose from");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Returns a uniform number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns `mean`, made shorter or longer uniformly by at most `fraction` of itself.
    pub fn jittered(&mut self, mean: Duration, fraction: f64) -> Duration {
        mean.mul_f64(1.0 + fraction * (2.0 * self.unit() - 1.0))
    }

    /// Puts `items` into a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_neighbouring_ids_differ_and_replay() {
        let draw = |seed, id| -> Vec<u64> {
            let mut rng = Rng::new(seed, id);
            (0..4).map(|_| rng.next_u64()).collect()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1)[1..], draw(7, 2)[..3]);
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = Rng::new(1, 1);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[rng.below(3)] += 1;
        }
        // 10 000 ± 5 standard deviations (√(30 000 · ⅓ · ⅔) ≈ 82).
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 410), "{counts:?}");
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        let mut rng = Rng::new(1, 2);
        let mean = Duration::from_secs(10);
        let drawn: Vec<_> = (0..1000).map(|_| rng.jittered(mean, 0.1)).collect();
        assert!(drawn.iter().all(|d| (9.0..=11.0).contains(&d.as_secs_f64())));
        assert!(drawn.iter().any(|d| d.as_secs_f64() < 9.2) && drawn.iter().any(|d| d.as_secs_f64() > 10.8));
    }
}
