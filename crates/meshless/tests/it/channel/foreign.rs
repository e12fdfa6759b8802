//! What other implementations, proxies and web servers send as a response: no bytes panic, change
//! the code that the server gave, or make an OK of what is not complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use meshless::client::SubchannelState;
use meshless::{Channel, ChannelBuilder, Policy, RetryPolicy};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tower_service::Service;

use super::network::*;
use meshless_testkit::raw_peer::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RawPeer, Received, frame,
};

const SECOND: Duration = Duration::from_secs(1);
const MAX_HEADER_LIST_SIZE: u16 = 6;
const GRPC: (&str, &[u8]) = ("content-type", b"application/grpc");
const OK: (&str, &[u8]) = ("grpc-status", b"0");

type Fields<'a> = &'a [(&'a str, &'a [u8])];

/// What a peer sends on a stream.
type Answer = fn(u32) -> Vec<u8>;
type Script = Box<dyn Fn(u32) -> Vec<u8>>;

/// Literal fields without indexing (RFC 7541 §6.2.2).
fn fields(list: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        block.push(0);
        for text in [name.as_bytes(), value] {
            length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, len: usize) {
    if len < 127 {
        return block.push(len as u8);
    }
    block.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The head of a response with this HTTP status.
fn head(stream: u32, status: u16, list: Fields<'_>, flags: u8) -> Vec<u8> {
    let mut block = vec![8, 3];
    block.extend(status.to_string().bytes());
    block.extend(fields(list));
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

/// The head of a gRPC response.
fn grpc_head(stream: u32) -> Vec<u8> {
    head(stream, 200, &[GRPC], 0)
}

/// One header block that ends the stream, in as many frames as it takes.
fn trailers(stream: u32, list: Fields<'_>) -> Vec<u8> {
    let block = fields(list);
    let parts: Vec<_> = block.chunks(16_384).collect();
    let mut bytes = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let mut flags = if n == 0 { END_STREAM } else { 0 };
        flags |= if n + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
    }
    bytes
}

/// SERVING.
fn message(stream: u32) -> Vec<u8> {
    frame(DATA, 0, stream, &[&[0, 0, 0, 0, 2][..], SERVING].concat())
}

/// What a unary call on a channel of its own makes of these bytes.
async fn unary(answer: impl Fn(u32) -> Vec<u8>) -> Result<HealthCheckResponse, Status> {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let calling =
        tokio::spawn(async move { HealthClient::new(channel).check(HealthCheckRequest::default()).await });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.send(&answer(stream)).await;
    let begun = Instant::now();
    let answer = calling.await.expect("no panic").map(tonic::Response::into_inner);
    assert!(begun.elapsed() <= SECOND, "{:?} without a deadline", begun.elapsed());
    answer
}

/// The messages of a stream, and how it ended.
async fn streamed(answer: impl Fn(u32) -> Vec<u8>) -> (usize, Result<(), Status>) {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let calling = tokio::spawn(async move {
        let mut messages = 0;
        let mut stream = match HealthClient::new(channel).watch(HealthCheckRequest::default()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return (0, Err(status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(_)) => messages += 1,
                Ok(None) => return (messages, Ok(())),
                Err(status) => return (messages, Err(status)),
            }
        }
    });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.send(&answer(stream)).await;
    calling.await.expect("no panic")
}

/// Answers calls until the connection ends.
async fn serve_raw(mut peer: RawPeer<DuplexStream>, answer: impl Fn(u32) -> Vec<u8>) {
    loop {
        let stream = peer.expect_request().await;
        peer.send(&answer(stream)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_keeps_its_code_and_its_message_whatever_is_around_it() {
    let bad: [Fields<'_>; 8] = [
        &[("grpc-status-details-bin", b"not base64!")],
        &[("grpc-status-details-bin", b"====")],
        &[("grpc-status-details-bin", b"\xff\xfe")],
        &[("grpc-status-details-bin", b"aGk,aGk")],
        &[("endpoint-load-metrics-bin", b"not base64!"), ("endpoint-load-metrics", b"\xff")],
        &[("grpc-retry-pushback-ms", b"soon")],
        &[("grpc-encoding", b"br"), ("x-text", b"\xff\x80"), ("x-bin", b"%%%")],
        &[("grpc-status", b"05")],
    ];
    for more in bad {
        let list = [&[("grpc-status", &b"5"[..]), ("grpc-message", b"not%20here")], more].concat();
        let in_trailers =
            unary(|stream| [grpc_head(stream), message(stream), trailers(stream, &list)].concat());
        let no_message = unary(|stream| [grpc_head(stream), trailers(stream, &list)].concat());
        let head_only = [&[GRPC], &list[..]].concat();
        let trailers_only = unary(|stream| head(stream, 200, &head_only, END_STREAM));
        let not_ended =
            unary(|stream| [head(stream, 200, &head_only, 0), frame(DATA, END_STREAM, stream, &[])].concat());
        for status in [in_trailers.await, no_message.await, trailers_only.await, not_ended.await] {
            let status = status.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::NotFound, "not here"), "{more:?}");
        }
        let (messages, end) =
            streamed(|stream| [grpc_head(stream), message(stream), trailers(stream, &list)].concat()).await;
        assert_eq!((messages, end.unwrap_err().code()), (1, Code::NotFound), "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ok_stays_ok_whatever_is_around_it() {
    for more in [
        ("grpc-status-details-bin", &b"not base64!"[..]),
        ("grpc-message", b"%ff%zz\xff"),
        ("endpoint-load-metrics-bin", b"\xff"),
        ("x-bin", b"not base64!"),
    ] {
        let answer =
            unary(|stream| [grpc_head(stream), message(stream), trailers(stream, &[OK, more])].concat());
        assert_eq!(answer.await.unwrap().status, 1, "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_details_cannot_be_read_is_tried_again() {
    let mut network = Network::new();
    let policy = RetryPolicy::unavailable();
    let channel = network.channel(&[backend(1)]).retry(policy).connect_lazy().unwrap();
    let calling = tokio::spawn(async move { check(&channel).await });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    let refusal = [GRPC, ("grpc-status", b"14"), ("grpc-status-details-bin", b"%%%")];
    peer.send(&head(stream, 200, &refusal, END_STREAM)).await;
    let again = peer.expect_request().await;
    peer.answer(again, SERVING).await;
    calling.await.expect("no panic").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_health_watch_outlives_whatever_its_server_sends() {
    let ends: [Answer; 5] = [
        |stream| {
            head(
                stream,
                200,
                &[GRPC, ("grpc-status", b"14"), ("grpc-status-details-bin", b"%%%")],
                END_STREAM,
            )
        },
        |stream| {
            [grpc_head(stream), trailers(stream, &[("grpc-status", b"x"), ("grpc-message", b"%ff")])].concat()
        },
        |stream| [grpc_head(stream), frame(DATA, 0, stream, b"\0\0\0\0\x02\xff\xff")].concat(),
        |stream| {
            [
                head(stream, 503, &[("content-type", b"text/html")], 0),
                frame(DATA, END_STREAM, stream, b"<html>"),
            ]
            .concat()
        },
        // Not UNIMPLEMENTED, which would mean that the server has no health service.
        |stream| {
            [
                head(stream, 200, &[GRPC, ("grpc-encoding", b"br")], 0),
                frame(DATA, 0, stream, b"\x01\0\0\0\x02\x08\x01"),
            ]
            .concat()
        },
    ];
    for (n, end) in ends.iter().enumerate() {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).policy(Policy::RoundRobin).health_check("shop");
        let channel = channel.connect_lazy().unwrap();
        let early = check_within(&channel, SECOND);
        let peer = network.accept_raw(&[]);
        let (_, mut peer) = tokio::join!(async { drop(early.await) }, async {
            let mut peer = peer.await;
            let watch = peer.expect_request().await;
            peer.send(&end(watch)).await;
            peer
        });
        println!("end {n}");
        let state = channel.state().await;
        assert_ne!(state.endpoints[0].state, SubchannelState::Ready);
        // A17's backoff is 1 s, give or take.
        let again = tokio::time::timeout(3 * SECOND, peer.expect_request()).await.expect("asked again");
        peer.answer_headers(again).await;
        peer.answer_message(again, SERVING).await;
        settle().await;
        let answering = async {
            let stream = peer.expect_request().await;
            peer.answer(stream, SERVING).await;
            peer
        };
        let (checked, _peer) = tokio::join!(check_within(&channel, SECOND), answering);
        checked.unwrap();
    }
}

/// Parts that a message must have.
type Words = &'static [&'static str];

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_grpc_has_the_code_of_its_http_status_and_says_what_came() {
    let html: Fields<'_> = &[("content-type", b"text/html")];
    let page = |stream: u32, status: u16, list: Fields<'_>| {
        [head(stream, status, list, 0), frame(DATA, END_STREAM, stream, b"<html>\r\n<h1>Oh\x1b[0m no</h1>")]
            .concat()
    };
    let cases: [(u16, Fields<'_>, Code, Words); 11] = [
        (502, html, Code::Unavailable, &["HTTP status 502 Bad Gateway", "content-type \"text/html\""]),
        (503, &[("content-type", b"application/json")], Code::Unavailable, &["503 Service Unavailable"]),
        (504, &[], Code::Unavailable, &["504 Gateway Timeout", "no content-type"]),
        (503, &[GRPC], Code::Unavailable, &["503"]),
        (413, html, Code::Unknown, &["HTTP status 413 Payload Too Large"]),
        (404, html, Code::Unimplemented, &["404 Not Found"]),
        (401, html, Code::Unauthenticated, &["401 Unauthorized"]),
        (
            302,
            &[("location", b"https://login/")],
            Code::Unknown,
            &["302 Found", "location \"https://login/\""],
        ),
        (200, html, Code::Unknown, &["200 OK", "text/html"]),
        (200, &[], Code::Unknown, &["200 OK", "no content-type"]),
        (200, &[("content-type", b"application/grpc-web+proto")], Code::Unknown, &["grpc-web"]),
    ];
    for (http_status, list, code, words) in cases {
        let (messages, end) = streamed(|stream| page(stream, http_status, list)).await;
        assert_eq!(messages, 0);
        for status in [unary(|stream| page(stream, http_status, list)).await.unwrap_err(), end.unwrap_err()] {
            assert_eq!(status.code(), code, "{http_status}: {status}");
            let body = "body \"<html>\\r\\n<h1>Oh\\u{1b}[0m no</h1>\"";
            for word in words.iter().chain(&["10.0.0.1:50051: the answer is not gRPC: ", body]) {
                assert!(status.message().contains(word), "{word} in {status}");
            }
        }
        let empty = unary(|stream| head(stream, http_status, list, END_STREAM)).await.unwrap_err();
        assert_eq!(empty.code(), code, "{http_status} without a body: {empty}");
        assert!(empty.message().contains("no body"), "{empty}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_quoted_as_far_as_it_comes() {
    let html: Fields<'_> = &[("content-type", b"text/html")];
    let reset = |stream: u32| [&[0, 0, 4, 3, 0][..], &stream.to_be_bytes(), &[0, 0, 0, 8]].concat();
    let ends: [(&str, Script); 3] = [
        ("reset", Box::new(reset)),
        ("never ends", Box::new(|_| Vec::new())),
        ("long", Box::new(|stream| frame(DATA, 0, stream, &[b'x'; 16_000]).repeat(4))),
    ];
    for (name, end) in ends {
        let begin = |stream| [head(stream, 503, html, 0), frame(DATA, 0, stream, b"<h1>busy")].concat();
        let status = unary(|stream| [begin(stream), end(stream)].concat()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{name}");
        assert!(status.message().contains("body \"<h1>busy"), "{name}: {status}");
        assert!(status.message().len() < 500, "{name}: {}", status.message().len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_in_the_trailers_of_a_page_is_used() {
    let full = [("grpc-status", &b"8"[..]), ("grpc-message", b"full")];
    let answer = unary(|stream| [head(stream, 503, &[GRPC], 0), trailers(stream, &full)].concat());
    let status = answer.await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().ends_with("full"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_s_page_is_retried_by_its_code() {
    let mut network = Network::new();
    let policy = RetryPolicy::unavailable();
    let channel = network.channel(&[backend(1)]).retry(policy).connect_lazy().unwrap();
    let calling = tokio::spawn(async move { check(&channel).await });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    let page =
        [head(stream, 502, &[("content-type", b"text/html")], 0), frame(DATA, END_STREAM, stream, b"<html>")];
    peer.send(&page.concat()).await;
    let again = peer.expect_request().await;
    peer.answer(again, SERVING).await;
    calling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn informational_responses_are_passed_over() {
    let answer = unary(|stream| {
        let early = [head(stream, 100, &[], 0), head(stream, 103, &[("link", b"x")], 0)].concat();
        [early, grpc_head(stream), message(stream), trailers(stream, &[OK])].concat()
    });
    assert_eq!(answer.await.unwrap().status, 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_complete_is_never_ok() {
    let ends: [(&str, Answer); 12] = [
        ("END_STREAM on DATA", |s| frame(DATA, END_STREAM, s, &[])),
        ("trailers without a status", |s| trailers(s, &[("x-tag", b"one")])),
        ("trailers with an empty status", |s| trailers(s, &[("grpc-status", b"")])),
        ("RST_STREAM(NO_ERROR)", |s| frame(3, 0, s, &[0, 0, 0, 0])),
        ("RST_STREAM(CANCEL)", |s| frame(3, 0, s, &[0, 0, 0, 8])),
        ("half a prefix", |s| [frame(DATA, 0, s, &[0, 0]), trailers(s, &[OK])].concat()),
        ("a prefix alone", |s| [frame(DATA, 0, s, &[0, 0, 0, 0, 2]), trailers(s, &[OK])].concat()),
        ("half a message", |s| [frame(DATA, 0, s, &[0, 0, 0, 0, 2, 8]), trailers(s, &[OK])].concat()),
        ("half a message and END_STREAM", |s| frame(DATA, END_STREAM, s, &[0, 0, 0, 0, 2, 8])),
        ("trailers twice, and no end", |s| frame(HEADERS, END_HEADERS, s, &fields(&[OK]))),
        ("GOAWAY(INTERNAL_ERROR) of this stream", |_| frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])),
        ("GOAWAY(NO_ERROR) below this stream", |_| frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0])),
    ];
    for (name, end) in ends {
        let answer = unary(|stream| [grpc_head(stream), message(stream), end(stream)].concat()).await;
        let status = answer.expect_err(name);
        assert_ne!(status.code(), Code::Ok, "{name}");
        let (messages, end) =
            streamed(|stream| [grpc_head(stream), message(stream), end(stream)].concat()).await;
        assert_eq!(messages, 1, "{name}: what came whole is handed out");
        end.expect_err(name);
    }
    // The head says OK before the end.
    let early = [GRPC, OK];
    let ends: [Answer; 2] = [|s| frame(DATA, END_STREAM, s, &[]), |s| frame(3, 0, s, &[0, 0, 0, 0])];
    for end in ends {
        let head = |stream| head(stream, 200, &early, 0);
        unary(|stream| [head(stream), message(stream), end(stream)].concat()).await.expect_err("no trailers");
        streamed(|stream| [head(stream), message(stream), end(stream)].concat())
            .await
            .1
            .expect_err("no trailers");
    }
    let contradicted = unary(|stream| {
        [head(stream, 200, &early, 0), message(stream), trailers(stream, &[("grpc-status", b"13")])].concat()
    });
    assert_eq!(contradicted.await.unwrap_err().code(), Code::Internal);
    let without_message = unary(|stream| [grpc_head(stream), trailers(stream, &[OK])].concat());
    assert_eq!(without_message.await.unwrap_err().code(), Code::Internal);
    let ok_alone = unary(|stream| head(stream, 200, &[GRPC, OK], END_STREAM));
    assert_eq!(ok_alone.await.unwrap_err().code(), Code::Internal);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_message_whose_encoding_was_not_offered_is_internal() {
    for encoding in [&b"br"[..], b"gzip", b"\xff", b"identity, br"] {
        let head = |stream| head(stream, 200, &[GRPC, ("grpc-encoding", encoding)], 0);
        let plain = unary(|stream| [head(stream), message(stream), trailers(stream, &[OK])].concat());
        plain.await.expect("nothing was compressed");
        let compressed = frame(DATA, 0, 1, &[1, 0, 0, 0, 2, 8, 1]);
        let answer = unary(|stream| [head(stream), compressed.clone(), trailers(stream, &[OK])].concat());
        let status = answer.await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("did not offer"), "{status}");
    }
}

/// A channel whose only backend answers every call so.
async fn channel_answered(build: impl Fn(ChannelBuilder) -> ChannelBuilder, answer: Answer) -> Channel {
    let mut network = Network::new();
    let channel = build(network.channel(&[backend(1)])).connect_lazy().unwrap();
    tokio::spawn(async move {
        loop {
            let peer = network.accept_raw(&[]).await;
            tokio::spawn(serve_raw(peer, answer));
        }
    });
    channel
}

/// An OK with so many bytes of metadata in one field.
fn ok_with(stream: u32, bytes: usize) -> Vec<u8> {
    let long = vec![b'x'; bytes];
    [grpc_head(stream), message(stream), trailers(stream, &[("x-long", &long), OK])].concat()
}

#[tokio::test(start_paused = true)]
async fn trailers_above_the_limit_are_resource_exhausted_and_no_fault_of_the_backend() {
    let answers: [(&str, Answer); 5] = [
        ("one field a little too long", |s| ok_with(s, 66_000)),
        ("one field above h2's limit", |s| ok_with(s, 190_000)),
        ("many fields", |s| {
            let names: Vec<_> = (0..900).map(|n| format!("x-{n}")).collect();
            let list: Vec<_> = names.iter().map(|name| (&**name, &[b'x'; 64][..])).chain([OK]).collect();
            [grpc_head(s), message(s), trailers(s, &list)].concat()
        }),
        ("headers", |s| head(s, 200, &[GRPC, ("x-a", &[b'x'; 8000]), ("x-b", &[b'x'; 8000])], 0)),
        ("an error's details", |s| {
            [grpc_head(s), trailers(s, &[("grpc-status", b"5"), ("grpc-message", &[b'x'; 70_000])])].concat()
        }),
    ];
    for (name, answer) in answers {
        let small = name == "headers";
        let build =
            |channel: ChannelBuilder| if small { channel.max_header_list_size(16_000) } else { channel };
        let channel = channel_answered(build, answer).await;
        for _ in 0..20 {
            let status = check(&channel).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{name}: {status}");
            assert!(status.message().contains("max_header_list_size"), "{name}: {status}");
        }
        let endpoint = &channel.state().await.endpoints[0];
        assert_eq!(endpoint.state, SubchannelState::Ready, "{name}: not ejected, and the connection lives");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_within_the_limit_arrives_whole() {
    for (limit, bytes) in [(64 << 10, 65_000 - 200), (1 << 20, 190_000), (1 << 20, 1_000_000)] {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).max_header_list_size(limit).connect_lazy().unwrap();
        let calling =
            tokio::spawn(
                async move { HealthClient::new(channel).check(HealthCheckRequest::default()).await },
            );
        let mut peer = network.accept_raw(&[]).await;
        let stream = peer.expect_request().await;
        peer.send(&ok_with(stream, bytes)).await;
        let response = calling.await.unwrap().unwrap();
        assert_eq!(response.metadata().get("x-long").unwrap().len(), bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_trailers_ends_the_connection_and_still_blames_nobody() {
    let channel = channel_answered(|channel| channel, |stream| ok_with(stream, 900_000)).await;
    for _ in 0..10 {
        let status = check_within(&channel, 60 * SECOND).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    let state = channel.state().await;
    assert!(state.endpoints[0].ejection.is_none(), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_server_s_limit_is_refused_here_and_the_connection_lives() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    let mut peer = network.accept_raw(&[(MAX_HEADER_LIST_SIZE, 8_000)]).await;
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    first.await.unwrap().unwrap();
    let with = |bytes: usize| {
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
        request
    };
    let status = check_with(&channel, with(8_000)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    for word in ["10.0.0.1:50051: the request's headers are too long: 8", "the server accepts 8000"] {
        assert!(status.message().contains(word), "{status}");
    }
    let fits = tokio::spawn({
        let channel = channel.clone();
        async move { check_with(&channel, with(7_000)).await }
    });
    let stream = peer.expect_request().await;
    assert_eq!(stream, 3, "the next stream of the same connection: the long request took none");
    peer.answer(stream, SERVING).await;
    fits.await.unwrap().unwrap();
    // The server changes its mind.
    peer.settings(&[(3, 100), (MAX_HEADER_LIST_SIZE, 1_000)]).await;
    settle().await;
    assert_eq!(check_with(&channel, with(7_000)).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn headers_of_http_are_no_metadata() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&seen);
    network.serve(100, move |call| {
        for name in ["content-length", "host", "connection", "keep-alive", "transfer-encoding"] {
            assert_eq!(call.header(name), None, "{name}");
        }
        assert_eq!(call.header("x-tag").as_deref(), Some("one"));
        assert_eq!(call.request.uri().authority().unwrap(), "10.0.0.1:50051");
        calls.fetch_add(1, SeqCst);
        call.answer();
    });
    let mut request = Request::new(HealthCheckRequest::default());
    for (name, value) in [
        ("content-length", "999"),
        ("host", "elsewhere"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("x-tag", "one"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    check_with(&channel, request).await.unwrap();
    assert_eq!(seen.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_ends_the_channel_and_every_call_hears_of_it_at_once() {
    struct Panics(usize);
    impl meshless::Resolver for Panics {
        fn poll_resolution(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<meshless::resolver::Resolution> {
            self.0 += 1;
            if self.0 < 3 {
                cx.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            panic!("a resolver of little care")
        }
    }
    let channel = Channel::builder("ipv4:10.0.0.1:1").resolver(Panics(0));
    let channel = channel.connect_lazy().unwrap();
    for _ in 0..3 {
        let call = tokio::time::timeout(60 * SECOND, check(&channel));
        let status = call.await.expect("at once").unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("a resolver of little care"), "{status}");
    }
    let _ = channel.state().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_stream_that_panics_fails_its_call_at_once() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    async fn panics(when: oneshot::Receiver<()>) -> Result<Frame<Bytes>, Status> {
        let _ = when.await;
        panic!("a stream of little care")
    }
    let (panic, when) = oneshot::channel();
    let body = Body::new(StreamBody::new(futures_util::stream::once(panics(when))));
    let calling = tokio::spawn(async move {
        let request = http::Request::post("/test.Test/Stream").body(body).unwrap();
        channel.clone().call(request).await?.into_body().collect().await.map(drop)
    });
    let mut peer = network.accept_raw(&[]).await;
    let Received::Headers { stream, .. } = peer.next().await else { panic!("a request") };
    peer.answer_headers(stream).await;
    settle().await;
    panic.send(()).unwrap();
    let status = tokio::time::timeout(60 * SECOND, calling).await.expect("at once").unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("a stream of little care"), "{status}");
}
