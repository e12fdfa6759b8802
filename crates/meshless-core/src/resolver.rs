//! When to ask for endpoints.

pub(crate) mod dns_schedule;
