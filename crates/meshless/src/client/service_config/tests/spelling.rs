//! Spellings that grpc-go or protobuf's JSON mapping accepts have the same meaning here.

use serde_json::{Value, json};

use super::*;

/// Asserts that both documents give the same config, without warnings.
fn assert_same(plain: &Value, spelled: &Value) {
    let read = |document: &Value| {
        let config = config(document);
        assert_eq!(config.warnings(), &[] as &[String], "{document}");
        let ServiceConfig { methods, retry_throttling, balancing, health_check_service, .. } = config;
        format!("{methods:?} {retry_throttling:?} {balancing:?} {health_check_service:?}")
    };
    assert_eq!(read(plain), read(spelled));
}

/// Everything that a config can say, in the documented spelling.
fn everything() -> Value {
    json!({
        "loadBalancingConfig": [{"outlier_detection_experimental": {
            "interval": "5s", "baseEjectionTime": "30s", "maxEjectionTime": "300s", "maxEjectionPercent": 20,
            "successRateEjection": {
                "stdevFactor": 1900, "enforcementPercentage": 100, "minimumHosts": 5, "requestVolume": 100,
            },
            "failurePercentageEjection": {"threshold": 85},
            "childPolicy": [{"random_subsetting_experimental": {
                "subsetSize": 9,
                "childPolicy": [{"weighted_round_robin": {
                    "enableOobLoadReport": true, "oobReportingPeriod": "7s", "blackoutPeriod": "2s",
                    "weightExpirationPeriod": "60s", "weightUpdatePeriod": "3s", "errorUtilizationPenalty": 2.5,
                }}],
            }}],
        }}],
        "methodConfig": [
            {
                "name": [{"service": "shop.Orders", "method": "Place"}, {"service": "shop.Carts"}],
                "waitForReady": true, "timeout": "2s", "maxRequestMessageBytes": 100,
                "maxResponseMessageBytes": 200,
                "retryPolicy": {
                    "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"], "perAttemptRecvTimeout": "0.5s",
                },
            },
            {
                "name": [{}],
                "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.5s", "nonFatalStatusCodes": ["ABORTED"]},
            },
        ],
        "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        "healthCheckConfig": {"serviceName": "shop"},
    })
}

/// The document with every field name spelled by `spell`. Names of policies are values and stay.
fn respelled(value: &Value, spell: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let spelled = |(name, value): (&String, &Value)| {
                let is_policy = name.contains('_');
                let name = if is_policy { name.clone() } else { spell(name) };
                (name, respelled(value, spell))
            };
            Value::Object(fields.iter().map(spelled).collect())
        }
        Value::Array(values) => values.iter().map(|value| respelled(value, spell)).collect(),
        other => other.clone(),
    }
}

#[test]
fn names_of_fields_match_in_any_case_and_with_underscores() {
    let capital = |name: &str| name[..1].to_uppercase() + &name[1..];
    let snake = |name: &str| {
        let letter = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.into() };
        name.chars().map(letter).collect()
    };
    let lower = |name: &str| name.to_lowercase();
    let upper = |name: &str| name.to_uppercase();
    let spellings: [&dyn Fn(&str) -> String; 4] = [&capital, &snake, &lower, &upper];
    for spell in spellings {
        assert_same(&everything(), &respelled(&everything(), spell));
    }
}

#[test]
fn grpc_go_s_own_example_of_retries_is_read() {
    // From examples/features/retry/client of grpc-go, which capitalises some names.
    let config = config(&json!({
        "methodConfig": [{
            "name": [{"service": "grpc.examples.echo.Echo"}],
            "waitForReady": true,
            "retryPolicy": {
                "MaxAttempts": 4, "InitialBackoff": ".01s", "MaxBackoff": ".01s", "BackoffMultiplier": 1.0,
                "RetryableStatusCodes": ["UNAVAILABLE"],
            },
        }],
    }));
    let Some(Repeat::Retry(policy)) = &config.methods[0].over(&MethodSettings::default()).repeat else {
        panic!("a retry policy");
    };
    assert_eq!(policy.max_attempts(), 4);
    assert!(config.warnings().is_empty());
}

#[test]
fn values_may_be_spelled_as_protobuf_and_go_allow() {
    let values = |tokens: Value, ratio: Value, bytes: Value, code: Value| {
        json!({
            "methodConfig": [{
                "name": [{}], "maxRequestMessageBytes": bytes, "timeout": null,
                "retryPolicy": {
                    "maxAttempts": 4, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 2,
                    "retryableStatusCodes": [code],
                },
            }],
            "retryThrottling": {"maxTokens": tokens, "tokenRatio": ratio},
        })
    };
    let plain = values(json!(10), json!(0.1), json!(100), json!("UNAVAILABLE"));
    assert_same(&plain, &values(json!(10.0), json!("0.1"), json!("100"), json!(14)));
    assert_same(&plain, &values(json!("10"), json!(0.1), json!(1e2), json!("unavailable")));
    let policy = |name: &str| json!({"loadBalancingConfig": [{name: {}}]});
    assert_same(&policy("round_robin"), &policy("Round_Robin"));
    assert_same(&policy("round_robin"), &json!({"LoadBalancingPolicy": "ROUND_ROBIN"}));
    let both = json!({"loadBalancingPolicy": "grpclb", "loadBalancingConfig": [{"round_robin": {}}]});
    assert_same(&policy("round_robin"), &both);
}
