//! Chooses the zone from which a call's candidates are drawn, if a zone is preferred.
//!
//! `least_request` and `peak_ewma` take the better of two endpoints, so weights alone do not fix
//! shares. Of two idle endpoints, the nearer one would always win, and its whole zone would
//! overload it. So the zone is drawn first, by the weight of its endpoints, and two endpoints of
//! that zone are compared. Policies that take turns do not need this.

use super::candidates::{Candidate, Candidates};
use crate::rng::Rng;

/// The zones of a picker whose candidates are sorted by zone.
#[derive(Debug)]
pub(crate) struct Zones(Box<[Zone]>);

#[derive(Debug)]
struct Zone {
    /// The end of its share, out of 2³².
    upto: u64,
    /// The index of its first candidate.
    start: usize,
    end: usize,
}

impl Zones {
    /// Sorts the candidates by zone. Returns `None` if all are in one zone.
    pub(crate) fn of<C>(candidates: &mut Candidates<C>) -> Option<Self> {
        let entries = &mut candidates.0;
        if entries.iter().all(|entry| entry.zone == entries[0].zone) {
            return None;
        }
        entries.sort_by_key(|entry| (entry.zone, entry.endpoint));
        let total: f64 = entries.iter().map(|entry| f64::from(entry.weight)).sum();
        let (mut zones, mut start, mut weight) = (Vec::new(), 0, 0.0);
        for of_zone in entries.chunk_by(|a, b| a.zone == b.zone) {
            let end = start + of_zone.len();
            let own: f64 = of_zone.iter().map(|entry| f64::from(entry.weight)).sum();
            weight += own;
            if own > 0.0 {
                // A cast of a float saturates.
                zones.push(Zone { upto: (weight / total * SHARES as f64) as u64, start, end });
            }
            start = end;
        }
        // Rounding must not leave a gap at the end.
        zones.last_mut()?.upto = SHARES;
        Some(Self(zones.into()))
    }

    /// Returns the candidates to compare, and the position of the first.
    #[inline]
    pub(crate) fn draw<'a, C>(
        zones: Option<&Self>,
        candidates: &'a Candidates<C>,
        rng: &mut Rng,
    ) -> (usize, &'a [Candidate<C>]) {
        match zones {
            None => (0, &candidates.0),
            Some(zones) => zones.draw_one(candidates, rng),
        }
    }

    /// Not inlined: few channels prefer a zone.
    #[inline(never)]
    fn draw_one<'a, C>(&self, candidates: &'a Candidates<C>, rng: &mut Rng) -> (usize, &'a [Candidate<C>]) {
        let share = rng.next_u64() >> 32;
        let position = self.0.partition_point(|zone| zone.upto <= share);
        let Zone { start, end, .. } = self.0[position];
        (start, &candidates.0[start..end])
    }
}

const SHARES: u64 = 1 << 32;
