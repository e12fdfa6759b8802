//! Reports of load that come apart from calls (gRFC A51, A58): whose they are, and how often they
//! are asked for.
//!
//! The driver keeps a stream of them on each connection in service, if the settings say so, and
//! feeds the [`ReportSink`] of the connection with what comes. That is no event: like a call that
//! ends with a report, it writes down the endpoint's weight and wakes nobody, so a server that
//! reports without pause is no load for the balancer, which weighs endpoints by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::picker::lease::{Load, ReportRule};
use crate::client::picker::reported::LoadReport;

/// Takes the reports that one connection's server sends apart from calls.
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

    /// How often the server is to be asked to report. It may do so less often.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// A report has come. One that says too little to make a weight of changes nothing, not even
    /// when the last one expires.
    pub fn report(&self, now: Instant, load: &LoadReport) {
        self.rule.note(&self.load, now, load);
    }
}
