//! Load reports in a stream apart from calls (gRFC A51, A58): from which connection, and how often.
//!
//! If the settings say so, the driver keeps one such stream on each connection in service, and
//! passes its reports to the connection's [`ReportSink`]. A report is no event: like a call that
//! ends with a report, it stores the endpoint's weight and wakes nobody. So a server that reports
//! without pause is no load for the balancer, which weighs endpoints by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::picker::lease::{Load, ReportRule};
use crate::client::picker::reported::LoadReport;

/// Takes the load reports that one connection's server sends apart from calls.
#[derive(Clone, Debug)]
pub struct ReportSink {
    load: Arc<Load>,
    rule: ReportRule,
    period: Duration,
}

impl ReportSink {
    pub(super) fn new(load: &Arc<Load>, rule: ReportRule, period: Duration) -> Self {
        Self { load: Arc::clone(load), rule, period }
    }

    /// Returns how often to ask the server for reports. The server may report less often.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Takes a report. A report with too little data for a weight changes nothing, not even when
    /// the last one expires.
    pub fn report(&self, now: Instant, load: &LoadReport) {
        self.rule.note(&self.load, now, load);
    }
}
