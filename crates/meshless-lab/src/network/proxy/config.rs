//! The proxies' configurations: plain-text HTTP/2 on both sides, and a backend for each request.
//!
//! Called only by [`Proxy::start`](super::Proxy::start). Pure text: nothing here touches a file or
//! a process.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::CONCURRENT_CALLS;

/// HAProxy, 2.0 or later.
pub(super) fn haproxy(
    listen: SocketAddr,
    backends: &[SocketAddr],
    threads: usize,
    max_connections: usize,
) -> String {
    // The default is 100 streams a connection, on both sides: the rest would queue. With
    // `http-reuse always` any request can use any backend connection; with the default `safe` the
    // first request of a client waits for its own.
    let mut text = format!(
        "global
    nbthread {threads}
    maxconn {max_connections}
    tune.h2.max-concurrent-streams {CONCURRENT_CALLS}

defaults
    mode http
    maxconn {max_connections}
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h

frontend grpc
    bind {listen} proto h2
    default_backend servers

backend servers
    balance roundrobin
"
    );
    for (index, backend) in backends.iter().enumerate() {
        let _ = writeln!(text, "    server backend{index} {backend} proto h2");
    }
    text
}

/// nginx with its HTTP/2 and gRPC modules, 1.13.10 or later; writes only below `folder`.
pub(super) fn nginx(
    folder: &Path,
    listen: SocketAddr,
    backends: &[SocketAddr],
    threads: usize,
    max_connections: usize,
    version: &str,
) -> String {
    // `http2 on` exists since 1.25.1, which warns of the older parameter of `listen`.
    let (parameter, directive) =
        if at_least(version, [1, 25, 1]) { ("", "http2 on;\n        ") } else { (" http2", "") };
    // Connections are counted per worker, clients' and backends' together.
    let worker_connections = 2 * max_connections;
    let folder = folder.display();
    let servers: String =
        backends.iter().map(|backend| format!("        server {backend} max_fails=0;\n")).collect();
    // The default is 1000 requests per connection, after which nginx sends GOAWAY: its own
    // rotation, which would be measured as the mesh's.
    format!(
        "daemon off;
worker_processes {threads};
worker_rlimit_nofile {worker_connections};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections {worker_connections};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream servers {{
        zone servers 256k;
{servers}        keepalive {max_connections};
        keepalive_requests 1000000000;
        keepalive_time 1d;
    }}
    server {{
        listen {listen}{parameter} backlog=4096;
        {directive}http2_max_concurrent_streams {CONCURRENT_CALLS};
        keepalive_requests 1000000000;
        keepalive_time 1d;
        keepalive_timeout 1h;
        client_max_body_size 0;
        location / {{
            grpc_pass grpc://servers;
            grpc_connect_timeout 5s;
            grpc_read_timeout 1h;
            grpc_send_timeout 1h;
        }}
    }}
}}
"
    )
}

/// Envoy with the v3 API, as JSON.
pub(super) fn envoy(listen: SocketAddr, backends: &[SocketAddr]) -> String {
    let socket = |address: SocketAddr| serde_json::json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let endpoints: Vec<_> = backends
        .iter()
        .map(|backend| serde_json::json!({ "endpoint": { "address": socket(*backend) } }))
        .collect();
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc",
        "codec_type": "HTTP2",
        "http2_protocol_options": { "max_concurrent_streams": CONCURRENT_CALLS },
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
            // Envoy's default ends a response after 15 s; 0 leaves that to the client's deadline.
            { "match": { "prefix": "/" }, "route": { "cluster": "servers", "timeout": "0s" } }
        ] }] },
        "http_filters": [{ "name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        } }]
    });
    // Any burst would exceed the circuit breaker's defaults of 1024 connections, pending and active
    // requests.
    let thresholds = serde_json::json!([{
        "max_connections": CONCURRENT_CALLS, "max_pending_requests": CONCURRENT_CALLS, "max_requests": CONCURRENT_CALLS
    }]);
    let config = serde_json::json!({ "static_resources": {
        "listeners": [{ "name": "grpc", "address": socket(listen), "filter_chains": [{ "filters": [
            { "name": "http", "typed_config": manager }
        ] }] }],
        "clusters": [{
            "name": "servers",
            "type": "STATIC",
            "lb_policy": "ROUND_ROBIN",
            "connect_timeout": "5s",
            "circuit_breakers": { "thresholds": thresholds },
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": { "max_concurrent_streams": CONCURRENT_CALLS } }
            } },
            "load_assignment": { "cluster_name": "servers", "endpoints": [{ "lb_endpoints": endpoints }] }
        }]
    } });
    format!("{config:#}\n")
}

fn at_least(version: &str, wanted: [u32; 3]) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> SocketAddr {
        "127.0.0.1:3000".parse().unwrap()
    }

    fn backends() -> [SocketAddr; 2] {
        ["127.0.0.2:3001".parse().unwrap(), "[::1]:3002".parse().unwrap()]
    }

    #[test]
    fn haproxy_speaks_http2_on_both_sides_and_balances_requests() {
        let text = haproxy(listen(), &backends(), 2, 9_900);
        for line in [
            "bind 127.0.0.1:3000 proto h2",
            "server backend0 127.0.0.2:3001 proto h2",
            "server backend1 [::1]:3002 proto h2",
            "balance roundrobin",
            "tune.h2.max-concurrent-streams 20000",
            "nbthread 2",
            "maxconn 9900",
        ] {
            assert!(text.lines().any(|have| have.trim() == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn nginx_switches_http2_on_as_its_version_wants_it() {
        let config = |version| nginx(Path::new("/t"), listen(), &backends(), 2, 9_900, version);
        for (version, listens, directive) in [
            ("1.22.1", "listen 127.0.0.1:3000 http2 backlog=4096;", false),
            ("1.25.0", "listen 127.0.0.1:3000 http2 backlog=4096;", false),
            ("1.25.1", "listen 127.0.0.1:3000 backlog=4096;", true),
            ("1.31", "listen 127.0.0.1:3000 backlog=4096;", true),
        ] {
            let text = config(version);
            assert!(text.contains(listens), "{version}:\n{text}");
            assert_eq!(text.contains("http2 on;"), directive, "{version}:\n{text}");
            assert!(
                text.contains("server [::1]:3002 max_fails=0;") && text.contains("grpc_pass grpc://servers;")
            );
        }
    }

    #[test]
    fn envoy_gets_json_with_every_backend_over_http2() {
        let config: serde_json::Value = serde_json::from_str(&envoy(listen(), &backends())).unwrap();
        let cluster = &config["static_resources"]["clusters"][0];
        let endpoints = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"];
        assert_eq!(endpoints.as_array().map(Vec::len), Some(2));
        assert_eq!(endpoints[1]["endpoint"]["address"]["socket_address"]["address"], "::1");
        let listener = &config["static_resources"]["listeners"][0];
        assert_eq!(listener["address"]["socket_address"]["port_value"], 3000);
    }
}
