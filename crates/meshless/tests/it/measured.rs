//! What OpenTelemetry's SDK has read of a meter.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Metric, MetricData, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// A meter, and the way to what was measured with it.
pub(crate) struct Measured {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
}

/// One set of labels of one instrument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// By key: `grpc.method=shop.Orders/Place grpc.status=OK`.
    pub(crate) labels: String,
    /// How many values a histogram holds; 1 for the others.
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Boundaries of a histogram.
    pub(crate) bounds: Vec<f64>,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { exporter, provider: SdkMeterProvider::builder().with_reader(reader).build() }
    }

    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter("test")
    }

    /// Everything, as of now.
    pub(crate) fn read(&self) -> Vec<Point> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let read = self.exporter.get_finished_metrics().unwrap();
        let scopes = read.iter().flat_map(ResourceMetrics::scope_metrics);
        let metrics = scopes.flat_map(ScopeMetrics::metrics);
        metrics
            .flat_map(|metric| match metric.data() {
                AggregatedMetrics::F64(data) => points(metric, data, |number| number),
                AggregatedMetrics::U64(data) => points(metric, data, |number| number as f64),
                AggregatedMetrics::I64(data) => points(metric, data, |number| number as f64),
            })
            .collect()
    }

    /// The points of one instrument, by their labels.
    pub(crate) fn of(&self, name: &str) -> Vec<Point> {
        let mut points: Vec<_> = self.read().into_iter().filter(|point| point.name == name).collect();
        points.sort_by(|a, b| a.labels.cmp(&b.labels));
        points
    }

    /// The labels and sums of one instrument.
    pub(crate) fn sums(&self, name: &str) -> Vec<(String, f64)> {
        self.of(name).into_iter().map(|point| (point.labels, point.sum)).collect()
    }

    /// The same, without those that nothing has happened to yet.
    pub(crate) fn events(&self, name: &str) -> Vec<(String, f64)> {
        self.sums(name).into_iter().filter(|(_, sum)| *sum != 0.0).collect()
    }

    /// The labels of one histogram, and how many values each has.
    pub(crate) fn counts(&self, name: &str) -> Vec<(String, u64)> {
        self.of(name).into_iter().map(|point| (point.labels, point.count)).collect()
    }
}

fn points<T: Copy>(metric: &Metric, data: &MetricData<T>, number: impl Fn(T) -> f64) -> Vec<Point> {
    let point = |labels, count, sum, bounds| Point {
        name: metric.name().to_owned(),
        unit: metric.unit().to_owned(),
        labels,
        count,
        sum: number(sum),
        bounds,
    };
    match data {
        MetricData::Gauge(gauge) => {
            let of = gauge.data_points();
            of.map(|of| point(labels(of.attributes()), 1, of.value(), Vec::new())).collect()
        }
        MetricData::Sum(sum) => {
            let of = sum.data_points();
            of.map(|of| point(labels(of.attributes()), 1, of.value(), Vec::new())).collect()
        }
        MetricData::Histogram(histogram) => {
            let of = histogram.data_points();
            of.map(|of| point(labels(of.attributes()), of.count(), of.sum(), of.bounds().collect())).collect()
        }
        MetricData::ExponentialHistogram(_) => panic!("nobody asked for one"),
    }
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut labels: Vec<_> = attributes.map(|label| format!("{}={}", label.key, label.value)).collect();
    labels.sort();
    labels.join(" ")
}
