//! Where the endpoints of services come from.
//!
//! A service is *declared*, with a target or with its endpoints, or it is one of a namespace that is
//! served whole; then it is watched from the first client on that dials it. Every kind comes down to
//! a [`Resolver`], the same that a channel has.

mod file;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meshless::{Endpoint, Resolver, Target};

pub use file::{EndpointsFileError, read_endpoints};
pub use target::SourceError;

/// Where the endpoints of a declared service come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// From whatever resolves this target.
    Target(Target),
    /// These.
    Endpoints(Vec<Endpoint>),
}

/// How sources are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) dns: meshless::resolver::DnsConfig,
    #[cfg(feature = "kubernetes")]
    pub(crate) kubernetes: meshless::resolver::KubernetesConfig,
    /// Whose Services are served without being declared.
    pub(crate) namespaces: Vec<String>,
}

impl Sources {
    /// The resolver of a declared service.
    pub(crate) fn declared(&self, source: &Source) -> Result<Box<dyn Resolver>, SourceError> {
        match source {
            Source::Endpoints(endpoints) => Ok(target::fixed(endpoints.clone())),
            Source::Target(target) => self.target(target),
        }
    }

    /// The resolver of a service that nobody has declared.
    ///
    /// # Errors
    /// A sentence for the developer of the client that dials it.
    pub(crate) fn undeclared(&self, name: &str) -> Result<Box<dyn Resolver>, String> {
        if self.namespaces.is_empty() {
            return Err(format!(
                "this control plane serves no service {name:?}; declare it with --service {name}=TARGET"
            ));
        }
        #[cfg(feature = "kubernetes")]
        return self.of_a_namespace(name);
        #[cfg(not(feature = "kubernetes"))]
        Err(format!("this control plane was built without Kubernetes and serves no service {name:?}"))
    }
}

/// The declared services by name.
pub(crate) type Declared = BTreeMap<Arc<str>, Source>;

/// How often files are looked at. Mounted ConfigMaps take a minute to arrive, so a second is soon.
pub(crate) const FILE_INTERVAL: Duration = Duration::from_secs(1);
