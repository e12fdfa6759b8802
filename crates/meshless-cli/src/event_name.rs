//! The name of an event of the churn, on this machine or on a cluster.

use std::fmt;
use std::str::FromStr;

use meshless_lab::event::Event;

use crate::cluster;

/// The name of an event that exists here, on a cluster, or in both places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventName(String);

impl EventName {
    /// The name.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the event on this machine. `None` if it only exists on a cluster.
    pub(crate) fn local(&self) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == self.0)
    }
}

impl FromStr for EventName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let local = Event::ALL.map(Event::name);
        if local.contains(&name) || cluster::EVENTS.contains(&name) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!(
            "there is no event `{name}`; choose from {}, or with --kubernetes from {}",
            local.join(", "),
            cluster::EVENTS.join(", ")
        ))
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
