//! Why a channel could not be made.

use tonic::Status;

use crate::resolver::target::TargetError;
#[cfg(feature = "tls")]
use crate::shared::tls::TlsError;

/// Why a channel could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The target is invalid.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The TLS settings are invalid.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS settings for a plain-text target.
    #[error("{0} asks for plain text, but TLS is set; write https:// or leave out tls(…)")]
    TlsForPlainText(String),
    /// A TLS target without TLS settings.
    #[error(
        "{0} asks for TLS, but whom to trust is not set; enable the feature `tls` and call tls(TlsConfig::trusting(…))"
    )]
    TlsMissing(String),
    /// The target needs DNS, and the feature is off.
    #[error("{0} needs DNS; enable the feature `dns` of meshless, or set a resolver")]
    DnsMissing(String),
    /// The target needs Kubernetes, and the feature is off.
    #[error(
        "{0} needs Kubernetes; enable the feature `kubernetes` of meshless, use dns:///, or set a resolver"
    )]
    KubernetesMissing(String),
    /// The authority is not valid in HTTP/2.
    #[error("authority {0:?} is not a host and port; set authority(…) to what servers expect as :authority")]
    Authority(String),
    /// The user agent is not valid in HTTP/2.
    #[error("user agent {0:?} is not a header value; use visible ASCII characters")]
    UserAgent(String),
    /// `connect_lazy` was called outside of a tokio runtime.
    #[error("a channel needs a tokio runtime; make it within one")]
    NoRuntime,
    /// No backend could be reached.
    #[error("{}", .0.message())]
    Unavailable(#[source] Box<Status>),
}
