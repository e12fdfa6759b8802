//! The same as with the feature `otel`, and nothing of it.

#[derive(Debug, Default)]
pub(crate) struct MessageMeter(());

impl MessageMeter {
    #[inline]
    pub(crate) fn pass(&mut self, _: &[u8]) {}
}
