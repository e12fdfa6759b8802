//! Limits the frames on one connection that cost this end work and the peer nothing.
//!
//! A peer can send endless resets right after their calls ("rapid reset", CVE-2023-44487),
//! SETTINGS, PINGs, PRIORITY and WINDOW_UPDATEs. Each is legal, each makes this end work, and none
//! counts against the streams that a peer may have open. All of them take tokens from one bucket.
//!
//! Both ends use it: the lifetime machine of a server's connection, and the connections of a
//! channel.

use std::time::{Duration, Instant};

use crate::frame::{FrameHeader, FrameKind};
use crate::rate::Rate;

/// The frames that came since the last report, and those that pay for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlFrames {
    /// PINGs that are not acknowledgements.
    pub pings: u32,
    /// SETTINGS that are not acknowledgements.
    pub settings: u32,
    /// Streams that the peer reset.
    pub resets: u32,
    /// Of those, resets right after their calls, which had no time to begin. Only on a server's
    /// connection.
    pub early_resets: u32,
    /// WINDOW_UPDATEs.
    pub window_updates: u32,
    /// Frames without effect: see [`ControlFrames::note`].
    pub idle: u32,
    /// Short DATA for streams that this end has reset.
    pub late_data: u32,
    /// Streams that ended with a response. Each pays for a reset: a peer that lets calls end may
    /// reset as many.
    pub responses: u32,
    /// DATA frames that this end sent. Each pays for two WINDOW_UPDATEs, one of the stream and one
    /// of the connection.
    pub data_sent: u32,
}

impl ControlFrames {
    /// Counts a frame that came.
    ///
    /// HEADERS and DATA with a payload do not count: they are what a connection is for. These count
    /// as idle: PRIORITY, frames of unknown types, acknowledgements, GOAWAY, and empty DATA and
    /// CONTINUATION. Short DATA with padding is idle, too, since it may hold nothing else.
    pub fn note(&mut self, header: &FrameHeader) {
        let count = match header.kind {
            FrameKind::Headers => return,
            FrameKind::Data if header.is_end_stream() => return,
            FrameKind::Data if header.payload_len > header.padding_max() => return,
            FrameKind::Continuation if header.payload_len > 0 => return,
            FrameKind::Ping if !header.is_ack() => &mut self.pings,
            FrameKind::Settings if !header.is_ack() => &mut self.settings,
            FrameKind::ResetStream => &mut self.resets,
            FrameKind::WindowUpdate => &mut self.window_updates,
            _ => &mut self.idle,
        };
        *count = count.saturating_add(1);
    }

    /// Adds the counts of `more`.
    pub fn add(&mut self, more: Self) {
        let Self {
            pings,
            settings,
            resets,
            early_resets,
            window_updates,
            idle,
            late_data,
            responses,
            data_sent,
        } = more;
        let sums = [
            (&mut self.pings, pings),
            (&mut self.settings, settings),
            (&mut self.resets, resets),
            (&mut self.early_resets, early_resets),
            (&mut self.window_updates, window_updates),
            (&mut self.idle, idle),
            (&mut self.late_data, late_data),
            (&mut self.responses, responses),
            (&mut self.data_sent, data_sent),
        ];
        for (sum, count) in sums {
            *sum = sum.saturating_add(count);
        }
    }

    /// Returns how many frames came, without those that pay.
    pub fn count(&self) -> u32 {
        [self.pings, self.settings, self.resets, self.window_updates, self.idle, self.late_data]
            .into_iter()
            .fold(0, u32::saturating_add)
    }

    fn cost(&self) -> u32 {
        sum([
            (PING_COST, self.pings),
            (SETTINGS_COST, self.settings),
            (RESET_COST, self.resets),
            (EARLY_RESET_COST, self.early_resets),
            (WINDOW_UPDATE_COST, self.window_updates),
            (IDLE_COST, self.idle),
            (1, self.late_data.div_ceil(LATE_DATA_PER_TOKEN)),
        ])
    }

    fn paid(&self) -> u32 {
        sum([(RESET_COST, self.responses), (2 * WINDOW_UPDATE_COST, self.data_sent)])
    }
}

/// The bucket of one connection.
#[derive(Clone, Debug)]
pub struct FrameBudget(Rate);

