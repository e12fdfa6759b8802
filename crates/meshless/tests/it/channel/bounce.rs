//! The mark of calls that a busy server sent on (`meshless-bounced`), in the hands of others than
//! those who made it.

use std::sync::{Arc, Mutex};

use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;

use super::network::*;

const MARK: &str = "meshless-bounced";

/// A backend that refuses every call on its first attempt and answers the second with `code` and a
/// mark; returns the marks that came.
fn refusing_then(network: Network, code: Code) -> Arc<Mutex<Vec<Option<String>>>> {
    let marks = Arc::new(Mutex::new(Vec::new()));
    network.serve(100, {
        let marks = Arc::clone(&marks);
        move |mut call| {
            let mark = call.header(MARK);
            let is_first = mark.is_none();
            marks.lock().unwrap().push(mark);
            match is_first {
                true => call.respond.send_reset(h2::Reason::REFUSED_STREAM),
                false => call.refuse(code, "from a handler", Some((MARK, "2"))),
            }
        }
    });
    marks
}

#[tokio::test(start_paused = true)]
async fn who_did_not_ask_gets_no_refusal() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let (calls, mut seen) = tokio::sync::mpsc::unbounded_channel();
    network.serve(100, move |call| {
        let _ = calls.send(call.header(MARK));
        // A handler that hands on what a server of its own said.
        call.refuse(Code::Unavailable, "from a handler", Some((MARK, "2")));
    });
    let mut request = Request::new(HealthCheckRequest::default());
    // A handler that hands on what came with the call that it serves.
    request.metadata_mut().insert(MARK, "1".parse().unwrap());
    let status = check_with(&channel, request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "from a handler"));
    assert_eq!(status.metadata().get(MARK), None, "nor does it go any further");
    assert_eq!(seen.try_recv(), Ok(None), "a mark of others is not sent");
    assert!(seen.try_recv().is_err(), "it may have been executed, and is not sent again");
}

#[tokio::test(start_paused = true)]
async fn only_unavailable_is_a_refusal() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let marks = refusing_then(network, Code::Internal);
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.metadata().get(MARK)), (Code::Internal, None));
    assert_eq!(*marks.lock().unwrap(), [None, Some("1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_attempt_leads_to_a_third_and_no_fourth() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let marks = refusing_then(network, Code::Unavailable);
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.metadata().get(MARK)), (Code::Unavailable, None));
    assert_eq!(*marks.lock().unwrap(), [None, Some("1".to_owned()), Some("2".to_owned())]);
}
