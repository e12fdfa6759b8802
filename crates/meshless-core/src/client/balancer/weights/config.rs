//! The settings of `weighted_round_robin`.

use std::time::Duration;

use crate::longest::LONGEST;

/// The settings of `weighted_round_robin`, with the names and defaults of gRFC A58. Reports come
/// with calls, or in a separate stream.
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
    /// If true, servers are asked for reports in a separate stream, one per connection
    /// (`xds.service.orca.v3.OpenRcaService`, gRFC A51). Reports that come with calls are then
    /// ignored. Default: false.
    ///
    /// Use it for long calls, which report only at their end, and for clients with few calls:
    /// reports then reach all clients equally often. A server without that service gets the mean of
    /// the others' weights, like any server that does not report.
    ///
    /// The request carries no credentials that a user's interceptors add to calls. A server that
    /// requires credentials on every method must exempt this one; otherwise it counts as not
    /// reporting. To the server the stream is a normal one: its limit for idle connections never
    /// fires for such a client. No stream is opened if the server's stream limit leaves room only
    /// for one call and the health watch.
    pub fn oob_load_report(mut self, enabled: bool) -> Self {
        self.out_of_band = enabled;
        self
    }

    /// How often servers are asked to report in that stream. Default 10 s. Servers may report less
    /// often: most implementations send at most every 30 s, unless configured otherwise. Zero asks
    /// for reports as often as the server will send them; more than a day counts as a day. Stay
    /// well below [`expiration_period`](Self::expiration_period).
    pub fn oob_reporting_period(mut self, period: Duration) -> Self {
        self.reporting_period = period.min(LONGEST);
        self
    }

    /// How long an endpoint must have reported before its reports count. Until then it has the mean
    /// weight. Default 10 s. The first reports of a server say nothing, since it has no load yet.
    pub fn blackout_period(mut self, period: Duration) -> Self {
        self.blackout = period.min(LONGEST);
        self
    }

    /// A report is forgotten after this time without a new one. Default 3 min.
    pub fn expiration_period(mut self, period: Duration) -> Self {
        self.expiration = period.min(LONGEST);
        self
    }

    /// How often shares are updated from the reports. Default 1 s; below 100 ms counts as that.
    pub fn update_period(mut self, period: Duration) -> Self {
        self.update = period.clamp(UPDATE_MIN, LONGEST);
        self
    }

    /// The utilization that is added for a server with nothing but errors. Default 1. At 0, a
    /// server that fails fast looks idle. Not a number counts as the default.
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
