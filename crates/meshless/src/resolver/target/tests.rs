//! Targets as users write them, well and badly.

use super::*;

fn parse(text: &str) -> Target {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> TargetError {
    text.parse::<Target>().map(|target| panic!("{text} parsed as {target:?}")).unwrap_err()
}

#[test]
fn every_form_parses_and_prints_so_that_it_parses_again() {
    for (text, canonical, authority, server_name) in [
        ("dns:///echo.shop:50051", "dns:///echo.shop:50051", "echo.shop:50051", "echo.shop"),
        ("dns:echo.shop:50051", "dns:///echo.shop:50051", "echo.shop:50051", "echo.shop"),
        ("echo.shop:50051", "dns:///echo.shop:50051", "echo.shop:50051", "echo.shop"),
        ("DNS:///Echo.Shop.:443", "dns:///Echo.Shop.:443", "Echo.Shop:443", "Echo.Shop"),
        ("dns://10.96.0.10/echo:1", "dns://10.96.0.10:53/echo:1", "echo:1", "echo"),
        ("dns://10.96.0.10:5353/echo:1", "dns://10.96.0.10:5353/echo:1", "echo:1", "echo"),
        ("dns://[fd00::a]/echo:1", "dns://[fd00::a]:53/echo:1", "echo:1", "echo"),
        ("dns://[fd00::a]:54/echo:1", "dns://[fd00::a]:54/echo:1", "echo:1", "echo"),
        ("dns:///10.0.0.1:50051", "ipv4:10.0.0.1:50051", "10.0.0.1:50051", "10.0.0.1"),
        ("[::1]:50051", "ipv6:[::1]:50051", "[::1]:50051", "::1"),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", "10.0.0.1:1", "10.0.0.1"),
        ("ipv6:[fd00::1]:1,[fd00::2]:1", "ipv6:[fd00::1]:1,[fd00::2]:1", "[fd00::1]:1", "fd00::1"),
        (
            "kubernetes:///echo.shop:50051",
            "kubernetes:///echo.shop:50051",
            "echo.shop:50051",
            "echo.shop.svc",
        ),
        ("kubernetes:echo.shop:grpc", "kubernetes:///echo.shop:grpc", "echo.shop", "echo.shop.svc"),
        ("Kubernetes:///echo:50051", "kubernetes:///echo:50051", "echo:50051", "echo"),
        ("kubernetes:///echo.shop.svc:1", "kubernetes:///echo.shop:1", "echo.shop:1", "echo.shop.svc"),
        ("kubernetes:///e.s.svc.cluster.local:1", "kubernetes:///e.s:1", "e.s:1", "e.s.svc"),
        ("kubernetes:///0-a.b-1:h2c", "kubernetes:///0-a.b-1:h2c", "0-a.b-1", "0-a.b-1.svc"),
        ("unix:/run/echo.sock", "unix:/run/echo.sock", "localhost", "localhost"),
        ("unix:///run/echo.sock", "unix:/run/echo.sock", "localhost", "localhost"),
        ("unix:/run/a%20b%25.sock", "unix:/run/a%20b%25.sock", "localhost", "localhost"),
        ("unix:/run/a b.sock", "unix:/run/a%20b.sock", "localhost", "localhost"),
        ("[fe80::1%253]:50051", "ipv6:[fe80::1%253]:50051", "[fe80::1]:50051", "fe80::1"),
        ("[fe80::1%3]:50051", "ipv6:[fe80::1%253]:50051", "[fe80::1]:50051", "fe80::1"),
        ("[fe80::1%2525]:50051", "ipv6:[fe80::1%2525]:50051", "[fe80::1]:50051", "fe80::1"),
        ("ipv6:[fe80::1%253]:1,[fd00::2]:1", "ipv6:[fe80::1%253]:1,[fd00::2]:1", "[fe80::1]:1", "fe80::1"),
        ("http://[fe80::1%253]:80", "http://[fe80::1%253]:80", "[fe80::1]", "fe80::1"),
        ("dns://[fe80::53%252]/echo:1", "dns://[fe80::53%252]:53/echo:1", "echo:1", "echo"),
        ("ipv4:///10.0.0.1:1", "ipv4:10.0.0.1:1", "10.0.0.1:1", "10.0.0.1"),
        ("0.0.0.0:50051", "ipv4:0.0.0.0:50051", "0.0.0.0:50051", "0.0.0.0"),
        ("ipv6:[::]:50051", "ipv6:[::]:50051", "[::]:50051", "::"),
        ("dns:///10.0.0.1:0050051", "ipv4:10.0.0.1:50051", "10.0.0.1:50051", "10.0.0.1"),
        ("xds:50051", "dns:///xds:50051", "xds:50051", "xds"),
        ("unix:echo.sock", "unix:echo.sock", "localhost", "localhost"),
        ("http://echo.shop:50051/", "http://echo.shop:50051", "echo.shop:50051", "echo.shop"),
        ("http://echo.shop", "http://echo.shop:80", "echo.shop", "echo.shop"),
        ("https://echo.shop", "https://echo.shop:443", "echo.shop", "echo.shop"),
        ("https://echo.shop:8443", "https://echo.shop:8443", "echo.shop:8443", "echo.shop"),
        ("http://10.0.0.1:50051", "http://10.0.0.1:50051", "10.0.0.1:50051", "10.0.0.1"),
        ("https://[::1]", "https://[::1]:443", "[::1]", "::1"),
    ] {
        let target = parse(text);
        assert_eq!(target.to_string(), canonical, "{text}");
        assert_eq!(parse(canonical), target, "{canonical}");
        assert_eq!(target.authority(), authority, "{text}");
        assert_eq!(target.server_name(), server_name, "{text}");
    }
}

#[test]
fn only_the_http_schemes_decide_about_tls() {
    assert_eq!(parse("https://echo").tls(), Some(true));
    assert_eq!(parse("http://echo").tls(), Some(false));
    assert_eq!(parse("dns:///echo:443").tls(), None);
}

#[test]
fn what_is_wrong_is_named() {
    let text = |error: TargetError| error.to_string();
    assert_eq!(error(" "), TargetError::Empty);
    assert!(
        text(error("xds:///echo"))
            .contains("use dns:///, kubernetes:///, ipv4:, ipv6:, unix:, http:// or https://")
    );
    for missing in ["echo", "dns:///echo.shop", "dns:echo", "dns:///[::1]", "dns:///10.0.0.1"] {
        assert!(matches!(error(missing), TargetError::MissingPort { .. }), "{missing}");
    }
    for empty in ["dns:///:50051", "dns:///", ":50051", "http://", "https://:443", "http:echo", "[]:1"] {
        assert!(matches!(error(empty), TargetError::EmptyHost { .. }), "{empty}: {}", error(empty));
    }
    for port in ["echo:0", "echo:65536", "echo:http", "echo:", "echo:+80", "https://echo:x"] {
        assert!(matches!(error(port), TargetError::BadPort { .. }), "{port}: {}", error(port));
    }
    for host in ["fd00::1:50051", "dns:///a..b:1", "dns:///exämple:1", "user@echo:1", "[10.0.0.1]:1", "[x]:1"]
    {
        assert!(matches!(error(host), TargetError::BadHost { .. }), "{host}: {}", error(host));
    }
    let long = format!("dns:///{}:1", "a".repeat(64));
    assert!(matches!(error(&long), TargetError::BadHost { .. }));
    for number in
        ["010.0.0.1:1", "10.0.0.256:1", "dns:///1.2.3:1", "http://127.1", "1.2.3.4.5:1", "dns:///7:1"]
    {
        assert!(matches!(error(number), TargetError::BadIpv4 { .. }), "{number}: {}", error(number));
    }
    for zone in ["[fe80::1%25eth0]:1", "ipv6:[fe80::1%eth0]:1", "[fe80::1%]:1", "ipv6:[fe80::1%25+3]:1"] {
        assert!(matches!(error(zone), TargetError::BadZone { .. }), "{zone}: {}", error(zone));
    }
    for scheme in
        ["xds:echo", "unix-abstract:echo", "vsock:2:50051", "passthrough:echo:1", "consul:///orders"]
    {
        assert!(matches!(error(scheme), TargetError::UnknownScheme { .. }), "{scheme}: {}", error(scheme));
    }
    for address in [
        "ipv4:010.0.0.1:1",
        "ipv4:10.0.0.1",
        "ipv4:",
        "ipv4:[::1]:1",
        "ipv4:10.0.0.1:1,",
        "ipv6:10.0.0.1:1",
        "ipv4:h:1",
    ] {
        assert!(matches!(error(address), TargetError::BadAddress { .. }), "{address}");
    }
    for name_server in ["dns://echo.shop:50051", "dns://kube-dns/echo:1", "dns://10.0.0.1:0/echo:1"] {
        assert!(matches!(error(name_server), TargetError::BadNameServer { .. }), "{name_server}");
    }
    for cluster in ["kubernetes://echo.shop:1", "kubernetes://prod/echo.shop:1", "kubernetes://"] {
        assert!(matches!(error(cluster), TargetError::BadCluster { .. }), "{cluster}: {}", error(cluster));
    }
    for name in [
        "kubernetes:///Echo.shop:1",
        "kubernetes:///echo.shop.pod:1",
        "kubernetes:///echo..svc:1",
        "kubernetes:///-echo.shop:1",
        "kubernetes:///echo_1.shop:1",
        "kubernetes:///echo.shop:Grpc",
        "kubernetes:///10.0.0.1:1",
        "kubernetes:///[::1]:1",
    ] {
        assert!(matches!(error(name), TargetError::BadService { .. }), "{name}: {}", error(name));
    }
    for port in ["kubernetes:///echo.shop:0", "kubernetes:///echo.shop:70000", "kubernetes:///echo.shop:"] {
        assert!(matches!(error(port), TargetError::BadPort { .. }), "{port}: {}", error(port));
    }
    assert!(matches!(error("kubernetes:///echo.shop"), TargetError::MissingPort { .. }));
    assert!(matches!(error("kubernetes:///:50051"), TargetError::EmptyHost { .. }));
    assert!(matches!(error("kubernetes:///echo.shop:1/x"), TargetError::TrailingPath { .. }));
    for path in [
        "unix:",
        "unix://",
        "unix://host/path",
        "unix:///",
        "unix:/a?b",
        "unix:/a#b",
        "unix:/a%ff",
        "unix:/a%00",
    ] {
        assert!(matches!(error(path), TargetError::BadPath { .. }), "{path}");
    }
    assert!(matches!(error(&format!("unix:/{}", "x".repeat(200))), TargetError::BadPath { .. }));
    for path in ["http://echo:80/v1", "dns:///echo:1/x", "echo:1?x=y"] {
        assert!(matches!(error(path), TargetError::TrailingPath { .. }), "{path}");
    }
}

#[test]
fn messages_fit_one_line_and_end_without_a_full_stop() {
    for bad in ["", "xds:///e", "echo", ":1", "e:x", "a b:1", "ipv4:x", "dns://e/e:1", "unix:", "http://e/x"]
    {
        let message = error(bad).to_string();
        assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
    }
}

#[test]
fn with_a_resolver_any_uri_and_any_name_is_a_target() {
    for (text, authority, server_name) in [
        ("consul:///orders", "orders", "orders"),
        ("Consul://agent:8500/orders?dc=fra#x", "orders", "orders"),
        ("consul://orders", "orders", "orders"),
        ("consul:orders", "orders", "orders"),
        ("etcd+v3:///shop/orders:50051", "orders:50051", "orders"),
        ("zookeeper://[fd00::1]:2181/services/orders/", "orders", "orders"),
        ("xds:///orders", "orders", "orders"),
        ("orders", "orders", "orders"),
        ("dns:///orders", "orders", "orders"),
        ("kubernetes:///orders.shop", "orders.shop", "orders.shop"),
        ("orders:50051", "orders:50051", "orders"),
        ("dns:///orders:50051", "orders:50051", "orders"),
    ] {
        let target = Target::for_resolver(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.authority(), authority, "{text}");
        assert_eq!(target.server_name(), server_name, "{text}");
        assert_eq!(target.tls(), None, "{text}");
        assert_eq!(Target::for_resolver(&target.to_string()), Ok(target), "{text}");
    }
    let refused = |text: &str| Target::for_resolver(text).unwrap_err();
    assert_eq!(refused(" "), TargetError::Empty);
    for text in [
        "consul:///",
        "consul:",
        "con sul:///orders",
        "consul:///or ders",
        "consul:///%zz",
        "é:///x",
        "7z:///x",
    ] {
        refused(text);
    }
    // A target of ours that is wrong stays wrong.
    for text in [
        "http://echo/path",
        "ipv4:nonsense",
        "unix:",
        "dns:///a..b:1",
        "kubernetes://prod/echo:1",
        "https:echo",
    ] {
        assert_eq!(Some(refused(text)), text.parse::<Target>().err(), "{text}");
    }
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_parses_prints_the_same_target(
            text in "(dns:|dns://|dns:///|kubernetes:///|kubernetes:|ipv4:|ipv6:|unix:|consul:|http://|https://)?[a-z0-9.:/\\[\\],@ é%5?#-]{0,24}"
        ) {
            if let Ok(target) = Target::for_resolver(&text) {
                prop_assert_eq!(Target::for_resolver(&target.to_string()), Ok(target.clone()));
                prop_assert!(!target.authority().is_empty() && !target.server_name().is_empty());
            }
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target.clone()));
                prop_assert!(!target.authority().is_empty() && !target.server_name().is_empty());
            }
        }
    }
}
