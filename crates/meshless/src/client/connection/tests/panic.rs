//! A connection whose task panics counts as closed.

use super::peer::MAX_CONCURRENT_STREAMS;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_connection_whose_task_panics_reports_its_end_and_fails_its_calls() {
    let (io, far) = tokio::io::duplex(PIPE);
    let (tx, mut events) = mpsc::unbounded_channel();
    let report: Report = Box::new(move |event| match event {
        Event::StreamLimit(_) => panic!("a driver of little care"),
        event => drop(tx.send(event)),
    });
    let connecting = tokio::spawn(dial(io, ConnectionConfig::default(), report));
    let mut peer = Peer::accept(far).await;
    peer.settings(&[]).await;
    let connection = connecting.await.unwrap().expect("the peer sent SETTINGS");
    peer.expect_settings_ack().await;
    peer.acknowledge_settings().await;
    settle().await;
    let call = call_in(connection.try_reserve().unwrap(), unary(b"ping"));
    peer.expect_request().await;
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 7)]).await;
    match events.recv().await {
        Some(Event::Closed(CloseReason::Panicked(text))) => assert_eq!(text, "a driver of little care"),
        other => panic!("{other:?}"),
    }
    let status = call.await.unwrap().0.unwrap_err().into_status();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("the connection's task panicked"), "{status}");
    assert!(connection.try_reserve().is_none(), "nobody comes back to it");
}
