//! The `kubernetes:` targets: a Service, its namespace and a port of its pods.
//!
//! Used to parse and to print a [`Target`](super::Target). It never asks a cluster.

use meshless_core::KubernetesPort;

use super::{TargetError, TargetKind};

/// What follows `kubernetes:`, of the whole `target`.
pub(super) fn parse(rest: &str, target: &str) -> Result<TargetKind, TargetError> {
    let owned = || target.to_owned();
    let service = match rest.strip_prefix("//") {
        // The text between `//` and `/` would choose the cluster, but there is only one: that of
        // the configuration.
        Some(after) => after.strip_prefix('/').ok_or_else(|| TargetError::BadCluster { target: owned() })?,
        None => rest,
    };
    if let Some(at) = service.find(['/', '?', '#']) {
        return Err(TargetError::TrailingPath { rest: service[at..].to_owned(), target: owned() });
    }
    let (host, port) = match service.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (service, None),
    };
    if host.is_empty() {
        return Err(TargetError::EmptyHost { target: owned() });
    }
    let port = port.ok_or_else(|| TargetError::MissingPort { host: host.to_owned(), target: owned() })?;
    let bad = |name: &str| TargetError::BadService { name: name.to_owned(), target: owned() };
    let (service, namespace) = match *host.split('.').collect::<Vec<_>>() {
        [service] => (service, None),
        // DNS names of Services are accepted, whatever the cluster's domain.
        [service, namespace] | [service, namespace, "svc", ..] => (service, Some(namespace)),
        _ => return Err(bad(host)),
    };
    if !is_label(service) || !namespace.is_none_or(is_label) {
        return Err(bad(host));
    }
    let port = match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => match port.parse() {
            Ok(number) if number != 0 => KubernetesPort::Number(number),
            _ => return Err(TargetError::BadPort { port: port.to_owned(), target: owned() }),
        },
        false if is_label(port) => KubernetesPort::Name(port.to_owned()),
        false => return Err(bad(port)),
    };
    Ok(TargetKind::Kubernetes { service: service.to_owned(), namespace: namespace.map(str::to_owned), port })
}

/// Returns `service.namespace`, or `service` alone.
pub(super) fn host(service: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{service}.{namespace}"),
        None => service.to_owned(),
    }
}

/// "Lowercase RFC 1123 label": the form of the names of namespaces, ports and, since Kubernetes
/// 1.34, Services.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
