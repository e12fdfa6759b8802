//! The experiments, a folder each.

pub(crate) mod bounce;
pub(crate) mod burst;
pub(crate) mod churn;
pub(crate) mod levelling;
pub(crate) mod spread;
