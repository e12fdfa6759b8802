//! The library's errors in the terms of the command line: settings are flags here, not methods.

use meshless::ChannelError;
use meshless::resolver::TargetError;
use meshless::tls::TlsError;

/// A load could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The target has no backend that can be reached, or is invalid.
    #[error("{}", channel(.0))]
    Channel(#[from] ChannelError),
    /// Certificate, key or authorities cannot be used.
    #[error("{flags}: {error}")]
    Tls {
        /// The flags that named them.
        flags: &'static str,
        /// What is wrong with them.
        error: TlsError,
    },
}

fn channel(error: &ChannelError) -> String {
    match error {
        ChannelError::TlsMissing(target) => {
            format!(
                "{target} asks for TLS; name the authority that has signed its servers' certificates with --tls-ca FILE"
            )
        }
        ChannelError::TlsForPlainText(target) => {
            format!(
                "{target} asks for plain text, and --tls-ca for TLS; write https://, or leave --tls-ca out"
            )
        }
        ChannelError::KubernetesMissing(target) => {
            format!(
                "{target} needs Kubernetes, and this program was built without it; build it without --no-default-features, or use dns:///"
            )
        }
        // The command line has no resolver to set: what it can do is name another target.
        ChannelError::DnsMissing(target) => {
            format!(
                "{target} needs DNS, and this program was built without it; use an address, such as ipv4:10.0.0.1:50051"
            )
        }
        ChannelError::Target(TargetError::UnknownScheme { scheme, target }) => {
            format!(
                "unknown scheme {scheme:?} in {target:?}; use dns:///, kubernetes:///, ipv4:, ipv6:, unix:, http:// or https://"
            )
        }
        other => with_flags(&other.to_string()),
    }
}

/// Adds the flags to a message of the channel about its backends.
pub(crate) fn with_flags(text: &str) -> String {
    let flags: Vec<_> =
        FLAGS.iter().filter(|(said, _)| text.contains(said)).map(|(_, flags)| *flags).collect();
    if flags.is_empty() { text.to_owned() } else { format!("{text} ({})", flags.join("; ")) }
}

/// The library's texts, and the corresponding flags.
const FLAGS: [(&str, &str); 6] = [
    ("wants a certificate of its clients", "--tls-cert FILE and --tls-key FILE present one"),
    ("does not accept this client's certificate", "it was given with --tls-cert"),
    ("by an authority that is not trusted", "--tls-ca FILE names those that are"),
    ("set the name it is for as the server name", "--tls-server-name NAME"),
    ("it answers in TLS", "--tls-ca FILE switches TLS on"),
    ("does not speak TLS", "--tls-ca switched TLS on"),
];
