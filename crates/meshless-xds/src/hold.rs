//! When an answer of a source is believed.
//!
//! A set without endpoints is the one answer that no client survives: it is obeyed within a call, and
//! nothing in a client's cache softens it. And most such answers are wrong: a selector with a typo,
//! a name server that restarts, a cluster whose control plane is half up. So the last set that had
//! endpoints is held, for a bounded time. A source that cannot be read has said nothing, and what it
//! said before holds for as long as it stays silent.

use std::time::{Duration, Instant};

use meshless::Endpoint;
use meshless::resolver::{Resolution, ResolveError};

/// What is known of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Known {
    /// Nothing yet.
    #[default]
    Nothing,
    /// There is no such service, with the reason.
    NoService(String),
    /// These; none, if it really has none.
    Endpoints(Vec<Endpoint>),
}

/// The answers of one source, as far as they are believed.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    hold: Duration,
    known: Known,
    /// Since when the source says that there is nothing, while the last set is held.
    empty_since: Option<Instant>,
    /// Why the source's last answer was none, or not believed.
    trouble: Option<String>,
    heard: Option<Instant>,
}

impl Held {
    /// Holds the last set that had endpoints for so long.
    pub(crate) fn new(hold: Duration) -> Self {
        Self { hold, known: Known::Nothing, empty_since: None, trouble: None, heard: None }
    }

    /// Takes in an answer. Returns true if what is known has changed.
    pub(crate) fn handle_resolution(&mut self, now: Instant, resolution: Resolution) -> bool {
        let (believed, trouble) = match resolution {
            Ok(endpoints) if !endpoints.is_empty() => {
                self.heard = Some(now);
                self.empty_since = None;
                self.trouble = None;
                return self.set(Known::Endpoints(endpoints));
            }
            Ok(_) => (Known::Endpoints(Vec::new()), "the source names no endpoint".to_owned()),
            Err(error) if error.says_gone() => (gone(&error), error.to_string()),
            Err(error) => {
                self.trouble = Some(error.to_string());
                return false;
            }
        };
        self.heard = Some(now);
        self.trouble = Some(trouble);
        // Clients know the service by now. A listener that goes is worse than one without endpoints:
        // some clients never find it again.
        let believed = match (&self.known, believed) {
            (Known::Endpoints(_), Known::NoService(_)) => Known::Endpoints(Vec::new()),
            (_, believed) => believed,
        };
        let has_some = matches!(&self.known, Known::Endpoints(endpoints) if !endpoints.is_empty());
        if !has_some || self.hold.is_zero() {
            return self.set(believed);
        }
        self.empty_since.get_or_insert(now);
        false
    }

    /// When the held set is given up.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.empty_since.and_then(|since| since.checked_add(self.hold))
    }

    /// Gives the held set up if its time is over. Returns true if it did.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return false;
        }
        self.empty_since = None;
        self.set(Known::Endpoints(Vec::new()))
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Since when a set is held that the source no longer names.
    pub(crate) fn holding_since(&self) -> Option<Instant> {
        self.empty_since
    }

    /// What is wrong with the source.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// When the source has last said something.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    fn set(&mut self, known: Known) -> bool {
        let changed = self.known != known;
        self.known = known;
        changed
    }
}

/// A Service whose pods are not ready is one; a name that nothing has is none.
fn gone(error: &ResolveError) -> Known {
    match error {
        ResolveError::NoSuchName { .. } => Known::NoService(error.to_string()),
        #[cfg(feature = "kubernetes")]
        ResolveError::Kubernetes(meshless::resolver::KubernetesError::NoSlice { .. }) => {
            Known::NoService(error.to_string())
        }
        _ => Known::Endpoints(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn endpoints(count: u8) -> Vec<Endpoint> {
        (0..count).map(|last| Endpoint::new(SocketAddr::from(([10, 0, 0, last], 1)))).collect()
    }

    fn no_such_name() -> ResolveError {
        ResolveError::NoSuchName { name: "echo.shop".to_owned() }
    }

    #[test]
    fn the_last_set_is_held_and_then_given_up() {
        let now = Instant::now();
        for gone in [Ok(Vec::new()), Err(no_such_name())] {
            let mut held = Held::new(HOUR);
            assert!(held.handle_resolution(now, Ok(endpoints(3))));
            assert!(!held.handle_resolution(now, gone.clone()));
            assert_eq!(held.known(), &Known::Endpoints(endpoints(3)));
            assert!(held.trouble().is_some());
            assert!(!held.handle_resolution(now + HOUR / 2, gone), "saying it again does not put it off");
            assert_eq!(held.poll_timeout(), Some(now + HOUR));
            assert!(!held.handle_timeout(now + HOUR / 2));
            assert!(held.handle_timeout(now + HOUR));
            assert_eq!(held.known(), &Known::Endpoints(Vec::new()));
            assert_eq!(held.poll_timeout(), None);
        }
    }

    #[test]
    fn endpoints_that_come_back_end_the_hold() {
        let now = Instant::now();
        let mut held = Held::new(HOUR);
        held.handle_resolution(now, Ok(endpoints(3)));
        held.handle_resolution(now, Ok(Vec::new()));
        assert!(held.handle_resolution(now, Ok(endpoints(1))));
        assert_eq!((held.poll_timeout(), held.trouble(), held.holding_since()), (None, None, None));
    }

    #[test]
    fn a_source_that_cannot_be_read_says_nothing() {
        let now = Instant::now();
        let unreadable = || Err(ResolveError::other("500"));
        let mut held = Held::new(HOUR);
        assert!(!held.handle_resolution(now, unreadable()));
        assert_eq!(held.known(), &Known::Nothing, "not even that there is nothing");
        held.handle_resolution(now, Ok(endpoints(3)));
        assert!(!held.handle_resolution(now, unreadable()));
        assert!(!held.handle_timeout(now + 100 * HOUR));
        assert_eq!(held.known(), &Known::Endpoints(endpoints(3)));
        assert_eq!(held.trouble(), Some("500"));
    }

    #[test]
    fn what_is_said_first_is_believed() {
        let now = Instant::now();
        let mut held = Held::new(HOUR);
        assert!(held.handle_resolution(now, Err(no_such_name())));
        assert!(matches!(held.known(), Known::NoService(_)));
        assert!(held.handle_resolution(now, Ok(Vec::new())));
        assert_eq!(held.known(), &Known::Endpoints(Vec::new()));
        assert!(!held.handle_resolution(now, Err(no_such_name())), "clients would not find it again");
    }
}
