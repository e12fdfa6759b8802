//! Which endpoints are ejected, and which of those calls may go to all the same. Recomputed as a whole after every event, like
//! the plan: a report that is late, or lost, changes when something happens and not whether.

use std::time::{Duration, Instant};

use super::ejection::{EjectionCause, EjectionCounts, Health};
use super::{Action, Balancer};
use crate::client::outcome::Outcome;
use crate::client::outlier::Tally;
use crate::client::picker::Policy;
use crate::client::picker::outcomes::OutcomeReport;
use crate::client::subchannel::Subchannel;
use crate::endpoint::{Address, EndpointId};

/// What the judge remembers between two events.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Too many are out of service: ejections are not heeded.
    panicking: bool,
    /// When endpoints are compared next.
    next_comparison: Option<Instant>,
    counts: EjectionCounts,
}

/// What an endpoint had counted when its present tally began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TallyStart {
    at: Instant,
    counted: Tally,
}

impl<C> Balancer<C> {
    /// A call has ended in a way that matters beyond its endpoint's averages: what
    /// [`Lease::finish`](crate::Lease::finish) returned.
    pub fn handle_outcome(&mut self, now: Instant, report: OutcomeReport) {
        if let Some(subchannel) = self.subchannels.get_mut(&report.endpoint)
            && subchannel.health.is_on_probation()
        {
            match report.outcome {
                _ if !subchannel.health.decides(report.started) => subchannel.load.outcomes.watch(),
                Outcome::Success => {
                    subchannel.health.admit(now);
                    subchannel.weight.begin_slow_start(now);
                    subchannel.load.outcomes.end_probe();
                    // The penalties of `peak_ewma` would outlast what they were for.
                    subchannel.load.latency().forget();
                    subchannel.load.outcomes.begin_window();
                    let (endpoint, address) = (report.endpoint, subchannel.address.clone());
                    self.actions.push_back(Action::ReportRecovered { endpoint, address });
                    self.outdated = true;
                }
                Outcome::Failure | Outcome::Late => {
                    self.eject(now, report.endpoint, EjectionCause::ProbeFailed);
                }
            }
        }
        self.settle(now);
    }

    /// The address and the cause, if the endpoint is ejected or on probation.
    pub fn ejection(&self, endpoint: EndpointId) -> Option<(&Address, EjectionCause)> {
        let subchannel = self.subchannels.get(&endpoint)?;
        Some((&subchannel.address, subchannel.health.ejection()?.cause))
    }

    /// Ejections so far, for metrics.
    pub fn ejection_counts(&self) -> EjectionCounts {
        self.judge.counts
    }

    /// Whether calls go to an endpoint like to any other.
    pub(super) fn is_admitted(&self, health: &Health) -> bool {
        self.judge.panicking || health.is_admitted()
    }

    pub(super) fn judge(&mut self, now: Instant) {
        if self.idle || self.config.policy == Policy::PickFirst || self.config.ejection.is_off() {
            return;
        }
        self.compare(now);
        for subchannel in self.subchannels.values_mut().filter(|subchannel| subchannel.listed) {
            let was_ejected = !subchannel.health.is_on_probation();
            if subchannel.health.begin_probation(now, &self.config.ejection) {
                subchannel.load.outcomes.begin_probe();
                self.outdated |= was_ejected;
            }
        }
        let any_ejected = self.listed().any(|subchannel| !subchannel.health.is_admitted());
        let to_judge = any_ejected || self.listed().any(|subchannel| self.is_tripped(subchannel));
        let panicking = to_judge && self.out_of_service() > self.tolerated();
        if panicking != self.judge.panicking {
            self.judge.panicking = panicking;
            self.outdated |= any_ejected;
        }
        if panicking {
            // Nobody tells when an endpoint that should be ejected, but is not, does well again.
            self.wake_at(now + RECHECK);
        } else {
            for (id, failures, stands_out) in self.tripped() {
                if stands_out {
                    self.eject(now, id, EjectionCause::ConsecutiveFailures(failures));
                } else {
                    // Nor when its peers do better again.
                    self.wake_at(now + RECHECK);
                }
            }
        }
        let changes: Vec<_> =
            self.listed().filter_map(|subchannel| subchannel.health.next_change()).collect();
        changes.into_iter().for_each(|at| self.wake_at(at));
    }

