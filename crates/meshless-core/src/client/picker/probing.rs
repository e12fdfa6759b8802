//! A picker while endpoints are on probation: each gets one call ahead of all others, everything
//! else is picked as ever.
//!
//! The permit for that call lives with the endpoint, not here: however often the snapshot is
//! replaced, and however many calls race for it, one call goes ahead. It does not wait for the
//! policy's choice, or `peak_ewma`, which remembers the failures, would hardly ever try the
//! endpoint again.

use std::time::Instant;

use super::{Candidates, Decision, Pick, RoundRobin};
use crate::endpoint::EndpointId;
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct Probing<C> {
    probes: Candidates<C>,
    others: Decision<C>,
}

impl<C> Probing<C> {
    pub(crate) fn new(probes: Candidates<C>, others: Decision<C>) -> Self {
        Self { probes, others }
    }

    #[inline(never)]
    pub(super) fn pick(&self, now: Instant, rng: &mut Rng, avoid: &[EndpointId]) -> Pick<C> {
        for probe in self.probes.0.iter().filter(|probe| !avoid.contains(&probe.endpoint)) {
            let outcomes = &probe.load.outcomes;
            if outcomes.take_probe() {
                match probe.lease(now) {
                    Some(lease) => return Pick::Ready(lease),
                    None => outcomes.return_probe(),
                }
            }
        }
        self.others.pick(now, rng, avoid)
    }

    pub(super) fn endpoints(&self) -> usize {
        self.probes.0.len() + self.others.endpoints()
    }

    pub(super) fn round_robin(&self) -> Option<&RoundRobin<C>> {
        match &self.others {
            Decision::RoundRobin(policy) => Some(policy),
            _ => None,
        }
    }
}
