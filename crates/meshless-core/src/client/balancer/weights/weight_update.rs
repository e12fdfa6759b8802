//! The inputs of the last update of `weighted_round_robin`'s shares, for metrics (gRFC A78).

/// One update of the shares of all listed endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightUpdate {
    /// The reported weight of each endpoint; 0 if it has none that counts.
    pub weights: Vec<f32>,
    /// Endpoints that have not reported, or have reported for less than the blackout period.
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
    /// Returns true if too few endpoints had a weight, so that `round_robin` was used.
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
