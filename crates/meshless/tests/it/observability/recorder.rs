//! Every instrument that is made of a meter, used or not, under the names that Prometheus gives it.
//!
//! The SDK exports only instruments that something was measured with, which would leave out what a
//! short test does not do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    Counter, Gauge, Histogram, HistogramBuilder, InstrumentBuilder, InstrumentProvider, Meter,
    SyncInstrument, UpDownCounter,
};

/// One series of Prometheus.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Its labels, and the values that were seen.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
}

/// Notes what instruments are made, and with which labels they are used.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<BTreeMap<String, Recorded>>>);

struct Recorded {
    unit: String,
    endings: &'static [&'static str],
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// One instrument.
struct Noting {
    name: String,
    recorder: Recorder,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn meter(&self) -> Meter {
        Meter::new(Arc::new(self.clone()))
    }

    /// What Prometheus shows of them ("Prometheus and OpenMetrics Compatibility" of OpenTelemetry):
    /// dots become underscores, the unit follows in words, unless it is in braces, and then what
    /// the kind asks for.
    pub(super) fn series(&self) -> Vec<Series> {
        let of = |(name, recorded): (&String, &Recorded)| {
            let unit = match recorded.unit.as_str() {
                "s" => "_seconds",
                "By" => "_bytes",
                unit if unit.starts_with('{') => "",
                unit => panic!("{name}: what does Prometheus make of the unit {unit}?"),
            };
            let base = format!("{}{unit}", name.replace('.', "_"));
            let series = recorded.endings.iter().map(|ending| {
                let mut labels = recorded.labels.clone();
                if *ending == "_bucket" {
                    labels.insert("le".to_owned(), BTreeSet::new());
                }
                Series { name: format!("{base}{ending}"), labels }
            });
            series.collect::<Vec<_>>()
        };
        self.0.lock().unwrap().iter().flat_map(of).collect()
    }

    fn note(&self, name: &str, unit: Option<&str>, endings: &'static [&'static str]) -> Arc<Noting> {
        let recorded =
            || Recorded { unit: unit.unwrap_or_default().to_owned(), endings, labels: BTreeMap::new() };
        self.0.lock().unwrap().entry(name.to_owned()).or_insert_with(recorded);
        Arc::new(Noting { name: name.to_owned(), recorder: self.clone() })
    }
}

impl<T> SyncInstrument<T> for Noting {
    fn measure(&self, _: T, attributes: &[KeyValue]) {
        let mut all = self.recorder.0.lock().unwrap();
        let labels = &mut all.get_mut(&self.name).unwrap().labels;
        for attribute in attributes {
            let key = attribute.key.as_str().replace('.', "_");
            labels.entry(key).or_default().insert(attribute.value.to_string());
        }
    }
}

const HISTOGRAM: &[&str] = &["_bucket", "_sum", "_count"];

/// The kinds that the library uses. Another is recorded nowhere, and a query for it fails the test.
impl InstrumentProvider for Recorder {
    fn u64_counter(&self, builder: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
        Counter::new(self.note(&builder.name, builder.unit.as_deref(), &["_total"]))
    }

    fn i64_up_down_counter(&self, builder: InstrumentBuilder<'_, UpDownCounter<i64>>) -> UpDownCounter<i64> {
        UpDownCounter::new(self.note(&builder.name, builder.unit.as_deref(), &[""]))
    }

    fn f64_gauge(&self, builder: InstrumentBuilder<'_, Gauge<f64>>) -> Gauge<f64> {
        Gauge::new(self.note(&builder.name, builder.unit.as_deref(), &[""]))
    }

    fn f64_histogram(&self, builder: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
        Histogram::new(self.note(&builder.name, builder.unit.as_deref(), HISTOGRAM))
    }

    fn u64_histogram(&self, builder: HistogramBuilder<'_, Histogram<u64>>) -> Histogram<u64> {
        Histogram::new(self.note(&builder.name, builder.unit.as_deref(), HISTOGRAM))
    }
}
