//! Integration tests of the library: hand-written HTTP/2 peers, duplex pipes with a paused clock, loopback sockets.

mod connection;
mod raw_peer;
mod server;
