//! Reports of load that come apart from calls (gRFC A51, A58): whose they are, and how often they are asked for.
//!
//! The driver keeps a stream of them on each connection in service, if the settings say so, and feeds the [`ReportSink`] of the
//! connection with what comes. That is no event: like a call that ends with a report, it writes down the endpoint's weight and wakes
//! nobody, so a server that reports without pause is no load for the balancer, which weighs endpoints by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Balancer;
use crate::client::picker::Policy;
use crate::client::picker::lease::{Load, ReportRule};
use crate::client::picker::reported::LoadReport;
use crate::client::subchannel::Phase;
use crate::connection_id::ConnectionId;

/// Takes the reports that one connection's server sends apart from calls.
#[derive(Clone, Debug)]
pub struct ReportSink {
    load: Arc<Load>,
    rule: ReportRule,
    period: Duration,
}

impl ReportSink {
    /// How often the server is to be asked to report. It may do so less often.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// A report has come. One that says too little to make a weight of changes nothing, not even when the last one expires.
    pub fn report(&self, now: Instant, load: &LoadReport) {
        self.rule.note(&self.load, now, load);
    }
}

impl<C> Balancer<C> {
    /// Whether servers are to be asked for reports apart from calls.
    pub fn wants_reports(&self) -> bool {
        self.config.policy == Policy::WeightedRoundRobin && self.config.weighted.out_of_band
    }

    /// Where the reports of the server at the other end of a connection go; `None` if none are wanted of it.
    pub fn report_sink(&self, id: ConnectionId) -> Option<ReportSink> {
        if !self.wants_reports() {
            return None;
        }
        let subchannel = self.subchannels.get(self.owners.get(&id)?)?;
        let connection = &subchannel.connections[subchannel.position(id)?];
        let in_service = !matches!(connection.phase, Phase::Draining { .. });
        in_service.then(|| ReportSink {
            load: Arc::clone(&subchannel.load),
            rule: self.report_rule(),
            period: self.config.weighted.reporting_period,
        })
    }

    /// "While `enable_oob_load_report` is set, per-call load reports are never parsed" (A58).
    pub(super) fn rule_for_calls(&self) -> Option<ReportRule> {
        (!self.config.weighted.out_of_band).then(|| self.report_rule())
    }

    fn report_rule(&self) -> ReportRule {
        ReportRule { clock: self.decay, error_penalty: self.config.weighted.error_penalty }
    }
}
