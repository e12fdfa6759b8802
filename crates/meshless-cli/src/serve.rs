//! `meshless serve`: its arguments, and the server made from them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use meshless::resolver::Address;
use meshless::server::ConnectionConfig;
use meshless::tls::TlsError;
use meshless::{CallLimit, Pem, Server, ServerTlsConfig};
use meshless_lab::serve::ServeRequest;

use crate::values::{duration, listen_address, positive_duration, whole};

/// What `meshless serve` can be asked for. Its limits are the library's, so that it behaves as a
/// user's server does.
#[derive(Clone, Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct ServeArgs {
    /// Where to listen, an IP address with its port or unix:path; can be given more than once
    #[arg(long, default_value = "0.0.0.0:3001", value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) listen: Vec<Address>,
    /// How long to work on a call
    #[arg(long, default_value = "100ms", value_name = "DURATION", value_parser = duration)]
    pub(crate) service_time: Duration,
    /// Draw how long to work on each call from an exponential distribution with that mean
    #[arg(long)]
    pub(crate) exponential: bool,
    /// Age at which a connection is told to go, ± 10 % per connection [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age: Option<Duration>,
    /// How long calls may still run on a connection that was told to go [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_age_grace: Option<Duration>,
    /// Time without a call after which a connection is told to go [default: never]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_connection_idle: Option<Duration>,
    /// Ages connections sooner while there are more than usual: the exponent, 3 being a good one
    /// [default: off]
    #[arg(long, value_name = "EXPONENT", value_parser = whole(1..=8_u32))]
    pub(crate) level_connections: Option<u32>,
    /// How long a stream may last, ± 10 %, before it is told to end, and 10 s later ended [default:
    /// for ever]
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_stream_age: Option<Duration>,
    /// How many calls a client may have open on one connection
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_concurrent_streams: u32,
    /// How many connections may be open at once
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_connections: u32,
    /// How many calls to work on at once, on all connections [default: no limit]
    #[arg(long, value_parser = whole(1..=u32::MAX))]
    pub(crate) max_concurrent_calls: Option<u32>,
    /// How many calls may wait for that [default: as many as run]
    #[arg(long, value_name = "NUMBER", requires = "max_concurrent_calls", value_parser = whole(0..=u32::MAX))]
    pub(crate) queue: Option<u32>,
    /// Refuse a call's first attempt rather than let it wait
    #[arg(long, requires = "max_concurrent_calls")]
    pub(crate) bounce: bool,
    /// Silence after which the server pings
    #[arg(long, default_value = "2h", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_time: Duration,
    /// How long the answer to a ping may take
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) keepalive_timeout: Duration,
    /// How often a client may ping; after two strikes it is told too_many_pings
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub(crate) permit_keepalive_time: Duration,
    /// Let clients ping as often while they have no call [default: every 2 h]
    #[arg(long)]
    pub(crate) permit_keepalive_without_calls: bool,
    /// How long to go on serving and accepting after SIGTERM, with health at NOT_SERVING, before
    /// connections are told to go [default: 5s; after Ctrl-C 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) lame_duck: Option<Duration>,
    /// How long calls may still run after that; a second signal cuts them at once
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
    /// Certificate and intermediates for TLS, a PEM file, read again every minute [default: plain
    /// text]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate of these authorities, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Name of this backend in the response header meshless-backend [default: its first address;
    /// where that is a wildcard such as 0.0.0.0, $POD_NAME or $HOSTNAME]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Calls to work on at a time; the others wait their turn [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = whole(1..=WORKERS_MAX))]
    pub(crate) workers: Option<usize>,
    /// File in which to note the ids of calls
    #[arg(long, hide = true, requires = "control")]
    pub(crate) journal: Option<PathBuf>,
    /// Seed of the jitter of ages
    #[arg(long, hide = true)]
    pub(crate) seed: Option<u64>,
    /// Speak with a parent process on stdin and stdout
    #[arg(long, hide = true)]
    pub(crate) control: bool,
}

impl ServeArgs {
    /// Returns the request.
    ///
    /// # Errors
    /// If certificate, key or authorities cannot be used.
    pub(crate) fn request(self) -> Result<ServeRequest, TlsError> {
        Ok(ServeRequest {
            server: self.server()?,
            listen: self.listen,
            service_time: self.service_time,
            exponential: self.exponential,
            name: self.name,
            workers: self.workers,
            journal: self.journal,
            seed: self.seed,
            control: self.control,
        })
    }

    fn server(&self) -> Result<Server, TlsError> {
        let mut server = Server::builder();
        if let Some(seed) = self.seed {
            server = server.connection_config(ConnectionConfig::default().seed(seed));
        }
        server = server
            .keepalive(self.keepalive_time, self.keepalive_timeout)
            .ping_enforcement(self.permit_keepalive_time, self.permit_keepalive_without_calls)
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_connections(self.max_connections as usize);
        if let Some(age) = self.max_connection_age {
            server = server.max_connection_age(age);
        }
        if let Some(grace) = self.max_connection_age_grace {
            server = server.max_connection_age_grace(grace);
        }
        if let Some(idle) = self.max_connection_idle {
            server = server.max_connection_idle(idle);
        }
        server = server.drain_timeout(self.drain_timeout);
        if let Some(delay) = self.lame_duck {
            server = server.lame_duck(delay);
        }
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let mut tls = ServerTlsConfig::new(Pem::file(chain), Pem::file(key))?;
            if let Some(authorities) = &self.client_ca {
                tls = tls.client_ca(Pem::file(authorities))?;
            }
            server = server.tls(tls);
        }
        if let Some(age) = self.max_stream_age {
            server = server.max_stream_age(age, STREAM_AGE_GRACE);
        }
        if let Some(exponent) = self.level_connections {
            server = server.level_connections(exponent);
        }
        if let Some(calls) = self.max_concurrent_calls {
            let mut limit = CallLimit::new(calls as usize).queue(self.queue.unwrap_or(calls) as usize);
            if self.bounce {
                limit = limit.bounce();
            }
            server = server.max_concurrent_calls(limit);
        }
        Ok(server)
    }
}

/// A larger number is no limit at all.
const WORKERS_MAX: usize = 1_000_000;

/// How long a stream may continue after its age.
const STREAM_AGE_GRACE: Duration = Duration::from_secs(10);
