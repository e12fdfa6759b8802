//! The atomics that calls on several threads share: the standard library's, or those of loom when
//! the models run (`loom_models.rs`), which try every order in which threads may see them.

#[cfg(meshless_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(not(meshless_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};

pub(crate) use std::sync::atomic::Ordering;
