//! A call's hold on a connection, and the counters behind it.
//!
//! A lease is a measuring guard: it counts its call from the pick until it is dropped, so a
//! cancelled call is counted like any other. The counters belong to the connection
//! ([`PickableConnection`]) and to the endpoint ([`Load`]), never to a snapshot, so a new picker
//! forgets nothing. The picker makes a lease; the call holds it.

use crate::atomic::{AtomicU32, Ordering};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcomes::{OutcomeReport, Outcomes};
use super::reported::{LoadReport, ReportedWeight};
use crate::client::outcome::Outcome;
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;
use crate::ewma::{EwmaDecay, PeakEwma};

/// One call on one connection.
///
/// Dropping it ends the call, without an outcome. [`finish`](Self::finish) also passes the outcome
/// to `peak_ewma` and ejection. Purposefully not `Clone`: one call, one count.
#[derive(Debug)]
#[must_use = "dropping a lease ends its call"]
pub struct Lease<C> {
    slot: Arc<PickableConnection<C>>,
    started: Instant,
}

impl<C> Lease<C> {
    /// Returns the connection to send the call on.
    pub fn connection(&self) -> &C {
        &self.slot.connection
    }

    /// Returns the connection's id, for reports to the balancer.
    pub fn connection_id(&self) -> ConnectionId {
        self.slot.id
    }

    /// Returns the endpoint that was picked, for the next pick to avoid and for error messages.
    pub fn endpoint(&self) -> EndpointId {
        self.slot.endpoint
    }

    /// Returns when it was picked.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns true if the policy uses the load reports in the servers' responses.
    #[inline]
    pub fn wants_load(&self) -> bool {
        self.slot.reports.is_some()
    }

    /// The response contained a load report.
    pub fn report(&self, now: Instant, load: &LoadReport) {
        if let Some(rule) = &self.slot.reports {
            rule.note(&self.slot.load, now, load);
        }
    }

    /// Ends the call and records its outcome. Pass what it returns to
    /// [`Balancer::handle_outcome`](crate::Balancer::handle_outcome), soon.
    #[inline]
    pub fn finish(self, now: Instant, outcome: Outcome) -> Option<OutcomeReport> {
        let slot = &*self.slot;
        if let Some(measure) = &slot.measure {
            measure.record(&slot.load, self.started, now, outcome);
        }
        let to_report = slot.load.outcomes.record(outcome, slot.breaker);
        to_report.then_some(OutcomeReport { endpoint: slot.endpoint, started: self.started, outcome })
    }

    /// Ends the call without an answer, because another attempt was quicker. `peak_ewma` learns
    /// that this one would have taken longer than it has. Ejection learns nothing: gRFC A50 counts
    /// calls by their status, and a cancelled one has none.
    pub fn outlasted(self, now: Instant) {
        if let Some(measure) = &self.slot.measure {
            let waited = now.saturating_duration_since(self.started);
            self.slot.load.latency.outlast(&measure.decay, measure.decay.ticks(now), waited);
        }
    }
}

impl<C> Drop for Lease<C> {
    #[inline]
    fn drop(&mut self) {
        self.slot.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.slot.counts_load {
            self.slot.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection that calls can be placed on. The balancer, its pickers and the leases share it.
#[derive(Debug)]
pub(crate) struct PickableConnection<C> {
    pub(crate) id: ConnectionId,
    pub(crate) endpoint: EndpointId,
    pub(crate) connection: C,
    /// Calls in flight on this connection.
    in_flight: AtomicU32,
    /// Calls that it may carry at a time. 0 closes it for new calls, also in outdated pickers.
    limit: AtomicU32,
    pub(crate) load: Arc<Load>,
    /// True if the policy compares endpoints by load. Other policies skip the second counter.
    counts_load: bool,
    measure: Option<Measure>,
    /// The balancer is told after this many consecutive failures.
    breaker: u32,
    /// `None`: reports are ignored.
    reports: Option<ReportRule>,
}

/// What a policy measures about its calls; by default, nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadTracking {
    pub(crate) counts_load: bool,
    pub(crate) measure: Option<Measure>,
    /// `None`: consecutive failures are not reported.
    pub(crate) breaker: Option<NonZeroU32>,
    pub(crate) reports: Option<ReportRule>,
}

/// How reports become weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportRule {
    pub(crate) clock: EwmaDecay,
    pub(crate) error_penalty: f32,
}

impl ReportRule {
    pub(crate) fn note(&self, load: &Load, now: Instant, report: &LoadReport) {
        if let Some(weight) = report.weight(self.error_penalty) {
            load.reported.set(weight, self.clock.ticks(now));
        }
    }
}

impl<C> PickableConnection<C> {
    pub(crate) fn new(
        id: ConnectionId,
        endpoint: EndpointId,
        connection: C,
        load: Arc<Load>,
        tracking: LoadTracking,
    ) -> Self {
        let LoadTracking { counts_load, measure, breaker, reports } = tracking;
        let (in_flight, limit) = (AtomicU32::new(0), AtomicU32::new(u32::MAX));
        let breaker = breaker.map_or(u32::MAX, NonZeroU32::get);
        Self { id, endpoint, connection, in_flight, limit, load, counts_load, measure, breaker, reports }
    }