impl FrameBudget {
    /// A full bucket. It allows `resets` at once; at least 1000.
    pub fn new(resets: u32) -> Self {
        Self(Rate::new(TOKEN * RESET_COST.saturating_mul(resets.max(RESETS_MIN))))
    }

    /// Takes the cost of `frames`. Returns false if the bucket holds less: the connection should
    /// end.
    #[must_use]
    pub fn spend(&mut self, now: Instant, frames: ControlFrames) -> bool {
        let (cost, paid) = (frames.cost(), frames.paid());
        match cost.checked_sub(paid) {
            Some(more) => self.0.spend(now, TOKEN * more),
            None => self.0.put_back(now, TOKEN * (paid - cost)),
        }
    }
}

fn sum(counts: impl IntoIterator<Item = (u32, u32)>) -> u32 {
    counts.into_iter().fold(0, |sum, (cost, count)| sum.saturating_add(cost.saturating_mul(count)))
}

/// 10 000 tokens a second. At some microseconds of work each, that is a few per cent of a core.
const TOKEN: Duration = Duration::from_micros(100);

/// 10 000 pings a second: a client that estimates bandwidth (grpc-go) pings once per round trip
/// while data flows.
const PING_COST: u32 = 1;

/// 1000 resets a second, in addition to one for each answered call. A reset costs as much as a
/// call.
const RESET_COST: u32 = 10;

/// A tenth as many for calls that are reset with the bytes that open them. Resets from deadlines
/// that pass in bulk come later than that. A client that gives a call up at once has mostly not
/// sent it (h2, grpc-go).
const EARLY_RESET_COST: u32 = 9 * RESET_COST;

/// 100 SETTINGS a second: with a new initial window h2 goes through all open streams
/// (`apply_remote_settings`). A client sends a few during its connection.
const SETTINGS_COST: u32 = 100;

/// 5000 a second, in addition to two for each DATA frame that was sent. No peer can give back more
/// than it was sent. The rest is for peers that raise their windows on their own (bandwidth
/// estimates: some in each round trip).
const WINDOW_UPDATE_COST: u32 = 2;

/// 1000 a second. gRPC implementations send only acknowledgements, one for each PING and SETTINGS.
const IDLE_COST: u32 = 10;

/// 100 000 a second. Until a peer learns that its calls have ended, it may send as many messages as
/// fit into its windows, and all calls may end at once. To skip one costs less than a microsecond.
const LATE_DATA_PER_TOKEN: u32 = 10;

