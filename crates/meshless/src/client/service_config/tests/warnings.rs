//! Parts without effect are named, with their path.

use serde_json::{Value, json};

use super::*;

fn warnings(document: &Value) -> Vec<String> {
    config(document).warnings().to_vec()
}

#[test]
fn fields_that_are_not_known_are_named_at_any_depth() {
    let mut policy = retry_policy();
    policy["maxAttemps"] = json!(4);
    let document = json!({
        "methodConfigs": [],
        "methodConfig": [{"name": [{"service": "a.A", "metod": "M"}], "retryPolicy": policy, "deadline": null}],
        "healthCheckConfig": {"service": "shop"},
        "loadBalancingConfig": [{"outlier_detection": {
            "intervall": "1s", "childPolicy": [{"round_robin": {"weight": {"of": ["a"]}}}],
        }}],
    });
    let list = "loadBalancingConfig[0].outlier_detection";
    let mut expected = [
        "healthCheckConfig.service: is not understood and has no effect; known here: serviceName".to_owned(),
        "methodConfigs: is not understood and has no effect; known here: healthCheckConfig, loadBalancingConfig, \
         loadBalancingPolicy, methodConfig, retryThrottling"
            .into(),
        "methodConfig[0].name[0].metod: is not understood and has no effect; known here: method, service".into(),
        "methodConfig[0].retryPolicy.maxAttemps: is not understood and has no effect; known here: \
         backoffMultiplier, initialBackoff, maxAttempts, maxBackoff, perAttemptRecvTimeout, retryableStatusCodes"
            .into(),
        "methodConfig[0].deadline: is not understood and has no effect; known here: hedgingPolicy, \
         maxRequestMessageBytes, maxResponseMessageBytes, name, retryPolicy, timeout, waitForReady"
            .into(),
        format!("{list}.childPolicy[0].round_robin.weight: is not understood and has no effect; there is nothing to set here"),
        format!(
            "{list}.intervall: is not understood and has no effect; known here: baseEjectionTime, childPolicy, \
             failurePercentageEjection, interval, maxEjectionPercent, maxEjectionTime, successRateEjection"
        ),
    ];
    let mut found = warnings(&document);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn names_that_match_no_call_are_named_with_what_would_match() {
    let named = |service: &str, method: &str| {
        warnings(&json!({"methodConfig": [{"name": [{"service": service, "method": method}]}]}))
    };
    let path = "methodConfig[0].name[0]";
    let slash = r#"which matches no call; write "shop.Orders""#;
    assert_eq!(named("/shop.Orders", ""), [format!(r#"{path}.service: is "/shop.Orders", {slash}"#)]);
    assert_eq!(named("shop.Orders/", "Place"), [format!(r#"{path}.service: is "shop.Orders/", {slash}"#)]);
    assert_eq!(named("shop.Orders ", ""), [format!(r#"{path}.service: is "shop.Orders ", {slash}"#)]);
    for whole in ["shop.Orders/Place", "/shop.Orders/Place"] {
        let hint = r#"which matches no call; write {"service": "shop.Orders", "method": "Place"}"#;
        assert_eq!(named(whole, ""), [format!("{path}.service: is {whole:?}, {hint}")]);
    }
    assert_eq!(
        named("shop.Orders", "/Place"),
        [format!(r#"{path}.method: is "/Place", which matches no call; write "Place""#)]
    );
    assert_eq!(named("shop Orders", "").len(), 1);
    assert_eq!(named("shop.Örders", "").len(), 1);
    assert_eq!(named("shop.Orders", "Place"), [] as [&str; 0]);
    for entry in [json!({"timeout": "1s"}), json!({"name": [], "timeout": "1s"}), json!({"name": null})] {
        let found = warnings(&json!({"methodConfig": [entry]}));
        assert_eq!(
            found,
            [r#"methodConfig[0]: has no name, and so holds for no call; for every call write "name": [{}]"#]
        );
    }
}

#[test]
fn policies_that_are_passed_over_are_named() {
    let document = json!({"loadBalancingConfig": [
        {"roundrobin": {"a": 1}}, {"xds_wrr": null}, {"pick_first": {"shuffleAddressList": false}},
        {"grpclb": {"b": 2}},
    ]});
    assert_eq!(config(&document).policy(), Some(Policy::PickFirst));
    let passed = "is a policy that the channel does not have; the next one in the list counts";
    assert_eq!(
        warnings(&document),
        [
            format!("loadBalancingConfig[0].roundrobin: {passed}"),
            format!("loadBalancingConfig[1].xds_wrr: {passed}"),
            "loadBalancingConfig[2].pick_first.shuffleAddressList: has no effect: the channel always shuffles, so that \
             clients do not all choose the same backend"
                .into(),
        ]
    );
    let older = json!({"loadBalancingPolicy": "grpclb"});
    assert_eq!(config(&older).policy(), None, "grpc-go takes its default policy");
    assert_eq!(
        warnings(&older),
        [
            "loadBalancingPolicy: is \"grpclb\", which the channel does not have; its own policy stays. Use one of \
          pick_first, round_robin, least_request, peak_ewma, weighted_round_robin"
        ]
    );
}

#[test]
fn of_fields_that_stand_twice_the_last_counts_and_is_named() {
    let text = r#"{
        "methodConfig": [{"name": [{}], "timeout": "1s", "Timeout": "2s"}],
        "healthCheckConfig": {"serviceName": "a"}, "healthCheckConfig": {"serviceName": "b"}
    }"#;
    let config: ServiceConfig = text.parse().unwrap();
    assert_eq!(config.health_check_service(), Some("b"));
    let settings = config.methods[0].over(&MethodSettings::default());
    assert_eq!(settings.timeout, Some(Duration::from_secs(2)));
    assert_eq!(
        config.warnings(),
        [
            "methodConfig[0].Timeout: says again what methodConfig[0].timeout says; this one counts",
            "healthCheckConfig: says again what healthCheckConfig says; this one counts",
        ]
    );
}

#[test]
fn numbers_that_are_not_taken_as_they_stand_are_named() {
    let throttling = |tokens: f64, ratio: f64| {
        config(&json!({"retryThrottling": {"maxTokens": tokens, "tokenRatio": ratio}}))
    };
    let config = throttling(0.3, 0.0004);
    assert_eq!(config.retry_throttling(), Some(RetryThrottling::new(1, 0.001).unwrap()));
    assert_eq!(
        config.warnings(),
        [
            "retryThrottling.maxTokens: counts as 1: a whole number",
            "retryThrottling.tokenRatio: counts as 0.001: three decimals count",
        ]
    );
    assert_eq!(throttling(99.6, 0.1).retry_throttling(), Some(RetryThrottling::new(100, 0.1).unwrap()));
}
