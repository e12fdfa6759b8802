//! `weighted_round_robin`: gRFC A58's settings.

use std::time::Duration;

use meshless_core::WeightedConfig;

use super::error::ServiceConfigError;
use super::json::Node;

/// The settings that the document has.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    out_of_band: Option<bool>,
    reporting_period: Option<Duration>,
    blackout: Option<Duration>,
    expiration: Option<Duration>,
    update: Option<Duration>,
    error_penalty: Option<f32>,
}

impl Weighted {
    pub(super) fn read(settings: &Node<'_>) -> Result<Self, ServiceConfigError> {
        let duration = |name: &'static str| settings.field(name)?.map(|node| node.duration()).transpose();
        let out_of_band = settings.field("enableOobLoadReport")?.map(|node| node.boolean()).transpose()?;
        let penalty = settings.field("errorUtilizationPenalty")?;
        Ok(Self {
            out_of_band,
            reporting_period: duration("oobReportingPeriod")?,
            blackout: duration("blackoutPeriod")?,
            expiration: duration("weightExpirationPeriod")?,
            update: duration("weightUpdatePeriod")?,
            error_penalty: penalty.map(|node| error_penalty(&node)).transpose()?,
        })
    }

    pub(super) fn apply_to(&self, mut config: WeightedConfig) -> WeightedConfig {
        if let Some(enabled) = self.out_of_band {
            config = config.oob_load_report(enabled);
        }
        if let Some(period) = self.reporting_period {
            config = config.oob_reporting_period(period);
        }
        if let Some(period) = self.blackout {
            config = config.blackout_period(period);
        }
        if let Some(period) = self.expiration {
            config = config.expiration_period(period);
        }
        if let Some(period) = self.update {
            config = config.update_period(period);
        }
        if let Some(penalty) = self.error_penalty {
            config = config.error_utilization_penalty(penalty);
        }
        config
    }
}

fn error_penalty(node: &Node<'_>) -> Result<f32, ServiceConfigError> {
    match node.number()? as f32 {
        penalty if penalty.is_finite() && penalty >= 0.0 => Ok(penalty),
        _ => Err(node.error("must be at least 0")),
    }
}
