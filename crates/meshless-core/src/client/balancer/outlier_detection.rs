//! Which endpoints are ejected, and which of those get calls nevertheless. Recomputed as a whole
//! after every event, like the plan: a late or lost report delays a change, but does not prevent
//! it.

mod cause;
mod comparison;
mod config;
mod ejection;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::subchannels::Subchannels;
use super::timers::{Timer, Timers};
use super::{Action, BalancerConfig};
use crate::client::outcome::Outcome;
use crate::client::picker::Policy;
use crate::client::picker::outcomes::OutcomeReport;
use crate::client::subchannel::Subchannel;
use crate::endpoint::EndpointId;
use crate::rng::Rng;
use crate::timers::sooner;
pub use cause::{CountsByCause, Ejection, EjectionCause, EjectionCounts};
pub use comparison::OutlierConfig;
use comparison::Tally;
pub use config::EjectionConfig;
use ejection::EjectionState;

#[derive(Debug)]
pub(super) struct OutlierDetector {
    config: EjectionConfig,
    is_on: bool,
    /// Endpoints that have ever been ejected.
    ejections: BTreeMap<EndpointId, EjectionState>,
    /// Endpoints that are compared.
    tallies: BTreeMap<EndpointId, TallyStart>,
    /// Too many are out of service: ejections are ignored.
    panicking: bool,
    /// When endpoints are compared next.
    next_comparison: Option<Instant>,
    counts: EjectionCounts,
}

/// The counts of an endpoint when its present tally began.
#[derive(Clone, Copy, Debug)]
struct TallyStart {
    at: Instant,
    counted: Tally,
}

impl OutlierDetector {
    pub(super) fn new(config: &BalancerConfig) -> Self {
        Self {
            config: config.ejection.clone(),
            is_on: config.policy != Policy::PickFirst && !config.ejection.is_off(),
            ejections: BTreeMap::new(),
            tallies: BTreeMap::new(),
            panicking: false,
            next_comparison: None,
            counts: EjectionCounts::default(),
        }
    }

    /// A call has ended in a way that concerns the balancer. Returns true if that ends the
    /// endpoint's ejection.
    pub(super) fn handle_outcome<C>(
        &mut self,
        now: Instant,
        report: OutcomeReport,
        subchannels: &mut Subchannels<C>,
        rng: &mut Rng,
    ) -> bool {
        let Some(subchannel) = subchannels.get(report.endpoint) else { return false };
        let on_probation = |ejection: &&mut EjectionState| ejection.is_on_probation();
        let Some(ejection) = self.ejections.get_mut(&report.endpoint).filter(on_probation) else {
            return false;
        };
        let outcomes = &subchannel.load.outcomes;
        match report.outcome {
            _ if !ejection.decides(report.started) => outcomes.watch(),
            Outcome::Success => {
                ejection.admit(now);
                outcomes.end_probe();
                // The penalties in `peak_ewma` would outlast their cause.
                subchannel.load.latency().forget();
                outcomes.begin_window();
                let (endpoint, address) = (report.endpoint, subchannel.address.clone());
                subchannels.outbox.push(Action::ReportRecovered { endpoint, address });
                subchannels.outbox.outdate_picker();
                return true;
            }
            Outcome::Failure | Outcome::Late => {
                self.eject(now, report.endpoint, EjectionCause::ProbeFailed, subchannels, rng);
            }
        }
        false
    }

    /// Ejects and readmits. Called after every plan.
    pub(super) fn judge<C>(
        &mut self,
        now: Instant,
        is_idle: bool,
        subchannels: &mut Subchannels<C>,
        timers: &mut Timers,
        rng: &mut Rng,
    ) {
        if is_idle || !self.is_on {
            timers.set(Timer::Comparison, None);
            timers.set(Timer::Ejection, None);
            return;
        }
        self.forget_gone(subchannels);
        self.compare(now, subchannels, rng);
        timers.set(Timer::Comparison, self.next_comparison);
        self.begin_probations(now, subchannels);
        let any_ejected = subchannels.listed().any(|subchannel| !self.is_admitted(subchannel.id));
        let to_judge = any_ejected || subchannels.listed().any(|subchannel| self.is_tripped(subchannel));
        let panicking = to_judge && self.out_of_service(subchannels) > self.tolerated(subchannels);
        if panicking != self.panicking {
            self.panicking = panicking;
            if any_ejected {
                subchannels.outbox.outdate_picker();
            }
        }
        // No event says when an endpoint that is spared from ejection recovers, nor when its peers
        // do.
        let recheck = match panicking {
            true => true,
            false => to_judge && self.eject_tripped(now, subchannels, rng),
        };
        let ends = subchannels.listed().filter_map(|sub| self.ejections.get(&sub.id)?.next_change());
        let next = ends.chain(recheck.then(|| now + RECHECK)).map(Some).fold(None, sooner);
        timers.set(Timer::Ejection, next);
    }

