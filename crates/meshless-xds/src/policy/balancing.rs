//! `loadBalancingConfig`: which policies a service's clients are to try, in this order.
//!
//! Not every language has every policy, and a client that knows none of a list refuses the whole
//! cluster, so that every call of it fails. Lists therefore always end with `round_robin`, which all
//! have (gRFC A52).

use std::time::Duration;

use super::PolicyError;
use super::json::Node;
use super::outliers::{self, Outliers};

/// One policy of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Balancing {
    RoundRobin,
    /// Go and Java (gRFC A48).
    LeastRequest {
        choice_count: u32,
    },
    /// All but tonic-xds (gRFC A42).
    RingHash {
        size_min: Option<u64>,
        size_max: Option<u64>,
    },
    /// Behind a variable in Node (gRFC A62).
    PickFirst {
        shuffle: bool,
    },
    /// By the load that backends report (gRFC A58).
    WeightedRoundRobin(Weighted),
}

impl Balancing {
    /// gRPC's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest { .. } => "least_request",
            Self::RingHash { .. } => "ring_hash",
            Self::PickFirst { .. } => "pick_first",
            Self::WeightedRoundRobin(_) => "weighted_round_robin",
        }
    }
}

/// What a client is told of `weighted_round_robin`. What is `None` has the client's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Weighted {
    pub(crate) out_of_band: Option<bool>,
    pub(crate) out_of_band_period: Option<Duration>,
    pub(crate) blackout: Option<Duration>,
    pub(crate) expiration: Option<Duration>,
    pub(crate) update: Option<Duration>,
    pub(crate) error_penalty: Option<f64>,
}

/// What a list comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BalancingList {
    /// Without a final `round_robin`, unless the document has it.
    pub(super) policies: Vec<Balancing>,
    /// The header by which ring_hash chooses (gRFC A76).
    pub(super) hash_header: Option<String>,
    /// Of an `outlier_detection` around the policies.
    pub(super) outliers: Option<Outliers>,
}

/// Reads a list.
pub(super) fn list(node: &Node<'_>) -> Result<BalancingList, PolicyError> {
    let mut list = BalancingList::default();
    for element in node.elements()? {
        let (name, settings) = element.only_field()?;
        let policy = match name.to_ascii_lowercase().trim_end_matches("_experimental") {
            "round_robin" => Balancing::RoundRobin,
            "least_request" => {
                settings.expect_fields(&["choiceCount"])?;
                // gRFC A48: "values larger than 10 are capped".
                let count = settings.optional("choiceCount", |count| count.whole_number(2, u32::MAX))?;
                Balancing::LeastRequest { choice_count: count.unwrap_or(2).min(10) }
            }
            "ring_hash" => ring_hash(&settings, &mut list)?,
            "pick_first" => {
                settings.expect_fields(&["shuffleAddressList"])?;
                let shuffle = settings.optional("shuffleAddressList", Node::boolean)?;
                // Without, all clients of a service choose the same backend.
                Balancing::PickFirst { shuffle: shuffle.unwrap_or(true) }
            }
            "weighted_round_robin" => Balancing::WeightedRoundRobin(weighted(&settings)?),
            "outlier_detection" => {
                if !list.policies.is_empty() {
                    settings.warn("is only read as the first of a list");
                    continue;
                }
                let outliers = outliers::read(&settings, &["childPolicy"])?;
                let inner = self::list(&settings.required("childPolicy")?)?;
                return Ok(BalancingList { outliers: Some(outliers), ..inner });
            }
            _ => {
                settings.warn("is no policy that xDS clients have; the next one in the list counts");
                continue;
            }
        };
        list.policies.push(policy);
    }
    match list.policies.is_empty() {
        true => Err(node.error(
            "names no policy that xDS clients have; use round_robin, least_request, ring_hash, pick_first or weighted_round_robin",
        )),
        false => Ok(list),
    }
}

fn ring_hash(settings: &Node<'_>, list: &mut BalancingList) -> Result<Balancing, PolicyError> {
    settings.expect_fields(&["minRingSize", "maxRingSize", "requestHashHeader"])?;
    let size = |name: &str| settings.optional(name, |size| size.whole_number(1, RING_SIZE_MAX));
    let (size_min, size_max) = (size("minRingSize")?, size("maxRingSize")?);
    if size_min.unwrap_or(RING_SIZE_MIN_DEFAULT) > size_max.unwrap_or(RING_SIZE_MAX) {
        return Err(settings.error("minRingSize must not be above maxRingSize"));
    }
    if size_min.or(size_max).is_some() {
        settings.warn("gives a ring size, for which grpc-js 1.14 refuses the whole cluster");
    }
    let header = settings.optional("requestHashHeader", |header| match header.string()? {
        name if is_header(name) => Ok(name.to_owned()),
        _ => Err(header.error("must be the name of a header, in lower case and not ending in -bin")),
    })?;
    if header.is_none() {
        settings.warn("has no requestHashHeader, so calls go to random backends");
    }
    list.hash_header = header.or(list.hash_header.take());
    Ok(Balancing::RingHash { size_min: size_min.map(u64::from), size_max: size_max.map(u64::from) })
}

fn weighted(settings: &Node<'_>) -> Result<Weighted, PolicyError> {
    settings.expect_fields(&[
        "enableOobLoadReport",
        "oobReportingPeriod",
        "blackoutPeriod",
        "weightExpirationPeriod",
        "weightUpdatePeriod",
        "errorUtilizationPenalty",
    ])?;
    let duration = |name: &str| settings.optional(name, Node::duration);
    Ok(Weighted {
        out_of_band: settings.optional("enableOobLoadReport", Node::boolean)?,
        out_of_band_period: duration("oobReportingPeriod")?,
        blackout: duration("blackoutPeriod")?,
        expiration: duration("weightExpirationPeriod")?,
        update: duration("weightUpdatePeriod")?,
        error_penalty: settings.optional("errorUtilizationPenalty", |penalty| match penalty.number()? {
            number if number >= 0.0 && number <= f64::from(f32::MAX) => Ok(number),
            _ => Err(penalty.error("must not be negative")),
        })?,
    })
}

/// gRFC A76: "a valid header name that doesn't end with -bin".
fn is_header(name: &str) -> bool {
    !name.is_empty()
        && !name.ends_with("-bin")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
}

/// gRFC A42: "capped at 8M" by the protocol, and at 4096 by clients unless they are told otherwise.
const RING_SIZE_MAX: u32 = 8 << 20;
const RING_SIZE_MIN_DEFAULT: u32 = 1024;
