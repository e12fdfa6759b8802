//! When no endpoint can be reached and calls keep asking: tries endpoints more often than their
//! backoff would.
//!
//! gRPC's backoff is per endpoint, and protects a server in trouble while others serve. After an
//! outage of all endpoints it hurts. Pauses have grown to minutes, calls fail although a backend is
//! back, and the first one back gets all the load until the others' pauses end. So while nothing
//! serves, **and only as long as calls ask**, endpoints are tried in turn without regard to their
//! own pause.
//!
//! The rate is limited for the whole channel: at most [`PROBES_PER_TICK`] each [`TICK`], 20
//! connects a second, and none twice in a tick. Under the specification's pauses ("1 s × 1.6, at
//! most 120 s") a client with twenty endpoints connects as often in its first second. A channel
//! without calls keeps to those pauses.
//!
//! When the first endpoint is back, the others' pauses start over from their beginning, since one
//! cause kept all of them away. This happens once for each endpoint until it has served itself. If
//! only one of a thousand is alive and ages, each end of its connection looks like an outage, and
//! each return like the end of one.
//!
//! Failing calls send no event. Instead, a picker without endpoints leaves a mark in [`Demand`]
//! when it is asked, and the balancer looks for it once a tick.

use std::time::{Duration, Instant};

use crate::client::balancer::subchannels::Subchannels;
use crate::client::picker::demand::Demand;
use crate::endpoint::EndpointId;
use crate::rng::Rng;

/// The state of the probing.
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

    /// If it is time, makes some endpoints due at once. Returns when to look again. Called before
    /// the plan, which begins the attempts.
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
            // No endpoint pauses, so there is no pause to end early; the outage goes on.
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

    /// Ends the outage, if there is one, when a connection lasts. Endpoints that accept and then
    /// close are not back.
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

/// A backend that is back is found well within a second, including the connect.
const TICK: Duration = Duration::from_millis(250);

/// At most 20 connects a second, for any number of endpoints.
const PROBES_PER_TICK: usize = 5;
