//! This machine, and what it can do: known before anything is started.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::limits;
use crate::machine;
use crate::network::{Network, Proxy};
use crate::request::{CompareRequest, PlanError};
use crate::strategy::Strategy;

/// This machine.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// Where its processes live.
    pub(crate) network: Network,
    pub(crate) seed: u32,
    pub(crate) limits: Limits,
    /// What `l7-proxy` runs, or why there is none.
    pub(super) proxy: Result<Proxy, String>,
    /// What `grpc-go` runs.
    pub(super) grpc_go: Option<PathBuf>,
}

/// What the system allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// File descriptors that each process can have.
    pub(crate) file_descriptors: u64,
    /// Servers that can have an address of their own.
    pub(crate) addresses: usize,
}

impl Local {
    /// This machine on this network, with as many file descriptors as it gives.
    ///
    /// # Errors
    /// If nothing of `request` can be done here.
    pub(crate) fn new(request: &CompareRequest, network: Network, seed: u32) -> Result<Self, PlanError> {
        let limits =
            Limits { file_descriptors: limits::raise_file_descriptors(), addresses: network.addresses_max() };
        let proxy = Proxy::find().map_err(|missing| missing.to_string());
        Self::within(limits, request, network, seed, proxy)
    }

    /// The same on a machine with these limits.
    fn within(
        limits: Limits,
        request: &CompareRequest,
        network: Network,
        seed: u32,
        proxy: Result<Proxy, String>,
    ) -> Result<Self, PlanError> {
        if limits.file_descriptors < PlanError::FILES_MIN {
            return Err(PlanError::FileDescriptors(limits.file_descriptors));
        }
        if request.strategies.contains(&Strategy::GrpcGo) && request.grpc_go.is_none() {
            return Err(PlanError::NoGrpcGo);
        }
        Ok(Self { network, seed, limits, proxy, grpc_go: request.grpc_go.clone() })
    }

    /// A machine for tests: it has no proxy.
    #[cfg(test)]
    pub(crate) fn for_tests(request: &CompareRequest, limits: Limits) -> Result<Self, PlanError> {
        let (network, seed) = (Network::Loopback, request.seed.unwrap_or(1));
        Self::within(limits, request, network, seed, Err("there is none".into()))
    }

    /// Why this strategy cannot take part, in a sentence; none if it can.
    pub(crate) fn lacks(&self, strategy: Strategy) -> Option<String> {
        match (strategy, &self.proxy) {
            (Strategy::L7Proxy, Err(missing)) => Some(format!("l7-proxy was left out: {missing}.")),
            (Strategy::RoundRobinKubernetes, _) if !cfg!(feature = "kubernetes") => Some(
                "round_robin+kubernetes was left out: this program was built without Kubernetes; build it without --no-default-features."
                    .into(),
            ),
            _ => None,
        }
    }

    /// What a reader must know of this machine. Takes half a second to see whether it is busy.
    pub(crate) async fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Network::Kernel(_) = self.network {
            notes.push(
                "The kernel draws the backend of each connection to the virtual address; the seed does not repeat that."
                    .into(),
            );
        }
        if let Some(busy) = machine::busy_fraction().await.filter(|busy| *busy > BUSY_MAX) {
            notes.push(format!(
                "Other work used {:.0} % of the processors just before the run: calls that missed their deadline may \
                 have missed it for that reason; run it again on a quiet machine.",
                busy * 100.0
            ));
        }
        notes
    }

    /// Addresses of `count` servers: one of their own each, or the same for all if the system has
    /// not so many.
    pub(crate) fn addresses(&self, count: usize) -> Vec<Ipv4Addr> {
        let own = u8::try_from(count).ok().and_then(|count| self.network.addresses(count));
        own.unwrap_or_else(|| vec![Ipv4Addr::LOCALHOST; count])
    }
}

/// A machine that is busier than this before the run cannot show how many calls a strategy bears.
const BUSY_MAX: f64 = 0.1;
