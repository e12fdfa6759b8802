//! Why a network is not available, and what to do about it.

use std::io;
use std::net::Ipv4Addr;

/// A network could not be created or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Only Linux has network namespaces.
    #[error("--network kernel needs Linux; leave it out to run on the loopback interface")]
    NotLinux,
    /// A program that creates namespaces or rules is missing.
    #[error(
        "--network kernel needs the program {0}; install it (apt-get install nftables iproute2 util-linux), or leave \
         --network out to run on the loopback interface"
    )]
    ProgramMissing(&'static str),
    /// Only root can create namespaces.
    #[error(
        "--network kernel makes network namespaces of its own, which only root may; run it with sudo, or leave it out to \
         run on the loopback interface"
    )]
    NotRoot,
    /// Root lacks the rights, as in most containers.
    #[error("cannot make a network namespace ({0}); in a container, run it with --privileged")]
    Namespace(String),
    /// A program refused its input.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Its error, on one line.
        said: String,
    },
    /// A pod's link was created, but carries no packets.
    #[error("the pod at {0} cannot be reached; does a firewall of this machine filter all namespaces?")]
    Unreachable(Ipv4Addr),
    /// A socket could not be listened on, or a program could not be started.
    #[error("cannot set up the network: {0}")]
    Io(#[from] io::Error),
    /// On loopback all backends share one interface.
    #[error("a backend can be cut off only with --network kernel")]
    CannotCutOff,
}
