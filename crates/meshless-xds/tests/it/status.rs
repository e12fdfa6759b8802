//! The status port, as its command reads it.

use meshless_xds::status::{ClientStatus, ServiceState, ServiceStatus, clients_table, fetch, services_table};
use meshless_xds::{ControlPlaneConfig, Source};
use tokio::net::TcpListener;

use crate::support::{Ads, LDS, Plane, list};

#[tokio::test]
async fn services_and_clients_can_be_read_over_http() {
    let config = ControlPlaneConfig::new().service("echo.shop:50051", list("10.0.0.1:1,10.0.0.2:1"));
    let plane = Plane::start(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let control_plane = plane.control_plane.clone();
    let status = tokio::spawn(async move { control_plane.serve_status(listener).await });
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(LDS, &["echo.shop:50051"]).await;
    ads.next().await;
    let services: Vec<ServiceStatus> = fetch(address, "/services").await.unwrap();
    assert_eq!(
        (services[0].state, services[0].endpoints.len(), services[0].clients),
        (ServiceState::Ok, 2, 1)
    );
    assert!(services_table(&services).contains("echo.shop:50051  ok"), "{}", services_table(&services));
    let clients: Vec<ClientStatus> = fetch(address, "/clients").await.unwrap();
    assert_eq!(clients[0].types["LDS"].names, ["echo.shop:50051"]);
    assert!(clients_table(&clients).contains("gRPC test"));
    let error = fetch::<Vec<ClientStatus>>(address, "/nowhere").await.unwrap_err().to_string();
    assert!(error.contains("does not answer as a control plane"), "{error}");
    status.abort();
    drop(status.await);
    let error = fetch::<Vec<ClientStatus>>(address, "/clients").await.unwrap_err().to_string();
    assert!(error.contains("--status"), "{error}");
}

#[tokio::test]
async fn a_control_plane_is_ready_when_every_source_has_answered() {
    let plane = Plane::start(ControlPlaneConfig::new().service("a.b:1", list("10.0.0.1:1")));
    plane.control_plane.ready().await;
    assert!(plane.control_plane.is_ready());
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_at_once() {
    for (name, target, says) in [
        ("echo:1", "unix:/run/echo.sock", "cannot be sent to a Unix domain socket"),
        ("echo shop:1", "ipv4:10.0.0.1:1", "is no name to dial"),
        ("echo:1", "consul:///echo", "write dns:///"),
    ] {
        let Ok(target) = target.parse() else { continue };
        let config = ControlPlaneConfig::new().service(name, Source::Target(target));
        let error = config.start().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(ControlPlaneConfig::new().start().unwrap_err().to_string().contains("nothing to serve"));
    let error = ControlPlaneConfig::new().policy_file("/nowhere/p.json").start().unwrap_err().to_string();
    assert!(error.contains("/nowhere/p.json: "), "{error}");
}
