//! Reports to the driver how an attempt to connect ended, also if its task panics.

use meshless_core::{Address, ConnectionId};
use tokio::sync::mpsc;

use crate::client::channel::DriverEvent;
use crate::client::connection::{ConnectError, Connection};

/// Reports the end of an attempt to connect when it is dropped. So a connector that panics causes a
/// normal failure, and every attempt ends.
pub(super) struct AttemptOutcome {
    id: ConnectionId,
    address: Address,
    result: Option<Result<Connection, ConnectError>>,
    events: mpsc::UnboundedSender<DriverEvent>,
}

impl AttemptOutcome {
    pub(super) fn new(
        id: ConnectionId,
        address: Address,
        events: mpsc::UnboundedSender<DriverEvent>,
    ) -> Self {
        Self { id, address, result: None, events }
    }

    pub(super) fn is(mut self, result: Result<Connection, ConnectError>) {
        self.result = Some(result);
    }
}

impl Drop for AttemptOutcome {
    fn drop(&mut self) {
        let panicked = || {
            let source = std::io::Error::other("the connector panicked");
            Err(ConnectError::Dial { address: self.address.clone(), source })
        };
        let result = self.result.take().unwrap_or_else(panicked);
        // Fails only when the driver has ended; dropping the connection then closes it.
        let _ = self.events.send(DriverEvent::Connected(self.id, result));
    }
}
