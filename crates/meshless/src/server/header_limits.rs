//! The limits of a request's headers and of a response's headers and trailers, and the answers
//! beyond them.
//!
//! h2 would answer a long request with 431 and no reason. It would also send a response that is
//! longer than its client accepts, and some clients then end the connection. So h2 gets a larger
//! limit than the user's, and the user's limit is checked here, where an answer can name the sizes.
//! This module also bounds the memory that the headers of all open calls of a connection pin. One
//! byte on the wire can stand for a field of any length, so no count of streams or bytes bounds it.
//!
//! Called for each call. It has no state.

use http::{HeaderMap, Request, Response, StatusCode};
use tonic::Status;

use crate::shared::grpc::content_type::is_grpc;
use crate::shared::header_list::{FIELD_OVERHEAD, list_size};

/// The limits of one connection's requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderLimits {
    /// The limit of one request's header list, as HTTP/2 counts it.
    list_size_max: u32,
    /// The limit of the memory for the headers of all open calls.
    pinned_max: usize,
}

impl HeaderLimits {
    pub(super) fn new(list_size_max: u32, streams_max: u32) -> Self {
        let pinned_max = (streams_max as usize).saturating_mul(PINNED_PER_STREAM).max(PINNED_MIN);
        Self { list_size_max, pinned_max }
    }

    /// Returns the limit that h2 gets and announces. Lists between the two limits are answered
    /// here.
    pub(super) fn for_h2(self) -> u32 {
        self.list_size_max.saturating_mul(4)
    }

    /// Checks a request. With it, the headers of the open calls pin `pinned` bytes.
    ///
    /// # Errors
    /// The answer, which names what was too long.
    pub(super) fn check<R>(self, request: &Request<R>, pinned: usize) -> Result<(), Response<()>> {
        let len = request_size(request);
        let what = if len > self.list_size_max as usize {
            format!(
                "the headers have {len} bytes, more than the {} that the server takes",
                self.list_size_max
            )
        } else if pinned > self.pinned_max {
            let max = self.pinned_max;
            format!(
                "the headers of this connection's calls take {pinned} bytes, more than the {max} that the server keeps"
            )
        } else {
            return Ok(());
        };
        if is_grpc(request.headers()) {
            return Err(Status::resource_exhausted(what).into_http());
        }
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Err(answer)
    }
}

/// Returns the status that replaces headers or trailers that are longer than the client accepts;
/// `None` if they are not.
pub(super) fn in_place_of_long(headers: &HeaderMap, client_max: u32, what: &str) -> Option<Status> {
    let len = list_size(headers) + STATUS_LEN;
    (len > client_max as usize).then(|| {
        Status::resource_exhausted(format!(
            "the {what} of the response have {len} bytes, more than the {client_max} that the client takes"
        ))
    })
}

/// Returns the memory that these headers use, rounded up.
pub(super) fn pinned_by(headers: &HeaderMap) -> usize {
    let text: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    headers.capacity().max(2 * headers.len()) * FIELD_MEMORY + text
}

fn request_size<R>(request: &Request<R>) -> usize {
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let pseudo = ":method:scheme:path:authority".len() + 4 * FIELD_OVERHEAD;
    pseudo + request.method().as_str().len() + "https".len() + path + authority + list_size(request.headers())
}

/// `:status` and its value.
const STATUS_LEN: usize = 7 + 3 + FIELD_OVERHEAD;

/// An entry of a `HeaderMap`, and its share of the index.
const FIELD_MEMORY: usize = 112;

/// A call with ten fields and a token of 2 KB takes 5 KB.
const PINNED_PER_STREAM: usize = 6 << 10;

/// The minimum, for connections with few streams: a hundred calls with 64 KiB of headers each.
const PINNED_MIN: usize = 8 << 20;
