//! The streaming service, `meshless.lab.v1.StreamService`: the three streaming shapes, as small as
//! they can be.
//!
//! Served beside the echo service, and by the peers in other languages, so that a stream in flight
//! at a rotation can be watched on every combination of client and server. A stream counts in the
//! ledger like a call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use crate::echo::{BACKEND_HEADER, CALL_ID_HEADER};
use crate::ledger::{Execution, Ledger};
use wire::stream_service_server::StreamService;
use wire::{StreamItem, StreamRequest, StreamSummary};

/// Generated from `proto/streams.proto`.
#[allow(missing_docs, unreachable_pub)]
pub(crate) mod wire {
    tonic::include_proto!("meshless.lab.v1");
}

/// The service of one backend.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    backend: MetadataValue<Ascii>,
    ledger: Arc<Ledger>,
}

type Items = Pin<Box<dyn Stream<Item = Result<StreamItem, Status>> + Send>>;

impl Streams {
    /// A service that notes its streams in `ledger`.
    pub(crate) fn new(backend: MetadataValue<Ascii>, ledger: Arc<Ledger>) -> Self {
        Self { backend, ledger }
    }

    fn begin(&self, metadata: &MetadataMap) -> Execution {
        let id = metadata.get(CALL_ID_HEADER).and_then(|id| id.to_str().ok()?.parse().ok());
        self.ledger.begin(id)
    }

    fn respond<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        response.metadata_mut().insert(BACKEND_HEADER, self.backend.clone());
        response
    }
}

#[tonic::async_trait]
impl StreamService for Streams {
    type ServerStreamStream = Items;
    type BidiStreamStream = Items;

    async fn server_stream(&self, request: Request<StreamRequest>) -> Result<Response<Items>, Status> {
        let execution = self.begin(request.metadata());
        let StreamRequest { count, interval_ms, payload } = request.into_inner();
        let (items, received) = mpsc::channel(ITEMS_AHEAD);
        tokio::spawn(async move {
            let _execution = execution;
            for sequence in 0..count {
                if sequence > 0 {
                    tokio::time::sleep(Duration::from_millis(interval_ms.into())).await;
                }
                if items.send(Ok(StreamItem { sequence, payload: payload.clone() })).await.is_err() {
                    // The client has cancelled, or is gone.
                    return;
                }
            }
        });
        Ok(self.respond(Box::pin(ReceiverStream::new(received))))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<StreamItem>>,
    ) -> Result<Response<StreamSummary>, Status> {
        let _execution = self.begin(request.metadata());
        let mut items = request.into_inner();
        let mut summary = StreamSummary::default();
        while let Some(item) = items.message().await? {
            summary.count += 1;
            summary.bytes += item.payload.len() as u64;
        }
        Ok(self.respond(summary))
    }

    async fn bidi_stream(&self, request: Request<Streaming<StreamItem>>) -> Result<Response<Items>, Status> {
        let execution = self.begin(request.metadata());
        let items = request.into_inner().map(move |item| {
            // Held by the stream, and so until its end.
            let _ = &execution;
            item
        });
        Ok(self.respond(Box::pin(items)))
    }
}

/// Items of a server stream that wait for a slow reader.
const ITEMS_AHEAD: usize = 16;
