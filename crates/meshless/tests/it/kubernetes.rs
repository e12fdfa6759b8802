//! `kubernetes://` targets against an API server on loopback that does as it is told.
//!
//! What is chosen from slices is tested beside the choice; here how they are read: lists, watches,
//! and what goes wrong with them. Intervals are milliseconds; the one that cannot be, a watch's
//! timeout in whole seconds, is waited for once.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshless::resolver::{
    KubernetesClient, KubernetesConfig, KubernetesError, KubernetesPort, KubernetesResolver, Resolution,
    ResolveError, ResolveHint, StaticResolver,
};
use meshless::{Channel, Resolver};
use serde_json::{Value, json};

use meshless_testkit::api_server::{ApiServer, Manner};

/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client whose own namespace is `shop`.
pub(crate) fn client(server: &ApiServer) -> KubernetesClient {
    KubernetesClient::new(&format!("http://{}", server.address)).unwrap().namespace("shop")
}

fn config(server: &ApiServer) -> KubernetesConfig {
    let ms = Duration::from_millis;
    KubernetesConfig::new()
        .client(client(server))
        .debounce(ms(20))
        .retry_interval(ms(20))
        .denied_interval(ms(50))
        .watch_timeout(Duration::from_secs(60))
}

fn resolver(config: KubernetesConfig) -> KubernetesResolver {
    KubernetesResolver::new("echo", KubernetesPort::Number(50051), config).namespace("shop")
}

/// An IPv4 slice of these pods, by the last byte of their addresses.
fn slice(pods: impl IntoIterator<Item = u8>) -> Value {
    slice_of(pods.into_iter().map(|pod| (pod, json!({ "ready": true }))))
}

fn slice_of(pods: impl IntoIterator<Item = (u8, Value)>) -> Value {
    let endpoints = pods.into_iter().map(|(pod, conditions)| {
        let address = format!("10.0.0.{pod}");
        json!({ "addresses": [address], "conditions": conditions, "targetRef": { "uid": format!("pod-{pod}") } })
    });
    json!({
        "addressType": "IPv4", "ports": [{ "name": "grpc", "port": 50051, "protocol": "TCP" }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn going() -> Value {
    json!({ "ready": false, "serving": true, "terminating": true })
}

async fn next(resolver: &mut KubernetesResolver) -> Resolution {
    let next = poll_fn(|cx| resolver.poll_resolution(cx));
    tokio::time::timeout(PATIENCE, next).await.expect("a resolution comes")
}

fn pods(resolution: &Resolution) -> Option<BTreeSet<u8>> {
    let last = |address: String| address.strip_prefix("10.0.0.")?.strip_suffix(":50051")?.parse().ok();
    resolution.as_ref().ok()?.iter().map(|endpoint| last(endpoint.address.to_string())).collect()
}

async fn next_pods(resolver: &mut KubernetesResolver) -> BTreeSet<u8> {
    let resolution = next(resolver).await;
    pods(&resolution).unwrap_or_else(|| panic!("{resolution:?}"))
}

/// Waits for a resolution of just these pods, whatever comes before it.
async fn until(resolver: &mut KubernetesResolver, wanted: impl IntoIterator<Item = u8>) {
    let wanted = Some(wanted.into_iter().collect());
    let begin = Instant::now();
    loop {
        let resolution = next(resolver).await;
        if pods(&resolution) == wanted {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "still {resolution:?}");
    }
}

fn set(pods: impl IntoIterator<Item = u8>) -> BTreeSet<u8> {
    pods.into_iter().collect()
}

async fn is_quiet(resolver: &mut KubernetesResolver, wait: Duration) -> bool {
    tokio::time::timeout(wait, poll_fn(|cx| resolver.poll_resolution(cx))).await.is_err()
}

#[tokio::test]
async fn a_service_of_more_than_a_hundred_pods_is_all_its_slices() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice(0..100));
    server.put("echo-b", slice(100..200));
    server.put("echo-c", slice(200..=255));
    server.put_of("shop", "other", "other-a", slice([1]));
    server.put_of("elsewhere", "echo", "echo-d", slice([2]));
    let mut resolver = resolver(config(&server));
    assert_eq!(next_pods(&mut resolver).await, set(0..=255), "the first resolution is complete");
    server.until("a watch", |server| server.watches_open() == 1).await;
    let asked = server.asked();
    assert_eq!(asked[0].query["labelSelector"], "kubernetes.io/service-name=echo");
    assert_eq!(asked[0].path, "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
    assert!(asked[1].is_watch() && asked[1].query["allowWatchBookmarks"] == "true", "{:?}", asked[1]);
    assert_eq!(asked[1].query["resourceVersion"], "105");
    let seconds: u64 = asked[1].query["timeoutSeconds"].parse().unwrap();
    assert!((48..=72).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn what_is_added_moved_and_deleted_is_followed() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1, 2]));
    let mut resolver = resolver(config(&server));
    assert_eq!(next_pods(&mut resolver).await, set([1, 2]));
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.put("echo-b", slice([3]));
    until(&mut resolver, [1, 2, 3]).await;
    // Pod 2 moves: for a moment both slices have it.
    server.put("echo-b", slice([2, 3]));
    server.put("echo-a", slice([1]));
    assert_eq!(next_pods(&mut resolver).await, set([1, 2, 3]), "it was never gone");
    server.delete("echo-a");
    until(&mut resolver, [2, 3]).await;
    assert_eq!(server.lists_asked(), 1);
}

#[tokio::test]
async fn a_burst_of_changes_is_few_resolutions() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server).debounce(Duration::from_millis(400)));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    for pods in 2..=50 {
        server.put("echo-a", slice(1..=pods));
    }
    let mut resolutions = 1;
    while next_pods(&mut resolver).await != set(1..=50) {
        resolutions += 1;
    }
    // One, unless this machine takes longer than the debounce to read them.
    assert!(resolutions < 10, "{resolutions} resolutions of 49 changes");
}

