//! Sees one call through, up to the headers of its response: place it, attempt it, and attempt it again if the server
//! provably did not process it. The only place that repeats an attempt; whether to, `meshless-core` decides.

use std::pin::Pin;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::uri::Uri;
use meshless_core::{AttemptFate, EndpointId, RetryDecision, TransparentRetry};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};

use super::body::{CallEnd, ResponseBody};
use super::place::{Place, WaitsFor, try_place, wait_for_place};
use super::shared::{CallSettings, Shared};
use super::{Channel, deadline};
use crate::bounced;
use crate::call::{Outgoing, attempt};

/// For one call, in place of the channel's setting: whether it waits when no backend can be reached, rather than
/// fail with UNAVAILABLE at once (gRPC's "wait for ready"). Put it into the extensions of a tonic `Request`.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshless::WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// Runs `request`. Holds the channel, so that the driver lives as long as the call needs it.
pub(super) async fn exchange(
    channel: Channel,
    mut request: http::Request<Body>,
) -> Result<http::Response<ResponseBody>, Status> {
    let shared = channel.shared();
    let now = Instant::now();
    let deadline = deadline::deadline(request.headers(), &shared.settings, now);
    let wait_for_ready =
        request.extensions().get().map_or(shared.settings.wait_for_ready, |WaitForReady(wait)| *wait);
    address(&mut request, &shared.settings)?;
    if shared.settings.timeout.is_some() {
        deadline::announce(deadline, request.headers_mut(), now);
    }
    let outgoing = Outgoing::new(request);
    let waits_for = WaitsFor::Backend(None);
    if deadline.is_some_and(|at| at <= now) {
        // It would otherwise be sent, and executed, before the clock is looked at.
        let message = format!("{}: the deadline had passed before the call was made", shared.target);
        return Err(Status::deadline_exceeded(message));
    }
    let mut call = Call { shared, outgoing, deadline, wait_for_ready, waits_for, attempted: None };
    match deadline {
        None => call.run().await,
        Some(at) => match timeout_at(at, call.run()).await {
            Ok(result) => result,
            Err(_) => {
                if let Some(end) = call.attempted.take() {
                    end.failed(Code::DeadlineExceeded);
                }
                Err(call.waits_for.deadline_exceeded(&shared.target))
            }
        },
    }
}

struct Call<'a> {
    shared: &'a Arc<Shared>,
    outgoing: Outgoing,
    deadline: Option<Instant>,
    wait_for_ready: bool,
    waits_for: WaitsFor,
    /// The attempt under way. Here rather than in `run`, so that a deadline counts against the backend.
    attempted: Option<CallEnd>,
}

impl Call<'_> {
    async fn run(&mut self) -> Result<http::Response<ResponseBody>, Status> {
        let mut rng = self.shared.begin_call();
        let mut retry = TransparentRetry::new();
        let mut avoid: Vec<EndpointId> = Vec::new();
        loop {
            let place = match try_place(self.shared, &mut rng, &avoid) {
                Ok(place) => place,
                Err(_) => {
                    let place = self.wait(&mut rng, &avoid).await?;
                    deadline::announce(self.deadline, self.outgoing.headers_mut(), Instant::now());
                    place
                }
            };
            let Place { slot, lease } = place;
            let endpoint = lease.endpoint();
            self.waits_for = WaitsFor::Answer(slot.address().clone());
            self.attempted = Some(CallEnd::new(lease, Arc::clone(self.shared)));
            let answer = attempt(slot, &mut self.outgoing).await;
            let end = self.attempted.take().expect("set above, and taken elsewhere only after the deadline");
            let failure = match answer {
                Ok(response) => return Ok(ResponseBody::attach(response, end.answered(), self.deadline)),
                Err(failure) => failure,
            };
            match failure.fate() {
                // The connection went away under the call, which says nothing about the backend.
                AttemptFate::NeverSent | AttemptFate::LeftBehind => drop(end),
                _ => end.failed(failure.code()),
            }
            let now = Instant::now();
            let again = retry.after(now.into_std(), self.deadline.map(Instant::into_std), failure.fate());
            if again != RetryDecision::Retry || !self.outgoing.can_replay() {
                return Err(failure.into_status());
            }
            tracing::debug!(target = %self.shared.target, endpoint = %failure.endpoint(), ?failure, "retrying transparently");
            if failure.fate() == AttemptFate::Refused {
                bounced::mark(self.outgoing.headers_mut());
            }
            if !avoid.contains(&endpoint) && avoid.len() < AVOIDED_MAX {
                avoid.push(endpoint);
            }
            deadline::announce(self.deadline, self.outgoing.headers_mut(), now);
            // Whatever made this attempt fail gets its turn to be noticed: no chain of retries keeps a thread to itself.
            tokio::task::yield_now().await;
        }
    }

    /// Boxed: the path that hardly any call takes must not make the future of every call larger.
    fn wait<'a>(
        &'a mut self,
        rng: &'a mut meshless_core::Rng,
        avoid: &'a [EndpointId],
    ) -> Pin<Box<dyn Future<Output = Result<Place, Status>> + Send + 'a>> {
        self.waits_for = WaitsFor::Backend(None);
        Box::pin(wait_for_place(self.shared, rng, avoid, self.wait_for_ready, &mut self.waits_for))
    }
}

/// Completes the URI, which HTTP/2 sends with every request, and names the client.
fn address(request: &mut http::Request<Body>, settings: &CallSettings) -> Result<(), Status> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(settings.scheme.clone());
    parts.authority = Some(settings.authority.clone());
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|error| Status::internal(format!("the method's path does not make a URI: {error}")))?;
    request.headers_mut().insert(USER_AGENT, settings.user_agent.clone());
    Ok(())
}

/// Endpoints that a call remembers as not having taken it. More failures than this are the same few, again.
const AVOIDED_MAX: usize = 16;
