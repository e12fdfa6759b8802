//! What levelling and bouncing have in common: both are about what servers do, one name asks for
//! them, and each of their rows is measured on this machine after a warm-up.

use std::time::Duration;

use super::Planning;
use crate::fleet::Local;
use crate::strategy::Strategy;

/// What such an experiment can measure, and what it takes.
pub(super) struct Offer<R: 'static> {
    /// In words, for notes.
    pub(super) what: &'static str,
    /// Servers, each at an address of its own.
    pub(super) servers: usize,
    /// What comes first in each row and is not measured, if the measure is not shorter still.
    pub(super) warm_up: Duration,
    pub(super) rows: &'static [R],
    pub(super) strategy: fn(&R) -> Strategy,
}

/// Rows that can be measured.
#[derive(Clone, Debug)]
pub(crate) struct ServersPlan<R> {
    pub(super) local: Local,
    pub(super) rows: Vec<R>,
    pub(super) warm_up: Duration,
    /// Of each row, the warm-up included.
    pub(super) length: Duration,
}

impl<R: Clone> Offer<R> {
    /// The rows that are asked for. None on a cluster, without addresses, and without a row.
    pub(super) fn plan(
        &self,
        Planning { request, site, notes }: &mut Planning<'_>,
    ) -> Option<ServersPlan<R>> {
        let local = site.local()?;
        if local.limits.addresses < self.servers {
            notes.push(format!(
                "{} was left out: it needs a backend on each of 127.0.0.2 to 127.0.0.{}, which this system lacks; get them \
                 with `sudo ifconfig lo0 alias 127.0.0.2` and so on.",
                self.what,
                self.servers + 1
            ));
            return None;
        }
        let strategies = &request.strategies;
        let asked = |row: &&R| strategies.is_empty() || strategies.contains(&(self.strategy)(row));
        let rows: Vec<_> = self.rows.iter().filter(asked).cloned().collect();
        if rows.is_empty() {
            let mut known: Vec<_> = self.rows.iter().map(|row| (self.strategy)(row).name()).collect();
            known.dedup();
            notes.push(format!("{} was left out: it compares {}.", self.what, known.join(", ")));
            return None;
        }
        let watch = request.length(SECONDS);
        let warm_up = self.warm_up.min(watch);
        Some(ServersPlan { local: local.clone(), rows, warm_up, length: warm_up + watch })
    }
}

impl<R> ServersPlan<R> {
    /// A step each second.
    pub(super) fn steps(&self) -> u64 {
        self.rows.len() as u64 * self.length.as_secs()
    }
}

/// How long each row is measured: 48 ages, but only three relaxation times of a queue
/// (`bounce/plan.rs`). Rows see the same arrivals, so large differences show; a quantile
/// itself moves by some ten per cent from run to run.
const SECONDS: u32 = 24;
