//! The picker while endpoints are on probation. Each of them gets one test call before all others;
//! everything else is picked as usual.
//!
//! The permit for the test call belongs to the endpoint, not to the picker: one call goes ahead,
//! even if pickers change or calls race for it. The test call does not depend on the policy's
//! choice: `peak_ewma` remembers the failures and would hardly ever try the endpoint again.

use std::time::Instant;

use super::Decision;
use super::candidates::Candidates;
use super::pick::Pick;
use super::round_robin::RoundRobin;
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
