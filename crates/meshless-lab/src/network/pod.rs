//! A place where one process of a run lives, with an address of its own where the network has one
//! to give.
//!
//! Made by [`Network`](super::Network), held by the process that lives there, and gone when it is
//! dropped.

use std::ffi::OsStr;

use tokio::process::Command;

use super::{KernelPod, NetworkError};

/// A place for one process.
#[derive(Debug)]
pub enum Pod {
    /// This machine, shared with all others.
    Loopback,
    /// A network namespace.
    Kernel(Box<KernelPod>),
}

impl Pod {
    /// A command that runs `program` here.
    pub fn command(&self, program: &OsStr) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Kernel(pod) => pod.command(program),
        }
    }

    /// From now on no packet gets in or out, and nobody is told: what the loss of a node looks
    /// like. No FIN, no RST, no ICMP. The process runs on.
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
