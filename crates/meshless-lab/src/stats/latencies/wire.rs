//! Latencies as text, without loss: the compressed V2 encoding of HdrHistogram in base64.
//!
//! Used by `cluster`: its workers send their histograms through the logs of their pods, a few
//! hundred bytes each. An unpacked histogram takes a quarter of a megabyte, so they stay packed
//! until they are added up.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::{LATENCY_MAX_NS, Latencies};

/// Latencies of several places, each in its packed form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PackedLatencies(Vec<Packed>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Packed {
    hdr: String,
    sum_ns: u64,
    max_ns: u64,
}

impl PackedLatencies {
    /// Adds the latencies of another place.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Returns all of them together.
    ///
    /// # Errors
    /// If they were not packed here; the text says what is wrong.
    pub(crate) fn unpack(&self) -> Result<Latencies, String> {
        let mut all = Latencies::new();
        for packed in &self.0 {
            let bytes = STANDARD.decode(&packed.hdr).map_err(|error| error.to_string())?;
            let histogram: Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .map_err(|error| format!("{error:?}"))?;
            if histogram.high() != LATENCY_MAX_NS || histogram.sigfig() != 3 {
                return Err("a histogram of another range".into());
            }
            all.merge(&Latencies { histogram, sum_ns: packed.sum_ns.into(), max_ns: packed.max_ns });
        }
        Ok(all)
    }
}

impl From<&Latencies> for PackedLatencies {
    fn from(latencies: &Latencies) -> Self {
        if latencies.histogram.is_empty() {
            return Self::default();
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&latencies.histogram, &mut bytes)
            .expect("a vector takes every byte, and the counts of a run fit");
        // 584 years of latency fit.
        let sum_ns = u64::try_from(latencies.sum_ns).unwrap_or(u64::MAX);
        Self(vec![Packed { hdr: STANDARD.encode(bytes), sum_ns, max_ns: latencies.max_ns }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_workers_measured_is_merged_as_if_one_had() {
        let (mut whole, mut parts) = (Latencies::new(), [Latencies::new(), Latencies::new()]);
        for n in 1..=10_000u64 {
            let latency = n * n * 7;
            whole.record(latency);
            parts[n as usize % 2].record(latency);
        }
        let mut merged = PackedLatencies::default();
        for part in parts {
            let text = serde_json::to_string(&PackedLatencies::from(&part)).unwrap();
            assert!(text.len() < 16_384, "{} bytes", text.len());
            merged.merge(&serde_json::from_str(&text).unwrap());
        }
        let merged = merged.unpack().unwrap();
        assert_eq!(merged.histogram, whole.histogram);
        assert_eq!(merged.summary(), whole.summary());
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for hdr in ["", "!", "AAAA"] {
            let packed = Packed { hdr: hdr.into(), sum_ns: 1, max_ns: 1 };
            assert!(PackedLatencies(vec![packed]).unpack().is_err(), "{hdr}");
        }
        assert_eq!(PackedLatencies::default().unpack().unwrap().summary(), Latencies::new().summary());
    }
}
