//! `dns://` targets against a real DNS server on loopback.
//!
//! When to ask is tested in virtual time beside the schedule; here only what is asked and what
//! comes of it, with intervals of milliseconds so that nothing waits long.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use meshless::client::ConnectivityState;
use meshless::resolver::{AddressFamilies, DnsConfig, DnsResolver, Resolution, ResolveError, ResolveHint};
use meshless::{Channel, Resolver};

use meshless_testkit::dns_server::{DnsServer, Protocol, Script};

const NAME: &str = "echo.shop.svc.cluster.local.";
/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Polls every 10 to 60 ms, so that tests see a change soon. TTLs are whole seconds: 0 means the
/// floor.
fn quick() -> DnsConfig {
    let ms = Duration::from_millis;
    DnsConfig::new().poll_floor(ms(50)).min_interval(ms(10)).lookup_timeout(Duration::from_secs(2))
}

/// Polls so rarely that only hints cause lookups.
fn only_on_demand() -> DnsConfig {
    let hour = Duration::from_secs(3600);
    quick().poll_ceiling(hour).poll_floor(hour)
}

fn resolver(server: &DnsServer, config: DnsConfig) -> Box<dyn Resolver> {
    Box::new(DnsResolver::new(NAME, 50051, config).name_server(server.address))
}

async fn next(resolver: &mut Box<dyn Resolver>) -> Resolution {
    let next = poll_fn(|cx| resolver.poll_resolution(cx));
    tokio::time::timeout(PATIENCE, next).await.expect("a resolution comes")
}

async fn next_addresses(resolver: &mut Box<dyn Resolver>) -> BTreeSet<String> {
    next(resolver).await.unwrap().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

async fn until(resolver: &mut Box<dyn Resolver>, wanted: impl Fn(&Resolution) -> bool) -> Resolution {
    let begin = Instant::now();
    loop {
        let resolution = next(resolver).await;
        if wanted(&resolution) {
            return resolution;
        }
        assert!(begin.elapsed() < PATIENCE, "still {resolution:?}");
    }
}

/// Whether this machine could send to an IPv6 address.
fn has_route(to: &str) -> bool {
    std::net::UdpSocket::bind("[::]:0").and_then(|socket| socket.connect((to, 9))).is_ok()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|address| format!("{address}:50051")).collect()
}

#[tokio::test]
async fn every_address_is_an_endpoint_and_both_families_are_asked_for() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1", "127.0.0.2", "127.0.0.3"], 30);
    let mut resolver = resolver(&server, quick());
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    let kinds: Vec<_> = server.queries().iter().map(|query| query.kind).collect();
    assert!(
        kinds.len() == 2 && kinds.contains(&RecordType::A) && kinds.contains(&RecordType::AAAA),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn a_name_with_ipv6_addresses_alone_resolves_to_them() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["::1", "fd00::2"], 30);
    assert_eq!(next_addresses(&mut resolver(&server, quick())).await, set(&["[::1]", "[fd00::2]"]));
}

#[tokio::test]
async fn both_families_are_endpoints_as_far_as_this_host_has_a_route() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1", "::1"], 30);
    let expected = if has_route("::1") { &["127.0.0.1", "[::1]"][..] } else { &["127.0.0.1"] };
    assert_eq!(next_addresses(&mut resolver(&server, quick())).await, set(expected));
}

#[tokio::test]
async fn without_a_final_dot_the_name_itself_is_tried_too() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1"], 30);
    let resolver = DnsResolver::new(NAME.trim_end_matches('.'), 50051, quick());
    let mut resolver: Box<dyn Resolver> = Box::new(resolver.name_server(server.address));
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.1"]));
}

#[tokio::test]
async fn one_family_is_half_the_queries() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1", "::1"], 30);
    let mut resolver = resolver(&server, quick().families(AddressFamilies::Ipv4));
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.1"]));
    assert!(server.queries().iter().all(|query| query.kind == RecordType::A));
}

#[tokio::test]
async fn a_truncated_answer_comes_whole_over_tcp() {
    let server = DnsServer::start().await;
    let addresses: Vec<_> = (0..200).map(|n| format!("10.0.{}.{}", n / 100, n % 100)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    server.set_addresses(NAME, &addresses, 30);
    assert_eq!(next_addresses(&mut resolver(&server, quick())).await, set(&addresses));
    assert!(server.queries().iter().any(|query| query.protocol == Protocol::Tcp));
}

#[tokio::test]
async fn two_truncated_answers_at_once_come_whole_lookup_after_lookup() {
    let server = DnsServer::start().await;
    let addresses: Vec<_> = (1..=200).flat_map(|n| [format!("127.0.0.{n}"), format!("fd00::{n}")]).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    server.set_addresses(NAME, &addresses, 0);
    let mut resolver = resolver(&server, quick());
    let expected = if has_route("fd00::1") { 400 } else { 200 };
    for lookup in 0..5 {
        assert_eq!(next_addresses(&mut resolver).await.len(), expected, "lookup {lookup}");
    }
}

#[tokio::test]
async fn a_change_is_seen_by_polling() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1"], 0);
    let mut resolver = resolver(&server, quick());
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.1"]));
    server.set_addresses(NAME, &["127.0.0.1", "127.0.0.2"], 0);
    let both = until(&mut resolver, |resolution| resolution.as_ref().is_ok_and(|set| set.len() == 2)).await;
    assert!(both.is_ok());
}

#[tokio::test]
async fn a_hint_really_asks_though_the_records_are_still_valid() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1"], 3600);
    let mut resolver = resolver(&server, only_on_demand());
    next(&mut resolver).await.unwrap();
    for (hint, address) in [(ResolveHint::Stale, "127.0.0.2"), (ResolveHint::AllFailed, "127.0.0.3")] {
        server.set_addresses(NAME, &[address], 3600);
        resolver.resolve_now(hint);
        assert_eq!(next_addresses(&mut resolver).await, set(&[address]), "{hint:?}");
    }
}

