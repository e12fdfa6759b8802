//! The library as its users see it, over loopback sockets.

mod dns_server;
mod resolver;
