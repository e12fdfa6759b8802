//! Finds a backend for an attempt: at once in nearly every call, otherwise as soon as there is one.
//!
//! Calls wait only here, so a waiting call is never inside a connection that may go away. The
//! picker decides about endpoints; this file does not.

use std::pin::pin;

use meshless_core::{EndpointId, Lease, Pick, Rng, UnavailableError, Wait};
use tokio::time::Instant;
use tonic::Status;

use super::shared::{ChannelShared, DriverEvent};
use crate::client::connection::{Connection, StreamPermit};

/// A backend that takes the attempt: the balancer has counted it, and a stream is reserved on the
/// connection.
pub(super) struct PickedStream {
    pub(super) slot: StreamPermit,
    pub(super) lease: Lease<Connection>,
}

/// Takes a place that is free now. If other calls wait for room, they come first.
pub(super) fn try_pick(
    shared: &ChannelShared,
    rng: &mut Rng,
    avoid: &[EndpointId],
) -> Result<PickedStream, NotPicked> {
    if shared.is_contended() { Err(NotPicked::Contended) } else { pick_stream(shared, rng, avoid) }
}

/// Why there is no place now.
pub(super) enum NotPicked {
    /// No call has asked the channel to connect yet.
    Idle,
    /// Connections are being made, or a new picker is about to be published.
    Connecting,
    /// Every connection carries as many calls as it may.
    Full(EndpointId),
    /// The free room belongs to calls that wait for it.
    Contended,
    /// No backend can be reached.
    Unavailable,
}

/// Waits for a place, behind the calls that already wait. The caller limits the time.
///
/// The calls wait in a queue, and only its head looks for a place. So they are placed in the order
/// in which they came, and a call that finds none keeps its turn. One wake-up is enough for any
/// number of places: each placed call passes the head on to the next, which then looks for itself.
///
/// # Errors
/// UNAVAILABLE if no backend can be reached and the call does not `wait_for_ready`;
/// RESOURCE_EXHAUSTED if too many calls wait already.
pub(super) async fn wait_for_pick(
    shared: &ChannelShared,
    rng: &mut Rng,
    avoid: &[EndpointId],
    wait_for_ready: bool,
    waits_for: &mut WaitsFor,
) -> Result<PickedStream, Status> {
    check(shared, wait_for_ready, waits_for)?;
    let Some(_waiting) = shared.start_waiting() else {
        return Err(Status::resource_exhausted(format!(
            "{}: {} calls wait for a backend already; raise waiting_calls_max if that is intended",
            shared.target, shared.settings.waiting_max
        )));
    };
    let mut turn = pin!(shared.head.lock());
    let _head = loop {
        let mut published = pin!(shared.published.notified());
        published.as_mut().enable();
        check(shared, wait_for_ready, waits_for)?;
        tokio::select! {
            biased;
            head = &mut turn => break head,
            () = published => {}
        }
    };
    loop {
        // Before the look, so that no later announcement is missed.
        let mut published = pin!(shared.published.notified());
        let mut room = pin!(shared.room.notified());
        published.as_mut().enable();
        room.as_mut().enable();
        check(shared, wait_for_ready, waits_for)?;
        match pick_stream(shared, rng, avoid) {
            Ok(place) => {
                shared.set_contended(false);
                return Ok(place);
            }
            Err(NotPicked::Idle) => shared.tell(DriverEvent::CallWaits),
            Err(NotPicked::Full(endpoint)) => {
                shared.set_contended(true);
                shared.tell(DriverEvent::Full(endpoint));
            }
            Err(NotPicked::Connecting | NotPicked::Contended | NotPicked::Unavailable) => {}
        }
        tokio::select! {
            biased;
            () = room => {}
            () = published => {}
        }
    }
}

fn pick_stream(
    shared: &ChannelShared,
    rng: &mut Rng,
    avoid: &[EndpointId],
) -> Result<PickedStream, NotPicked> {
    let picker = shared.picker();
    let now = Instant::now().into_std();
    for _ in 0..OUTDATED_PICKS_MAX {
        match picker.pick(now, rng, avoid) {
            Pick::Ready(lease) => match lease.connection().try_reserve() {
                Some(slot) => return Ok(PickedStream { slot, lease }),
                // The picker is older than a GOAWAY or a SETTINGS on this connection. Other
                // connections may have room.
                None if picker.endpoints() > 1 => {}
                None if lease.connection().is_accepting() => return Err(NotPicked::Full(lease.endpoint())),
                None => return Err(NotPicked::Connecting),
            },
            Pick::Queue(Wait::Idle) => return Err(NotPicked::Idle),
            Pick::Queue(Wait::Full(endpoint)) => return Err(NotPicked::Full(endpoint)),
            Pick::Queue(Wait::Connecting) => return Err(NotPicked::Connecting),
            Pick::Fail(_) => return Err(NotPicked::Unavailable),
        }
    }
    Err(NotPicked::Connecting)
}

/// Notes what a call waits for, as far as the picker knows.
///
/// # Errors
/// UNAVAILABLE if it would wait for nothing.
fn check(shared: &ChannelShared, wait_for_ready: bool, waits_for: &mut WaitsFor) -> Result<(), Status> {
    if let Some(ended) = shared.end_status() {
        return Err(ended);
    }
    let picker = shared.picker();
    match picker.failure() {
        Some(error) if !wait_for_ready => return Err(unavailable(shared, error)),
        Some(error) => *waits_for = WaitsFor::Backend(Some(error.clone())),
        None if picker.endpoints() > 0 => *waits_for = WaitsFor::Room,
        None => {}
    }
    Ok(())
}

/// What a call was waiting for when its deadline passed.
pub(super) enum WaitsFor {
    /// A connection to any backend; with the backends' errors, if known.
    Backend(Option<UnavailableError>),
    /// A free stream.
    Room,
    /// The answer of the backend with this address.
    Answer(meshless_core::Address),
}

impl WaitsFor {
    /// Returns the status for a deadline that has passed.
    pub(super) fn deadline_exceeded(&self, target: &str) -> Status {
        Status::deadline_exceeded(match self {
            Self::Backend(None) => {
                format!("{target}: the deadline passed while the call waited for a connection")
            }
            Self::Backend(Some(error)) => {
                format!("{target}: the deadline passed while the call waited for a backend: {error}")
            }
            Self::Room => format!(
                "{target}: the deadline passed while every connection carried as many calls as its server allows"
            ),
            Self::Answer(address) => {
                format!("{target}: the deadline passed while {address} worked on the call")
            }
        })
    }
}

fn unavailable(shared: &ChannelShared, error: &UnavailableError) -> Status {
    Status::unavailable(format!("{}: {error}", shared.target))
}

/// A call tries this many connections that have closed since the picker was made. Then it waits for
/// the next picker.
const OUTDATED_PICKS_MAX: usize = 4;
