//! A new set of endpoints: what it changes.

use super::subset::subset;
use super::{Action, Balancer};
use crate::client::picker::Policy;
use crate::client::subchannel::Subchannel;
use crate::endpoint::Endpoint;

impl<C> Balancer<C> {
    /// Of what the resolver named, the endpoints that this client uses: a subset if one is set, and never more than
    /// [`endpoints_max`](crate::BalancerConfig::endpoints_max).
    pub(super) fn used_of(&mut self, full: Vec<Endpoint>) -> Vec<Endpoint> {
        let max = self.config.most_endpoints();
        let asked_for = self.config.subset_size.filter(|_| self.config.policy != Policy::PickFirst);
        let size = asked_for.map_or(max, |size| size.min(max));
        let (used, left_out) = if asked_for.is_some() || full.len() > size.get() {
            let seed = *self.subset_seed.get_or_insert_with(|| self.rng.next_u64());
            subset(full, size, seed)
        } else {
            (full, 0)
        };
        self.left_out = left_out;
        // Not what the user asked for: worth a word, once for each time that it begins.
        let bounded = left_out > 0 && asked_for.is_none_or(|size| size > max);
        if bounded && !self.reported_bound {
            self.actions.push_back(Action::ReportTooManyEndpoints { used: used.len(), left_out });
        }
        self.reported_bound = bounded;
        used
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
