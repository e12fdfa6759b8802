//! What OpenTelemetry's SDK has read of a meter.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
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
        let mut points = Vec::new();
        for resource in self.exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                let point = |labels: String, count, sum, bounds| Point {
                    name: metric.name().to_owned(),
                    unit: metric.unit().to_owned(),
                    labels,
                    count,
                    sum,
                    bounds,
                };
                match metric.data() {
                    AggregatedMetrics::F64(data) => {
                        points.extend(series(data, |n| n).map(|s| s.into(&point)))
                    }
                    AggregatedMetrics::U64(data) => {
                        points.extend(series(data, |n| n as f64).map(|s| s.into(&point)));
                    }
                    AggregatedMetrics::I64(data) => {
                        points.extend(series(data, |n| n as f64).map(|s| s.into(&point)));
                    }
                }
            }
        }
        points
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

    /// The labels of one histogram, and how many values each has.
    pub(crate) fn counts(&self, name: &str) -> Vec<(String, u64)> {
        self.of(name).into_iter().map(|point| (point.labels, point.count)).collect()
    }
}

struct Series {
    labels: String,
    count: u64,
    sum: f64,
    bounds: Vec<f64>,
}

impl Series {
    fn into(self, point: impl Fn(String, u64, f64, Vec<f64>) -> Point) -> Point {
        point(self.labels, self.count, self.sum, self.bounds)
    }
}

fn series<T: Copy>(data: &MetricData<T>, number: impl Fn(T) -> f64) -> impl Iterator<Item = Series> {
    let one = |labels, value| Series { labels, count: 1, sum: number(value), bounds: Vec::new() };
    let series: Vec<_> = match data {
        MetricData::Gauge(gauge) => {
            gauge.data_points().map(|point| one(labels(point.attributes()), point.value())).collect()
        }
        MetricData::Sum(sum) => {
            sum.data_points().map(|point| one(labels(point.attributes()), point.value())).collect()
        }
        MetricData::Histogram(histogram) => histogram
            .data_points()
            .map(|point| Series {
                labels: labels(point.attributes()),
                count: point.count(),
                sum: number(point.sum()),
                bounds: point.bounds().collect(),
            })
            .collect(),
        MetricData::ExponentialHistogram(_) => panic!("nobody asked for one"),
    };
    series.into_iter()
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut labels: Vec<_> = attributes.map(|label| format!("{}={}", label.key, label.value)).collect();
    labels.sort();
    labels.join(" ")
}
