//! The built-in health service, through a tonic client.

use std::time::Duration;

use meshless::server::ServingStatus;
use meshless::{Server, Shutdown, ShutdownHandle};
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;

use super::Stuck;

struct Running {
    client: HealthClient<Channel>,
    shutdown: ShutdownHandle,
    task: JoinHandle<()>,
}

async fn start(server: Server) -> Running {
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let handle = shutdown.handle();
    let task = tokio::spawn(async move {
        server.serve_with_incoming_shutdown([listener], shutdown).await.unwrap();
    });
    let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    Running { client: HealthClient::new(channel), shutdown: handle, task }
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

impl Running {
    async fn check(&mut self, service: &str) -> Result<Wire, Code> {
        let answer = self.client.check(of(service)).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    }
}

#[tokio::test]
async fn added_services_and_the_whole_server_are_serving_and_others_unknown() {
    let mut server = start(Server::builder().add_service(Stuck)).await;
    assert_eq!(server.check("").await, Ok(Wire::Serving));
    assert_eq!(server.check("test.Stuck").await, Ok(Wire::Serving));
    assert_eq!(server.check("test.Other").await, Err(Code::NotFound));
}

#[tokio::test]
async fn a_status_can_be_set_until_the_shutdown_and_never_again() {
    let server = Server::builder().add_service(Stuck).lame_duck(Duration::from_secs(3600));
    let health = server.health();
    let mut server = start(server).await;
    health.set_status("test.Stuck", ServingStatus::NotServing);
    assert_eq!(server.check("test.Stuck").await, Ok(Wire::NotServing));
    assert_eq!(server.check("").await, Ok(Wire::Serving));
    health.set_status("test.Stuck", ServingStatus::Serving);
    assert_eq!(server.check("test.Stuck").await, Ok(Wire::Serving));
    let mut watch = server.client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::Serving);
    server.shutdown.begin();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::NotServing);
    health.set_status("", ServingStatus::Serving);
    health.set_status("test.Stuck", ServingStatus::Serving);
    health.set_status("test.New", ServingStatus::Serving);
    assert_eq!(server.check("").await, Ok(Wire::NotServing));
    assert_eq!(server.check("test.Stuck").await, Ok(Wire::NotServing));
    assert_eq!(server.check("test.New").await, Err(Code::NotFound));
}

#[tokio::test]
async fn a_watch_follows_the_status_of_a_service_that_comes_later() {
    let server = Server::builder();
    let health = server.health();
    let mut server = start(server).await;
    let mut watch = server.client.watch(of("test.Late")).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, Wire::ServiceUnknown);
    health.set_status("test.Other", ServingStatus::Serving);
    health.set_status("test.Late", ServingStatus::Serving);
    assert_eq!(next().await, Wire::Serving);
    health.set_status("test.Late", ServingStatus::NotServing);
    assert_eq!(next().await, Wire::NotServing);
}

#[tokio::test]
async fn a_watch_does_not_hold_a_drain_up() {
    let mut server = start(Server::builder().drain_timeout(Duration::MAX)).await;
    let mut watch = server.client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::Serving);
    server.shutdown.begin();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Wire::NotServing);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    drop((watch, server.client));
    tokio::time::timeout(Duration::from_secs(30), server.task).await.expect("it drains").unwrap();
}

#[tokio::test]
async fn a_health_service_of_ones_own_takes_its_place() {
    let (reporter, own) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let mut server = start(Server::builder().add_service(own)).await;
    assert_eq!(server.check("").await, Ok(Wire::NotServing));
    let mut server = start(Server::builder().without_health()).await;
    assert_eq!(server.check("").await, Err(Code::Unimplemented));
}
