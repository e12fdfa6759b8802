//! The decisions of one channel: which backends to connect to, what a call picks, what is retried.

pub(crate) mod answer_budget;
pub(crate) mod balancer;
pub(crate) mod connectivity;
pub(crate) mod empty_answers;
pub(crate) mod idleness;
pub(crate) mod message;
pub(crate) mod outcome;
pub(crate) mod picker;
pub(crate) mod retry;
pub(crate) mod stream_limit;
pub(crate) mod stream_share;
pub(crate) mod subchannel;
pub(crate) mod waiting_line;
