//! A fleet of processes of this machine: servers and clients are this same program, started again.
//!
//! The [`Network`](crate::network::Network) says where they live, all on the loopback interface or each in a namespace of
//! the kernel; nothing else differs between the two. `rig` holds the servers and the client of a
//! load that nothing happens to, `stand` those of one strategy while an event happens. Both have a
//! `front` that leads clients to servers, the cluster's DNS, its API server, a virtual address.

mod backends;
mod client;
mod front;
mod machine;
pub(crate) mod rig;
mod server;
mod stand;

use std::net::Ipv4Addr;

use super::{Calls, Fleet, FleetError, Happening, Load, Making, Measurement};
use crate::event::Happened;
use crate::pacer::Pacing;
use crate::progress::Progress;
use crate::results::{EventNote, Results};
use crate::strategy::Strategy;
#[cfg(test)]
pub(crate) use machine::Limits;
pub(crate) use machine::Local;
use rig::{Rig, Setup};
pub(crate) use server::{backend_name, duration_argument};

impl Fleet for Local {
    fn introduction(&self) -> String {
        format!("seed {}; Ctrl-C ends the run early and keeps what was measured", self.seed)
    }

    fn in_turn<'a>(
        &'a mut self,
        load: &'a Load,
        progress: &'a Progress,
        seen: &'a mut dyn FnMut(Measurement),
    ) -> Making<'a, ()> {
        Box::pin(async move {
            let addresses = self.addresses(load.backends);
            for strategy in &load.strategies {
                seen(steady(self, load, *strategy, &addresses, progress).await?);
            }
            Ok(())
        })
    }

    fn at_once<'a>(
        &'a mut self,
        load: &'a Load,
        happening: &'a Happening,
        progress: &'a Progress,
    ) -> Making<'a, Vec<(Measurement, Happened)>> {
        Box::pin(async move {
            let all = stand::all_at_once(self, load, happening).await?;
            progress.advance((happening.before + happening.watched).as_secs());
            Ok(all)
        })
    }

    fn event_note(&self, happening: &Happening) -> EventNote {
        happening.event.note(happening.watched)
    }

    fn annotate(&self, results: &mut Results) {
        results.notes.extend(lateness(results));
        let proxied = |strategy: &String| *strategy == Strategy::L7Proxy.name();
        let mut strategies = results
            .burst
            .iter()
            .map(|row| &row.strategy)
            .chain(results.spread.iter().map(|row| &row.strategy));
        if let (Ok(proxy), true) = (&self.proxy, strategies.any(proxied)) {
            results.versions.insert(proxy.name().into(), proxy.version().into());
            results.notes.push("The processor time of l7-proxy is that of client and servers; what the proxy used comes on top.".into());
        }
    }
}

/// The load of one strategy, for which servers and client are started and ended.
async fn steady(
    local: &Local,
    load: &Load,
    strategy: Strategy,
    addresses: &[Ipv4Addr],
    progress: &Progress,
) -> Result<Measurement, FleetError> {
    let seconds = load.length.as_secs();
    progress.show(format!("{} · {strategy} · {} calls/s for {seconds} s", load.name, load.rate));
    // The same arrivals for every strategy.
    let pacing = Pacing::Poisson { rate: load.rate, length: load.length, seed: local.seed.into() };
    let mut rig = Rig::set_up(local, &Setup::new(&load.conditions, strategy, addresses), false).await?;
    let mut shown = 0;
    let round = rig.round(pacing, |ended| {
        let now = ((ended as f64 / load.rate) as u64).min(seconds);
        progress.advance(now.saturating_sub(shown));
        shown = shown.max(now);
    });
    let calls = Calls::Each(round.await?);
    progress.advance(seconds.saturating_sub(shown));
    let backends = (0..addresses.len()).map(backend_name).collect();
    Ok(Measurement { strategy, backends, clients: 1, calls })
}

/// What a reader must know where the machine had no time for the churn.
fn lateness(results: &Results) -> Option<String> {
    let lags = || results.churn.iter().map(|row| row.start_lag_ms_p99);
    let (late, worst) = (lags().filter(|lag| *lag > LATE_MS).count(), lags().fold(0.0, f64::max));
    (late > 0).then(|| {
        format!(
            "In {late} of {} rows of the churn the clients began calls up to {worst:.0} ms late: this machine was too busy, and \
             calls may have failed for that reason alone.",
            results.churn.len()
        )
    })
}

/// Later than this, p99, a client has missed its processor for about as long as a call takes.
pub(crate) const LATE_MS: f64 = 20.0;
