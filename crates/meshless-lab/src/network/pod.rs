//! A place where one process of a run lives, with its own address if the network has one.
//!
//! Made by [`Network`](super::Network), held by the owner of that process, and removed when it is
//! dropped.

use std::ffi::OsStr;

use tokio::process::Command;

use super::error::NetworkError;
use super::kernel::KernelPod;

/// A place for one process.
#[derive(Debug)]
pub enum Pod {
    /// This machine, shared with all others.
    Loopback,
    /// A network namespace.
    Kernel(Box<KernelPod>),
}

impl Pod {
    /// Returns a command that runs `program` here.
    pub fn command(&self, program: &OsStr) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Kernel(pod) => pod.command(program),
        }
    }

    /// Drops all packets from now on, in and out, as when a node is lost. No FIN, no RST, no ICMP.
    /// The process continues to run.
    ///
    /// # Errors
    /// If this network cannot do that.
    pub async fn cut_off(&self) -> Result<(), NetworkError> {
        match self {
            Self::Loopback => Err(NetworkError::CannotCutOff),
            Self::Kernel(pod) => pod.cut_off().await,
        }
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    /// If this network cannot do that.
    pub async fn reconnect(&self) -> Result<(), NetworkError> {
        match self {
            Self::Loopback => Err(NetworkError::CannotCutOff),
            Self::Kernel(pod) => pod.reconnect().await,
        }
    }
}