#[tokio::test]
async fn a_terminating_pod_leaves_unless_it_is_the_last() {
    let server = ApiServer::start().await;
    let ready = || json!({});
    server.put("echo-a", slice_of([(1, ready()), (2, ready())]));
    let mut resolver = resolver(config(&server));
    assert_eq!(next_pods(&mut resolver).await, set([1, 2]));
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.put("echo-a", slice_of([(1, going()), (2, ready())]));
    until(&mut resolver, [2]).await;
    server.put("echo-a", slice_of([(1, going()), (2, going())]));
    until(&mut resolver, [1, 2]).await;
    server.put("echo-a", slice_of([(1, json!({ "ready": false })), (2, json!({ "ready": false }))]));
    let none =
        ResolveError::Kubernetes(KubernetesError::NoneReady { service: "echo.shop".into(), listed: 2 });
    assert_eq!(next(&mut resolver).await, Err(none));
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_anew_however_it_is_said() {
    for manner in [Manner::GoneByStatus, Manner::Obliging] {
        let server = ApiServer::start().await;
        server.set_manner(manner);
        server.put("echo-a", slice([1]));
        let mut resolver = resolver(config(&server));
        assert_eq!(next_pods(&mut resolver).await, set([1]));
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.silence(true);
        server.delete("echo-a");
        server.put("echo-b", slice([2]));
        server.compact();
        server.silence(false);
        server.break_watches();
        until(&mut resolver, [2]).await;
        assert_eq!(server.lists_asked(), 2, "{manner:?}");
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.put("echo-b", slice([3]));
        until(&mut resolver, [3]).await;
    }
}

#[tokio::test]
async fn a_broken_watch_goes_on_where_it_was_without_a_list() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    for (round, pod) in (2..5_u8).enumerate() {
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.bookmark();
        if round == 1 {
            server.end_watches();
        } else {
            server.break_watches();
        }
        server.put("echo-a", slice([pod]));
        assert_eq!(next_pods(&mut resolver).await, set([pod]), "no error comes before it");
    }
    assert_eq!(server.lists_asked(), 1);
}

