//! What a fleet hands back: what was seen of each strategy's load.

use crate::stats::Round;
use crate::strategy::Strategy;
#[cfg(feature = "kubernetes")]
use crate::worker::score::Measured;

/// What was seen of one strategy's load.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    pub(crate) strategy: Strategy,
    /// Names of the servers that stood ready, whether or not one was ever reached.
    pub(crate) backends: Vec<String>,
    /// Clients that shared the load.
    pub(crate) clients: u32,
    pub(crate) calls: Calls,
}

/// Calls, as those who made and those who answered them tell of them.
#[derive(Clone, Debug)]
pub(crate) enum Calls {
    /// Each of them, and what the servers' ledgers say.
    Each(Round),
    /// In tenths of a second. No server tells.
    #[cfg(feature = "kubernetes")]
    Binned(Measured),
}

/// What is left of one strategy's load that was ended early.
#[derive(Clone, Debug)]
pub(crate) struct Recalled {
    pub(crate) measurement: Measurement,
    /// True if it had been made to its end.
    pub(crate) is_whole: bool,
    /// What it was until then, in a sentence.
    pub(crate) note: String,
}
