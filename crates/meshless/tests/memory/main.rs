//! Nothing that has ended keeps memory: calls, connections, rotations and channels, counted in
//! bytes on the heap.
//!
//! A binary of its own, since its allocator counts everything in the process; the tests take turns.
//! The decisions see a million calls and ten thousand rotations. The whole channel and the whole
//! server see fewer, over pipes and under a paused clock: a byte kept of each call, or a word of
//! each rotation, is more than [`SLACK`] there, too.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod decisions;
mod pipes;
mod traffic;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How much the heap may grow: tables that were shrunk grow again, and the test harness prints.
const SLACK: usize = 32 * 1024;

/// Bytes in use.
fn heap() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails if the heap has grown.
fn assert_kept_nothing(before: usize, what: &str) {
    let grown = heap().saturating_sub(before);
    assert!(grown <= SLACK, "{what}: {grown} bytes are kept");
}

#[test]
fn what_is_kept_is_seen() {
    let _turn = one_at_a_time();
    let before = heap();
    let kept: Vec<u64> = (0..100_000).collect();
    // The test harness gives back something of its own now and then.
    assert!(heap().saturating_sub(before) >= 800_000 - SLACK, "the allocator counts");
    drop(kept);
    assert_kept_nothing(before, "a list that was dropped");
}
