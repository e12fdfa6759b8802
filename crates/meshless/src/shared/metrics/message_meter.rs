//! Adds up the lengths of the messages that pass on one side of a call, "does not include grpc or
//! transport framing bytes" (A66).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::shared::grpc::message_limit::MessageLimit;

/// Counts the bytes of one side of a call. They may pass in another task than the one that reads
/// the sum. Empty if nobody reads it.
#[derive(Debug, Default)]
pub(crate) struct MessageMeter(Option<Box<Meter>>);

#[derive(Debug)]
struct Meter {
    messages: MessageLimit,
    sum: Sum,
}

/// The sum of one meter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum(Arc<AtomicU64>);

impl MessageMeter {
    pub(crate) fn new(sum: Sum) -> Self {
        // No length exceeds this limit.
        Self(Some(Box::new(Meter { messages: MessageLimit::new(u32::MAX), sum })))
    }

    /// Called with the bytes that pass, including message prefixes.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        if let Some(meter) = &mut self.0 {
            let before = meter.messages.message_bytes();
            let _ = meter.messages.pass(bytes);
            meter.sum.0.fetch_add(meter.messages.message_bytes() - before, Relaxed);
        }
    }
}

impl Sum {
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
