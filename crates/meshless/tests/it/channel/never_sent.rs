//! What a failed call's status knows of whether it was sent.

use std::time::Duration;

use meshless::RetryPolicy;
use meshless::client::NeverSent;
use meshless::retry::Code;
use tokio::time::sleep;

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_call_that_found_no_connection_was_never_sent() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    network.set(backend(1), Dial::Refuse);
    let refused = check(&channel).await.unwrap_err();
    assert_eq!((refused.code(), NeverSent::is_true_of(&refused)), (tonic::Code::Unavailable, true));
    network.set(backend(1), Dial::Silent);
    sleep(60 * SECOND).await;
    let waited = check_within(&channel, SECOND).await.unwrap_err();
    assert!(NeverSent::is_true_of(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_server_has_read_was_sent_however_it_ended() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let calls = channel.clone();
    let call = tokio::spawn(async move { check_within(&calls, SECOND).await });
    let mut peer = network.accept_raw(&[]).await;
    peer.expect_request().await;
    let late = call.await.unwrap().unwrap_err();
    assert_eq!((late.code(), NeverSent::is_true_of(&late)), (tonic::Code::DeadlineExceeded, false));
    let calls = channel.clone();
    let call = tokio::spawn(async move { check(&calls).await });
    peer.expect_request().await;
    network.set(backend(1), Dial::Refuse);
    drop(peer);
    let lost = call.await.unwrap().unwrap_err();
    assert_eq!((lost.code(), NeverSent::is_true_of(&lost)), (tonic::Code::Unavailable, false));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_that_was_sent_is_enough() {
    let mut network = Network::new();
    let policy = RetryPolicy::new(3, [Code::Unavailable]).unwrap();
    let channel = network.channel(&[backend(1)]).retry(policy).connect_lazy().unwrap();
    let calls = channel.clone();
    let call = tokio::spawn(async move { check(&calls).await });
    let mut peer = network.accept_raw(&[]).await;
    peer.expect_request().await;
    // The other attempts find no connection.
    network.set(backend(1), Dial::Refuse);
    drop(peer);
    let status = call.await.unwrap().unwrap_err();
    assert!(status.message().contains("attempts"), "{status}");
    assert!(!NeverSent::is_true_of(&status), "{status:?}");
}
