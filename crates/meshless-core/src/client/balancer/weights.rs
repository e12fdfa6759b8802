//! The weights of endpoints. They combine slow start for new or recovered endpoints, the servers'
//! load reports, and the client's preferred zone.
//!
//! `round_robin`, `least_request` and `peak_ewma` use slow start only: gRPC's `round_robin` ignores
//! the weights of endpoints, and so do they. `weighted_round_robin` multiplies the resolver's
//! weight, the reported weight and slow start. The product is an endpoint's capacity. A zone
//! preference then decides how much of it this client uses. Weights are computed here, by the
//! clock, and kept until the next picker is built.

mod config;
mod out_of_band;
mod slow_start;
mod weight_update;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::BalancerConfig;
use super::subchannels::Subchannels;
use super::timers::{Timer, Timers};
use crate::client::picker::Policy;
use crate::client::picker::lease::{Load, ReportRule};
use crate::client::subchannel::Subchannel;
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;
use crate::ewma::EwmaDecay;
pub use config::WeightedConfig;
pub use out_of_band::ReportSink;
pub use slow_start::SlowStartConfig;
pub use weight_update::WeightUpdate;
use weight_update::{Unusable, WEIGHTS_MIN};
pub use zone::ZonePreference;
use zone::zone_weights;

#[derive(Debug)]
pub(super) struct Weights {
    policy: Policy,
    slow_start: Option<SlowStartConfig>,
    config: WeightedConfig,
    zone: Option<ZonePreference>,
    clock: EwmaDecay,
    /// Endpoints that were weighed, or are new.
    by_endpoint: BTreeMap<EndpointId, Weight>,
    next_weighing: Option<Instant>,
    /// Kept until it is taken.
    last_update: Option<WeightUpdate>,
}

/// The weight of an endpoint, and its history.
#[derive(Debug)]
struct Weight {
    /// Endpoints of one zone have one number, if a zone is preferred.
    zone_number: u32,
    /// When slow start began. `None` once it is over.
    warming_since: Option<Instant>,
    /// When its reports began.
    reporting_since: Option<Instant>,
    /// True if its last report has expired and no other has come.
    stale: bool,
    /// The weight in the next picker.
    effective: f32,
}

impl Weights {
    pub(super) fn new(config: &BalancerConfig, clock: EwmaDecay) -> Self {
        Self {
            policy: config.policy,
            slow_start: config.slow_start,
            config: config.weighted,
            zone: config.zone.clone(),
            clock,
            by_endpoint: BTreeMap::new(),
            next_weighing: None,
            last_update: None,
        }
    }

    /// The endpoint serves from now on, after a time without service.
    pub(super) fn begin_slow_start(&mut self, now: Instant, endpoint: EndpointId) {
        if self.slow_start.is_some() {
            self.by_endpoint.entry(endpoint).or_default().warming_since = Some(now);
        }
    }

    /// Weighs every endpoint if it is time, or if a picker is to be made. `is_eligible` tells which
    /// endpoints get calls. Returns true if a weight changed.
    pub(super) fn weigh<C>(
        &mut self,
        now: Instant,
        is_idle: bool,
        subchannels: &Subchannels<C>,
        is_eligible: impl Fn(&Subchannel<C>) -> bool,
        timers: &mut Timers,
    ) -> bool {
        timers.set(Timer::Weights, None);
        let by_reports = self.policy == Policy::WeightedRoundRobin;
        let period = match (by_reports, &self.slow_start) {
            _ if is_idle || self.policy == Policy::PickFirst => return false,
            (true, None) => Some(self.config.update),
            (true, Some(slow)) => Some(self.config.update.min(slow.step())),
            (false, Some(slow)) => Some(slow.step()),
            // With zones, weights change only with the set of eligible endpoints.
            (false, None) if self.zone.is_some() => None,
            (false, None) => return false,
        };
        let is_due = period.is_some() && self.next_weighing.is_none_or(|at| at <= now);
        let mut has_changed = false;
        if is_due || subchannels.outbox.is_picker_outdated() {
            has_changed = self.weigh_all(now, subchannels, is_eligible);
            self.next_weighing = period.map(|period| now + period);
        }
        let is_warming = |subchannel: &Subchannel<C>| {
            self.by_endpoint.get(&subchannel.id).is_some_and(|weight| weight.warming_since.is_some())
        };
        if by_reports || subchannels.listed().any(is_warming) {
            timers.set(Timer::Weights, self.next_weighing);
        }
        has_changed
    }