    /// Compares the endpoints with each other, at every interval.
    fn compare(&mut self, now: Instant) {
        let Some(config) = self.config.ejection.outliers.clone() else { return };
        let next = self.judge.next_comparison.get_or_insert(now + config.interval);
        if *next > now {
            let at = *next;
            return self.wake_at(at);
        }
        *next = now + config.interval;
        self.wake_at(now + config.interval);
        let (mut ids, mut tallies) = (Vec::new(), Vec::new());
        for subchannel in self.subchannels.values_mut().filter(|subchannel| subchannel.listed) {
            let counted = tally(subchannel);
            let start = *subchannel.tally_start.get_or_insert(TallyStart { at: now, counted });
            let gathered = counted.since(start.counted);
            let suffices = config.suffices(gathered);
            if suffices && subchannel.health.is_admitted() {
                ids.push(subchannel.id);
                tallies.push(gathered);
            }
            if suffices || now.saturating_duration_since(start.at) >= config.gathered_at_most() {
                subchannel.tally_start = Some(TallyStart { at: now, counted });
            }
        }
        for (position, cause) in config.outliers(&tallies) {
            // Unlike a breaker, being unlike the others is no reason for a panic: A50 stops at its maximum, too.
            let is_tripped = self.subchannels.get(&ids[position]).is_some_and(|sub| self.is_tripped(sub));
            if !is_tripped {
                if self.out_of_service() < self.tolerated() {
                    self.eject(now, ids[position], cause);
                } else {
                    *self.judge.counts.unenforced.of(cause) += 1;
                }
            }
        }
    }

    fn eject(&mut self, now: Instant, id: EndpointId, cause: EjectionCause) {
        let Some(subchannel) = self.subchannels.get_mut(&id) else { return };
        subchannel.load.outcomes.end_probe();
        subchannel.health.eject(now, cause, &self.config.ejection, &mut self.rng);
        subchannel.tally_start = None;
        let address = subchannel.address.clone();
        self.actions.push_back(Action::ReportEjected { endpoint: id, address, cause });
        *self.judge.counts.enforced.of(cause) += 1;
        self.outdated = true;
    }

    /// Listed endpoints that cannot be reached, are ejected, or would be.
    fn out_of_service(&self) -> usize {
        let is_out = |subchannel: &&Subchannel<C>| {
            !subchannel.is_ready() || !subchannel.health.is_admitted() || self.is_tripped(subchannel)
        };
        self.listed().filter(is_out).count()
    }

    /// However high the threshold, one that is in service is left.
    fn tolerated(&self) -> usize {
        let n = self.endpoints.len();
        self.config.ejection.tolerated(n).min(n.saturating_sub(1))
    }

    /// Each with its run of failures, and whether that makes it unlike its peers.
    fn tripped(&self) -> Vec<(EndpointId, u32, bool)> {
        let tripped = self.listed().filter(|sub| sub.health.is_admitted() && self.is_tripped(sub));
        let with_run = |subchannel: &Subchannel<C>| {
            let run = subchannel.load.outcomes.consecutive_failures();
            (subchannel.id, run, self.stands_out(subchannel.id, run))
        };
        tripped.map(with_run).collect()
    }

    /// Whether a run of failures says something about the endpoint, and not about all of them: whether such a run would be rarer than one
    /// in a million if it failed like most of the others that are ready.
    ///
    /// In an overload, or when what they all depend on is down, every endpoint runs up five failures soon. Ejecting it would leave
    /// less capacity, and be about nothing it has done. If the others fail half of their calls, twenty in a row are needed; if one in ten,
    /// six; if next to none, five as ever.
    fn stands_out(&self, id: EndpointId, run: u32) -> bool {
        let others = || self.listed().filter(|other| other.id != id && other.is_ready());
        let chance = |other: &&Subchannel<C>| {
            other.load.outcomes.recent_failure_share().powi(run.try_into().unwrap_or(i32::MAX))
        };
        let unlike = others().filter(|other| chance(other) < CHANCE_MAX).count();
        2 * unlike >= others().count()
    }

    fn is_tripped(&self, subchannel: &Subchannel<C>) -> bool {
        let failures = subchannel.load.outcomes.consecutive_failures();
        self.config.ejection.consecutive_failures.is_some_and(|breaker| failures >= breaker.get())
    }
}

fn tally<C>(subchannel: &Subchannel<C>) -> Tally {
    let outcomes = &subchannel.load.outcomes;
    Tally { successes: outcomes.successes(), failures: outcomes.failures() }
}

/// How likely a run of failures may be among peers and still be held against an endpoint. A busy client sees a million runs begin within
/// hours.
const CHANCE_MAX: f64 = 1e-6;

/// How long a panic may outlast its reason, or a forbearance.
const RECHECK: Duration = Duration::from_secs(1);
