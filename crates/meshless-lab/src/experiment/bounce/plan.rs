//! Whose calls servers queue, and whose they bounce.

use std::time::Duration;

use crate::experiment::servers::{Offer, ServersPlan};
use crate::strategy::Strategy;

/// Strategies, and whether servers bounce.
pub(crate) type BouncePlan = ServersPlan<(Strategy, bool)>;

/// Policies on servers that queue (false) and bounce (true).
pub(super) const OFFER: Offer<(Strategy, bool)> = Offer {
    what: "The bounce",
    servers: SERVERS,
    warm_up: WARM_UP,
    rows: &[
        (Strategy::RoundRobin, false),
        (Strategy::RoundRobin, true),
        (Strategy::LeastRequest, false),
        (Strategy::LeastRequest, true),
        (Strategy::PeakEwma, false),
    ],
    strategy: |(strategy, _)| *strategy,
};

/// Servers: enough that nobody sees much of the whole.
pub(super) const SERVERS: usize = 10;

/// One relaxation time of a queue, in which it comes most of the way from empty: for four workers
/// at 0.95 this is 1/(4(1 − √0.95)²) = 390 service times, 7.8 s.
const WARM_UP: Duration = Duration::from_secs(8);