    fn weigh_all<C>(
        &mut self,
        now: Instant,
        subchannels: &Subchannels<C>,
        is_eligible: impl Fn(&Subchannel<C>) -> bool,
    ) -> bool {
        if self.by_endpoint.len() > subchannels.all().len() {
            // Drops former endpoints: their ids are not used again.
            self.by_endpoint.retain(|id, _| subchannels.get(*id).is_some());
        }
        let listed: Vec<_> = subchannels.listed().collect();
        self.add_missing(&listed);
        let mut capacities = self.capacities(now, &listed);
        self.weigh_zones(&listed, &mut capacities, is_eligible);
        let mut has_changed = false;
        for (weight, effective) in self.weights_of(&listed).zip(capacities) {
            has_changed |= weight.effective != effective;
            weight.effective = effective;
        }
        has_changed
    }

    /// Computes each endpoint's capacity: the resolver's weight, the reported one and slow start.
    fn capacities<C>(&mut self, now: Instant, listed: &[&Subchannel<C>]) -> Vec<f32> {
        let by_reports = self.policy == Policy::WeightedRoundRobin;
        let mut reported = vec![None; listed.len()];
        if by_reports {
            let mut update = WeightUpdate::default();
            let (clock, config) = (self.clock, self.config);
            for ((weight, subchannel), reported) in self.weights_of(listed).zip(listed).zip(&mut reported) {
                let found = weight.reported(now, &clock, &subchannel.load, &config);
                update.add(found);
                *reported = found.ok();
            }
            self.last_update = Some(update);
        }
        let known = reported.iter().flatten().count();
        // An endpoint without a weight gets the mean of the others (A58).
        let usual = match known < WEIGHTS_MIN {
            true => {
                reported.fill(None);
                1.0
            }
            false => reported.iter().flatten().sum::<f32>() / known as f32,
        };
        let slow_start = self.slow_start;
        let of_listed = self.weights_of(listed).zip(listed).zip(reported);
        let capacities = of_listed.map(|((weight, subchannel), reported)| {
            let warmth = slow_start.map_or(1.0, |slow| weight.warmth(now, &slow));
            let configured = if by_reports { subchannel.weight.max(1) as f32 } else { 1.0 };
            reported.unwrap_or(usual) * configured * warmth
        });
        capacities.collect()
    }

    /// If a zone is preferred, turns capacities into the shares of this client's calls.
    fn weigh_zones<C>(
        &mut self,
        listed: &[&Subchannel<C>],
        weights: &mut [f32],
        is_eligible: impl Fn(&Subchannel<C>) -> bool,
    ) {
        let Some(preference) = &self.zone else { return };
        // An endpoint that cannot be picked has no capacity now, but its zone still has clients.
        let capacities = listed.iter().zip(weights.iter());
        let endpoints: Vec<_> = capacities
            .map(|(sub, capacity)| (sub.zone.as_deref(), if is_eligible(sub) { *capacity } else { 0.0 }))
            .collect();
        let by_zone = zone_weights(&endpoints, preference);
        for ((weight, (_, capacity)), by_zone) in weights.iter_mut().zip(&endpoints).zip(by_zone) {
            if *capacity > 0.0 {
                *weight = by_zone;
            }
        }
        let zones: BTreeSet<_> = listed.iter().map(|subchannel| &subchannel.zone).collect();
        let numbers: BTreeMap<_, u32> = zones.into_iter().zip(0..).collect();
        for (weight, subchannel) in self.weights_of(listed).zip(listed) {
            weight.zone_number = numbers[&subchannel.zone];
        }
    }

