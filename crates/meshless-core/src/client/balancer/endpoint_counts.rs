//! How many endpoints a channel has in each state, for metrics.

use super::outlier_detection::OutlierDetector;
use super::subchannels::Subchannels;
use crate::client::subchannel::SubchannelState;

/// Numbers of endpoints of one channel. An endpoint counts in `listed`, and in each of the others
/// that it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointCounts {
    /// Those that the channel uses. Endpoints that have left and finish their calls are not among
    /// them.
    pub listed: usize,
    /// Those without an open connection that are being connected to.
    pub connecting: usize,
    /// Those with a connection that takes calls. One may be ejected all the same.
    pub ready: usize,
    /// Those that are ejected, or on probation after it.
    pub ejected: usize,
}

impl EndpointCounts {
    /// `at_rest` says that the channel needs no connection for now.
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
