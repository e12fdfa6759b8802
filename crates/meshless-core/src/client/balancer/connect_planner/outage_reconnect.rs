//! When no endpoint can be reached and calls keep asking: looks more often than the backoff would.
//!
//! gRPC's backoff is per endpoint, and protects a server that is in trouble while others serve.
//! After an outage of all of them it hurts: pauses have grown to minutes, calls fail although a
//! backend is back, and the first one back gets all the load until the others' pauses end. So while
//! nothing serves, **and only as long as calls ask**, endpoints are tried in turn whatever their
//! own pause, at a rate that has a bound for the whole channel: at most [`PROBES_PER_TICK`] each
//! [`TICK`], 20 connects a second, and none twice in a tick. That is what the specification's
//! pauses ("1 s × 1.6, at most 120 s") keep a client from exceeding with twenty endpoints in their
//! first second; a channel without calls keeps to them. When the first endpoint is back, the pauses
//! of the others start over from their beginning: what kept one away kept them all. That is
//! believed once of each endpoint, until it has served itself: where one of a thousand is alive and
//! ages, each of its ends looks like an outage and each of its returns like the end of one.
//!
//! Calls that fail tell nobody. Instead, a picker with nothing to pick from leaves a mark in
//! [`Demand`] when it is asked, and the balancer looks for it once a tick.

use std::time::{Duration, Instant};

use crate::client::balancer::subchannels::Subchannels;
use crate::client::picker::demand::Demand;
use crate::endpoint::EndpointId;
use crate::rng::Rng;

/// Where the probing stands.
#[derive(Debug)]
pub(super) struct OutageReconnect {
    demand: Demand,
    /// When to look next; `None` once an endpoint serves, or if none has failed.
    tick_at: Option<Instant>,
    /// The endpoint that was tried last.
    last: Option<EndpointId>,
}

impl OutageReconnect {
    /// `demand` is the mark that the channel's pickers leave.
    pub(super) fn new(demand: Demand) -> Self {
        Self { demand, tick_at: None, last: None }
    }

    /// Makes some endpoints due at once, if it is time for that, and returns when to look again.
    /// Precedes the plan, which begins the attempts.
    pub(super) fn advance<C>(
        &mut self,
        now: Instant,
        is_idle: bool,
        subchannels: &mut Subchannels<C>,
        rng: &mut Rng,
    ) -> Option<Instant> {
        if subchannels.any_ready() {
            return self.end(now, subchannels, rng);
        }
        if is_idle || !subchannels.listed().any(|subchannel| subchannel.pauses(now)) {
            // Where nothing pauses there is nothing to hasten; the outage goes on.
            return None;
        }
        let tick_at = *self.tick_at.get_or_insert_with(|| {
            self.demand.take();
            now + TICK
        });
        if tick_at > now {
            return Some(tick_at);
        }
        self.tick_at = Some(now + TICK);
        if self.demand.take() {
            self.hasten(now, subchannels);
        }
        self.tick_at
    }

    fn hasten<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>) {
        let after = |id: &EndpointId| self.last.is_none_or(|last| *id > last);
        let pausing = || subchannels.listed().filter(|sub| sub.pauses(now)).map(|sub| sub.id);
        let in_turn = pausing().filter(after).chain(pausing().filter(|id| !after(id)));
        for id in in_turn.take(PROBES_PER_TICK).collect::<Vec<_>>() {
            self.last = Some(id);
            if let Some(subchannel) = subchannels.get_mut(id) {
                subchannel.end_pause(now);
            }
        }
    }

    /// The outage, if there is one, ends with a connection that lasts: endpoints that all accept
    /// and hang up are not back.
    fn end<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>, rng: &mut Rng) -> Option<Instant> {
        self.tick_at?;
        let serving = subchannels.listed().flat_map(|subchannel| subchannel.serving());
        let proven_at = serving.map(|connection| connection.proven_at()).min()?;
        if proven_at > now {
            return Some(proven_at);
        }
        self.tick_at = None;
        for subchannel in subchannels.all_mut().filter(|subchannel| subchannel.pauses(now)) {
            subchannel.restart_backoff(now, rng);
        }
        None
    }
}

/// So that a backend that is back is found well within a second, the connect included.
const TICK: Duration = Duration::from_millis(250);

/// At most 20 connects a second, whatever the number of endpoints.
const PROBES_PER_TICK: usize = 5;
