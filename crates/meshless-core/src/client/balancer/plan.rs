//! What to connect next. Recomputed as a whole after every event, so that no order of events can leave an endpoint
//! forgotten; the same pass finds when it has to run again.

use std::time::Instant;

use super::connect_budget::Refused;
use super::walk::Step;
use super::{Action, Balancer};
use crate::client::picker::Policy;
use crate::client::subchannel::{Phase, Purpose};
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;

impl<C> Balancer<C> {
    pub(super) fn plan(&mut self, now: Instant) {
        self.wake = None;
        self.release_scout(now);
        self.probe(now);
        if !self.idle && !self.connects_are_paused(now) {
            match self.config.policy {
                Policy::PickFirst => self.plan_walk(now),
                _ => self.plan_all(now),
            }
        }
    }

    /// A connection to every endpoint. Those that calls need come before those that merely grow old.
    fn plan_all(&mut self, now: Instant) {
        let max = self.config.connections_per_endpoint.get() as usize;
        let mut wanted = Vec::new();
        for subchannel in self.subchannels.values() {
            if let Some((purpose, at)) = subchannel.need(&self.ages, max, None) {
                wanted.push((purpose, at, subchannel.id));
            }
        }
        for purpose in [Purpose::Serve, Purpose::Rotate] {
            for (_, at, id) in wanted.iter().filter(|(of, ..)| *of == purpose) {
                match at {
                    Some(at) if *at > now => self.wake_at(*at),
                    _ if self.begin(now, *id, purpose) => {}
                    // What the budget refuses to one it refuses to the rest.
                    _ => break,
                }
            }
        }
    }

    /// One connection, to the next endpoint of the walk that can be reached.
    fn plan_walk(&mut self, now: Instant) {
        let max = self.config.connections_per_endpoint.get() as usize;
        let current = self.listed().find(|subchannel| subchannel.is_ready());
        let next = self.walk.next().and_then(|id| self.subchannels.get(&id));
        let lead = next.and_then(|next| next.took);
        let purpose = match current.map(|current| (current.id, current.need(&self.ages, max, lead))) {
            None => Purpose::Serve,
            Some((_, None)) => return,
            Some((id, Some((purpose, at)))) => match (at, purpose) {
                (Some(at), _) if at > now => return self.wake_at(at),
                // A further connection goes to the endpoint whose connection is full; a successor to the next one.
                (_, Purpose::Serve) => {
                    self.begin(now, id, purpose);
                    return;
                }
                (_, Purpose::Rotate) => purpose,
            },
        };
        self.walk_on(now, purpose);
    }

    fn walk_on(&mut self, now: Instant, purpose: Purpose) {
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
            } else if self.begin(now, id, purpose) {
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
                _ if self.begin(now, id, purpose) => {}
                _ => break,
            }
        }
    }

    /// Begins an attempt, if the budget has room; otherwise sees to being called when it has.
    fn begin(&mut self, now: Instant, id: EndpointId, purpose: Purpose) -> bool {
        let Some(subchannel) = self.subchannels.get_mut(&id) else { return false };
        match self.budget.begin(now, purpose) {
            Ok(()) => {
                self.last_connection += 1;
                let connection = ConnectionId(self.last_connection);
                let timeout = subchannel.begin(now, connection);
                let address = subchannel.address.clone();
                self.owners.insert(connection, id);
                self.actions.push_back(Action::Connect { connection, endpoint: id, address, timeout });
                true
            }
            Err(Refused::Until(at)) => {
                self.wake_at(at);
                false
            }
            Err(Refused::UntilOneEnds) => false,
        }
    }

    /// Lets the scout go if it has shown that there is no age to be ahead of.
    fn release_scout(&mut self, now: Instant) {
        let Some(id) = self.ages.scout() else { return };
        let Some(connection) = self.connection_mut(id) else { return };
        let Phase::Lingering { until } = connection.phase else { return };
        if until > now {
            return self.wake_at(until);
        }
        self.ages.refute();
        self.drain(id);
    }

    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
