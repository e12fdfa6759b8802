//! The two requests for the EndpointSlices of one Service, and the meaning of the responses.

use std::time::Duration;

use http::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::client::{Body, KubernetesClient};
use super::ended::Ended;
use super::lines::{Lines, ReadError, read_whole};
use super::object::{EndpointSliceList, Status};
use crate::shared::peer_text::peer_text;

/// The EndpointSlices of one Service at one API server.
pub(super) struct Slices {
    client: KubernetesClient,
    /// The common part of the paths of a watch and a list.
    path_and_query: String,
}

impl Slices {
    pub(super) fn new(client: KubernetesClient, namespace: &str, service: &str) -> Self {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", escape(namespace));
        let selector = format!("{SERVICE_LABEL}={service}");
        let selector = escape(&selector);
        Self { client, path_and_query: format!("{path}?labelSelector={selector}") }
    }

    pub(super) async fn list(&self) -> Result<EndpointSliceList, Ended> {
        let response = self.get(&self.path_and_query).await?;
        let body = read_whole(response.into_body(), LIST_BYTES_MAX).await;
        let body = body.map_err(|error| match error {
            ReadError::TooLong { .. } => Ended::Failed(format!("the list of EndpointSlices is {error}")),
            ReadError::Broken(reason) => Ended::Failed(format!("the list broke: {reason}")),
        })?;
        let list = serde_json::from_slice(&body);
        list.map_err(|error| Ended::Failed(format!("the API server's list cannot be read: {}", said(&error))))
    }

    /// Starts a watch for the changes since `version`, which lasts this long.
    pub(super) async fn watch(&self, version: &str, lasts: Duration) -> Result<Lines, Ended> {
        let Self { path_and_query, .. } = self;
        let (version, seconds) = (escape(version), lasts.as_secs());
        let response = self
            .get(&format!(
                "{path_and_query}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}"
            ))
            .await?;
        Ok(Lines::new(response.into_body(), EVENT_BYTES_MAX))
    }

    async fn get(&self, path_and_query: &str) -> Result<Response<Body>, Ended> {
        let response = self.client.get(path_and_query).await.map_err(Ended::Failed)?;
        let code = response.status();
        if code.is_success() {
            return Ok(response);
        }
        // The text is only for people, so an error while reading it is ignored.
        let body = read_whole(response.into_body(), STATUS_BYTES_MAX).await.unwrap_or_default();
        let status: Result<Status, _> = serde_json::from_slice(&body);
        let message = status.ok().and_then(|status| status.message);
        let message = match message.filter(|message| !message.is_empty()) {
            _ if code.is_redirection() => "a redirect, which is not followed".to_owned(),
            Some(message) => message,
            None => String::from_utf8_lossy(&body).into_owned(),
        };
        Err(refused(Some(code.as_u16()), message))
    }
}

/// Returns the meaning of an HTTP status, or of the code in a `Status`.
pub(super) fn refused(code: Option<u16>, message: String) -> Ended {
    let message = peer_text(message);
    match code {
        // "410 Gone": the API server no longer has this version.
        Some(410) => Ended::Outdated,
        Some(401 | 403) => Ended::Denied(message),
        Some(code) if message.is_empty() => Ended::Failed(format!("the API server answers {code}")),
        Some(code) => Ended::Failed(format!("the API server answers {code}: {message}")),
        None => Ended::Failed(format!("the API server ends the watch with an error: {message}")),
    }
}

/// Formats a JSON error, which may quote the server's text.
fn said(error: &serde_json::Error) -> String {
    peer_text(error.to_string())
}

fn escape(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// All characters except RFC 3986's unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The label of EndpointSlices that holds the Service's name (`discovery/v1`).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// A slice of 100 pods has 50 KB as JSON, so this is a Service of 60 000 pods.
const LIST_BYTES_MAX: usize = 32 << 20;
/// An object has at most 1.5 MiB, the limit of etcd's requests.
const EVENT_BYTES_MAX: usize = 2 << 20;
/// Only the beginning of an error's text is used.
const STATUS_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_version_and_no_name_can_change_the_request() {
        for (text, escaped) in
            [("10231", "10231"), ("a b&watch=x", "a%20b%26watch%3Dx"), ("\n/é", "%0A%2F%C3%A9")]
        {
            assert_eq!(escape(text).to_string(), escaped);
        }
    }

    #[test]
    fn codes_have_their_meaning() {
        let refused = |code| refused(code, "why\n".to_owned());
        assert_eq!(refused(Some(410)), Ended::Outdated);
        for code in [401, 403] {
            assert_eq!(refused(Some(code)), Ended::Denied("why\\n".to_owned()));
        }
        for code in [302, 400, 404, 429, 500, 504] {
            let text = format!("the API server answers {code}: why\\n");
            assert_eq!(refused(Some(code)), Ended::Failed(text));
        }
        assert!(matches!(refused(None), Ended::Failed(_)));
    }
}
