//! How many frames a client may send that cost the server work and the client nothing, on one connection.
//!
//! A reset right after its call ("rapid reset", CVE-2023-44487), SETTINGS and PINGs in endless numbers: each is legal, each
//! makes the server work, and none counts against the streams that a client may have open. They draw on one token bucket,
//! kept as the one instant of GCRA (ITU-T I.371), which needs no timer to refill. Asked by the lifetime machine.

use std::time::{Duration, Instant};

/// What came since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlFrames {
    /// PINGs that are not acknowledgements.
    pub pings: u32,
    /// SETTINGS that are not acknowledgements.
    pub settings: u32,
    /// Streams that the client reset.
    pub resets: u32,
    /// Those of them that came right behind their calls, which had no time to begin.
    pub early_resets: u32,
    /// Streams that the server ended with its response: a client that lets calls end may cancel as many.
    pub responses: u32,
}

/// The bucket of one connection.
#[derive(Clone, Debug)]
pub(super) struct FrameBudget {
    capacity: Duration,
    /// When the bucket would be full again; in the past, it is.
    full_at: Instant,
}

impl FrameBudget {
    /// A full bucket, which bears `resets` at once.
    pub(super) fn new(resets: u32, now: Instant) -> Self {
        Self { capacity: TOKEN * RESET_COST.saturating_mul(resets.max(RESETS_MIN)), full_at: now }
    }

    /// Draws what `frames` cost. False: that is more than there is.
    #[must_use]
    pub(super) fn spend(&mut self, now: Instant, frames: ControlFrames) -> bool {
        let refund = TOKEN * RESET_COST.saturating_mul(frames.responses);
        let full_at = self.full_at.checked_sub(refund).map_or(now, |at| at.max(now));
        let costs = [
            (PING_COST, frames.pings),
            (SETTINGS_COST, frames.settings),
            (RESET_COST, frames.resets),
            (EARLY_RESET_COST, frames.early_resets),
        ];
        let cost =
            costs.into_iter().fold(0u32, |sum, (cost, count)| sum.saturating_add(cost.saturating_mul(count)));
        self.full_at = full_at + TOKEN * cost;
        self.full_at <= now + self.capacity
    }
}

/// 10 000 tokens a second: at some microseconds of work for each that is a few per cent of a core.
const TOKEN: Duration = Duration::from_micros(100);

/// 10 000 pings a second: a client that estimates bandwidth (grpc-go) pings once per round trip while data flow.
const PING_COST: u32 = 1;

/// 1000 resets a second, beyond one for each call that was answered. A reset costs what a call costs.
const RESET_COST: u32 = 10;

/// Of calls that are reset with the bytes that open them, a tenth as many. Deadlines that pass in bulk reset calls that were
/// open for as long; and a client that gives a call up at once has mostly not sent it (h2, grpc-go).
const EARLY_RESET_COST: u32 = 9 * RESET_COST;

/// 100 SETTINGS a second: with a new initial window h2 goes through all open streams (`apply_remote_settings`). Clients send some in
/// a connection's life.
const SETTINGS_COST: u32 = 100;

/// What is borne at once even if few streams may be open: resets, or a hundred SETTINGS, or 10 000 PINGs.
const RESETS_MIN: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    fn resets(resets: u32) -> ControlFrames {
        ControlFrames { resets, ..ControlFrames::default() }
    }

    #[test]
    fn a_burst_of_resets_is_borne_and_a_flood_is_not() {
        let mut budget = FrameBudget::new(5000, epoch());
        assert!(budget.spend(epoch(), resets(5000)));
        assert!(!budget.spend(epoch(), resets(1)));
        let mut budget = FrameBudget::new(5000, epoch());
        assert!(budget.spend(epoch(), resets(5000)));
        assert!(budget.spend(epoch() + Duration::from_secs(1), resets(1000)));
        assert!(!budget.spend(epoch() + Duration::from_secs(1), resets(1)));
    }

    #[test]
    fn a_client_that_cancels_as_often_as_it_is_answered_never_runs_out() {
        let mut budget = FrameBudget::new(0, epoch());
        for _ in 0..1000 {
            let frames = ControlFrames { resets: 100, responses: 100, ..ControlFrames::default() };
            assert!(budget.spend(epoch(), frames));
        }
    }

    #[test]
    fn a_reset_that_comes_with_its_call_weighs_as_ten() {
        let early = |resets| ControlFrames { resets, early_resets: resets, ..ControlFrames::default() };
        assert!(FrameBudget::new(20_000, epoch()).spend(epoch(), early(2_000)));
        assert!(!FrameBudget::new(20_000, epoch()).spend(epoch(), early(2_001)));
        assert!(FrameBudget::new(20_000, epoch()).spend(epoch(), resets(20_000)));
    }

    #[test]
    fn settings_weigh_more_than_pings() {
        let settings = |settings| ControlFrames { settings, ..ControlFrames::default() };
        let pings = |pings| ControlFrames { pings, ..ControlFrames::default() };
        assert!(FrameBudget::new(0, epoch()).spend(epoch(), settings(100)));
        assert!(!FrameBudget::new(0, epoch()).spend(epoch(), settings(101)));
        assert!(FrameBudget::new(0, epoch()).spend(epoch(), pings(10_000)));
        assert!(!FrameBudget::new(0, epoch()).spend(epoch(), pings(10_001)));
    }
}