    /// Counts a call if there is room for it.
    #[inline]
    pub(crate) fn lease(self: &Arc<Self>, now: Instant) -> Option<Lease<C>> {
        // Not `fetch_add` and undo: for that moment another caller would see a full connection that
        // is not full, and wait for a wake-up that has already happened.
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |calls| (calls < limit).then(|| calls + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        if self.counts_load {
            self.load.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Some(Lease { slot: Arc::clone(self), started: now })
    }

    pub(crate) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight() >= self.limit.load(Ordering::Relaxed)
    }
}

/// The load that this client has put on one endpoint, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    latency: PeakEwma,
    pub(crate) outcomes: Outcomes,
    reported: ReportedWeight,
}

impl Load {
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn latency(&self) -> &PeakEwma {
        &self.latency
    }

    pub(crate) fn reported(&self) -> &ReportedWeight {
        &self.reported
    }
}

/// How the ends of calls become latencies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) decay: EwmaDecay,
    pub(crate) failure_penalty: Duration,
}

impl Measure {
    fn record(&self, load: &Load, started: Instant, now: Instant, outcome: Outcome) {
        let elapsed = now.saturating_duration_since(started);
        let ticks = self.decay.ticks(now);
        match outcome {
            Outcome::Success => load.latency.record(&self.decay, ticks, elapsed),
            Outcome::Failure if self.failure_penalty.is_zero() => {
                load.latency.record(&self.decay, ticks, elapsed);
            }
            Outcome::Failure => {
                load.latency.penalise(&self.decay, ticks, elapsed.max(self.failure_penalty));
            }
            // A penalty of seconds is wrong for a caller's deadline of milliseconds.
            Outcome::Late => load.latency.outlast(&self.decay, ticks, elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    fn slot(limit: u32, counts_load: bool) -> Arc<PickableConnection<()>> {
        let tracking = LoadTracking { counts_load, ..LoadTracking::default() };
        let (endpoint, id) = (EndpointId::for_tests(1), ConnectionId(1));
        let slot = PickableConnection::new(id, endpoint, (), Arc::default(), tracking);
        slot.set_limit(limit);
        Arc::new(slot)
    }

    #[test]
    fn a_dropped_lease_counts_its_call_out() {
        let slot = slot(u32::MAX, true);
        let leases: Vec<_> = (0..3).map(|_| slot.lease(epoch()).unwrap()).collect();
        assert_eq!((slot.in_flight(), slot.load.in_flight()), (3, 3));
        drop(leases);
        assert_eq!((slot.in_flight(), slot.load.in_flight()), (0, 0));
    }

    #[test]
    fn a_connection_takes_no_more_than_its_limit() {
        let slot = slot(2, false);
        let first = slot.lease(epoch()).unwrap();
        let second = slot.lease(epoch()).unwrap();
        assert!(slot.lease(epoch()).is_none() && slot.is_full());
        assert_eq!(first.finish(epoch(), Outcome::Success), None);
        assert!(slot.lease(epoch()).is_some());
        slot.set_limit(0);
        assert!(slot.lease(epoch()).is_none(), "closed for new calls");
        drop(second);
        assert_eq!(slot.in_flight(), 0);
    }
}
