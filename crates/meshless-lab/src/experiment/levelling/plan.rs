//! Whose connections servers level.

use std::time::Duration;

use crate::experiment::servers::{Offer, ServersPlan};
use crate::strategy::Strategy;

/// Strategies, each measured without levelling and with it.
pub(crate) type LevellingPlan = ServersPlan<Strategy>;

/// Clients of one connection each, which come back through the virtual address: today's tonic, and
/// the channel.
pub(super) const OFFER: Offer<Strategy> = Offer {
    what: "The levelling",
    servers: SERVERS,
    warm_up: WARM_UP,
    rows: &[Strategy::MaxAgeL4, Strategy::PickFirst],
    strategy: |strategy| *strategy,
};

/// Servers.
pub(super) const SERVERS: usize = 3;

/// Ten ages, as in the simulation of `meshless-core` (`lifetime/levelling_simulation.rs`).
const WARM_UP: Duration = Duration::from_secs(5);