#[tokio::test]
async fn a_bookmark_is_where_the_next_watch_begins() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    // The rest of the cluster goes on, and the past is forgotten.
    server.put_of("elsewhere", "echo", "x", slice([9]));
    server.compact();
    server.bookmark();
    assert!(is_quiet(&mut resolver, Duration::from_millis(300)).await, "a bookmark is no change");
    server.break_watches();
    server.until("a second watch", |server| server.watches_asked() == 2 && server.watches_open() == 1).await;
    assert_eq!(server.lists_asked(), 1);
}

#[tokio::test]
async fn a_silent_watch_is_given_up() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server).watch_timeout(Duration::from_secs(1)));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.silence(true);
    server.put("echo-a", slice([2]));
    assert_eq!(next_pods(&mut resolver).await, set([2]), "the next watch is told what the last one missed");
    assert_eq!(server.lists_asked(), 1);
}

#[tokio::test]
async fn when_every_endpoint_has_failed_the_slices_are_listed_at_once() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.silence(true);
    server.put("echo-a", slice([2]));
    resolver.resolve_now(ResolveHint::Stale);
    assert_eq!(next_pods(&mut resolver).await, set([1]), "the watch is trusted");
    for _ in 0..10 {
        resolver.resolve_now(ResolveHint::AllFailed);
    }
    assert_eq!(next_pods(&mut resolver).await, set([2]));
    assert!(is_quiet(&mut resolver, Duration::from_millis(200)).await);
    assert_eq!(server.lists_asked(), 2, "ten doubts are one list");
}

#[tokio::test]
async fn lines_that_cannot_be_read_are_answered_with_a_list() {
    for nonsense in [
        "{\"type\": \"ADDED\", \"object\": 7}\n",
        "hello\n",
        "\n",
        "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\n",
        "{\"type\":\"RENAMED\",\"object\":{}}\n",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n",
        "{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n",
    ] {
        let server = ApiServer::start().await;
        server.put("echo-a", slice([1]));
        let mut resolver = resolver(config(&server));
        next_pods(&mut resolver).await;
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.silence(true);
        server.put("echo-a", slice([2]));
        server.silence(false);
        server.say(nonsense);
        until(&mut resolver, [2]).await;
        assert_eq!(server.lists_asked(), 2, "{nonsense}");
    }
}

#[tokio::test]
async fn while_the_api_server_fails_the_age_of_what_is_known_is_told() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.set_manner(Manner::Failing);
    server.break_watches();
    let told = next(&mut resolver).await.unwrap_err();
    let text = told.to_string();
    assert!(text.contains("of echo.shop have not been read for ") && text.contains("500"), "{text}");
    // Nothing was lost when it comes back.
    server.put("echo-a", slice([2]));
    server.set_manner(Manner::Obliging);
    until(&mut resolver, [2]).await;
}

