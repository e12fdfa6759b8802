//! The weights of endpoints: slow start for those that are new or have recovered, what servers report of their load, and the
//! zone that the client prefers.
//!
//! `round_robin`, `least_request` and `peak_ewma` know slow start only; gRPC's `round_robin` ignores the weights of endpoints, and
//! so do they. `weighted_round_robin` multiplies the weight that the resolver gave, the reported one and slow start. The
//! product is what an endpoint can take; a preference for a zone then decides how much of this client's calls it does.
//! Weights are computed here, by the clock, and kept with the endpoint until the next picker is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Balancer;
use super::weight_update::{Unusable, WEIGHTS_MIN, WeightUpdate};
use super::zone::zone_weights;
use crate::client::picker::Policy;
use crate::client::picker::lease::Load;
use crate::client::subchannel::Subchannel;
use crate::endpoint::EndpointId;
use crate::ewma::EwmaDecay;

/// How endpoints that are new, or were out of service, are given their share: little by little, while their caches, pools and compiled
/// code warm up (Envoy; gRFC A100).
///
/// The endpoints that a channel finds at its beginning are all new to it alike, and have their share at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStartConfig {
    window: Duration,
    min_percent: u8,
}

impl SlowStartConfig {
    /// Shares grow in a straight line (Envoy's aggression of 1) for as long as `window`. Some seconds up to a minute are usual.
    pub fn new(window: Duration) -> Self {
        Self { window, min_percent: 10 }
    }

    /// The share to begin with, in percent of the whole. Default 10, Envoy's. 1 to 100.
    pub fn min_percent(mut self, percent: u8) -> Self {
        self.min_percent = percent.clamp(1, 100);
        self
    }

    /// "Weight · max(min_weight_percent, time since start / window)".
    fn factor(&self, age: Duration) -> f32 {
        let part = age.as_secs_f32() / self.window.as_secs_f32();
        // Without a window there is no number to compare with.
        if part < 1.0 { part.max(f32::from(self.min_percent) / 100.0) } else { 1.0 }
    }

    fn step(&self) -> Duration {
        (self.window / STEPS).clamp(STEP_MIN, STEP_MAX)
    }
}

/// `weighted_round_robin`'s settings, with the names and defaults of gRFC A58. Reports come with calls, or in a stream of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedConfig {
    pub(super) out_of_band: bool,
    pub(super) reporting_period: Duration,
    blackout: Duration,
    expiration: Duration,
    update: Duration,
    pub(super) error_penalty: f32,
}

impl WeightedConfig {
    /// Whether servers are asked for reports in a stream apart from the calls, one on each connection
    /// (`xds.service.orca.v3.OpenRcaService`, gRFC A51), and those that come with calls are not looked at. Default: no.
    ///
    /// For calls that last, which report at their end only, and for clients with few calls: what a server says reaches all its clients
    /// equally often. A server without that service has the mean of the others' weights, as any that does not report.
    ///
    /// The request carries no credentials that a user's interceptors add to calls: a server that asks for some on every method has to
    /// leave out this one, or counts as one that does not report. To the server the stream is one like others: a limit that it sets for idle
    /// connections never fires for such a client. Nothing is asked of a server that allows a connection no stream beyond those that
    /// one call and the health watch take.
    pub fn oob_load_report(mut self, enabled: bool) -> Self {
        self.out_of_band = enabled;
        self
    }

    /// How often servers are asked to report in that stream. Default 10 s. They do it less often if they are set so: 30 s is the least
    /// of most implementations, unless told otherwise. Zero asks for as often as the server will, more than a day for once a day. Stay well below
    /// [`expiration_period`](Self::expiration_period).
    pub fn oob_reporting_period(mut self, period: Duration) -> Self {
        self.reporting_period = period;
        self
    }

    /// How long an endpoint must have reported before its reports count; until then it has the mean weight. Default 10 s. The first
    /// reports of a server that has no load yet say nothing.
    pub fn blackout_period(mut self, period: Duration) -> Self {
        self.blackout = period;
        self
    }

    /// After how long without a report the last one is forgotten. Default 3 min.
    pub fn expiration_period(mut self, period: Duration) -> Self {
        self.expiration = period;
        self
    }

    /// How often shares follow the reports. Default 1 s; below 100 ms counts as that.
    pub fn update_period(mut self, period: Duration) -> Self {
        self.update = period.max(UPDATE_MIN);
        self
    }

    /// How much utilization a server with nothing but errors is taken to have on top. Default 1. At 0, one that fails fast looks
    /// idle. Not a number counts as the default.
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

/// What an endpoint weighs, and since when.
#[derive(Debug)]
pub(crate) struct Weight {
    /// What the resolver said.
    pub(super) configured: u32,
    /// It was not there when the channel began, and has had no connection yet.
    pub(super) newcomer: bool,
    /// Where it runs.
    pub(super) zone: Option<Arc<str>>,
    /// Endpoints of one zone have one number, if a zone is preferred.
    zone_number: u32,
    /// When slow start began, until it is over.
    warming_since: Option<Instant>,
    /// When its reports began.
    reporting_since: Option<Instant>,
    /// Its last report has expired, and no other has come.
    stale: bool,
    /// What the next picker goes by.
    effective: f32,
}

impl Weight {
    pub(super) fn begin_slow_start(&mut self, now: Instant) {
        self.newcomer = false;
        self.warming_since = Some(now);
    }

