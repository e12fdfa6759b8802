//! What to connect next. Recomputed as a whole after every event, so that no order of events can leave an endpoint
//! forgotten; the same pass finds when it has to run again.

use std::time::Instant;

use super::connect_budget::Refused;
use super::walk::Step;
use super::{Action, Balancer};
use crate::client::picker::Policy;
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;

impl<C> Balancer<C> {
    pub(super) fn plan(&mut self, now: Instant) {
        self.wake = None;
        self.probe(now);
        if !self.idle && !self.connects_are_paused(now) {
            match self.config.policy {
                Policy::PickFirst => self.plan_walk(now),
                _ => self.plan_all(now),
            }
        }
    }

    /// A connection to every endpoint, and a further one where all are full.
    fn plan_all(&mut self, now: Instant) {
        let max = self.config.connections_per_endpoint.get() as usize;
        let in_need = self.subchannels.values().filter(|subchannel| subchannel.needs_connection(max));
        let wanted: Vec<_> = in_need.map(|subchannel| (subchannel.id, subchannel.retry_at())).collect();
        for (id, retry_at) in wanted {
            match retry_at {
                Some(at) if at > now => self.wake_at(at),
                _ if self.begin(now, id) => {}
                // What the budget refuses to one it refuses to the rest.
                _ => break,
            }
        }
    }

    /// One connection, to the next endpoint of the walk that can be reached.
    fn plan_walk(&mut self, now: Instant) {
        let max = self.config.connections_per_endpoint.get() as usize;
        let current = self.listed().find(|subchannel| subchannel.is_ready());
        match current.map(|current| (current.id, current.needs_connection(max), current.retry_at())) {
            None => self.walk_on(now),
            Some((_, false, _)) => {}
            Some((_, true, Some(at))) if at > now => self.wake_at(at),
            // A further connection goes to the endpoint whose connection is full.
            Some((id, true, _)) => _ = self.begin(now, id),
        }
    }

    fn walk_on(&mut self, now: Instant) {
        loop {
            let attempting = self.listed().any(|subchannel| subchannel.attempt.is_some());
            let id = match self.walk.step(now, attempting) {
                Step::Try(id) => id,
                Step::Wait(at) => return self.wake_at(at),
                Step::Exhausted => break,
            };
            let may_try = self.subchannels.get(&id).is_some_and(|subchannel| {
                subchannel.attempt.is_none() && subchannel.retry_at().is_none_or(|at| at <= now)
            });
            if !may_try {
                self.walk.skip();
            } else if self.begin(now, id) {
                self.walk.started(now);
            } else {
                return;
            }
        }
        for id in self.walk.order().to_vec() {
            let Some(subchannel) = self.subchannels.get(&id).filter(|sub| sub.attempt.is_none()) else {
                continue;
            };
            match subchannel.retry_at() {
                Some(at) if at > now => self.wake_at(at),
                _ if self.begin(now, id) => {}
                _ => break,
            }
        }
    }

    /// Begins an attempt, if the budget has room; otherwise sees to being called when it has.
    fn begin(&mut self, now: Instant, id: EndpointId) -> bool {
        let Some(subchannel) = self.subchannels.get_mut(&id) else { return false };
        match self.budget.begin(now) {
            Ok(()) => {
                self.last_connection += 1;
                let connection = ConnectionId(self.last_connection);
                let timeout = subchannel.begin(now, connection);
                let address = subchannel.address.clone();
                let ping_doublings = subchannel.ping_doublings;
                self.owners.insert(connection, id);
                let connect = Action::Connect { connection, endpoint: id, address, timeout, ping_doublings };
                self.actions.push_back(connect);
                true
            }
            Err(Refused::Until(at)) => {
                self.wake_at(at);
                false
            }
            Err(Refused::UntilOneEnds) => false,
        }
    }

    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