#[tokio::test]
async fn whatever_watches_fail_with_the_second_is_followed_by_a_list() {
    let manners = [400, 404, 429, 500, 504].map(Manner::WatchesFail);
    for manner in manners.into_iter().chain([Manner::WatchesEnd]) {
        let server = ApiServer::start().await;
        server.put("echo-a", slice([1]));
        let mut resolver = resolver(config(&server));
        next_pods(&mut resolver).await;
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.set_manner(manner);
        server.silence(true);
        server.put("echo-a", slice([2]));
        server.end_watches();
        until(&mut resolver, [2]).await;
        let watches = server.watches_asked();
        assert!((2..=3).contains(&watches), "{manner:?}: {watches}");
        // And so on, ever more slowly: 20 ms × 1.6 each time.
        server.put("echo-a", slice([3]));
        until(&mut resolver, [3]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(server.asked().len() < 20, "{manner:?}: {}", server.asked().len());
        // Where it heals, the watch is back.
        server.silence(false);
        server.set_manner(Manner::Obliging);
        server.until("a watch", |server| server.watches_open() == 1).await;
        server.put("echo-a", slice([4]));
        until(&mut resolver, [4]).await;
    }
}

#[tokio::test]
async fn a_version_that_no_server_takes_freezes_nothing() {
    for version in ["", "a b\n", "1\u{e9}%&watch=true", &"9".repeat(100_000)] {
        let server = ApiServer::start().await;
        server.put("echo-a", slice([1]));
        server.set_list_version(version);
        let stand_in: SocketAddr = "10.0.0.9:50051".parse().unwrap();
        let mut resolver = resolver(config(&server)).fallback(StaticResolver::new([stand_in]));
        next_pods(&mut resolver).await;
        server.put("echo-a", slice([2]));
        if version.is_empty() || version.len() > 1_000 {
            // There is nothing to go on from. The next list may be better.
            server.set_list_version("101");
        }
        until(&mut resolver, [2]).await;
    }
}

#[tokio::test]
async fn watches_that_bring_nothing_are_checked_with_a_list() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server).watch_timeout(Duration::from_secs(1)));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    // A watch cache that has stopped: watches are accepted, and stay silent about what lists know.
    server.silence(true);
    server.put("echo-a", slice([2]));
    server.forget();
    until(&mut resolver, [2]).await;
    assert_eq!((server.watches_asked(), server.lists_asked()), (2, 2));
}

#[tokio::test]
async fn an_event_or_a_list_without_end_is_given_up_with_the_reason() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.say(&"x".repeat(3 << 20));
    assert_eq!(next_pods(&mut resolver).await, set([1]), "listed again");
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.set_manner(Manner::EndlessList);
    server.say("hello\n");
    let begin = Instant::now();
    loop {
        let told = next(&mut resolver).await;
        let is_told = |error: &ResolveError| {
            error.to_string().contains("the list of EndpointSlices is longer than 33554432 bytes")
        };
        if told.as_ref().is_err_and(is_told) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "still {told:?}");
    }
}

#[tokio::test]
async fn a_flood_of_slices_is_an_error_and_what_is_known_stays() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    for name in 0..1_100 {
        server.put(&format!("flood-{name}"), slice([2]));
    }
    loop {
        match next(&mut resolver).await {
            Ok(_) => {}
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("more than 1000 EndpointSlices"), "{error}");
                break;
            }
        }
    }
    for name in 0..1_100 {
        server.delete(&format!("flood-{name}"));
    }
    until(&mut resolver, [1]).await;
}

#[tokio::test]
async fn what_changes_nothing_for_clients_is_not_told() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    for _ in 0..50 {
        // As when a controller writes an annotation.
        server.put("echo-a", slice([1]));
    }
    assert!(is_quiet(&mut resolver, Duration::from_millis(200)).await);
    server.put("echo-a", slice([2]));
    assert_eq!(next_pods(&mut resolver).await, set([2]));
}

#[tokio::test]
async fn what_is_known_is_told_again_when_it_is_asked_for() {
    let server = ApiServer::start().await;
    let mut resolver = KubernetesResolver::new("echo", KubernetesPort::Number(80), config(&server));
    let error = next(&mut resolver).await.unwrap_err();
    for hint in [ResolveHint::Stale, ResolveHint::AllFailed] {
        resolver.resolve_now(hint);
        assert_eq!(next(&mut resolver).await, Err(error.clone()), "{hint:?}");
    }
    server.put("echo-a", slice([1]));
    let no_port = next(&mut resolver).await.unwrap_err();
    let begin = Instant::now();
    let mut answers = 0;
    while begin.elapsed() < Duration::from_millis(500) {
        for _ in 0..100 {
            resolver.resolve_now(ResolveHint::Stale);
        }
        assert_eq!(next(&mut resolver).await, Err(no_port.clone()));
        answers += 1;
    }
    assert!((1..=6).contains(&answers), "{answers} in {:?}: one each 100 ms", begin.elapsed());
    assert!(is_quiet(&mut resolver, Duration::from_millis(200)).await, "unasked it is not told");
}

