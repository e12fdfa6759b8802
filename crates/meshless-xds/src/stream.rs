//! One stream of a client: requests in, responses out. What is sent is the core's decision
//! ([`AdsStream`]); here it is encoded, counted and written.
//!
//! A response is made only when there is room for it, so that a client which reads slowly is sent
//! the newest state when it comes to it, and nothing piles up.

mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshless::CallContext;
use meshless_core::Rate;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant as TokioInstant, sleep_until};
use tonic::{Status, Streaming};

use crate::control_plane::Shared;
use crate::proto::discovery::{DiscoveryRequest, DiscoveryResponse};
use crate::snapshot::Snapshot;
use session::Session;

/// Runs a stream to its end: until the client goes, or the connection is sent away.
pub(crate) async fn drive(
    shared: Arc<Shared>,
    peer: Option<std::net::SocketAddr>,
    call: Option<CallContext>,
    mut requests: Streaming<DiscoveryRequest>,
    responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut snapshots: watch::Receiver<Arc<Snapshot>> = shared.registry.snapshot.clone();
    let mut session = Session::new(shared, peer);
    let ending = async {
        match &call {
            Some(call) => call.stream_ending().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(ending);
    let mut rate = Rate::new(REQUESTS_BURST);
    let mut resume_at: Option<Instant> = None;
    // True while there may be something to say.
    let mut is_news = false;
    loop {
        tokio::select! {
            permit = responses.reserve(), if is_news => {
                let Ok(permit) = permit else { return };
                match session.next_response(&snapshots.borrow_and_update()) {
                    Some(response) => permit.send(Ok(response)),
                    None => is_news = false,
                }
            }
            request = requests.message(), if resume_at.is_none() => {
                let request = match request {
                    Ok(Some(request)) => request,
                    Ok(None) => return,
                    // It cannot be read, or the client has gone and does not hear this.
                    Err(status) => return drop(responses.try_send(Err(status))),
                };
                let now = TokioInstant::now().into_std();
                if !rate.spend(now, REQUEST_COST) {
                    resume_at = rate.ready_at();
                }
                if let Err(status) = session.handle_request(request, &snapshots.borrow()) {
                    // Nobody reads the reason if there is no room for it.
                    drop(responses.try_send(Err(status)));
                    return;
                }
                is_news = true;
            }
            () = sleep_until(TokioInstant::from_std(resume_at.unwrap_or_else(Instant::now))), if resume_at.is_some() => {
                resume_at = None;
            }
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                is_news = true;
            }
            // The client then finds a replica again by itself (gRFC A57: no error).
            () = &mut ending => return,
            () = responses.closed() => return,
        }
    }
}

/// A client sends a request for each response, and some when it begins. 20 in a second and 200 at
/// once are far above that; more are read later.
const REQUEST_COST: Duration = Duration::from_millis(50);
const REQUESTS_BURST: Duration = Duration::from_secs(10);