#[tokio::test]
async fn each_kind_of_failure_is_named_and_lookups_go_on() {
    let server = DnsServer::start().await;
    let mut resolver = resolver(&server, quick());
    type Expected<'a> = &'a dyn Fn(&ResolveError) -> bool;
    let no_such_name = |error: &ResolveError| matches!(error, ResolveError::NoSuchName { .. });
    let no_addresses = |error: &ResolveError| matches!(error, ResolveError::NoAddresses { .. });
    let failed =
        |error: &ResolveError| matches!(error, ResolveError::Dns { reason, .. } if !reason.is_empty());
    let cases: [(Script, Expected<'_>); 5] = [
        (Script::Code(ResponseCode::NXDomain), &no_such_name),
        (Script::Code(ResponseCode::ServFail), &failed),
        (Script::Code(ResponseCode::NoError), &no_addresses),
        (Script::Code(ResponseCode::Refused), &failed),
        (Script::Addresses { addresses: Vec::new(), ttl_s: 30 }, &no_addresses),
    ];
    for (script, expected) in cases {
        server.set(NAME, script.clone());
        let resolution = until(&mut resolver, |resolution| resolution.as_ref().is_err_and(expected)).await;
        let message = resolution.unwrap_err().to_string();
        assert!(message.contains(NAME), "{script:?}: {message}");
        // Skips the backoff that five failures have built up.
        resolver.resolve_now(ResolveHint::AllFailed);
    }
    server.set_addresses(NAME, &["127.0.0.1"], 30);
    assert!(until(&mut resolver, Result::is_ok).await.is_ok());
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_within_the_bound() {
    let server = DnsServer::start().await;
    server.set(NAME, Script::Silence);
    let timeout = Duration::from_millis(200);
    let begin = Instant::now();
    let error = next(&mut resolver(&server, quick().lookup_timeout(timeout))).await.unwrap_err();
    assert!(matches!(error, ResolveError::Timeout { after, .. } if after == timeout), "{error}");
    assert!(begin.elapsed() >= timeout / 2, "it was given time to answer");
}

#[tokio::test]
async fn channels_to_one_name_share_its_lookups() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1"], 3600);
    let config = only_on_demand();
    let mut resolvers: Vec<_> = (0..20).map(|_| resolver(&server, config)).collect();
    for resolver in &mut resolvers {
        assert_eq!(next_addresses(resolver).await, set(&["127.0.0.1"]));
    }
    // A and AAAA for the first, and at most once more for all those that joined.
    assert!(server.queries().len() <= 4, "{:?}", server.queries());
    server.set_addresses(NAME, &["127.0.0.2"], 3600);
    resolvers[0].resolve_now(ResolveHint::Stale);
    for resolver in &mut resolvers {
        let all_new = |resolution: &Resolution| {
            resolution.as_ref().is_ok_and(|found| found[0].address.to_string() == "127.0.0.2:50051")
        };
        until(resolver, all_new).await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_of_long_ago_is_not_handed_to_a_newcomer() {
    let server = DnsServer::start().await;
    let config = only_on_demand();
    let mut first = resolver(&server, config);
    assert!(next(&mut first).await.is_err());
    server.set_addresses(NAME, &["127.0.0.1"], 30);
    assert_eq!(next_addresses(&mut resolver(&server, config)).await, set(&["127.0.0.1"]));
}

#[tokio::test]
async fn address_lists_and_sockets_never_ask() {
    for (target, expected) in [
        ("ipv4:127.0.0.1:1,127.0.0.2:2", &["127.0.0.1:1", "127.0.0.2:2"][..]),
        ("ipv6:[::1]:1", &["[::1]:1"]),
        ("dns:///127.0.0.1:1", &["127.0.0.1:1"]),
        ("unix:/run/echo.sock", &["unix:/run/echo.sock"]),
    ] {
        let channel = Channel::builder(target).connect_lazy().unwrap();
        channel.request_connection();
        channel.wait_for_state_change(ConnectivityState::Idle).await;
        let endpoints = channel.state().await.endpoints;
        let mut addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        addresses.sort();
        assert_eq!(addresses, expected, "{target}");
    }
}

#[test]
fn outside_a_runtime_the_error_says_so() {
    let mut resolver = DnsResolver::new("echo", 1, DnsConfig::default());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = resolver.poll_resolution(&mut cx) else { panic!("an error") };
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

/// Takes every file descriptor that there is. The child of the test below runs it alone in its
/// process.
#[cfg(unix)]
#[tokio::test]
async fn child_without_descriptors() {
    if std::env::var_os(STARVED).is_none() {
        return;
    }
    let server = DnsServer::start().await;
    server.set_addresses(NAME, &["127.0.0.1"], 3600);
    let mut resolver = resolver(&server, only_on_demand());
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.1"]));
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    server.set_addresses(NAME, &["127.0.0.2"], 3600);
    assert!(std::fs::File::open("/dev/null").is_err(), "nothing is left");
    resolver.resolve_now(ResolveHint::Stale);
    assert_eq!(next_addresses(&mut resolver).await, set(&["127.0.0.2"]));
    println!("{STARVED} asked");
}

#[cfg(unix)]
#[test]
fn with_no_file_descriptor_left_dns_is_asked_all_the_same() {
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact resolver::child_without_descriptors --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(STARVED, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        output.contains(&format!("{STARVED} asked")),
        "{output}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

#[cfg(unix)]
const STARVED: &str = "MESHLESS_TEST_WITHOUT_DESCRIPTORS";
