//! `methodConfig`: settings for the methods that an entry names.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::ServiceConfigError;
use super::json::Node;
use super::policy;
use crate::client::channel::{MethodName, MethodSettings, Repeat};

/// One entry. A missing setting is `None`.
#[derive(Clone, Debug)]
pub(super) struct MethodConfig {
    pub(super) names: Vec<MethodName>,
    wait_for_ready: Option<bool>,
    timeout: Option<Duration>,
    request_message_max: Option<u32>,
    response_message_max: Option<u32>,
    repeat: Option<Repeat>,
}

impl MethodConfig {
    /// Returns `others`, overridden by this entry.
    pub(super) fn over(&self, others: &MethodSettings) -> MethodSettings {
        let timeout = match (self.timeout, others.timeout) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        };
        MethodSettings {
            timeout,
            wait_for_ready: self.wait_for_ready.unwrap_or(others.wait_for_ready),
            request_message_max: self.request_message_max.or(others.request_message_max),
            response_message_max: self.response_message_max.or(others.response_message_max),
            repeat: self.repeat.clone().or_else(|| others.repeat.clone()),
        }
    }
}

/// Reads every entry of the document.
pub(super) fn methods(root: &Node<'_>) -> Result<Vec<MethodConfig>, ServiceConfigError> {
    let Some(entries) = root.field("methodConfig")? else { return Ok(Vec::new()) };
    let mut seen = Names::new();
    entries.elements()?.iter().map(|entry| method(entry, &mut seen)).collect()
}

fn method(entry: &Node<'_>, seen: &mut Names) -> Result<MethodConfig, ServiceConfigError> {
    let mut names = Vec::new();
    for node in entry.field("name")?.map(|names| names.elements()).transpose()?.unwrap_or_default() {
        let name = name(&node)?;
        seen.add(&node, &name)?;
        names.push(name);
    }
    if names.is_empty() {
        entry.warn("has no name, and so holds for no call; for every call write \"name\": [{}]");
    }
    let message_max =
        |field: &'static str| entry.field(field)?.map(|bytes| bytes.whole_number(0)).transpose();
    Ok(MethodConfig {
        names,
        wait_for_ready: entry.field("waitForReady")?.map(|wait| wait.boolean()).transpose()?,
        timeout: entry.field("timeout")?.map(|timeout| timeout.duration()).transpose()?,
        request_message_max: message_max("maxRequestMessageBytes")?,
        response_message_max: message_max("maxResponseMessageBytes")?,
        repeat: policy::repeat(entry)?,
    })
}

/// Reads a name. Without a method it means all methods of its service; without a service too, all
/// methods without an entry.
fn name(node: &Node<'_>) -> Result<MethodName, ServiceConfigError> {
    let text = |field: &'static str| -> Result<&str, ServiceConfigError> {
        let Some(node) = node.field(field)? else { return Ok("") };
        let text = node.string()?;
        warn_of_mismatch(&node, text);
        Ok(text)
    };
    match (text("service")?, text("method")?) {
        ("", "") => Ok(MethodName::Others),
        ("", _) => Err(node.error("names a method without its service")),
        (service, "") => Ok(MethodName::Service(service.to_owned())),
        (service, method) => Ok(MethodName::Method(format!("{service}/{method}"))),
    }
}

/// Warns about a name that matches no call. The path of a call is `/service/method`, and neither
/// part contains a slash (gRPC over HTTP/2, "Path").
fn warn_of_mismatch(node: &Node<'_>, text: &str) {
    let trimmed = text.trim_matches(|c: char| c == '/' || c.is_whitespace());
    if trimmed.bytes().any(|byte| byte == b'/') {
        let (service, method) = trimmed.split_once('/').unwrap_or((trimmed, ""));
        node.warn(&format!(
            "is {text:?}, which matches no call; write {{\"service\": {service:?}, \"method\": {method:?}}}"
        ));
    } else if trimmed != text {
        node.warn(&format!("is {text:?}, which matches no call; write {trimmed:?}"));
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        node.warn(&format!(
            "is {text:?}, which matches no call; write the name as in the .proto file, with its package"
        ));
    }
}

/// Finds a name that is used by two entries.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn add(&mut self, node: &Node<'_>, name: &MethodName) -> Result<(), ServiceConfigError> {
        let key = match name {
            MethodName::Others => String::new(),
            MethodName::Service(service) => format!("{service}/"),
            MethodName::Method(method) => method.clone(),
        };
        match self.0.insert(key, node.path().to_owned()) {
            None => Ok(()),
            Some(first) => Err(node.error(format!("names the same methods as {first}"))),
        }
    }
}