/// Allowed at once even if few streams may be open: these resets, or a hundred SETTINGS, or 10 000
/// PINGs.
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
        let mut budget = FrameBudget::new(5000);
        assert!(budget.spend(epoch(), resets(5000)));
        assert!(!budget.spend(epoch(), resets(1)));
        let mut budget = FrameBudget::new(5000);
        assert!(budget.spend(epoch(), resets(5000)));
        assert!(budget.spend(epoch() + Duration::from_secs(1), resets(1000)));
        assert!(!budget.spend(epoch() + Duration::from_secs(1), resets(1)));
    }

    #[test]
    fn a_client_that_cancels_as_often_as_it_is_answered_never_runs_out() {
        let mut budget = FrameBudget::new(0);
        for _ in 0..1000 {
            let frames = ControlFrames { resets: 100, responses: 100, ..ControlFrames::default() };
            assert!(budget.spend(epoch(), frames));
        }
    }

    #[test]
    fn a_reset_that_comes_with_its_call_weighs_as_ten() {
        let early = |resets| ControlFrames { resets, early_resets: resets, ..ControlFrames::default() };
        assert!(FrameBudget::new(20_000).spend(epoch(), early(2_000)));
        assert!(!FrameBudget::new(20_000).spend(epoch(), early(2_001)));
        assert!(FrameBudget::new(20_000).spend(epoch(), resets(20_000)));
    }

    #[test]
    fn settings_weigh_more_than_pings() {
        let settings = |settings| ControlFrames { settings, ..ControlFrames::default() };
        let pings = |pings| ControlFrames { pings, ..ControlFrames::default() };
        assert!(FrameBudget::new(0).spend(epoch(), settings(100)));
        assert!(!FrameBudget::new(0).spend(epoch(), settings(101)));
        assert!(FrameBudget::new(0).spend(epoch(), pings(10_000)));
        assert!(!FrameBudget::new(0).spend(epoch(), pings(10_001)));
    }

    #[test]
    fn messages_that_cross_the_reset_of_their_calls_are_borne_in_large_numbers() {
        let late = |late_data| ControlFrames { late_data, ..ControlFrames::default() };
        let mut budget = FrameBudget::new(0);
        assert_eq!(late(7).count(), 7);
        assert!(budget.spend(epoch(), late(100_000)));
        assert!(!budget.spend(epoch(), late(1)));
        assert!(budget.spend(epoch() + Duration::from_secs(1), late(99_990)));
    }

    fn came(header: [u8; 9], times: u32) -> ControlFrames {
        let mut frames = ControlFrames::default();
        (0..times).for_each(|_| frames.note(&FrameHeader::parse(&header)));
        frames
    }

    const PRIORITY: [u8; 9] = [0, 0, 5, 0x2, 0, 0, 0, 0, 1];
    const UNKNOWN: [u8; 9] = [0, 0, 1, 0xbe, 0, 0, 0, 0, 1];
    const PING_ACK: [u8; 9] = [0, 0, 8, 0x6, 1, 0, 0, 0, 0];
    const SETTINGS_ACK: [u8; 9] = [0, 0, 0, 0x4, 1, 0, 0, 0, 0];
    const GO_AWAY: [u8; 9] = [0, 0, 8, 0x7, 0, 0, 0, 0, 0];
    const EMPTY_DATA: [u8; 9] = [0, 0, 0, 0x0, 0, 0, 0, 0, 1];
    const PADDED_DATA: [u8; 9] = [0, 1, 0, 0x0, 0x8, 0, 0, 0, 1];
    const EMPTY_CONTINUATION: [u8; 9] = [0, 0, 0, 0x9, 0, 0, 0, 0, 1];

    #[test]
    fn frames_that_change_nothing_are_borne_in_small_numbers_whatever_they_are() {
        let idle =
            [PRIORITY, UNKNOWN, PING_ACK, SETTINGS_ACK, GO_AWAY, EMPTY_DATA, PADDED_DATA, EMPTY_CONTINUATION];
        for header in idle {
            let mut budget = FrameBudget::new(0);
            assert!(budget.spend(epoch(), came(header, 1000)), "{header:?}");
            assert!(!budget.spend(epoch(), came(header, 1)), "{header:?}");
            assert!(budget.spend(epoch() + Duration::from_secs(1), came(header, 900)), "{header:?}");
        }
    }

    #[test]
    fn what_a_connection_is_for_costs_nothing() {
        let headers = [0, 0, 9, 0x1, 4, 0, 0, 0, 1];
        let data = [0, 0, 5, 0x0, 0, 0, 0, 0, 1];
        let padded = [0, 1, 1, 0x0, 0x8, 0, 0, 0, 1];
        let end = [0, 0, 0, 0x0, 1, 0, 0, 0, 1];
        let continuation = [0, 0, 9, 0x9, 0, 0, 0, 0, 1];
        for header in [headers, data, padded, end, continuation] {
            assert_eq!(came(header, 1), ControlFrames::default(), "{header:?}");
        }
    }

    #[test]
    fn window_updates_for_what_was_sent_are_free_and_others_are_not() {
        let window_updates = |window_updates| ControlFrames { window_updates, ..ControlFrames::default() };
        let mut budget = FrameBudget::new(0);
        for _ in 0..1000 {
            let frames = ControlFrames { data_sent: 10_000, ..window_updates(20_000) };
            assert!(budget.spend(epoch(), frames));
        }
        assert!(budget.spend(epoch(), window_updates(5000)));
        assert!(!budget.spend(epoch(), window_updates(1)));
    }

    #[test]
    fn numbers_without_bound_overflow_nothing() {
        let all = u32::MAX;
        let frames = ControlFrames {
            pings: all,
            settings: all,
            resets: all,
            early_resets: all,
            window_updates: all,
            idle: all,
            late_data: all,
            responses: 0,
            data_sent: 0,
        };
        assert_eq!(frames.count(), all);
        let mut budget = FrameBudget::new(0);
        for _ in 0..100 {
            assert!(!budget.spend(epoch(), frames));
        }
        assert!(FrameBudget::new(all).spend(epoch(), frames));
    }
}
