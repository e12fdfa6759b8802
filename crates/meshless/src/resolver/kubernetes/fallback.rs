//! The resolver that replaces a Service's slices while access to them is denied: DNS, unless the
//! user has set another one.
//!
//! The resolver enters and leaves it when the API server denies and allows access. It never decides
//! when, only which resolver is used.

use std::sync::Arc;
use std::task::{Context, Poll};

use meshless_core::{KubernetesPort, ResolveHint};

use super::error::KubernetesError;
use super::watch::Service;
#[cfg(feature = "dns")]
use crate::resolver::{DnsConfig, DnsResolver};
use crate::resolver::{Resolution, ResolveError, Resolver};

/// The other source of endpoints.
#[derive(Default)]
pub(super) struct Fallback {
    source: Source,
    /// Why the fallback is in use; `None` if it is not.
    in_use: Option<KubernetesError>,
    /// DNS while it is in use, or the user's resolver.
    resolver: Option<Box<dyn Resolver>>,
}

enum Source {
    #[cfg(feature = "dns")]
    Dns(DnsConfig),
    None,
    Given,
}

impl Fallback {
    #[cfg(feature = "dns")]
    pub(super) fn dns(config: DnsConfig) -> Self {
        Self { source: Source::Dns(config), ..Self::default() }
    }

    pub(super) fn with(resolver: Box<dyn Resolver>) -> Self {
        Self { source: Source::Given, in_use: None, resolver: Some(resolver) }
    }

    /// There is no other source.
    pub(super) fn none() -> Self {
        Self { source: Source::None, in_use: None, resolver: None }
    }

    /// Goes on with the other source.
    ///
    /// # Errors
    /// If there is none, with the reason for the fallback.
    pub(super) fn enter(
        &mut self,
        service: &Service,
        namespace: Option<&str>,
        port: &KubernetesPort,
        why: &KubernetesError,
    ) -> Result<(), ResolveError> {
        match &self.source {
            Source::Given => {}
            #[cfg(feature = "dns")]
            Source::Dns(config) => {
                let KubernetesPort::Number(port) = port else {
                    return Err(ResolveError::other(format!(
                        "{why}; DNS cannot stand in, since it knows no port {port}: write its number"
                    )));
                };
                if self.resolver.is_none() {
                    let host = dns_name(service, namespace, &cluster_domain(&resolv_conf()));
                    self.resolver = Some(Box::new(DnsResolver::new(host, *port, *config)));
                }
            }
            Source::None => {
                let _ = (service, namespace, port);
                return Err(ResolveError::Kubernetes(why.clone()));
            }
        }
        self.in_use = Some(why.clone());
        Ok(())
    }

    /// Called when the slices can be read again.
    pub(super) fn leave(&mut self) {
        self.in_use = None;
        if !matches!(self.source, Source::Given) {
            self.resolver = None;
        }
    }

    pub(super) fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution> {
        let (Some(why), Some(resolver)) = (&self.in_use, &mut self.resolver) else { return Poll::Pending };
        resolver.poll_resolution(cx).map(|resolution| {
            resolution.map_err(|error| ResolveError::other(format!("{why}; nor does DNS help: {error}")))
        })
    }

    /// Returns the resolver in use and the reason for it.
    pub(super) fn source(&self) -> Option<Arc<str>> {
        let why = self.in_use.as_ref()?;
        let source = self.resolver.as_ref().and_then(|resolver| resolver.source());
        Some(format!("{}, because {why}", source.as_deref().unwrap_or("another resolver")).into())
    }

    /// Returns true if the fallback answers each hint; `None` while it is not in use.
    pub(super) fn answers_resolve_now(&self) -> Option<bool> {
        self.in_use.as_ref()?;
        self.resolver.as_ref().map(|resolver| resolver.answers_resolve_now())
    }

    pub(super) fn resolve_now(&mut self, hint: ResolveHint) {
        if let (Some(_), Some(resolver)) = (&self.in_use, &mut self.resolver) {
            resolver.resolve_now(hint);
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        #[cfg(feature = "dns")]
        return Self::Dns(DnsConfig::default());
        #[cfg(not(feature = "dns"))]
        Self::None
    }
}

/// Returns the name of a Service in the cluster's DNS. Its final dot avoids the queries of the
/// search path.
#[cfg(feature = "dns")]
fn dns_name(service: &Service, namespace: Option<&str>, cluster_domain: &str) -> String {
    let namespace = service.namespace.as_deref().or(namespace).unwrap_or("default");
    format!("{}.{namespace}.svc.{cluster_domain}.", service.name)
}

/// Returns the domain of the cluster, from the search path that a kubelet writes for its pods
/// (`shop.svc.cluster.local svc.cluster.local cluster.local`).
#[cfg(feature = "dns")]
fn cluster_domain(resolv_conf: &str) -> String {
    let mut searches = resolv_conf.lines().filter_map(|line| line.trim_start().strip_prefix("search"));
    // "If more than one instance of these keywords is present, the last instance wins"
    // (resolv.conf(5)).
    let domains = searches.next_back().into_iter().flat_map(str::split_whitespace);
    let of_services = domains.filter_map(|domain| domain.strip_prefix("svc.")).next();
    of_services.map_or(CLUSTER_DOMAIN, |domain| domain.trim_end_matches('.')).to_owned()
}

/// Read in a pod. Elsewhere the file has no such domain, and the default is the best guess.
#[cfg(feature = "dns")]
fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// kubeadm's default, which nearly all clusters use.
#[cfg(feature = "dns")]
const CLUSTER_DOMAIN: &str = "cluster.local";

#[cfg(all(test, feature = "dns"))]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_domain_is_read_from_the_search_path_of_a_pod() {
        let pod = "nameserver 10.96.0.10\nsearch shop.svc.corp.example svc.corp.example. corp.example\noptions ndots:5\n";
        assert_eq!(cluster_domain(pod), "corp.example");
        assert_eq!(cluster_domain("search example.com\nsearch svc.last.wins\n"), "last.wins");
        for elsewhere in ["", "nameserver 1.1.1.1\nsearch example.com\n", "search"] {
            assert_eq!(cluster_domain(elsewhere), "cluster.local", "{elsewhere:?}");
        }
    }

    #[test]
    fn a_service_is_asked_for_by_its_full_name() {
        let service = |namespace: Option<&str>| Service {
            name: "echo".to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        assert_eq!(dns_name(&service(Some("shop")), Some("own"), "c.l"), "echo.shop.svc.c.l.");
        assert_eq!(dns_name(&service(None), Some("own"), "c.l"), "echo.own.svc.c.l.");
    }
}