#[tokio::test]
async fn while_the_api_server_is_silent_a_question_is_answered_with_what_is_known() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let mut resolver = resolver(config(&server));
    next_pods(&mut resolver).await;
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.set_manner(Manner::SilentLists);
    resolver.resolve_now(ResolveHint::AllFailed);
    let begin = Instant::now();
    assert_eq!(next_pods(&mut resolver).await, set([1]));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ApiServer::start().await;
    server.set_manner(Manner::Redirecting(other.local_addr().unwrap()));
    let port = KubernetesPort::Name("grpc".to_owned());
    let mut resolver = KubernetesResolver::new("echo", port, config(&server)).namespace("shop");
    let error = next(&mut resolver).await.unwrap_err().to_string();
    assert!(error.contains("302: a redirect, which is not followed"), "{error}");
    server.until("a second list", |server| server.lists_asked() >= 2).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), other.accept()).await.is_err());
}

#[tokio::test]
async fn a_token_is_not_sent_in_the_clear() {
    let server = ApiServer::start().await;
    let config = config(&server).client(client(&server).token("secret"));
    let port = KubernetesPort::Name("grpc".to_owned());
    let mut resolver = KubernetesResolver::new("echo", port, config);
    let error = next(&mut resolver).await.unwrap_err().to_string();
    assert!(error.contains("not sent over http") && !error.contains("secret"), "{error}");
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn outside_of_a_pod_the_fallback_speaks() {
    let stand_in: SocketAddr = "10.0.0.9:50051".parse().unwrap();
    let elsewhere = KubernetesConfig::new();
    let mut resolver = resolver(elsewhere).fallback(StaticResolver::new([stand_in]));
    assert_eq!(next_pods(&mut resolver).await, set([9]));
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_an_error_and_the_fallback_speaks() {
    let server = ApiServer::start().await;
    server.set_manner(Manner::Babbling);
    let stand_in: SocketAddr = "10.0.0.9:50051".parse().unwrap();
    let mut resolver = resolver(config(&server)).fallback(StaticResolver::new([stand_in]));
    assert_eq!(next_pods(&mut resolver).await, set([9]));
    server.put("echo-a", slice([1]));
    server.set_manner(Manner::Obliging);
    until(&mut resolver, [1]).await;
}

#[tokio::test]
async fn where_reading_is_denied_the_fallback_speaks_until_it_is_allowed() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    server.set_manner(Manner::Denying);
    let stand_in: SocketAddr = "10.0.0.9:50051".parse().unwrap();
    let mut resolver = resolver(config(&server)).fallback(StaticResolver::new([stand_in]));
    assert_eq!(next_pods(&mut resolver).await, set([9]));
    let source = resolver.source().unwrap();
    let why = "another resolver, because not allowed to read the EndpointSlices of echo.shop";
    assert!(source.starts_with(why), "{source}");
    server.until("a second try", |server| server.lists_asked() >= 2).await;
    server.set_manner(Manner::Obliging);
    until(&mut resolver, [1]).await;
    assert_eq!(resolver.source().as_deref(), Some("EndpointSlices of echo.shop"));
}

#[tokio::test]
#[cfg(feature = "dns")]
async fn dns_stands_in_for_a_number_and_not_for_a_name() {
    let server = ApiServer::start().await;
    server.set_manner(Manner::Denying);
    let port = KubernetesPort::Name("grpc".to_owned());
    let mut resolver = KubernetesResolver::new("echo", port, config(&server)).namespace("shop");
    let error = next(&mut resolver).await.unwrap_err().to_string();
    for part in
        ["not allowed to read the EndpointSlices of echo.shop", "get, list and watch", "write its number"]
    {
        assert!(error.contains(part), "{error}");
    }

    let dns = meshless_testkit::dns_server::DnsServer::start().await;
    let name = "echo.shop.svc.cluster.local.";
    dns.set_addresses(name, &["10.0.0.7"], 30);
    let by_dns = meshless::resolver::DnsResolver::new(name, 50051, meshless::resolver::DnsConfig::new())
        .name_server(dns.address);
    let mut resolver = self::resolver(config(&server)).fallback(by_dns);
    assert_eq!(next_pods(&mut resolver).await, set([7]));
    let source = resolver.source().unwrap();
    assert!(source.starts_with("DNS (echo.shop.svc.cluster.local.), because not allowed"), "{source}");
}

#[tokio::test]
async fn a_service_that_is_not_there_or_lacks_the_port_is_named() {
    let server = ApiServer::start().await;
    let mut resolver = KubernetesResolver::new("echo", KubernetesPort::Number(80), config(&server));
    let error = next(&mut resolver).await.unwrap_err().to_string();
    assert!(error.starts_with("echo.shop has no EndpointSlice"), "{error}");
    server.put("echo-a", slice([1]));
    let error = next(&mut resolver).await.unwrap_err().to_string();
    assert!(error.contains("has no TCP port 80") && error.contains("grpc (50051)"), "{error}");
}

#[tokio::test]
async fn channels_to_one_service_share_one_watch() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let config = config(&server);
    let mut first = resolver(config.clone());
    assert_eq!(next_pods(&mut first).await, set([1]));
    server.until("a watch", |server| server.watches_open() == 1).await;
    let port = KubernetesPort::Name("grpc".to_owned());
    let mut second = KubernetesResolver::new("echo", port, config.clone().zone("a")).namespace("shop");
    assert_eq!(next_pods(&mut second).await, set([1]), "what is known is there at once");
    server.put("echo-a", slice([1, 2]));
    until(&mut first, [1, 2]).await;
    until(&mut second, [1, 2]).await;
    assert_eq!((server.lists_asked(), server.watches_asked()), (1, 1));
    drop(first);
    server.put("echo-a", slice([3]));
    until(&mut second, [3]).await;
    drop(second);
    server.until("the end of the watch", |server| server.watches_open() == 0).await;
    let mut third = resolver(config);
    assert_eq!(next_pods(&mut third).await, set([3]));
    assert_eq!(server.lists_asked(), 2);
}