    /// Ejects endpoints whose consecutive failures stand out from their peers'. Returns true if
    /// there are endpoints with as many that do not stand out.
    fn eject_tripped<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>, rng: &mut Rng) -> bool {
        let tripped = subchannels.listed().filter(|sub| self.is_admitted(sub.id) && self.is_tripped(sub));
        let judged: Vec<_> = tripped
            .map(|sub| (sub.id, sub.load.outcomes.consecutive_failures(), stands_out(sub, subchannels)))
            .collect();
        for (id, failures, _) in judged.iter().filter(|(.., stands_out)| *stands_out) {
            self.eject(now, *id, EjectionCause::ConsecutiveFailures(*failures), subchannels, rng);
        }
        judged.iter().any(|(.., stands_out)| !stands_out)
    }

    fn begin_probations<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>) {
        for (id, ejection) in &mut self.ejections {
            let Some(subchannel) = subchannels.get(*id).filter(|subchannel| subchannel.listed) else {
                continue;
            };
            let was_ejected = !ejection.is_on_probation();
            if ejection.begin_probation(now, &self.config) {
                subchannel.load.outcomes.begin_probe();
                if was_ejected {
                    subchannels.outbox.outdate_picker();
                }
            }
        }
    }

    /// Compares the endpoints with each other, at every interval.
    fn compare<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>, rng: &mut Rng) {
        let Some(config) = self.config.outliers.clone() else { return };
        let next = self.next_comparison.get_or_insert(now + config.interval);
        if *next > now {
            return;
        }
        *next = now + config.interval;
        let (mut compared, mut tallies) = (Vec::new(), Vec::new());
        for subchannel in subchannels.listed() {
            let counted = tally(subchannel);
            let start = *self.tallies.entry(subchannel.id).or_insert(TallyStart { at: now, counted });
            let gathered = counted.since(start.counted);
            let suffices = config.suffices(gathered);
            if suffices && self.is_admitted(subchannel.id) {
                compared.push(subchannel.id);
                tallies.push(gathered);
            }
            if suffices || now.saturating_duration_since(start.at) >= config.gathered_at_most() {
                self.tallies.insert(subchannel.id, TallyStart { at: now, counted });
            }
        }
        for (position, cause) in config.outliers(&tallies) {
            // Unlike the breaker, a comparison never causes a panic: A50 stops at its maximum, too.
            let id = compared[position];
            if subchannels.get(id).is_none_or(|subchannel| self.is_tripped(subchannel)) {
                continue;
            }
            if self.out_of_service(subchannels) < self.tolerated(subchannels) {
                self.eject(now, id, cause, subchannels, rng);
            } else {
                *self.counts.unenforced.of(cause) += 1;
            }
        }
    }

    fn eject<C>(
        &mut self,
        now: Instant,
        endpoint: EndpointId,
        cause: EjectionCause,
        subchannels: &mut Subchannels<C>,
        rng: &mut Rng,
    ) {
        let Some(subchannel) = subchannels.get(endpoint) else { return };
        subchannel.load.outcomes.end_probe();
        self.ejections.entry(endpoint).or_default().eject(now, cause, &self.config, rng);
        self.tallies.remove(&endpoint);
        let address = subchannel.address.clone();
        subchannels.outbox.push(Action::ReportEjected { endpoint, address, cause });
        *self.counts.enforced.of(cause) += 1;
        subchannels.outbox.outdate_picker();
    }

    /// Forgets former endpoints to save memory: ids are not used again.
    fn forget_gone<C>(&mut self, subchannels: &Subchannels<C>) {
        let n = subchannels.all().len();
        if self.ejections.len() > n || self.tallies.len() > n {
            self.ejections.retain(|id, _| subchannels.get(*id).is_some());
            self.tallies.retain(|id, _| subchannels.get(*id).is_some());
        }
    }

    /// Returns the ejection of an endpoint that is ejected or on probation.
    pub(super) fn ejection(&self, endpoint: EndpointId) -> Option<Ejection> {
        self.ejections.get(&endpoint)?.ejection()
    }

    pub(super) fn is_on_probation(&self, endpoint: EndpointId) -> bool {
        self.ejections.get(&endpoint).is_some_and(EjectionState::is_on_probation)
    }

    /// Returns the number of ejections so far.
    pub(super) fn counts(&self) -> EjectionCounts {
        self.counts
    }

    /// Tells which endpoints get calls: those that are ready and not ejected. If there is none,
    /// ejected endpoints get them; if there is none either, suspect connections do.
    pub(super) fn eligible<C>(&self, subchannels: &Subchannels<C>) -> impl Fn(&Subchannel<C>) -> bool {
        let is_admitted =
            |sub: &Subchannel<C>| sub.is_ready() && (self.panicking || self.is_admitted(sub.id));
        let any_admitted = subchannels.listed().any(is_admitted);
        let any_ready = any_admitted || subchannels.any_ready();
        move |sub| match (any_admitted, any_ready) {
            (true, _) => is_admitted(sub),
            (false, true) => sub.is_ready(),
            (false, false) => sub.suspects().next().is_some(),
        }
    }

    fn is_admitted(&self, endpoint: EndpointId) -> bool {
        self.ejections.get(&endpoint).is_none_or(EjectionState::is_admitted)
    }

    /// Counts listed endpoints that are unreachable, ejected, or would be ejected.
    fn out_of_service<C>(&self, subchannels: &Subchannels<C>) -> usize {
        let is_out = |subchannel: &&Subchannel<C>| {
            !subchannel.is_ready() || !self.is_admitted(subchannel.id) || self.is_tripped(subchannel)
        };
        subchannels.listed().filter(is_out).count()
    }

    /// At least one endpoint stays in service, at any threshold.
    fn tolerated<C>(&self, subchannels: &Subchannels<C>) -> usize {
        let n = subchannels.listed().count();
        self.config.tolerated(n).min(n.saturating_sub(1))
    }

    fn is_tripped<C>(&self, subchannel: &Subchannel<C>) -> bool {
        let failures = subchannel.load.outcomes.consecutive_failures();
        self.config.consecutive_failures.is_some_and(|breaker| failures >= breaker.get())
    }
}

