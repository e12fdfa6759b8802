//! Which methods a server names in its metrics: `grpc.method` must not be a label that clients can make up (gRFC A66).
//!
//! tonic says which services there are, not which methods they have. So a method counts as registered if its service is, and a call
//! of it has ended with something else than UNIMPLEMENTED. Before the first has ended it gets the benefit of the doubt, as
//! long as there is some left: a client that calls made-up methods uses it up, and changes nothing for those that are known.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use tonic::Code;

use super::instrument::OTHER;

/// The names of one server.
#[derive(Debug)]
pub(super) struct Methods {
    services: Vec<&'static str>,
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// Names that were let in untried.
    trusted: usize,
}

/// What a method is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MethodName {
    Known(Arc<str>),
    /// `other`, until a call of it shows that it exists.
    Unproved(Arc<str>),
    Other,
}

impl Methods {
    pub(super) fn new(services: &[&'static str]) -> Self {
        Self { services: services.to_vec(), names: RwLock::default() }
    }

    /// The name for a path such as `/shop.Orders/Place`.
    pub(super) fn name(&self, path: &str) -> MethodName {
        let name = path.strip_prefix('/').unwrap_or(path);
        let is_registered = name.split_once('/').is_some_and(|(service, _)| self.services.contains(&service));
        if !is_registered {
            return MethodName::Other;
        }
        if let Some(name) = self.read().known.get(name) {
            return MethodName::Known(Arc::clone(name));
        }
        let name: Arc<str> = name.into();
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.trusted < TRUSTED_MAX && names.insert(&name) {
            names.trusted += 1;
            return MethodName::Known(name);
        }
        MethodName::Unproved(name)
    }

    /// A call has ended like this.
    pub(super) fn ended(&self, name: &MethodName, code: Code) {
        if let MethodName::Unproved(name) = name
            && code != Code::Unimplemented
        {
            self.names.write().unwrap_or_else(PoisonError::into_inner).insert(name);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Names> {
        // An insert leaves no half-changed state behind.
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn insert(&mut self, name: &Arc<str>) -> bool {
        let there_is_room = self.known.len() < NAMES_MAX;
        if there_is_room {
            self.known.insert(Arc::clone(name));
        }
        there_is_room
    }
}

impl MethodName {
    /// The label's value.
    pub(super) fn value(&self) -> opentelemetry::StringValue {
        match self {
            Self::Known(name) => Arc::clone(name).into(),
            Self::Unproved(_) | Self::Other => OTHER.into(),
        }
    }
}

/// Names let in before a call has shown that they exist. More than most servers have methods.
const TRUSTED_MAX: usize = 100;

/// Names in all, for services that take any. Half of what OpenTelemetry's SDK keeps apart in an instrument (2 000 sets of labels), and
/// there are statuses to tell apart too.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
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
    fn a_service_that_takes_any_name_has_a_bound() {
        let methods = Methods::new(&["any.Any"]);
        for n in 0..2 * NAMES_MAX {
            methods.ended(&methods.name(&format!("/any.Any/{n}")), Code::Ok);
        }
        assert_eq!(methods.read().known.len(), NAMES_MAX);
    }
}
