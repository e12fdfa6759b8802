//! The client half: a channel that picks a backend for each call and loses none.
//!
//! One task owns the channel's balancer (`driver`) and publishes pickers. Calls pick from them, and
//! send on this crate's own connections (`connection`). Nothing here uses the server half.

pub(crate) mod call;
pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod connector;
mod driver;
mod health_watch;
mod internal_rpc;
mod load_watch;
mod metrics;
pub(crate) mod service_config;
mod uri_connector;

pub use meshless_core::{ChannelState, ConnectivityState, EndpointState, SubchannelState};

pub use self::channel::{
    Channel, ChannelBuilder, ChannelError, NeverSent, ResponseBody, ResponseFuture, WaitForReady,
};
pub use self::connector::{Connect, Connecting};
pub use self::service_config::{ServiceConfig, ServiceConfigError};
pub use self::uri_connector::UriConnector;
pub use crate::shared::io::{BoxIo, Io};
