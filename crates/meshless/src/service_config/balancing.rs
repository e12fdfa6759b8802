//! `loadBalancingConfig`: a list of policies, of which the first that is known counts (gRFC A24).
//!
//! Some policies wrap another (`outlier_detection_experimental` around `round_robin`). The one inside is what picks;
//! the settings of the wrappers are kept as they are, for what implements them.

use meshless_core::{BalancerConfig, ChoiceCount, Policy};
use serde_json::Value;

use super::ServiceConfigError;
use super::json::Node;

/// What a config says about balancing.
#[derive(Clone, Debug)]
pub(super) struct Balancing {
    pub(super) policy: Policy,
    choice_count: Option<ChoiceCount>,
    /// From the outside in.
    pub(super) wrappers: Vec<(Wrapper, Value)>,
}

/// A policy that changes what another one picks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// gRFC A50.
    OutlierDetection,
    /// gRFC A68.
    RandomSubsetting,
}

impl Balancing {
    pub(super) fn apply_to(&self, config: BalancerConfig) -> BalancerConfig {
        // Nothing implements them yet, and what is not obeyed should not go unsaid.
        for (wrapper, settings) in &self.wrappers {
            tracing::warn!(?wrapper, %settings, "the service config's settings of this policy are not obeyed");
        }
        let config = config.policy(self.policy);
        match self.choice_count {
            Some(count) => config.choice_count(count),
            None => config,
        }
    }

    fn of(policy: Policy) -> Self {
        Self { policy, choice_count: None, wrappers: Vec::new() }
    }
}

/// What the document says about balancing.
pub(super) fn balancing(root: &Node<'_>) -> Result<Option<Balancing>, ServiceConfigError> {
    if let Some(list) = root.field("loadBalancingConfig")?
        && !list.elements()?.is_empty()
    {
        return first_known(&list).map(Some);
    }
    // "loadBalancingPolicy" is the older form: one name, in any case.
    let Some(node) = root.field("loadBalancingPolicy")? else { return Ok(None) };
    let name = node.string()?.to_ascii_lowercase();
    match name.parse() {
        Ok(policy) => Ok(Some(Balancing::of(policy))),
        Err(_) => Err(node.error(format!("is {name:?}, which the channel does not have; use {}", known()))),
    }
}

fn first_known(list: &Node<'_>) -> Result<Balancing, ServiceConfigError> {
    let elements = list.elements()?;
    for element in &elements {
        let (name, settings) = element.only_field()?;
        if let Some(balancing) = entry(name, &settings)? {
            return Ok(balancing);
        }
    }
    Err(list.error(format!("names no policy that the channel has; use one of {}", known())))
}

/// `None` if the policy is not known.
fn entry(name: &str, settings: &Node<'_>) -> Result<Option<Balancing>, ServiceConfigError> {
    settings.fields()?;
    let balancing = match name {
        "least_request" | "least_request_experimental" => {
            let count = settings.field("choiceCount")?;
            let choice_count = count.map(|count| choice_count(&count)).transpose()?;
            Balancing { choice_count, ..Balancing::of(Policy::LeastRequest) }
        }
        "outlier_detection" | "outlier_detection_experimental" => {
            wrapped(Wrapper::OutlierDetection, settings)?
        }
        "random_subsetting" | "random_subsetting_experimental" => {
            wrapped(Wrapper::RandomSubsetting, settings)?
        }
        name => match name.parse() {
            Ok(policy) => Balancing::of(policy),
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(balancing))
}

fn wrapped(wrapper: Wrapper, settings: &Node<'_>) -> Result<Balancing, ServiceConfigError> {
    // Nesting is bounded by the JSON parser: 128 levels.
    let mut balancing = first_known(&settings.required("childPolicy")?)?;
    balancing.wrappers.insert(0, (wrapper, settings.value().clone()));
    Ok(balancing)
}

/// gRFC A48: "values larger than 10 are capped".
fn choice_count(node: &Node<'_>) -> Result<ChoiceCount, ServiceConfigError> {
    ChoiceCount::new(node.whole_number(2)?).map_err(|error| node.error(error.to_string()))
}

fn known() -> String {
    Policy::ALL.map(|policy| policy.to_string()).join(", ")
}
