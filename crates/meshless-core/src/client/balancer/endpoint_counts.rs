//! How many endpoints a channel has in each state, for metrics.

use super::outlier_detection::OutlierDetector;
use super::subchannels::Subchannels;
use crate::client::subchannel::SubchannelState;

/// Numbers of endpoints of one channel. An endpoint counts in `listed`, and in every other field
/// that applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointCounts {
    /// Endpoints in use. Former endpoints that finish their calls do not count.
    pub listed: usize,
    /// Endpoints without an open connection, to which one is being made.
    pub connecting: usize,
    /// Endpoints with a connection that takes calls. They may be ejected.
    pub ready: usize,
    /// Endpoints that are ejected, or on probation after that.
    pub ejected: usize,
}

impl EndpointCounts {
    /// `at_rest` is true if the channel needs no connection for now.
    pub(super) fn of<C>(subchannels: &Subchannels<C>, at_rest: bool, outliers: &OutlierDetector) -> Self {
        let mut counts = Self::default();
        for subchannel in subchannels.listed() {
            counts.listed += 1;
            match subchannel.state(at_rest) {
                SubchannelState::Connecting => counts.connecting += 1,
                SubchannelState::Ready => counts.ready += 1,
                _ => {}
            }
            counts.ejected += usize::from(outliers.ejection(subchannel.id).is_some());
        }
        counts
    }
}
