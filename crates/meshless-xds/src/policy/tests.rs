use std::time::Duration;

use super::*;

fn policy(config: &str) -> Arc<ServicePolicy> {
    PolicyBook::from_json(config).unwrap().policy("any:1").clone()
}

fn refused(config: &str) -> String {
    PolicyBook::from_json(config).unwrap_err().to_string()
}

#[test]
fn the_most_special_key_counts() {
    let book = PolicyBook::from_json(
        r#"{"services": {
            "*": {"maxRequests": 1}, "echo.shop": {"maxRequests": 2}, "echo.shop:50051": {"maxRequests": 3}
        }}"#,
    )
    .unwrap();
    let most = |name| book.policy(name).max_requests;
    assert_eq!(
        (most("echo.shop:50051"), most("echo.shop:grpc"), most("cart.shop:1")),
        (Some(3), Some(2), Some(1))
    );
    assert_eq!(PolicyBook::default().policy("a:1").balancing, [Balancing::RoundRobin]);
}

#[test]
fn every_list_ends_with_what_all_languages_have() {
    let list = |list: &str| policy(&format!(r#"{{"loadBalancingConfig": [{list}]}}"#)).balancing.clone();
    let least = Balancing::LeastRequest { choice_count: 2 };
    assert_eq!(list(r#"{"least_request_experimental": {}}"#), [least.clone(), Balancing::RoundRobin]);
    assert_eq!(
        list(r#"{"grpclb": {}}, {"least_request": {"choiceCount": 99}}, {"round_robin": {}}"#),
        [Balancing::LeastRequest { choice_count: 10 }, Balancing::RoundRobin]
    );
    let ring = policy(r#"{"loadBalancingConfig": [{"ring_hash_experimental": {"requestHashHeader": "k"}}]}"#);
    assert_eq!(ring.balancing[0], Balancing::RingHash { size_min: None, size_max: None });
    assert_eq!(ring.hash_header.as_deref(), Some("k"));
}

#[test]
fn methods_are_sorted_from_the_special_to_the_general() {
    let policy = policy(
        r#"{"methodConfig": [
            {"name": [{}, {"service": "shop.Cart"}], "timeout": "2s"},
            {"name": [{"service": "shop.Cart", "method": "Add"}], "retryPolicy": {
                "maxAttempts": 9, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]}}
        ]}"#,
    );
    let paths: Vec<_> = policy.methods.iter().map(|rule| rule.path.clone()).collect();
    assert_eq!(
        paths,
        [
            MethodPath::Method("/shop.Cart/Add".into()),
            MethodPath::Service("/shop.Cart/".into()),
            MethodPath::Others
        ]
    );
    let retry = policy.methods[0].retry.clone().unwrap();
    assert_eq!((retry.retries, retry.on), (4, vec!["unavailable"]));
    assert_eq!(retry.backoff_first, Duration::from_millis(50));
    assert_eq!(policy.methods[1].timeout, Some(Duration::from_secs(2)));
}

#[test]
fn an_outlier_detection_without_numbers_suits_three_pods() {
    let expected = policy(r#"{"outlierDetection": {}}"#).outliers.clone().unwrap();
    let detection = expected.failure_percentage.unwrap();
    assert_eq!((detection.hosts_min, detection.enforcement, expected.max_percent), (3, 100, 50));
    let wrapped = r#"{"loadBalancingConfig": [{"outlier_detection_experimental": {
        "childPolicy": [{"round_robin": {}}], "failurePercentageEjection": {}}}]}"#;
    assert_eq!(policy(wrapped).outliers, Some(expected));
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    for (config, says) in [
        ("{", "it is not JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "must be an object"),
        (
            r#"{"services": {"echo.shop:1": {"zone": "near"}}}"#,
            r#"services["echo.shop:1"].zone: must be "off""#,
        ),
        (r#"{"subsetSize": 0}"#, "subsetSize: must be a whole number from 1"),
        (r#"{"maxRequests": 3000000000}"#, "maxRequests: must be a whole number from 1 to 2147483647"),
        (
            r#"{"methodConfig": [{"name": [{}], "timeout": "2"}]}"#,
            "methodConfig[0].timeout: must be a duration",
        ),
        (
            r#"{"methodConfig": [{"name": [{"method": "m"}]}]}"#,
            "methodConfig[0].name[0]: names a method without",
        ),
        (
            r#"{"methodConfig": [{"name": [{}]}, {"name": [{}]}]}"#,
            "methodConfig[1].name[0]: names methods that",
        ),
        (r#"{"methodConfig": [{"retryPolicy": {}}]}"#, "methodConfig[0].retryPolicy.maxAttempts: is missing"),
        (r#"{"loadBalancingConfig": [{"grpclb": {}}]}"#, "loadBalancingConfig: names no policy"),
        (r#"{"loadBalancingConfig": [{"a": {}, "b": {}}]}"#, "loadBalancingConfig[0]: must have exactly one"),
        (
            r#"{"loadBalancingConfig": [{"ring_hash": {"minRingSize": 5000, "maxRingSize": 4000}}]}"#,
            "minRingSize must not be above",
        ),
    ] {
        let error = refused(config);
        assert!(error.contains(says), "{config}: {error}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let book = PolicyBook::from_json(
        r#"{"services": {"*": {"healthCheckConfig": {}, "zones": "off",
            "loadBalancingConfig": [{"ring_hash": {}}]}}}"#,
    )
    .unwrap();
    let warnings = book.warnings().join("\n");
    for says in ["*.zones: is not known", "healthCheckConfig: has no effect", "requestHashHeader"] {
        assert!(warnings.contains(says), "{warnings}");
    }
}

#[test]
fn the_book_s_example_is_one() {
    let page = include_str!("../../../../docs/guides/xds.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let book = PolicyBook::from_json(example).unwrap();
    assert!(book.warnings().is_empty(), "{:?}", book.warnings());
    assert_eq!(book.policy("echo.shop:50051").subset_size.map(NonZeroUsize::get), Some(20));
}
