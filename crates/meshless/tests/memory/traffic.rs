//! A channel and a server, whole, with calls, rotations, and channels that come and go.

use std::time::Duration;

use meshless::{Channel, ChannelBuilder, Server, Shutdown, ShutdownHandle};
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::pipes::{Dialer, network};
use crate::{assert_kept_nothing, heap, one_at_a_time};

/// Metrics are kept by OpenTelemetry's SDK, whose tables must not grow either.
#[cfg(feature = "otel")]
struct Meters(opentelemetry_sdk::metrics::SdkMeterProvider);

#[cfg(not(feature = "otel"))]
struct Meters;

impl Meters {
    #[cfg(feature = "otel")]
    fn new() -> Self {
        use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
        let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
        Self(SdkMeterProvider::builder().with_reader(reader).build())
    }

    #[cfg(not(feature = "otel"))]
    fn new() -> Self {
        Self
    }

    fn server(&self, server: Server) -> Server {
        #[cfg(feature = "otel")]
        return server.metrics(opentelemetry::metrics::MeterProvider::meter(&self.0, "memory"));
        #[cfg(not(feature = "otel"))]
        server
    }

    fn channel(&self, channel: ChannelBuilder) -> ChannelBuilder {
        #[cfg(feature = "otel")]
        return channel.metrics(opentelemetry::metrics::MeterProvider::meter(&self.0, "memory"));
        #[cfg(not(feature = "otel"))]
        channel
    }
}

struct World {
    meters: Meters,
    dialer: Dialer,
    shutdown: ShutdownHandle,
    server: JoinHandle<()>,
}

impl World {
    /// A server that sends its connections away once a second.
    fn start() -> Self {
        let (meters, (dialer, pipes), shutdown) = (Meters::new(), network(), Shutdown::new());
        let server = meters.server(Server::builder().max_connection_age(Duration::from_secs(1)));
        let handle = shutdown.handle();
        let server = tokio::spawn(async move {
            server.serve_with_incoming_shutdown([pipes], shutdown).await.unwrap();
        });
        Self { meters, dialer, shutdown: handle, server }
    }

    fn channel(&self) -> Channel {
        let builder = Channel::builder("ipv4:10.0.0.1:1,10.0.0.2:1").connector(self.dialer.clone()).seed(1);
        self.meters.channel(builder).connect_lazy().unwrap()
    }

    async fn stop(self) {
        self.shutdown.hurry();
        self.server.await.unwrap();
    }
}

/// Calls, one every 250 ms; a few ask for a service that is not there.
async fn calls(channel: &Channel, count: u32) {
    let mut client = HealthClient::new(channel.clone());
    for number in 0..count {
        let service = if number % 10 == 0 { "none" } else { "" };
        let answer = client.check(HealthCheckRequest { service: service.into() }).await;
        assert_eq!(answer.is_err(), number % 10 == 0, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

#[test]
fn calls_and_rotations_keep_nothing() {
    let _turn = one_at_a_time();
    run(async {
        let world = World::start();
        let channel = world.channel();
        calls(&channel, 500).await;
        let before = heap();
        // 1 000 s, in which each of two connections is replaced about 1 000 times.
        calls(&channel, 4_000).await;
        assert_kept_nothing(before, "4 000 calls and 2 000 rotations");
        drop(channel);
        world.stop().await;
    });
}

#[test]
fn channels_that_have_ended_keep_nothing() {
    let _turn = one_at_a_time();
    run(async {
        let world = World::start();
        let come_and_go = async |count: u32| {
            for _ in 0..count {
                calls(&world.channel(), 1).await;
            }
            // The connections end when nobody has the channel any more.
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        come_and_go(50).await;
        let before = heap();
        come_and_go(200).await;
        assert_kept_nothing(before, "200 channels");
        world.stop().await;
    });
}
