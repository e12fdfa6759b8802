//! Stand-ins for what meshless talks to, for its tests, its benches and its lab: one of each kind.
//!
//! | module | stands in for |
//! |---|---|
//! | [`dns_server`] | the cluster's DNS: answers that change, in trouble or out of it |
//! | [`raw_name_server`] | a name server whose every datagram a test writes |
//! | [`api_server`] | the cluster's API server: EndpointSlices, and the objects of a run |
//! | [`raw_peer`] | an HTTP/2 client or server that does what no library would |
//! | [`watched`] | a byte stream whose frames are seen as they pass |
//! | [`pipe`] | a network line that can be cut |
//!
//! Everything runs in memory or on loopback, on ports that the system picks. Nothing here knows the
//! library: the crate depends on `meshless-core` alone, for the headers of HTTP/2 frames, so that
//! the library's own tests can depend on it.
//!
//! What a test asks for panics when it cannot be had. What the lab uses as well returns an error.

pub mod api_server;
pub mod dns_server;
pub mod pipe;
pub mod raw_name_server;
pub mod raw_peer;
pub mod watched;
