//! Messages of a client that cross the early end of their calls: h2 charges each, and gives nothing
//! back over the life of the connection.

use std::time::Duration;

use meshless::Server;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::pipes::{Piped, check};
use crate::raw_peer::{DATA, RESET_STREAM, RawPeer, Received, frame, go_away, request};

const MESSAGE: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

/// Opens a call that the server answers at once, and waits until the server has reset its stream.
async fn answered_early(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    peer.send(&request(stream, "/no.Such/Call", &[], 0)).await;
    while peer.next().await != (Received::Other { kind: RESET_STREAM, stream }) {}
}

/// 200 000 of them at 10 000 a second, where h2 alone bears 17 000.
#[tokio::test(start_paused = true)]
async fn messages_that_cross_an_early_answer_end_no_connection() {
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    for call in 0..200 {
        let stream = 2 * call + 1;
        answered_early(&mut peer, stream).await;
        peer.send(&frame(DATA, 0, stream, &MESSAGE).repeat(1000)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(check(&mut peer, 1001).await, 1, "SERVING");
}

/// At a rate that no client needs it is a flood.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_after_an_early_answer_is_cut() {
    let server = Piped::start(Server::builder().max_concurrent_streams(100));
    let mut peer = server.connect().await;
    answered_early(&mut peer, 1).await;
    let (read, mut write) = tokio::io::split(peer.io);
    let mut sent = 0;
    let flood = async {
        let messages = frame(DATA, 0, 1, &MESSAGE).repeat(100);
        loop {
            // The server reads on after its last word, for a second that does not pass here.
            write.write_all(&messages).await.unwrap();
            sent += 100;
        }
    };
    let mut peer = RawPeer { io: tokio::io::join(read, tokio::io::sink()) };
    let cut = async {
        loop {
            if let goaway @ Received::GoAway { .. } = peer.next().await {
                return goaway;
            }
        }
    };
    let goaway = tokio::select! {
        goaway = cut => goaway,
        () = flood => unreachable!("it has no end"),
    };
    assert_eq!(goaway, go_away(1, 11, "too_many_control_frames"));
    assert!((90_000..120_000).contains(&sent), "{sent} messages");
}