#[tokio::test]
async fn hints_for_the_clients_zone_are_followed_as_they_change() {
    let server = ApiServer::start().await;
    let hinted = |zones: &[(u8, &str)]| {
        let mut slice = slice(zones.iter().map(|(pod, _)| *pod));
        for (endpoint, (_, zone)) in slice["endpoints"].as_array_mut().unwrap().iter_mut().zip(zones) {
            endpoint["zone"] = json!(zone);
            endpoint["hints"] = json!({ "forZones": [{ "name": zone }] });
        }
        slice
    };
    server.put("echo-a", hinted(&[(1, "a"), (2, "b"), (3, "b")]));
    let mut resolver = resolver(config(&server).zone("b"));
    assert_eq!(next_pods(&mut resolver).await, set([2, 3]));
    server.until("a watch", |server| server.watches_open() == 1).await;
    server.put("echo-a", hinted(&[(1, "a"), (4, "c")]));
    until(&mut resolver, [1, 4]).await;
}

#[tokio::test]
async fn a_target_without_namespace_is_in_the_clients_own() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice([1]));
    let channel =
        Channel::builder("kubernetes:///echo:50051").kubernetes(config(&server)).connect_lazy().unwrap();
    let _ = channel.state().await;
    let call = tokio::spawn(async move {
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
        let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
        request.set_timeout(PATIENCE);
        client.check(request).await
    });
    server.until("a list", |server| server.lists_asked() >= 1).await;
    assert_eq!(server.asked()[0].path, "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices");
    call.abort();
}
