//! One service in the registry: its source, its clients, and what follows from both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::hold::{Held, Known};
use crate::policy::{ServicePolicy, ZoneMode};
use crate::resources::Demand;
use crate::resources::endpoints::Assignments;
use crate::snapshot::{Availability, Service};
use crate::source::Source;
use crate::stats::Stats;

/// One service.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    /// `None` for one that is there because a client dials it.
    pub(super) declared: Option<Source>,
    /// Why nothing is even looked for.
    pub(super) refusal: Option<Arc<str>>,
    pub(super) held: Held,
    /// Tells the answers of this source from those of the one before.
    pub(super) epoch: u64,
    pub(super) task: Option<SourceTask>,
    /// Where the source says its answers come from.
    pub(super) resolved_by: Option<Arc<str>>,
    /// The source has answered or failed at least once.
    pub(super) was_tried: bool,
    policy: Arc<ServicePolicy>,
    /// Streams by their zones.
    clients: BTreeMap<Option<Arc<str>>, usize>,
    unused_since: Option<Instant>,
    demand: Demand,
}

/// The task that follows a source. It ends with this.
#[derive(Debug)]
pub(super) struct SourceTask(pub(super) AbortHandle);

impl Drop for SourceTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Entry {
    pub(super) fn new(
        name: Arc<str>,
        declared: Option<Source>,
        held: Held,
        policy: Arc<ServicePolicy>,
    ) -> Self {
        Self {
            name,
            declared,
            refusal: None,
            held,
            epoch: 0,
            task: None,
            resolved_by: None,
            was_tried: false,
            policy,
            clients: BTreeMap::new(),
            unused_since: None,
            demand: Demand::new(),
        }
    }

    pub(super) fn policy(&self) -> &Arc<ServicePolicy> {
        &self.policy
    }

    /// Returns true if it is another one.
    pub(super) fn set_policy(&mut self, policy: &Arc<ServicePolicy>) -> bool {
        if self.policy == *policy {
            return false;
        }
        self.policy = Arc::clone(policy);
        self.demand = self.shares();
        true
    }

    /// A stream wants it. Returns true if clients of some zone are to be told something else.
    pub(super) fn add_client(&mut self, zone: Option<Arc<str>>) -> bool {
        *self.clients.entry(zone).or_default() += 1;
        self.unused_since = None;
        self.update_demand()
    }

    /// A stream wants it no longer. Returns true as above.
    pub(super) fn remove_client(&mut self, zone: &Option<Arc<str>>, now: Instant) -> bool {
        if let Some(count) = self.clients.get_mut(zone) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(zone);
            }
        }
        if self.clients.is_empty() {
            self.unused_since = Some(now);
        }
        self.update_demand()
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.values().sum()
    }

    /// Since when no stream wants a service that nobody has declared.
    pub(super) fn unused_since(&self) -> Option<Instant> {
        self.unused_since.filter(|_| self.declared.is_none())
    }

    /// True if there is no such service, as far as is known.
    pub(super) fn is_missing(&self) -> bool {
        self.declared.is_none()
            && (self.refusal.is_some() || matches!(self.held.known(), Known::NoService(_)))
    }

    /// What clients are told; `before` is what they were told last.
    pub(super) fn service(&self, before: Option<&Service>, stats: &Arc<Stats>) -> Service {
        let availability = self.availability(stats);
        match before {
            Some(before) => before.with(availability),
            None => Service::new(&self.name, &self.policy, availability),
        }
    }

    fn availability(&self, stats: &Arc<Stats>) -> Availability {
        let endpoints = match (&self.refusal, self.held.known()) {
            (Some(refusal), _) => return Availability::Missing(Arc::clone(refusal)),
            (None, Known::Nothing) if self.declared.is_some() => return Availability::Declared,
            (None, Known::Nothing) => return Availability::Unknown,
            (None, Known::NoService(reason)) if self.declared.is_none() => {
                return Availability::Missing(reason.as_str().into());
            }
            (None, Known::NoService(_)) => Vec::new(),
            (None, Known::Endpoints(endpoints)) => endpoints.clone(),
        };
        let (name, demand) = (Arc::clone(&self.name), self.demand.clone());
        Availability::Known(Arc::new(Assignments::new(
            name,
            endpoints,
            &self.policy,
            demand,
            Arc::clone(stats),
        )))
    }

    fn update_demand(&mut self) -> bool {
        let shares = self.shares();
        let changed = self.demand != shares;
        self.demand = shares;
        changed
    }

    /// Of each zone, in twentieths. Only `capacity` asks.
    fn shares(&self) -> Demand {
        if self.policy.zone != ZoneMode::Capacity {
            return Demand::new();
        }
        let zoned = || self.clients.iter().filter_map(|(zone, count)| Some((zone.as_deref()?, *count)));
        let all: usize = zoned().map(|(_, count)| count).sum();
        let share = |count: usize| u32::try_from((count * SHARES + all / 2) / all.max(1)).unwrap_or(u32::MAX);
        zoned().map(|(zone, count)| (zone.to_owned(), share(count))).collect()
    }
}

const SHARES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_more_among_many_changes_nothing() {
        let policy = Arc::new(ServicePolicy { zone: ZoneMode::Capacity, ..ServicePolicy::default() });
        let mut entry = Entry::new("a:1".into(), None, Held::new(std::time::Duration::ZERO), policy);
        let zone = |zone: &str| Some(Arc::from(zone));
        assert!(entry.add_client(zone("a")));
        assert!(!entry.add_client(None), "who has no zone wants nothing of one");
        assert!(entry.add_client(zone("b")));
        for _ in 0..100 {
            entry.add_client(zone("a"));
            entry.add_client(zone("b"));
        }
        assert_eq!(entry.demand, Demand::from([("a".to_owned(), 10), ("b".to_owned(), 10)]));
        assert!(!entry.add_client(zone("a")));
        assert_eq!(entry.clients(), 204);
    }
}