    /// Returns the weights of these endpoints. Both are in the order of their ids, so one pass
    /// suffices.
    fn weights_of<C>(&mut self, listed: &[&Subchannel<C>]) -> impl Iterator<Item = &mut Weight> {
        let mut known = self.by_endpoint.iter_mut();
        listed.iter().filter_map(move |subchannel| {
            known.find(|(id, _)| **id == subchannel.id).map(|(_, weight)| weight)
        })
    }

    fn add_missing<C>(&mut self, listed: &[&Subchannel<C>]) {
        let mut known = self.by_endpoint.keys().copied().peekable();
        let is_missing = |id: &EndpointId| {
            while known.next_if(|known| known < id).is_some() {}
            known.peek() != Some(id)
        };
        let missing: Vec<_> = listed.iter().map(|subchannel| subchannel.id).filter(is_missing).collect();
        self.by_endpoint.extend(missing.into_iter().map(|id| (id, Weight::default())));
    }

    /// Returns an endpoint's share relative to its peers, and the number of its zone.
    pub(super) fn of(&self, endpoint: EndpointId) -> (f32, u32) {
        self.by_endpoint.get(&endpoint).map_or((1.0, 0), |weight| (weight.effective, weight.zone_number))
    }

    /// Returns the last update of the shares, once.
    pub(super) fn take_update(&mut self) -> Option<WeightUpdate> {
        self.last_update.take()
    }

    /// Returns true if servers are to be asked for reports in a separate stream.
    pub(super) fn wants_reports(&self) -> bool {
        self.policy == Policy::WeightedRoundRobin && self.config.out_of_band
    }

    /// Returns where to put reports from a connection's server. `None` if its reports are not
    /// wanted.
    pub(super) fn report_sink<C>(
        &self,
        id: ConnectionId,
        subchannels: &Subchannels<C>,
    ) -> Option<ReportSink> {
        let (subchannel, connection) = subchannels.connection(id).filter(|_| self.wants_reports())?;
        let sink = || ReportSink::new(&subchannel.load, self.report_rule(), self.config.reporting_period);
        (!connection.is_draining()).then(sink)
    }

    /// "While `enable_oob_load_report` is set, per-call load reports are never parsed" (A58).
    pub(super) fn rule_for_calls(&self) -> Option<ReportRule> {
        let of_calls = self.policy == Policy::WeightedRoundRobin && !self.config.out_of_band;
        of_calls.then(|| self.report_rule())
    }

    fn report_rule(&self) -> ReportRule {
        ReportRule { clock: self.clock, error_penalty: self.config.error_penalty }
    }
}

impl Weight {
    fn warmth(&mut self, now: Instant, config: &SlowStartConfig) -> f32 {
        let Some(since) = self.warming_since else { return 1.0 };
        let factor = config.factor(now.saturating_duration_since(since));
        if factor >= 1.0 {
            self.warming_since = None;
        }
        factor
    }

    /// The reported weight, or why it does not count.
    fn reported(
        &mut self,
        now: Instant,
        decay: &EwmaDecay,
        load: &Load,
        config: &WeightedConfig,
    ) -> Result<f32, Unusable> {
        let last = load.reported().get();
        let fresh = last.filter(|(_, at)| decay.since(*at, now) < config.expiration);
        self.stale = fresh.is_none() && (last.is_some() || self.stale);
        let Some((weight, _)) = fresh else {
            load.reported().clear();
            self.reporting_since = None;
            return Err(if self.stale { Unusable::Stale } else { Unusable::NotYet });
        };
        let since = *self.reporting_since.get_or_insert(now);
        match now.saturating_duration_since(since) >= config.blackout {
            true => Ok(weight),
            false => Err(Unusable::NotYet),
        }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self { zone_number: 0, warming_since: None, reporting_since: None, stale: false, effective: 1.0 }
    }
}
