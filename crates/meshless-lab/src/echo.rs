//! The echo service: `hello.HelloService/Echo`, which works for a while and returns the message.
//!
//! Wire-compatible with the experiment that started this project. What the lab adds travels beside
//! the message: the answering backend in the response header [`BACKEND_HEADER`], the id of a call
//! in the request metadata [`CALL_ID_HEADER`]. A call without an id is served and not counted, so
//! that other clients can join.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::fault::Faults;
use crate::ledger::Ledger;
use crate::work::Work;
use hello::hello_service_server::HelloService;

/// Generated from `proto/hello.proto`.
#[allow(missing_docs, unreachable_pub)]
pub(crate) mod hello {
    tonic::include_proto!("hello");
}

/// Response header that names the backend which answered.
pub(crate) const BACKEND_HEADER: &str = "meshless-backend";

/// Request metadata that identifies a call, a decimal number.
pub(crate) const CALL_ID_HEADER: &str = "meshless-call-id";

/// The service of one backend.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    backend: MetadataValue<Ascii>,
    work: Work,
    ledger: Arc<Ledger>,
    faults: Arc<Faults>,
    workers: Option<Arc<Semaphore>>,
}

impl Echo {
    /// A service that does `work` for each call and notes it in `ledger`.
    pub(crate) fn new(backend: MetadataValue<Ascii>, work: Work, ledger: Arc<Ledger>) -> Self {
        Self { backend, work, ledger, faults: Arc::default(), workers: None }
    }

    /// With these faults.
    pub(crate) fn faults(self, faults: Arc<Faults>) -> Self {
        Self { faults, ..self }
    }

    /// Works on so many calls at a time; the others wait their turn. As ever with none.
    pub(crate) fn workers(self, workers: Option<usize>) -> Self {
        Self { workers: workers.map(|workers| Arc::new(Semaphore::new(workers))), ..self }
    }
}

#[tonic::async_trait]
impl HelloService for Echo {
    async fn echo(&self, request: Request<hello::Request>) -> Result<Response<hello::Response>, Status> {
        let id = request.metadata().get(CALL_ID_HEADER).and_then(|id| id.to_str().ok()?.parse().ok());
        if self.faults.fails_fast() {
            return Err(Status::unavailable("this backend was told to fail"));
        }
        // The semaphore is never closed, so there is a turn for everyone who stays; who gives up
        // leaves the queue.
        let _turn = match &self.workers {
            Some(workers) => workers.acquire().await.ok(),
            None => None,
        };
        let _execution = self.ledger.begin(id);
        self.work.do_one(&self.faults).await;
        let mut response = Response::new(hello::Response { message: request.into_inner().message });
        response.metadata_mut().insert(BACKEND_HEADER, self.backend.clone());
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Fault;

    fn request(id: Option<&str>) -> Request<hello::Request> {
        let mut request = Request::new(hello::Request { message: "hi".into() });
        if let Some(id) = id {
            request.metadata_mut().insert(CALL_ID_HEADER, id.parse().unwrap());
        }
        request
    }

    #[tokio::test(start_paused = true)]
    async fn echo_works_then_answers_and_names_its_backend() {
        let ledger = Arc::new(Ledger::for_parent(None));
        let echo = Echo::new(
            "backend-2".parse().unwrap(),
            Work::constant(Duration::from_millis(100)),
            ledger.clone(),
        );
        let begun = tokio::time::Instant::now();
        let response = echo.echo(request(Some("7"))).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
        assert_eq!(response.metadata().get(BACKEND_HEADER).unwrap(), "backend-2");
        assert_eq!(response.get_ref().message, "hi");
        assert_eq!(ledger.take().unwrap(), [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_call_counts_as_executed_and_not_as_in_flight() {
        let ledger = Arc::new(Ledger::for_parent(None));
        let echo = Echo::new("b".parse().unwrap(), Work::constant(Duration::from_secs(1)), ledger.clone());
        let call = tokio::time::timeout(Duration::from_millis(1), echo.echo(request(Some("9"))));
        assert!(call.await.is_err());
        assert_eq!((ledger.in_flight(), ledger.take()), (0, Ok(vec![9])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_faulty_backend_is_slow_or_fails_at_once_without_executing() {
        let (ledger, faults) = (Arc::new(Ledger::for_parent(None)), Arc::new(Faults::default()));
        let echo = Echo::new("b".parse().unwrap(), Work::constant(Duration::from_millis(20)), ledger.clone())
            .faults(faults.clone());
        faults.begin(Fault::Slow(3.0));
        let begun = tokio::time::Instant::now();
        echo.echo(request(Some("1"))).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(60));
        faults.begin(Fault::FailFast);
        let status = echo.echo(request(Some("2"))).await.unwrap_err();
        assert_eq!((status.code(), begun.elapsed()), (tonic::Code::Unavailable, Duration::from_millis(60)));
        assert_eq!(ledger.take().unwrap(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_workers_wait_their_turn() {
        let ledger = Arc::new(Ledger::for_parent(None));
        let echo = Echo::new("b".parse().unwrap(), Work::constant(Duration::from_millis(20)), ledger.clone())
            .workers(Some(1));
        let begun = tokio::time::Instant::now();
        let (one, two) = tokio::join!(echo.echo(request(Some("1"))), echo.echo(request(Some("2"))));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(begun.elapsed(), Duration::from_millis(40));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_without_a_readable_id_are_just_served() {
        let ledger = Arc::new(Ledger::for_parent(None));
        let echo = Echo::new("b".parse().unwrap(), Work::constant(Duration::ZERO), ledger.clone());
        assert!(echo.echo(request(None)).await.is_ok());
        assert!(echo.echo(request(Some("seven"))).await.is_ok());
        assert_eq!(ledger.executed(), 0);
    }
}
