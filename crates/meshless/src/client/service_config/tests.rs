//! What a config means, and the errors of an invalid one.

use std::time::Duration;

use meshless_core::Code;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::client::channel::Repeat;

mod spelling;
mod warnings;

fn config(value: &Value) -> ServiceConfig {
    value.to_string().parse().unwrap()
}

fn error(value: &Value) -> String {
    value.to_string().parse::<ServiceConfig>().unwrap_err().to_string()
}

fn retry_policy() -> Value {
    json!({
        "maxAttempts": 4, "initialBackoff": ".1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    })
}

/// A config whose only retry policy has this field in place of a valid one.
fn with_policy(field: &str, value: Value) -> Value {
    let mut policy = retry_policy();
    policy[field] = value;
    json!({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
}

fn named(name: Value) -> Value {
    json!({"methodConfig": [{"name": [{}]}, {"name": [{"service": "a.A"}, name]}]})
}

#[test]
fn a_config_as_other_channels_take_it_is_read() {
    let config = config(&json!({
        "loadBalancingConfig": [{"grpclb": {}}, {"least_request_experimental": {"choiceCount": 3}}],
        "methodConfig": [
            {"name": [{"service": "shop.Orders", "method": "Place"}], "retryPolicy": retry_policy(), "timeout": "2s"},
            {"name": [{"service": "shop.Orders"}], "waitForReady": true, "maxRequestMessageBytes": "100"},
            {"name": [{}], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.5s", "nonFatalStatusCodes": [14]}},
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "healthCheckConfig": {"serviceName": "shop"},
        "somethingNew": {"maxAttempts": -1},
    }));
    assert_eq!(config.policy(), Some(Policy::LeastRequest));
    assert_eq!(config.health_check_service(), Some("shop"));
    assert_eq!(config.retry_throttling(), Some(RetryThrottling::new(10, 0.1).unwrap()));
    let seconds = Duration::from_secs;
    let others = MethodSettings { timeout: Some(seconds(1)), ..MethodSettings::default() };
    let [place, orders, rest] = &config.methods[..] else { panic!("three entries") };
    let place = place.over(&others);
    let Some(Repeat::Retry(policy)) = &place.repeat else { panic!("a retry policy") };
    assert_eq!((policy.max_attempts(), policy.retryable().contains(Code::Unavailable)), (4, true));
    assert_eq!(place.timeout, Some(seconds(1)), "the shorter of the two");
    let orders = orders.over(&others);
    assert!(orders.wait_for_ready && orders.repeat.is_none());
    assert_eq!(orders.request_message_max, Some(100), "int64 and wrappers may come as strings");
    let Some(Repeat::Hedge(policy)) = rest.over(&others).repeat else { panic!("a hedging policy") };
    assert_eq!((policy.delay(), policy.non_fatal().contains(Code::Unavailable)), (seconds(1) / 2, true));
}

#[test]
fn what_a_config_does_not_say_stays_as_it_was() {
    let config = config(&json!({"methodConfig": [{"name": [{"service": "a.A"}], "timeout": null}]}));
    assert!(config.policy().is_none() && config.retry_throttling().is_none());
    let others = MethodSettings { wait_for_ready: true, ..MethodSettings::default() };
    assert!(config.methods[0].over(&others).wait_for_ready);
}

#[test]
fn the_first_policy_that_is_known_counts() {
    let list = |list: Value| json!({"loadBalancingConfig": list});
    let wrapped = json!([{"outlier_detection_experimental": {
        "childPolicy": [{"rls": {}}, {"random_subsetting_experimental": {
            "subset_size": 5, "childPolicy": [{"peak_ewma": {}}],
        }}],
    }}]);
    assert_eq!(config(&list(wrapped)).policy(), Some(Policy::PeakEwma));
    let older = json!({"loadBalancingPolicy": "ROUND_ROBIN", "loadBalancingConfig": []});
    assert_eq!(config(&older).policy(), Some(Policy::RoundRobin));
    assert_eq!(
        config(&list(json!([{"pick_first": {"shuffleAddressList": true}}]))).policy(),
        Some(Policy::PickFirst)
    );
}

/// The balancer's settings as text, since they are private.
fn balancer(policies: Value) -> String {
    let config = config(&json!({"loadBalancingConfig": policies}));
    format!("{:?}", config.apply_to(BalancerConfig::default()))
}

#[test]
fn outlier_detection_becomes_ejection() {
    use meshless_core::{EjectionConfig, OutlierConfig};
    let n = |n| std::num::NonZeroU32::new(n).unwrap();
    let seconds = Duration::from_secs;
    let wrapped = |settings: Value| {
        let mut settings = settings;
        settings["childPolicy"] = json!([{"round_robin": {}}]);
        balancer(json!([{"outlier_detection_experimental": settings}]))
    };
    let expected = |ejection: EjectionConfig| format!("{:?}", BalancerConfig::default().ejection(ejection));
    let all = json!({
        "interval": "5s", "baseEjectionTime": "30s", "maxEjectionTime": "300s", "maxEjectionPercent": 10,
        "successRateEjection": {
            "stdevFactor": 1900, "enforcementPercentage": 100, "minimumHosts": 5, "requestVolume": 100,
        },
        "failurePercentageEjection": {
            "threshold": 85, "enforcementPercentage": 50, "minimumHosts": 4, "requestVolume": 50,
        },
    });
    let outliers = OutlierConfig::default().interval(seconds(5)).hosts(5).volume(n(100));
    let outliers = outliers.success_deviations(Some(1.9)).failure_percentage(Some(85));
    let ejection = EjectionConfig::default().base_time(seconds(30)).max_time(seconds(300)).panic_percent(10);
    assert_eq!(wrapped(all), expected(ejection.outlier_detection(Some(outliers))));
    let one = json!({
        "successRateEjection": {"enforcementPercentage": 0}, "failurePercentageEjection": {"threshold": "40"},
    });
    let outliers = OutlierConfig::default().success_deviations(None).failure_percentage(Some(40));
    assert_eq!(wrapped(one), expected(EjectionConfig::default().outlier_detection(Some(outliers))));
    assert_eq!(wrapped(json!({"interval": "1s"})), expected(EjectionConfig::default()), "nothing to detect");
}

#[test]
fn subsets_and_weights_are_obeyed() {
    use meshless_core::WeightedConfig;
    let size = std::num::NonZeroUsize::new(7);
    for field in ["subset_size", "subsetSize", "SubsetSize"] {
        let subset = json!([{"random_subsetting": {field: 7, "childPolicy": [{"weighted_round_robin": {
            "enableOobLoadReport": true, "oobReportingPeriod": "7s", "blackoutPeriod": "2s",
            "weightExpirationPeriod": "60s", "weightUpdatePeriod": "3s", "errorUtilizationPenalty": 2.5,
        }}]}}]);
        let seconds = Duration::from_secs;
        let weighted = WeightedConfig::default().blackout_period(seconds(2)).expiration_period(seconds(60));
        let weighted = weighted.update_period(seconds(3)).error_utilization_penalty(2.5);
        let weighted = weighted.oob_load_report(true).oob_reporting_period(seconds(7));
        let expected = BalancerConfig::new(Policy::WeightedRoundRobin).weighted(weighted).subset_size(size);
        assert_eq!(balancer(subset), format!("{expected:?}"));
    }
}

#[test]
fn errors_name_the_field() {
    let attempts = "methodConfig[0].retryPolicy.maxAttempts";
    let name = "methodConfig[1].name[1]";
    let list = "loadBalancingConfig";
    for (wrong, expected) in [
        (with_policy("maxAttempts", json!(1)), format!("{attempts}: must be at least 2")),
        (with_policy("maxAttempts", json!(2.5)), format!("{attempts}: must be a whole number")),
        (with_policy("maxAttempts", Value::Null), format!("{attempts}: is missing")),
        (
            with_policy("initialBackoff", json!("0s")),
            "methodConfig[0].retryPolicy.initialBackoff: must be above zero".into(),
        ),
        (
            with_policy("maxBackoff", json!(1)),
            "methodConfig[0].retryPolicy.maxBackoff: must be a duration in seconds that is not negative, such as \
             \"1.5s\""
                .into(),
        ),
        (
            with_policy("backoffMultiplier", json!(0)),
            "methodConfig[0].retryPolicy.backoffMultiplier: must be above 0".into(),
        ),
        (
            with_policy("retryableStatusCodes", json!(["UNAVAILABLE", "DOWN"])),
            "methodConfig[0].retryPolicy.retryableStatusCodes[1]: \"DOWN\" is not a gRPC status code; use a name such \
             as UNAVAILABLE, or a number from 0 to 16"
                .into(),
        ),
        (
            with_policy("retryableStatusCodes", json!([])),
            "methodConfig[0].retryPolicy.retryableStatusCodes: no status code is retryable; name at least one, such \
             as UNAVAILABLE"
                .into(),
        ),
        (named(json!({})), format!("{name}: names the same methods as methodConfig[0].name[0]")),
        (named(json!({"service": "a.A"})), format!("{name}: names the same methods as methodConfig[1].name[0]")),
        (named(json!({"method": "M"})), format!("{name}: names a method without its service")),
        (
            json!({"methodConfig": [{"retryPolicy": retry_policy(), "hedgingPolicy": {}}]}),
            "methodConfig[0].hedgingPolicy: must not stand beside retryPolicy; a method has one or the other".into(),
        ),
        (
            json!({"retryThrottling": {"maxTokens": 1001, "tokenRatio": 1}}),
            "retryThrottling.maxTokens: must be above 0 and at most 1000".into(),
        ),
        (
            json!({"retryThrottling": {"maxTokens": 10, "tokenRatio": 0}}),
            "retryThrottling.tokenRatio: must be above 0".into(),
        ),
        (
            json!({"loadBalancingConfig": [{"rls": {}}]}),
            format!(
                "{list}: names no policy that the channel has; use one of pick_first, round_robin, least_request, \
                 peak_ewma, weighted_round_robin"
            ),
        ),
        (
            json!({"loadBalancingConfig": [{"rls": {}, "round_robin": {}}]}),
            format!("{list}[0]: must have exactly one field"),
        ),
        (
            json!({"loadBalancingConfig": [{"least_request": {"choiceCount": 1}}]}),
            format!("{list}[0].least_request.choiceCount: must be at least 2"),
        ),
        (
            json!({"loadBalancingConfig": [{"outlier_detection": {
                "failurePercentageEjection": {"threshold": 101}, "childPolicy": [{"round_robin": {}}],
            }}]}),
            format!("{list}[0].outlier_detection.failurePercentageEjection.threshold: must be at most 100"),
        ),
        (
            json!({"loadBalancingConfig": [{"outlier_detection": {}}]}),
            format!("{list}[0].outlier_detection.childPolicy: is missing"),
        ),
        (
            json!({"loadBalancingConfig": [{"random_subsetting": {"subsetSize": 0}}]}),
            format!("{list}[0].random_subsetting.subsetSize: must be at least 1"),
        ),
        (
            json!({"loadBalancingConfig": [{"weighted_round_robin": {"errorUtilizationPenalty": -1}}]}),
            format!("{list}[0].weighted_round_robin.errorUtilizationPenalty: must be at least 0"),
        ),
        (json!({"healthCheckConfig": {"serviceName": 1}}), "healthCheckConfig.serviceName: must be a string".into()),
        (json!([]), "the service config must be an object".into()),
    ] {
        assert_eq!(error(&wrong), expected);
    }
    let error = "{\"methodConfig\": [}".parse::<ServiceConfig>().unwrap_err();
    assert!(
        error.to_string().starts_with("the service config is not JSON: expected value at line 1"),
        "{error}"
    );
    assert_eq!(error.path(), "");
}

/// JSON with the field names of a config and values of every kind.
fn anything() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "methodConfig",
        "name",
        "service",
        "method",
        "timeout",
        "waitForReady",
        "maxRequestMessageBytes",
        "retryPolicy",
        "hedgingPolicy",
        "maxAttempts",
        "initialBackoff",
        "maxBackoff",
        "backoffMultiplier",
        "retryableStatusCodes",
        "nonFatalStatusCodes",
        "hedgingDelay",
        "perAttemptRecvTimeout",
        "retryThrottling",
        "maxTokens",
        "tokenRatio",
        "loadBalancingConfig",
        "least_request",
        "choiceCount",
        "childPolicy",
        "outlier_detection",
        "successRateEjection",
        "stdevFactor",
        "failurePercentageEjection",
        "threshold",
        "maxEjectionPercent",
        "random_subsetting",
        "subset_size",
        "weighted_round_robin",
        "errorUtilizationPenalty",
        "healthCheckConfig",
        "loadBalancingPolicy",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..20).prop_map(Value::from),
        "[-+0-9.es]{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["UNAVAILABLE", "ok", "1s", "0s", "round_robin"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field.clone(), inner), 0..5).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(document in anything()) {
        if let Err(error) = ServiceConfig::from_json(&document.to_string()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,64}") {
        let _ = ServiceConfig::from_json(&text);
    }

    #[test]
    fn no_retry_policy_makes_it_panic(document in anything(), field in 0usize..5) {
        let fields =
            ["maxAttempts", "initialBackoff", "maxBackoff", "backoffMultiplier", "retryableStatusCodes"];
        let _ = ServiceConfig::from_json(&with_policy(fields[field], document).to_string());
    }
}