/// Returns true if a run of failures is the endpoint's own fault and not common to all. That is: at
/// the failure rate of most other ready endpoints, such a run has a probability below one in a
/// million.
///
/// In an overload, or when a common dependency is down, every endpoint soon has five consecutive
/// failures. To eject it would only reduce capacity. If the others fail half of their calls, twenty
/// in a row are needed; if one in ten, six; if almost none, five as usual.
fn stands_out<C>(subchannel: &Subchannel<C>, subchannels: &Subchannels<C>) -> bool {
    let run = subchannel.load.outcomes.consecutive_failures();
    let others = || subchannels.listed().filter(|other| other.id != subchannel.id && other.is_ready());
    let chance = |other: &&Subchannel<C>| {
        other.load.outcomes.recent_failure_share().powi(run.try_into().unwrap_or(i32::MAX))
    };
    let unlike = others().filter(|other| chance(other) < CHANCE_MAX).count();
    2 * unlike >= others().count()
}

fn tally<C>(subchannel: &Subchannel<C>) -> Tally {
    let outcomes = &subchannel.load.outcomes;
    Tally { successes: outcomes.successes(), failures: outcomes.failures() }
}

/// The largest probability of a run of failures among peers that still ejects. A busy client sees a
/// million runs begin within hours.
const CHANCE_MAX: f64 = 1e-6;

/// How long a panic, or sparing an endpoint from ejection, may outlast its cause.
const RECHECK: Duration = Duration::from_secs(1);
