//! The atomics that calls on several threads share. They are the standard library's; in the models
//! (`loom_models.rs`) they are loom's, which tries every order in which threads may see them.

#[cfg(meshless_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(not(meshless_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

pub(crate) use std::sync::atomic::Ordering;
