//! The policies by which a backend can be chosen, by their names.

use std::fmt;
use std::str::FromStr;

/// How a backend is chosen, named as in a gRPC service config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// One connection for all calls, to the first endpoint of a random order that can be reached
    /// (gRFC A62).
    PickFirst,
    /// A connection to every endpoint; calls go to all of them in turn (gRFC A61). The default.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest calls in flight, of two chosen at random (gRFC A48).
    LeastRequest,
    /// Of two random endpoints, the one with the lower calls in flight × response time² (after
    /// Finagle). An endpoint that is usually more than 2× slower than the other gets almost no
    /// calls.
    PeakEwma,
    /// Endpoints in turn, in proportion to the capacity that their servers report (gRFC A58). If
    /// servers report nothing, in proportion to the weights of the resolver, which are usually
    /// equal.
    WeightedRoundRobin,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 5] =
        [Self::PickFirst, Self::RoundRobin, Self::LeastRequest, Self::PeakEwma, Self::WeightedRoundRobin];

    /// Returns its name in a service config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PickFirst => "pick_first",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::PeakEwma => "peak_ewma",
            Self::WeightedRoundRobin => "weighted_round_robin",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no policy of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown policy {0:?}: use pick_first, round_robin, least_request, peak_ewma or weighted_round_robin"
)]
pub struct UnknownPolicyError(String);

impl FromStr for Policy {
    type Err = UnknownPolicyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| UnknownPolicyError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_grpc_s() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "Round-Robin".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("\"Round-Robin\"") && error.contains("round_robin"), "{error}");
    }
}
