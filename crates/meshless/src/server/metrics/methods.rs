//! The values of a server's label `grpc.method`: clients must not be able to invent them (gRFC
//! A66).
//!
//! tonic tells which services there are, not which methods they have. So a method counts as
//! registered if its service is, and a call of it has ended with another status than UNIMPLEMENTED.
//! Until then, the first `TRUSTED_MAX` names are accepted untested. A client that calls invented
//! methods uses this allowance up, but does not change names that are known.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tonic::Code;

use crate::shared::metrics::instrument::OTHER;

/// The method names of one server.
#[derive(Debug)]
pub(super) struct Methods {
    services: Vec<&'static str>,
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// How many names were accepted untested.
    trusted: usize,
}

/// The label of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MethodName {
    Known(Arc<str>),
    /// `other`, until a call of it shows that the method exists.
    Unproved(Arc<str>),
    Other,
}

impl Methods {
    pub(super) fn new(services: &[&'static str]) -> Self {
        Self { services: services.to_vec(), names: RwLock::default() }
    }

    /// Returns the name for a path such as `/shop.Orders/Place`.
    pub(super) fn name(&self, path: &str) -> MethodName {
        let name = path.strip_prefix('/').unwrap_or(path);
        let is_registered = name.split_once('/').is_some_and(|(service, _)| self.services.contains(&service));
        if !is_registered {
            return MethodName::Other;
        }
        let (known, there_is_trust) = {
            let names = self.read();
            (names.known.get(name).map(Arc::clone), names.trusted < TRUSTED_MAX && names.has_room())
        };
        if let Some(name) = known {
            return MethodName::Known(name);
        }
        let name: Arc<str> = name.into();
        // The allowance only shrinks. When it is used up, invented names no longer take the write
        // lock, on which other calls would wait.
        if there_is_trust && self.trust(&name) {
            return MethodName::Known(name);
        }
        MethodName::Unproved(name)
    }

    /// Called when a call has ended with `code`.
    pub(super) fn ended(&self, name: &MethodName, code: Code) {
        if let MethodName::Unproved(name) = name
            && code != Code::Unimplemented
            && self.read().has_room()
        {
            self.write().insert(name);
        }
    }

    /// Accepts an untested name if the allowance and the room are not used up.
    fn trust(&self, name: &Arc<str>) -> bool {
        let mut names = self.write();
        // Another call may have inserted it before.
        if names.known.contains(name) {
            return true;
        }
        let is_trusted = names.trusted < TRUSTED_MAX && names.insert(name);
        names.trusted += usize::from(is_trusted);
        is_trusted
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        // An insert leaves no inconsistent state.
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn has_room(&self) -> bool {
        self.known.len() < NAMES_MAX
    }

    fn insert(&mut self, name: &Arc<str>) -> bool {
        let there_is_room = self.has_room();
        if there_is_room {
            self.known.insert(Arc::clone(name));
        }
        there_is_room
    }
}

impl MethodName {
    /// Returns the label's value.
    pub(super) fn value(&self) -> opentelemetry::StringValue {
        match self {
            Self::Known(name) => Arc::clone(name).into(),
            Self::Unproved(_) | Self::Other => OTHER.into(),
        }
    }
}

/// How many names are accepted untested. More than most servers have methods.
const TRUSTED_MAX: usize = 100;

/// The bound on all names, for services that accept any method. OpenTelemetry's SDK keeps 2 000
/// sets of labels per instrument; half of that leaves room for the statuses.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn known(name: &str) -> MethodName {
        MethodName::Known(name.into())
    }

    #[test]
    fn only_methods_of_added_services_have_names() {
        let methods = Methods::new(&["shop.Orders"]);
        assert_eq!(methods.name("/shop.Orders/Place"), known("shop.Orders/Place"));
        for path in ["/shop.Carts/Place", "/shop.Orders", "/", "", "/shop.Ordersx/Place"] {
            assert_eq!(methods.name(path), MethodName::Other, "{path}");
        }
    }

    #[test]
    fn made_up_names_use_up_the_trust_and_no_more() {
        let methods = Methods::new(&["shop.Orders"]);
        for n in 0..10_000 {
            let name = methods.name(&format!("/shop.Orders/Made{n}"));
            methods.ended(&name, Code::Unimplemented);
            assert_eq!(matches!(name, MethodName::Known(_)), n < TRUSTED_MAX, "{n}");
        }
        let place = methods.name("/shop.Orders/Place");
        assert_eq!(place.value(), OTHER.into());
        methods.ended(&place, Code::NotFound);
        assert_eq!(methods.name("/shop.Orders/Place"), known("shop.Orders/Place"));
    }

    #[test]
    fn a_made_up_name_waits_for_no_other_when_trust_has_run_out() {
        let methods = Arc::new(Methods::new(&["shop.Orders"]));
        for n in 0..TRUSTED_MAX {
            methods.name(&format!("/shop.Orders/Made{n}"));
        }
        // A reader makes a writer wait. Not a scoped thread: a failure must not wait for it.
        let _reading = methods.read();
        let (sender, named) = mpsc::channel();
        let others = Arc::clone(&methods);
        thread::spawn(move || {
            let name = others.name("/shop.Orders/Another");
            others.ended(&name, Code::Unimplemented);
            sender.send(name)
        });
        let name =
            named.recv_timeout(Duration::from_secs(10)).expect("a made-up name waits for a writer's lock");
        assert_eq!(name.value(), OTHER.into());
    }

    #[test]
    fn a_service_that_takes_any_name_has_a_bound() {
        let methods = Methods::new(&["any.Any"]);
        for n in 0..2 * NAMES_MAX {
            methods.ended(&methods.name(&format!("/any.Any/{n}")), Code::Ok);
        }
        assert_eq!(methods.read().known.len(), NAMES_MAX);
    }
}
