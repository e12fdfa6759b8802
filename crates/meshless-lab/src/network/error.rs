//! Why a network could not be had, and what to do about it.

use std::io;
use std::net::Ipv4Addr;

/// A network could not be made, or not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Namespaces are Linux's.
    #[error("--network kernel needs Linux; leave it out to run on the loopback interface")]
    NotLinux,
    /// A program that makes namespaces or rules is missing.
    #[error(
        "--network kernel needs the program {0}; install it (apt-get install nftables iproute2 util-linux), or leave \
         --network out to run on the loopback interface"
    )]
    ProgramMissing(&'static str),
    /// Namespaces are root's to make.
    #[error(
        "--network kernel makes network namespaces of its own, which only root may; run it with sudo, or leave it out to \
         run on the loopback interface"
    )]
    NotRoot,
    /// Root lacks the rights, as in most containers.
    #[error("cannot make a network namespace ({0}); in a container, run it with --privileged")]
    Namespace(String),
    /// A program refused what it was told.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said, on one line.
        said: String,
    },
    /// A pod's link was made and carries nothing.
    #[error("the pod at {0} cannot be reached; does a firewall of this machine filter all namespaces?")]
    Unreachable(Ipv4Addr),
    /// Something could not be listened on, or not be started.
    #[error("cannot set up the network: {0}")]
    Io(#[from] io::Error),
    /// On loopback all backends share one interface.
    #[error("a backend can be cut off only with --network kernel")]
    CannotCutOff,
}
