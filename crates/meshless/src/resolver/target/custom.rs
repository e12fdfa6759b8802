//! Targets for your own resolver: any URI, or a plain name.
//!
//! Only that resolver understands the target. The channel only needs an `:authority` from it.

use super::{Scheme, Target, TargetError, TargetKind};

impl Target {
    /// Parses the target of a channel that has its own resolver. It accepts what
    /// [`FromStr`](std::str::FromStr) accepts, any other URI, such as `consul:///orders`, or a name
    /// without a port.
    pub(crate) fn for_resolver(text: &str) -> Result<Self, TargetError> {
        text.parse().or_else(|error| custom(text.trim(), &error).ok_or(error))
    }
}

/// Returns `None` if `text` is neither a URI nor a name. Also if it is a target of ours with
/// another error than a missing port.
fn custom(text: &str, error: &TargetError) -> Option<Target> {
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()).filter(|scheme| is_scheme(scheme))?, rest),
        None => return name(text),
    };
    let ours = ["dns", "http", "https", "ipv4", "ipv6", "kubernetes", "unix"].contains(&scheme.as_str());
    if ours && !matches!(error, TargetError::MissingPort { .. }) {
        return None;
    }
    let kind = TargetKind::Custom { scheme: Some(scheme), rest: rest.to_owned() };
    is_uri(rest).then_some(())?;
    (!host(rest).is_empty()).then_some(Target { scheme: Scheme::Grpc, kind })
}

fn name(text: &str) -> Option<Target> {
    let kind = TargetKind::Custom { scheme: None, rest: text.to_owned() };
    (is_uri(text) && !host(text).is_empty()).then_some(Target { scheme: Scheme::Grpc, kind })
}

/// Returns the last segment of the path, as gRPC uses the path without its slash. Without a path,
/// returns the part before it.
pub(super) fn authority(rest: &str) -> &str {
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    rest[..end].trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The same without brackets, port and final dot.
pub(super) fn host(rest: &str) -> &str {
    let authority = authority(rest);
    let with_port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    with_port.map_or(authority, |(host, _)| host).trim_start_matches('[').trim_end_matches([']', '.'])
}

/// "ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )" (RFC 3986 §3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The characters that a URI may have (RFC 3986 §2).
fn is_uri(text: &str) -> bool {
    let reserved_or_not =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let mut encoded = text.split('%').skip(1);
    text.bytes().all(reserved_or_not)
        && encoded.all(|after| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}
