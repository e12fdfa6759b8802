//! What a channel and a server measure, printed: ten calls of the health service over loopback.
//!
//! ```console
//! $ cargo run -p meshless --features otel --example metrics
//! ```
//!
//! The exporter here keeps everything in memory. In a service it is the one of
//! `opentelemetry-otlp`, or of what else your metrics go to; nothing but the `SdkMeterProvider`
//! changes.

use meshless::{Channel, Server};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();

    let listener = meshless::server::bind(([127, 0, 0, 1], 0).into())?;
    let target = format!("ipv4:{}", listener.local_addr()?);
    let server = Server::builder().metrics(provider.meter("meshless"));
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));
    let channel = Channel::builder(target).metrics(provider.meter("meshless")).metrics_target("health");
    let mut client = HealthClient::new(channel.connect().await?);
    for _ in 0..10 {
        client.check(HealthCheckRequest::default()).await?;
    }

    provider.force_flush()?;
    for resource in exporter.get_finished_metrics()? {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            println!("{} [{}]", metric.name(), metric.unit());
            match metric.data() {
                AggregatedMetrics::F64(data) => print(data),
                AggregatedMetrics::U64(data) => print(data),
                AggregatedMetrics::I64(data) => print(data),
            }
        }
    }
    Ok(())
}

fn print<T: Copy + std::fmt::Display>(data: &MetricData<T>) {
    let text = |labels: &mut dyn Iterator<Item = &KeyValue>| {
        labels.map(|label| format!("  {}={}", label.key, label.value)).collect::<String>()
    };
    match data {
        MetricData::Sum(sum) => {
            sum.data_points().for_each(|p| println!("{}: {}", text(&mut p.attributes()), p.value()))
        }
        MetricData::Gauge(gauge) => {
            gauge.data_points().for_each(|p| println!("{}: {}", text(&mut p.attributes()), p.value()))
        }
        MetricData::Histogram(histogram) => histogram.data_points().for_each(|p| {
            println!("{}: {} values, sum {}", text(&mut p.attributes()), p.count(), p.sum());
        }),
        MetricData::ExponentialHistogram(_) => {}
    }
}
