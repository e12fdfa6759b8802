//! `outlier_detection`: gRFC A50's settings, and their counterparts in [`EjectionConfig`].
//!
//! | A50 | here |
//! |---|---|
//! | `interval` | [`OutlierConfig::interval`] |
//! | `baseEjectionTime`, `maxEjectionTime` | [`EjectionConfig::base_time`], [`max_time`](EjectionConfig::max_time) |
//! | `maxEjectionPercent` | [`EjectionConfig::panic_percent`]: beyond it, endpoints are not only left in, all are used |
//! | `successRateEjection.stdevFactor`, in thousandths | [`OutlierConfig::success_deviations`], of the others and not of all |
//! | `failurePercentageEjection.threshold` | [`OutlierConfig::failure_percentage`] |
//! | `enforcementPercentage` of either | 0 switches that one off, everything else on |
//! | `minimumHosts`, `requestVolume` of either | [`OutlierConfig::hosts`], [`volume`](OutlierConfig::volume): the larger, for both |
//!
//! As in A50, a missing detection is off. A missing number has the channel's default and not A50's,
//! which suit larger services than most. The breaker is not part of A50 and does not change.

use std::num::NonZeroU32;
use std::time::Duration;

use meshless_core::{EjectionConfig, OutlierConfig};

use super::error::ServiceConfigError;
use super::json::Node;

/// The settings that the document has.
#[derive(Clone, Debug)]
pub(super) struct OutlierDetection {
    interval: Option<Duration>,
    base_time: Option<Duration>,
    max_time: Option<Duration>,
    max_percent: Option<u8>,
    success_rate: Option<Detection<f64>>,
    failure_percentage: Option<Detection<u8>>,
}

/// One of the two ways to detect an outlier.
#[derive(Clone, Copy, Debug)]
struct Detection<T> {
    limit: Option<T>,
    hosts: Option<u32>,
    volume: Option<u32>,
}

impl OutlierDetection {
    pub(super) fn read(settings: &Node<'_>) -> Result<Self, ServiceConfigError> {
        let duration = |name: &'static str| settings.field(name)?.map(|node| node.duration()).transpose();
        let max_percent = settings.field("maxEjectionPercent")?;
        Ok(Self {
            interval: duration("interval")?,
            base_time: duration("baseEjectionTime")?,
            max_time: duration("maxEjectionTime")?,
            max_percent: max_percent.map(|node| percent(&node)).transpose()?,
            success_rate: detection(settings, "successRateEjection", "stdevFactor", |node| {
                Ok(f64::from(node.whole_number(0)?) / 1000.0)
            })?,
            failure_percentage: detection(settings, "failurePercentageEjection", "threshold", percent)?,
        })
    }

    pub(super) fn apply_to(&self, mut config: EjectionConfig) -> EjectionConfig {
        if let Some(time) = self.base_time {
            config = config.base_time(time);
        }
        if let Some(time) = self.max_time {
            config = config.max_time(time);
        }
        if let Some(percent) = self.max_percent {
            config = config.panic_percent(percent);
        }
        config.outlier_detection(self.outliers())
    }

    /// Returns `None` if there is nothing to detect.
    fn outliers(&self) -> Option<OutlierConfig> {
        if self.success_rate.is_none() && self.failure_percentage.is_none() {
            return None;
        }
        let mut config = OutlierConfig::default();
        if let Some(interval) = self.interval {
            config = config.interval(interval);
        }
        config = match self.success_rate {
            None => config.success_deviations(None),
            Some(Detection { limit: None, .. }) => config,
            Some(Detection { limit, .. }) => config.success_deviations(limit),
        };
        config = match self.failure_percentage {
            None => config.failure_percentage(None),
            Some(Detection { limit: None, .. }) => config,
            Some(Detection { limit, .. }) => config.failure_percentage(limit),
        };
        let (rate, percentage) = (self.success_rate, self.failure_percentage);
        let hosts = rate.and_then(|rate| rate.hosts).max(percentage.and_then(|percentage| percentage.hosts));
        if let Some(hosts) = hosts {
            config = config.hosts(usize::try_from(hosts).unwrap_or(usize::MAX));
        }
        let volume =
            rate.and_then(|rate| rate.volume).max(percentage.and_then(|percentage| percentage.volume));
        if let Some(volume) = volume {
            config = config.volume(NonZeroU32::new(volume).unwrap_or(NonZeroU32::MIN));
        }
        Some(config)
    }
}

/// Returns `None` if it is missing or not enforced.
fn detection<T>(
    settings: &Node<'_>,
    name: &'static str,
    limit: &'static str,
    read: impl Fn(&Node<'_>) -> Result<T, ServiceConfigError>,
) -> Result<Option<Detection<T>>, ServiceConfigError> {
    let Some(node) = settings.field(name)? else { return Ok(None) };
    let number = |name: &'static str| node.field(name)?.map(|node| node.whole_number(0)).transpose();
    let enforcement = node.field("enforcementPercentage")?.map(|node| percent(&node)).transpose()?;
    let detection = Detection {
        limit: node.field(limit)?.map(|node| read(&node)).transpose()?,
        hosts: number("minimumHosts")?,
        volume: number("requestVolume")?,
    };
    Ok(Some(detection).filter(|_| enforcement != Some(0)))
}

fn percent(node: &Node<'_>) -> Result<u8, ServiceConfigError> {
    match u8::try_from(node.whole_number(0)?) {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err(node.error("must be at most 100")),
    }
}
