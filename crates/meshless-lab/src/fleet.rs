//! Where experiments are made: servers, what leads clients to them, and clients that call.
//!
//! [`Fleet`] is what a load can be made on, whatever is below: processes of this machine, over its
//! loopback or over namespaces of the kernel ([`Local`]), or pods of a cluster ([`Kubernetes`]).
//! A fleet places the servers, makes the calls of each strategy, lets an event happen to the
//! servers, and hands back what clients and servers saw. What that means is the experiments'
//! business. [`Site`] is what is known of a fleet before anything is started: it is planned with.

mod error;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod load;
pub(crate) mod local;
mod measurement;

use std::pin::Pin;

use crate::event::Happened;
use crate::progress::Progress;
use crate::results::{EventNote, Results};
use crate::strategy::Strategy;

#[cfg(feature = "kubernetes")]
pub use error::ClusterError;
pub use error::FleetError;
#[cfg(feature = "kubernetes")]
pub(crate) use kubernetes::Kubernetes;
pub(crate) use load::{Conditions, Happening, Load};
pub(crate) use local::Local;
pub(crate) use measurement::{Calls, Measurement, Recalled};

/// Servers under load.
pub(crate) trait Fleet {
    /// What is said before the run begins.
    fn introduction(&self) -> String;

    /// Makes a load by one strategy after the other, each of which has servers for itself. `seen`
    /// is told what became of each. May be dropped at any point.
    ///
    /// # Errors
    /// If a server or a client does not start, or dies.
    fn in_turn<'a>(
        &'a mut self,
        load: &'a Load,
        progress: &'a Progress,
        seen: &'a mut dyn FnMut(Measurement),
    ) -> Making<'a, ()>;

    /// Makes a load by all strategies at the same time while something happens to their servers.
    /// Returns what became of each, in their order. May be dropped at any point.
    ///
    /// # Errors
    /// If a server or a client does not start, or dies that was not to.
    fn at_once<'a>(
        &'a mut self,
        load: &'a Load,
        happening: &'a Happening,
        progress: &'a Progress,
    ) -> Making<'a, Vec<(Measurement, Happened)>>;

    /// What the event is here, for the report.
    fn event_note(&self, happening: &Happening) -> EventNote;

    /// Ends the load that was dropped or broke, and returns what its clients still tell.
    fn recall<'a>(
        &'a mut self,
        _progress: &'a Progress,
    ) -> Pin<Box<dyn Future<Output = Vec<Recalled>> + 'a>> {
        Box::pin(async { Vec::new() })
    }

    /// Adds to the results of a run what a reader must know of how they were made.
    fn annotate(&self, results: &mut Results);

    /// Takes away what does not vanish with this process.
    ///
    /// # Errors
    /// If something is left.
    fn clear<'a>(&'a mut self, _progress: &'a Progress) -> Making<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Something that a fleet does.
pub(crate) type Making<'a, T> = Pin<Box<dyn Future<Output = Result<T, FleetError>> + 'a>>;

/// Where loads can be made, known before anything is started.
#[derive(Clone, Debug)]
pub(crate) enum Site {
    /// On this machine.
    Here(Local),
    /// On a cluster.
    #[cfg(feature = "kubernetes")]
    Cluster,
}

impl Site {
    /// This machine, if it is here.
    pub(crate) fn local(&self) -> Option<&Local> {
        match self {
            Self::Here(local) => Some(local),
            #[cfg(feature = "kubernetes")]
            Self::Cluster => None,
        }
    }

    /// Why this strategy cannot take part, in a sentence; none if it can.
    pub(crate) fn lacks(&self, strategy: Strategy) -> Option<String> {
        match self {
            Self::Here(local) => local.lacks(strategy),
            #[cfg(feature = "kubernetes")]
            Self::Cluster => Kubernetes::lacks(strategy).map(str::to_owned),
        }
    }
}
