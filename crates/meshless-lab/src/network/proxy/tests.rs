//! Finding and starting a proxy. A real one runs in every `compare` that finds one on PATH.

use super::*;

#[test]
fn versions_are_read_from_what_each_proxy_prints() {
    for (text, version) in [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: long-term", "2.6.12"),
        ("nginx version: nginx/1.22.1\n", "1.22.1"),
        ("\nenvoy  version: 1d2c3f4a/1.34.1/Clean/RELEASE/BoringSSL\n", "1.34.1"),
    ] {
        assert_eq!(parse_version(text).as_deref(), Some(version), "{text}");
    }
    assert_eq!(parse_version("command not found"), None);
}

#[test]
fn a_missing_proxy_says_in_one_line_how_to_get_one() {
    let empty = tempfile::tempdir().unwrap();
    let missing = Proxy::find_in(vec![empty.path().to_owned()]).unwrap_err().to_string();
    assert!(missing.contains("apt-get install haproxy") && missing.lines().count() == 1, "{missing}");
}

/// Any program will do as a proxy that ends at once; `false` is everywhere.
#[tokio::test]
async fn a_proxy_that_ends_or_an_address_in_use_is_an_error_at_once() {
    let proxy = Proxy { kind: ProxyProgram::HaProxy, program: "false".into(), version: "0.0".into() };
    let backend = "127.0.0.1:1".parse().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    assert!(matches!(proxy.start(free, &[backend]).await.unwrap_err(), ProxyError::Ended { .. }));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = proxy.start(taken.local_addr().unwrap(), &[backend]).await.unwrap_err();
    assert!(matches!(error, ProxyError::Listen { .. }), "{error}");
    assert!(matches!(proxy.start(free, &[]).await.unwrap_err(), ProxyError::NoBackends));
}
