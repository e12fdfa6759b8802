//! `methodConfig`: deadlines and retries, for the methods that an entry names.

use std::collections::BTreeSet;
use std::time::Duration;

use super::PolicyError;
use super::json::Node;

/// What holds for some methods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodRule {
    pub(crate) path: MethodPath,
    /// The longest deadline.
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
}

/// Which methods. The order is that of routes, where the first match counts: the special before the
/// general.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MethodPath {
    /// `/service/method`.
    Method(String),
    /// `/service/`, and what begins with it.
    Service(String),
    /// All that no other rule names.
    Others,
}

/// gRFC A44.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retry {
    /// Beside the first.
    pub(crate) retries: u32,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
    /// As `retry_on` has them.
    pub(crate) on: Vec<&'static str>,
}

/// Reads the entries into rules, sorted.
pub(super) fn rules(node: &Node<'_>) -> Result<Vec<MethodRule>, PolicyError> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for entry in node.elements()? {
        entry.expect_fields(&["name", "timeout", "retryPolicy"])?;
        let timeout = entry.optional("timeout", Node::positive_duration)?;
        let retry = entry.optional("retryPolicy", retry)?;
        let names = entry.optional("name", Node::elements)?.unwrap_or_default();
        if names.is_empty() {
            entry.warn("has no name, and so holds for no call; for every call write \"name\": [{}]");
        }
        for name in names {
            let path = path(&name)?;
            if !seen.insert(path.clone()) {
                return Err(name.error("names methods that another entry names"));
            }
            rules.push(MethodRule { path, timeout, retry: retry.clone() });
        }
    }
    rules.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(rules)
}

fn path(node: &Node<'_>) -> Result<MethodPath, PolicyError> {
    node.expect_fields(&["service", "method"])?;
    let part = |name: &str| -> Result<&str, PolicyError> {
        let Some(node) = node.field(name)? else { return Ok("") };
        match node.string()? {
            text if text.contains('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(node.error("must be a name as in the .proto file, without slashes"))
            }
            text => Ok(text),
        }
    };
    match (part("service")?, part("method")?) {
        ("", "") => Ok(MethodPath::Others),
        ("", _) => Err(node.error("names a method without its service")),
        (service, "") => Ok(MethodPath::Service(format!("/{service}/"))),
        (service, method) => Ok(MethodPath::Method(format!("/{service}/{method}"))),
    }
}

fn retry(node: &Node<'_>) -> Result<Retry, PolicyError> {
    node.expect_fields(&[
        "maxAttempts",
        "initialBackoff",
        "maxBackoff",
        "backoffMultiplier",
        "retryableStatusCodes",
    ])?;
    // gRFC A6: "values greater than 5 are treated as 5".
    let attempts = node.required("maxAttempts")?.whole_number(2, u32::MAX)?.min(5);
    let backoff_first = node.required("initialBackoff")?.positive_duration()?;
    let backoff_max = node.required("maxBackoff")?.positive_duration()?;
    let multiplier = node.optional("backoffMultiplier", Node::number)?;
    if multiplier.is_some_and(|multiplier| multiplier != 2.0)
        && let Some(node) = node.field("backoffMultiplier")?
    {
        node.warn("has no effect: xDS clients double the pause");
    }
    let codes = node.required("retryableStatusCodes")?;
    let mut on = Vec::new();
    for code in codes.elements()? {
        let name = code.string()?.to_ascii_uppercase().replace('-', "_");
        match RETRY_ON.iter().find(|(known, _)| *known == name) {
            Some((_, word)) => on.push(*word),
            None => {
                code.warn(&format!("xDS clients retry only {}", RETRY_ON.map(|(name, _)| name).join(", ")))
            }
        }
    }
    if on.is_empty() {
        return Err(codes.error(format!("needs one of {}", RETRY_ON.map(|(name, _)| name).join(", "))));
    }
    Ok(Retry { retries: attempts - 1, backoff_first, backoff_max: backoff_max.max(backoff_first), on })
}

/// gRFC A44: the codes that xDS can name.
const RETRY_ON: [(&str, &str); 5] = [
    ("CANCELLED", "cancelled"),
    ("DEADLINE_EXCEEDED", "deadline-exceeded"),
    ("INTERNAL", "internal"),
    ("RESOURCE_EXHAUSTED", "resource-exhausted"),
    ("UNAVAILABLE", "unavailable"),
];
