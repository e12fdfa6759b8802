//! When to ask for endpoints, and what to believe of the answers.
//!
//! DNS is asked by a schedule, and so is the API server of Kubernetes. The EndpointSlices of a
//! Service are gathered in a table, from which each channel chooses.

pub(crate) mod dns_schedule;
pub(crate) mod endpoint_choice;
pub(crate) mod endpoint_slice;
pub(crate) mod event_pace;
pub(crate) mod slice_table;
pub(crate) mod watch_schedule;
