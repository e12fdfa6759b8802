//! Statuses that the channel makes, with and without the addresses of endpoints.

use bytes::Bytes;
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::network::*;

/// A call whose response is reset after its head.
async fn reset_in_the_middle(channel: &mut meshless::Channel) -> Status {
    let request =
        http::Request::post("/test.Test/Call").body(Body::new(http_body_util::Full::new(Bytes::new())));
    let response = channel.call(request.unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn statuses_name_endpoints_unless_they_must_not() {
    for shown in [true, false] {
        let mut network = Network::new();
        let builder = network.channel(&[backend(1)]).endpoints_in_statuses(shown);
        let mut channel = builder.connect_lazy().unwrap();
        network.serve(100, |mut call| {
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = call.respond.send_response(head, false).unwrap();
            tokio::spawn(async move {
                settle().await;
                body.send_reset(h2::Reason::INTERNAL_ERROR);
            });
        });
        let mut statuses = vec![reset_in_the_middle(&mut channel).await];
        let mut unreachable = Network::new();
        unreachable.set(backend(1), Dial::Refuse);
        let builder = unreachable.channel(&[backend(1)]).endpoints_in_statuses(shown);
        statuses.push(check(&builder.connect_lazy().unwrap()).await.unwrap_err());
        for status in statuses {
            let message = status.message();
            assert_eq!(message.contains("10.0.0.1"), shown, "{message}");
            assert_eq!(message.contains("<endpoint>: "), !shown, "{message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_stays() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).endpoints_in_statuses(false).connect_lazy().unwrap();
    network.serve(100, |call| call.refuse(tonic::Code::NotFound, "no order at 10.9.8.7:1", None));
    assert_eq!(check(&channel).await.unwrap_err().message(), "no order at 10.9.8.7:1");
}
