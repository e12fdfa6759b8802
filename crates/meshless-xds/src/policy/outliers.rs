//! `outlierDetection`: when clients leave a failing endpoint out (gRFC A50).
//!
//! A50's defaults need five endpoints and fifty calls in ten seconds of *each client*, so that with
//! three pods nothing is ever ejected; here they are smaller. `enforcing_failure_percentage` is 0 in
//! Envoy unless it is set.

use std::time::Duration;

use super::PolicyError;
use super::json::Node;

/// The settings, with the defaults in place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outliers {
    pub(crate) interval: Duration,
    pub(crate) base_time: Duration,
    pub(crate) max_time: Duration,
    pub(crate) max_percent: u32,
    pub(crate) success_rate: Option<Detection>,
    pub(crate) failure_percentage: Option<Detection>,
}

/// One of the two ways to tell an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Detection {
    /// `stdevFactor` in thousandths, or `threshold` in per cent.
    pub(crate) limit: u32,
    pub(crate) enforcement: u32,
    pub(crate) hosts_min: u32,
    pub(crate) volume_min: u32,
}

/// Reads the settings of an object that may have `more` fields.
pub(super) fn read(node: &Node<'_>, more: &[&str]) -> Result<Outliers, PolicyError> {
    let mut known = vec![
        "interval",
        "baseEjectionTime",
        "maxEjectionTime",
        "maxEjectionPercent",
        "successRateEjection",
        "failurePercentageEjection",
    ];
    known.extend_from_slice(more);
    node.expect_fields(&known)?;
    let duration = |name, default| {
        let given = node.optional(name, Node::positive_duration)?;
        Ok::<_, PolicyError>(given.unwrap_or(default))
    };
    let success_rate = detection(node, "successRateEjection", "stdevFactor", 1900, u32::MAX)?;
    let failure_percentage = detection(node, "failurePercentageEjection", "threshold", 50, 100)?;
    // An empty object asks for detection, and not for none.
    let neither = success_rate.is_none() && failure_percentage.is_none();
    let failure_percentage = failure_percentage.or(neither.then_some(Detection::of(50)));
    let base_time = duration("baseEjectionTime", Duration::from_secs(10))?;
    Ok(Outliers {
        interval: duration("interval", Duration::from_secs(5))?,
        base_time,
        max_time: duration("maxEjectionTime", Duration::from_secs(300))?.max(base_time),
        max_percent: node.optional("maxEjectionPercent", percent)?.unwrap_or(50),
        success_rate,
        failure_percentage,
    })
}

fn detection(
    node: &Node<'_>,
    name: &str,
    limit: &str,
    default: u32,
    most: u32,
) -> Result<Option<Detection>, PolicyError> {
    let Some(node) = node.field(name)? else { return Ok(None) };
    node.expect_fields(&[limit, "enforcementPercentage", "minimumHosts", "requestVolume"])?;
    let number = |name: &str, most: u32| node.optional(name, |node| node.whole_number(0, most));
    let defaults = Detection::of(default);
    Ok(Some(Detection {
        limit: number(limit, most)?.unwrap_or(default),
        enforcement: number("enforcementPercentage", 100)?.unwrap_or(defaults.enforcement),
        hosts_min: number("minimumHosts", u32::MAX)?.unwrap_or(defaults.hosts_min),
        volume_min: number("requestVolume", u32::MAX)?.unwrap_or(defaults.volume_min),
    }))
}

impl Detection {
    /// For a service of three pods whose clients make a few calls a second.
    fn of(limit: u32) -> Self {
        Self { limit, enforcement: 100, hosts_min: 3, volume_min: 10 }
    }
}

fn percent(node: &Node<'_>) -> Result<u32, PolicyError> {
    node.whole_number(0, 100)
}
