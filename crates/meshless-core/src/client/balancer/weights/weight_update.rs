//! What the last update of `weighted_round_robin`'s shares went by, for those who measure it (gRFC
//! A78).

/// One update of the shares of all listed endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightUpdate {
    /// The reported weight of each endpoint, 0 where there is none that counts.
    pub weights: Vec<f32>,
    /// Endpoints that have not reported, or for less than the blackout period.
    pub not_yet_usable: usize,
    /// Endpoints whose last report is older than the expiration period.
    pub stale: usize,
}

/// Why a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    NotYet,
    Stale,
}

impl WeightUpdate {
    /// Whether too few endpoints had a weight for shares to be made of them: `round_robin` then.
    pub fn fell_back(&self) -> bool {
        self.weights.iter().filter(|weight| **weight > 0.0).count() < WEIGHTS_MIN
    }

    pub(super) fn add(&mut self, reported: Result<f32, Unusable>) {
        match reported {
            Err(Unusable::NotYet) => self.not_yet_usable += 1,
            Err(Unusable::Stale) => self.stale += 1,
            Ok(_) => {}
        }
        self.weights.push(reported.unwrap_or(0.0));
    }
}

/// "If fewer than two subchannels have weights, round robin" (A58).
pub(super) const WEIGHTS_MIN: usize = 2;
