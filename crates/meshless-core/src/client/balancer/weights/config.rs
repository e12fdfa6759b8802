//! What can be set about `weighted_round_robin`.

use std::time::Duration;

use crate::longest::LONGEST;

/// `weighted_round_robin`'s settings, with the names and defaults of gRFC A58. Reports come with
/// calls, or in a stream of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedConfig {
    pub(super) out_of_band: bool,
    pub(super) reporting_period: Duration,
    pub(super) blackout: Duration,
    pub(super) expiration: Duration,
    pub(super) update: Duration,
    pub(super) error_penalty: f32,
}

impl WeightedConfig {
    /// Whether servers are asked for reports in a stream apart from the calls, one on each
    /// connection (`xds.service.orca.v3.OpenRcaService`, gRFC A51), and those that come with calls
    /// are not looked at. Default: no.
    ///
    /// For calls that last, which report at their end only, and for clients with few calls: what a
    /// server says reaches all its clients equally often. A server without that service has the
    /// mean of the others' weights, as any that does not report.
    ///
    /// The request carries no credentials that a user's interceptors add to calls: a server that
    /// asks for some on every method has to leave out this one, or counts as one that does not
    /// report. To the server the stream is one like others: a limit that it sets for idle
    /// connections never fires for such a client. Nothing is asked of a server that allows a
    /// connection no stream beyond those that one call and the health watch take.
    pub fn oob_load_report(mut self, enabled: bool) -> Self {
        self.out_of_band = enabled;
        self
    }

    /// How often servers are asked to report in that stream. Default 10 s. They do it less often if
    /// they are set so: 30 s is the least of most implementations, unless told otherwise. Zero asks
    /// for as often as the server will, more than a day for once a day. Stay well below
    /// [`expiration_period`](Self::expiration_period).
    pub fn oob_reporting_period(mut self, period: Duration) -> Self {
        self.reporting_period = period.min(LONGEST);
        self
    }

    /// How long an endpoint must have reported before its reports count; until then it has the mean
    /// weight. Default 10 s. The first reports of a server that has no load yet say nothing.
    pub fn blackout_period(mut self, period: Duration) -> Self {
        self.blackout = period.min(LONGEST);
        self
    }

    /// After how long without a report the last one is forgotten. Default 3 min.
    pub fn expiration_period(mut self, period: Duration) -> Self {
        self.expiration = period.min(LONGEST);
        self
    }

    /// How often shares follow the reports. Default 1 s; below 100 ms counts as that.
    pub fn update_period(mut self, period: Duration) -> Self {
        self.update = period.clamp(UPDATE_MIN, LONGEST);
        self
    }

    /// How much utilization a server with nothing but errors is taken to have on top. Default 1. At
    /// 0, one that fails fast looks idle. Not a number counts as the default.
    pub fn error_utilization_penalty(mut self, penalty: f32) -> Self {
        self.error_penalty = if penalty.is_finite() { penalty.max(0.0) } else { 1.0 };
        self
    }
}

impl Default for WeightedConfig {
    fn default() -> Self {
        Self {
            out_of_band: false,
            reporting_period: Duration::from_secs(10),
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            update: Duration::from_secs(1),
            error_penalty: 1.0,
        }
    }
}

/// "Values below 100 ms are raised to it" (A58).
const UPDATE_MIN: Duration = Duration::from_millis(100);
