//! A new set of endpoints: what it changes.

use super::Balancer;
use super::subset::subset;
use crate::client::picker::Policy;
use crate::client::subchannel::Subchannel;
use crate::endpoint::Endpoint;

impl<C> Balancer<C> {
    /// Of what the resolver named, the endpoints that this client uses.
    pub(super) fn used_of(&mut self, full: Vec<Endpoint>) -> Vec<Endpoint> {
        match self.config.subset_size {
            Some(size) if self.config.policy != Policy::PickFirst => {
                let seed = *self.subset_seed.get_or_insert_with(|| self.rng.next_u64());
                let (chosen, left_out) = subset(full, size, seed);
                self.left_out = left_out;
                chosen
            }
            _ => full,
        }
    }

    /// Makes `full` the set of endpoints. What stays is left as it is.
    pub(super) fn adopt(&mut self, full: Vec<Endpoint>) {
        let is_first = self.endpoints.is_empty();
        let diff = self.endpoints.update(full);
        for (id, endpoint) in self.endpoints.iter() {
            let subchannel = self.subchannels.entry(id).or_insert_with(|| {
                let mut new = Subchannel::new(id, endpoint.address.clone(), self.config.backoff);
                new.weight.newcomer = !is_first;
                new
            });
            subchannel.weight.configured = endpoint.weight;
            if subchannel.weight.zone.as_deref() != endpoint.zone.as_deref() {
                subchannel.weight.zone = endpoint.zone.as_deref().map(Into::into);
                self.outdated |= self.config.zone.is_some();
            }
        }
        for &id in &diff.removed {
            if let Some(subchannel) = self.subchannels.get_mut(&id) {
                subchannel.listed = false;
            }
            self.let_go(id);
        }
        if !diff.is_empty() {
            self.walk.update(&diff, &mut self.rng);
        }
    }
}
