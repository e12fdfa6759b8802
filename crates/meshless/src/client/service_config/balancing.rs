//! `loadBalancingConfig`: a list of policies. The first known one counts (gRFC A24).
//!
//! Some policies wrap another (`outlier_detection_experimental` around `round_robin`). The inner
//! one picks. [`outlier`](super::outlier) and this file turn the wrappers into the balancer's own
//! settings.

use std::num::NonZeroUsize;

use meshless_core::{BalancerConfig, ChoiceCount, Policy};

use super::error::ServiceConfigError;
use super::json::Node;
use super::outlier::OutlierDetection;
use super::weighted::Weighted;

/// The balancing settings of a config.
#[derive(Clone, Debug)]
pub(super) struct Balancing {
    pub(super) policy: Policy,
    choice_count: Option<ChoiceCount>,
    weighted: Option<Weighted>,
    outliers: Option<OutlierDetection>,
    subset_size: Option<NonZeroUsize>,
}

impl Balancing {
    pub(super) fn apply_to(&self, config: BalancerConfig) -> BalancerConfig {
        let mut config = config.policy(self.policy);
        if let Some(count) = self.choice_count {
            config = config.choice_count(count);
        }
        if let Some(weighted) = &self.weighted {
            let settings = weighted.apply_to(*config.weighted_settings());
            config = config.weighted(settings);
        }
        if let Some(outliers) = &self.outliers {
            let settings = outliers.apply_to(config.ejection_settings().clone());
            config = config.ejection(settings);
        }
        if self.subset_size.is_some() {
            config = config.subset_size(self.subset_size);
        }
        config
    }

    fn of(policy: Policy) -> Self {
        Self { policy, choice_count: None, weighted: None, outliers: None, subset_size: None }
    }
}

/// Reads the balancing settings of the document.
pub(super) fn balancing(root: &Node<'_>) -> Result<Option<Balancing>, ServiceConfigError> {
    let older = root.field("loadBalancingPolicy")?;
    if let Some(list) = root.field("loadBalancingConfig")?
        && !list.elements()?.is_empty()
    {
        return first_known(&list).map(Some);
    }
    // The older form: one name, in any case.
    let Some(node) = older else { return Ok(None) };
    let name = node.string()?;
    let policy = name.to_ascii_lowercase().parse();
    if policy.is_err() {
        // grpc-go uses its default policy then.
        node.warn(&format!(
            "is {name:?}, which the channel does not have; its own policy stays. Use one of {}",
            known()
        ));
    }
    Ok(policy.ok().map(Balancing::of))
}

fn first_known(list: &Node<'_>) -> Result<Balancing, ServiceConfigError> {
    let elements = list.elements()?;
    for element in &elements {
        let (name, settings) = element.only_field()?;
        if let Some(balancing) = entry(name, &settings)? {
            return Ok(balancing);
        }
        settings.warn("is a policy that the channel does not have; the next one in the list counts");
    }
    Err(list.error(format!("names no policy that the channel has; use one of {}", known())))
}

/// Returns `None` if the policy is not known.
fn entry(name: &str, settings: &Node<'_>) -> Result<Option<Balancing>, ServiceConfigError> {
    // grpc-go finds policies in any case.
    let name = name.to_ascii_lowercase();
    let balancing = match name.as_str() {
        "least_request" | "least_request_experimental" => {
            let count = settings.field("choiceCount")?;
            let choice_count = count.map(|count| choice_count(&count)).transpose()?;
            Balancing { choice_count, ..Balancing::of(Policy::LeastRequest) }
        }
        "outlier_detection" | "outlier_detection_experimental" => {
            let outliers = Some(OutlierDetection::read(settings)?);
            Balancing { outliers, ..child(settings)? }
        }
        "random_subsetting" | "random_subsetting_experimental" => {
            let subset_size = Some(subset_size(settings)?);
            Balancing { subset_size, ..child(settings)? }
        }
        "weighted_round_robin" => {
            let weighted = Some(Weighted::read(settings)?);
            Balancing { weighted, ..Balancing::of(Policy::WeightedRoundRobin) }
        }
        name => match name.parse() {
            Ok(policy) => simple(policy, settings)?,
            Err(_) => return Ok(None),
        },
    };
    settings.expect_object()?;
    Ok(Some(balancing))
}

/// Returns a policy without settings.
fn simple(policy: Policy, settings: &Node<'_>) -> Result<Balancing, ServiceConfigError> {
    if policy == Policy::PickFirst
        && let Some(shuffle) = settings.field("shuffleAddressList")?
        && !shuffle.boolean()?
    {
        shuffle.warn(
            "has no effect: the channel always shuffles, so that clients do not all choose the same backend",
        );
    }
    Ok(Balancing::of(policy))
}

/// Reads the child of a wrapper.
fn child(settings: &Node<'_>) -> Result<Balancing, ServiceConfigError> {
    // The JSON parser limits nesting to 128 levels.
    first_known(&settings.required("childPolicy")?)
}

fn subset_size(settings: &Node<'_>) -> Result<NonZeroUsize, ServiceConfigError> {
    let size = settings.required("subsetSize")?;
    let number = usize::try_from(size.whole_number(1)?).unwrap_or(usize::MAX);
    NonZeroUsize::new(number).ok_or_else(|| size.error("must be at least 1"))
}

/// gRFC A48: "values larger than 10 are capped".
fn choice_count(node: &Node<'_>) -> Result<ChoiceCount, ServiceConfigError> {
    ChoiceCount::new(node.whole_number(2)?).map_err(|error| node.error(error.to_string()))
}

fn known() -> String {
    Policy::ALL.map(|policy| policy.to_string()).join(", ")
}