    pub(crate) fn effective(&self) -> f32 {
        self.effective
    }

    pub(super) fn zone_number(&self) -> u32 {
        self.zone_number
    }

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
        Self {
            configured: 1,
            newcomer: false,
            zone: None,
            zone_number: 0,
            warming_since: None,
            reporting_since: None,
            stale: false,
            effective: 1.0,
        }
    }
}

impl<C> Balancer<C> {
    /// Weighs every endpoint, if it is time or a picker is to be made anyway.
    pub(super) fn weigh(&mut self, now: Instant) {
        let period = match (self.config.policy, &self.config.slow_start) {
            (Policy::PickFirst, _) => return,
            (Policy::WeightedRoundRobin, None) => Some(self.config.weighted.update),
            (Policy::WeightedRoundRobin, Some(slow)) => Some(self.config.weighted.update.min(slow.step())),
            // By zone, weights change only with what can be picked.
            (_, None) if self.config.zone.is_some() => None,
            (_, None) => return,
            (_, Some(slow)) => Some(slow.step()),
        };
        if self.idle {
            return;
        }
        let is_due = period.is_some() && self.next_weighing.is_none_or(|at| at <= now);
        if is_due || self.outdated {
            self.weigh_all(now);
            self.next_weighing = period.map(|period| now + period);
        }
        let warming = self.listed().any(|subchannel| subchannel.weight.warming_since.is_some());
        if let Some(at) = self.next_weighing
            && (warming || self.config.policy == Policy::WeightedRoundRobin)
        {
            self.wake_at(at);
        }
    }

    fn weigh_all(&mut self, now: Instant) {
        let Self { config, decay, subchannels, .. } = self;
        let by_reports = config.policy == Policy::WeightedRoundRobin;
        let mut listed: Vec<_> = subchannels.values_mut().filter(|subchannel| subchannel.listed).collect();
        let mut reported = vec![None; listed.len()];
        if by_reports {
            let mut update = WeightUpdate::default();
            for (subchannel, reported) in listed.iter_mut().zip(&mut reported) {
                let found = subchannel.weight.reported(now, decay, &subchannel.load, &config.weighted);
                update.add(found);
                *reported = found.ok();
            }
            self.weight_update = Some(update);
        }
        let known = reported.iter().flatten().count();
        // One without a weight gets the mean of the others (A58).
        let usual = match known < WEIGHTS_MIN {
            true => {
                reported.fill(None);
                1.0
            }
            false => reported.iter().flatten().sum::<f32>() / known as f32,
        };
        let mut capacities = Vec::with_capacity(listed.len());
        for (subchannel, reported) in listed.iter_mut().zip(reported) {
            let weight = &mut subchannel.weight;
            let warmth = config.slow_start.map_or(1.0, |slow| weight.warmth(now, &slow));
            let configured = if by_reports { weight.configured.max(1) as f32 } else { 1.0 };
            capacities.push((subchannel.id, reported.unwrap_or(usual) * configured * warmth));
        }
        self.weigh_zones(&mut capacities);
        for (id, effective) in capacities {
            if let Some(subchannel) = self.subchannels.get_mut(&id)
                && subchannel.weight.effective != effective
            {
                subchannel.weight.effective = effective;
                self.outdated = true;
            }
        }
    }

    /// Makes of what endpoints can take what this client is to send them, if it prefers a zone.
    fn weigh_zones(&mut self, weights: &mut [(EndpointId, f32)]) {
        let Some(preference) = &self.config.zone else { return };
        let picked = self.picked_from();
        // One that cannot be picked has no capacity now, but its zone has clients all the same.
        let endpoint = |(id, capacity): &(EndpointId, f32)| match self.subchannels.get(id) {
            Some(sub) => (sub.weight.zone.as_deref(), if picked(sub) { *capacity } else { 0.0 }),
            None => (None, 0.0),
        };
        let endpoints: Vec<_> = weights.iter().map(endpoint).collect();
        let by_zone = zone_weights(&endpoints, preference);
        for ((weight, (_, capacity)), by_zone) in weights.iter_mut().zip(endpoints).zip(by_zone) {
            if capacity > 0.0 {
                weight.1 = by_zone;
            }
        }
        drop(picked);
        self.number_zones();
    }

    fn number_zones(&mut self) {
        let zones: BTreeSet<_> = self.listed().map(|subchannel| subchannel.weight.zone.clone()).collect();
        let numbers: BTreeMap<_, u32> = zones.into_iter().zip(0..).collect();
        for Subchannel { weight, .. } in self.subchannels.values_mut() {
            weight.zone_number = numbers.get(&weight.zone).copied().unwrap_or_default();
        }
    }
}

const STEPS: u32 = 20;
const STEP_MIN: Duration = Duration::from_millis(100);
const STEP_MAX: Duration = Duration::from_secs(1);
/// "Values below 100 ms are raised to it" (A58).
const UPDATE_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_in_a_straight_line_from_the_least() {
        let slow = SlowStartConfig::new(Duration::from_secs(20));
        let at = |seconds| slow.factor(Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 5, 10, 20, 99].map(at), [0.1, 0.1, 0.1, 0.25, 0.5, 1.0, 1.0]);
        assert_eq!(SlowStartConfig::new(Duration::ZERO).factor(Duration::ZERO), 1.0);
    }
}
