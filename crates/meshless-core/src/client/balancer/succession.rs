//! From one set of endpoints to the next, without a moment in which nothing serves.
//!
//! Usually sets overlap, and what has left is drained at once. But an answer that leaves none of the ready endpoints (a move to other
//! nodes, two name servers that disagree, an answer that is simply wrong) would have every call wait for a handshake, or fail if the new
//! addresses are dead. So the old set's connections serve until the first of the new set is ready ("make before break"). They get no
//! successors: a backend that ends them is not dialled again.
//!
//! `pick_first` changes at once, as gRFC A61 describes: it has one connection, which the new set either lists or not.

use std::collections::BTreeSet;

use super::Balancer;
use crate::client::picker::Policy;
use crate::client::subchannel::Subchannel;
use crate::endpoint::Endpoint;

impl<C> Balancer<C> {
    /// The resolver's new set.
    pub(super) fn succeed_with(&mut self, full: Vec<Endpoint>) {
        self.incoming = Some(self.used_of(full));
        self.proceed();
    }

    /// Goes on with a change of sets, if one is under way. Precedes every plan.
    pub(super) fn proceed(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let leaving = self.needed_beside(&incoming);
        for subchannel in self.subchannels.values_mut() {
            subchannel.leaving = leaving.iter().any(|endpoint| endpoint.address == subchannel.address);
        }
        if leaving.is_empty() {
            return self.adopt(incoming);
        }
        let pointless = self.listed().filter(|subchannel| subchannel.leaving).map(|subchannel| subchannel.id);
        pointless.collect::<Vec<_>>().into_iter().for_each(|id| self.abandon(id));
        self.adopt(incoming.iter().cloned().chain(leaving).collect());
        self.incoming = Some(incoming);
    }

    /// Ready endpoints that `incoming` does not list, as long as none is ready that it does.
    fn needed_beside(&self, incoming: &[Endpoint]) -> Vec<Endpoint> {
        let listed: BTreeSet<_> = incoming.iter().map(|endpoint| &endpoint.address).collect();
        let is_incoming = |subchannel: &&Subchannel<C>| listed.contains(&subchannel.address);
        let relieved = self.listed().filter(is_incoming).any(|subchannel| subchannel.is_ready());
        if relieved || self.config.policy == Policy::PickFirst {
            return Vec::new();
        }
        let is_ready = |id| self.subchannels.get(&id).is_some_and(|subchannel| subchannel.is_ready());
        self.endpoints.iter().filter(|(id, _)| is_ready(*id)).map(|(_, endpoint)| endpoint.clone()).collect()
    }
}
