//! Texts for rustls's errors about the other side, with a hint what to do. Used by both sides.

use std::time::Duration;

use tokio_rustls::rustls::{AlertDescription, CertificateError};

/// The owner of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Server,
    Client,
}

impl Whose {
    fn noun(self) -> &'static str {
        match self {
            Self::Server => "the server's certificate",
            Self::Client => "the client's certificate",
        }
    }

    /// Returns the purpose that its `extendedKeyUsage` must contain.
    fn usage(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::Client => "clientAuth",
        }
    }
}

/// Explains why a certificate is refused. Errors about names have texts of their own.
pub(crate) fn certificate(error: &CertificateError, whose: Whose) -> String {
    use CertificateError as E;
    let noun = whose.noun();
    match error {
        // A bad signature: the authority has the name of a trusted one, but another key.
        E::UnknownIssuer | E::BadSignature => {
            format!("{noun} is signed by an authority that is not trusted; add that authority's certificate")
        }
        E::Expired => format!("{noun} has expired; renew it"),
        E::ExpiredContext { time, not_after } => {
            let ago = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            format!("{noun} expired {} ago; renew it", rough(ago))
        }
        E::NotValidYet => format!("{noun} is not valid yet; are the clocks of both machines right?"),
        E::NotValidYetContext { time, not_before } => {
            let left = Duration::from_secs(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("{noun} becomes valid in {}; are the clocks of both machines right?", rough(left))
        }
        E::Revoked => format!("{noun} is revoked; get a new one"),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            format!("{noun} is not made for this use: its extendedKeyUsage lacks {}", whose.usage())
        }
        // webpki's own text, which rustls passes on without a type.
        E::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "{noun} is an authority's (CA:TRUE), which may sign others and not be one itself; let it sign one, or make it again \
             with `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<name>`"
        ),
        E::Other(other) if other.to_string().contains("UnsupportedCertVersion") => format!(
            "{noun} is of X.509 version 1, which has no names; make it again as version 3, with a subjectAltName (`openssl x509 \
             -req … -extfile`)"
        ),
        other => format!("{noun} is refused: {other}"),
    }
}

/// Explains the alert with which the server has ended the handshake. `None` if rustls's text is
/// enough.
pub(crate) fn alert_of_server(alert: AlertDescription) -> Option<String> {
    use AlertDescription as A;
    Some(match alert {
        A::CertificateRequired => {
            "the server wants a certificate of its clients, and none was presented; set certificate and key (mutual TLS)".into()
        }
        A::UnknownCA | A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown | A::AccessDenied
        | A::DecryptError => format!(
            "the server does not accept this client's certificate ({alert:?}); present one that its authority has signed"
        ),
        A::CertificateExpired => "the server says that this client's certificate has expired; renew it".into(),
        A::CertificateRevoked => "the server says that this client's certificate is revoked; get a new one".into(),
        A::ProtocolVersion => "the server speaks no version of TLS that is still safe; let it speak 1.2 or 1.3".into(),
        A::HandshakeFailure => {
            "the server ended the handshake (HandshakeFailure); it may want a certificate of its clients, or have no cipher in common"
                .into()
        }
        A::UnrecognisedName => "the server has no certificate for this server name (SNI); is the name right?".into(),
        _ => return None,
    })
}

/// Formats a duration in its largest unit, as in "3 days".
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
