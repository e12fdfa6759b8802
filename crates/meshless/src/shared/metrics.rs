//! What channels and servers count and measure, under OpenTelemetry's names for gRPC.
//!
//! Nothing is measured until `ChannelBuilder::metrics` or `Server::metrics` gets a `Meter`, which
//! needs the feature `otel`. The global meter provider is never used (gRFC A66: "gRPC
//! implementations should *NOT* fallback on this global"). All instruments are then on, also those
//! that gRPC calls experimental. A view of your `MeterProvider` can leave some out, and can replace
//! the bucket boundaries that are suggested here. Only gRPC calls are measured: not those of an
//! axum router beside them, and not the channel's own health watches.
//!
//! ```no_run
//! # #[cfg(all(feature = "client", feature = "otel"))]
//! # async fn run(provider: impl opentelemetry::metrics::MeterProvider) -> Result<(), Box<dyn std::error::Error>> {
//! let channel = meshless::Channel::builder("dns:///echo.shop.svc.cluster.local:50051")
//!     .metrics(provider.meter("meshless"))
//!     .connect()
//!     .await?;
//! # let _ = channel;
//! # Ok(()) }
//! ```
//!
//! # Of a channel
//!
//! Each has the label `grpc.target`.
//!
//! | name | kind | unit | further labels | meaning |
//! |---|---|---|---|---|
//! | `grpc.client.attempt.started` | counter | `{attempt}` | `grpc.method` | attempts that were begun |
//! | `grpc.client.attempt.duration` | histogram | `s` | `grpc.method`, `grpc.status` | of an attempt, from before its pick to its end |
//! | `grpc.client.attempt.sent_total_compressed_message_size` | histogram | `By` | `grpc.method`, `grpc.status` | messages of an attempt's request as they were handed to HTTP/2 |
//! | `grpc.client.attempt.rcvd_total_compressed_message_size` | histogram | `By` | `grpc.method`, `grpc.status` | messages of its response as they were read |
//! | `grpc.client.call.duration` | histogram | `s` | `grpc.method`, `grpc.status` | of a call, with all its attempts and pauses |
//! | `grpc.client.call.retries` | histogram | `{retry}` | `grpc.method` | of a call that had any |
//! | `grpc.client.call.transparent_retries` | histogram | `{transparent_retry}` | `grpc.method` | of a call that had any |
//! | `grpc.client.call.hedges` | histogram | `{hedge}` | `grpc.method` | of a call that had any |
//! | `grpc.client.call.retry_delay` | histogram | `s` | `grpc.method` | pauses between a call's attempts, if it had any |
//! | `grpc.subchannel.connection_attempts_succeeded` | counter | `{attempt}` | | |
//! | `grpc.subchannel.connection_attempts_failed` | counter | `{attempt}` | | not those that the channel gave up itself |
//! | `grpc.subchannel.open_connections` | up-down counter | `{connection}` | | those being drained included |
//! | `grpc.subchannel.disconnections` | counter | `{disconnection}` | `grpc.disconnect_error` | the first reason that was seen: `GOAWAY NO_ERROR`, `subchannel shutdown`, `connection timed out`, … |
//! | `grpc.lb.outlier_detection.ejections_enforced` | counter | `{ejection}` | `grpc.lb.outlier_detection.detection_method` | `success_rate` and `failure_percentage` as in A91; also `consecutive_failures` (the breaker) and `probe_failed` (ejected again) |
//! | `grpc.lb.outlier_detection.ejections_unenforced` | counter | `{ejection}` | the same, and `grpc.lb.outlier_detection.unenforced_reason` | outliers that stayed, since too many were out of service: `max_ejection_overflow` |
//! | `grpc.lb.wrr.rr_fallback` | counter | `{update}` | | updates of shares with fewer than two usable weights: `round_robin` then |
//! | `grpc.lb.wrr.endpoint_weight_not_yet_usable` | counter | `{endpoint}` | | endpoints without a report, or in their blackout period, at each update |
//! | `grpc.lb.wrr.endpoint_weight_stale` | counter | `{endpoint}` | | endpoints whose report had expired, at each update |
//! | `grpc.lb.wrr.endpoint_weights` | histogram | `{endpoint}` | | weight of each endpoint at each update, 0 if not usable |
//! | `meshless.channel.calls_waiting` | up-down counter | `{call}` | | calls that wait for a backend |
//! | `meshless.channel.endpoints` | up-down counter | `{endpoint}` | `meshless.endpoint_state` | `listed` are all in use; of these, some are `connecting`, `ready` or `ejected` |
//! | `meshless.channel.retries` | counter | `{attempt}` | `meshless.retry_kind` | attempts beside the first: by a retry `policy`, `transparent`, or a `hedge` |
//! | `meshless.resolver.failures` | counter | `{resolution}` | | answers without endpoints |
//! | `meshless.resolver.stale_since` | gauge | `s` | | since when the resolver has failed, in Unix time, 0 while it succeeds: alert on `meshless_resolver_stale_since_seconds > 0 and time() - meshless_resolver_stale_since_seconds > 300` |
//! | `meshless.resolver.resolved_at` | gauge | `s` | | when the resolver last named endpoints, in Unix time. DNS names them again and again, a watch of EndpointSlices when they change |
//!
//! # Of a server
//!
//! | name | kind | unit | labels | meaning |
//! |---|---|---|---|---|
//! | `grpc.server.call.started` | counter | `{call}` | `grpc.method` | calls whose headers have come |
//! | `grpc.server.call.duration` | histogram | `s` | `grpc.method`, `grpc.status` | from the headers to the last frame, or to the reset |
//! | `grpc.server.call.sent_total_compressed_message_size` | histogram | `By` | `grpc.method`, `grpc.status` | messages of a response |
//! | `grpc.server.call.rcvd_total_compressed_message_size` | histogram | `By` | `grpc.method`, `grpc.status` | messages of a request, as far as the handler took them |
//! | `meshless.server.open_connections` | up-down counter | `{connection}` | | |
//! | `meshless.server.connections_opened` | counter | `{connection}` | | |
//! | `meshless.server.connections_closed` | counter | `{connection}` | `meshless.close_reason` | `client`, `max_age`, `max_idle`, `drain`, `grace_over`, `keepalive_timeout`, `failed`, … |
//! | `meshless.server.connection.age` | histogram | `s` | `meshless.close_reason` | of a connection, at its end |
//! | `meshless.server.connection.calls` | histogram | `{call}` | | that a connection carried, at its end |
//!
//! # From the start
//!
//! Counters and up-down counters begin with 0 when the channel or the server is made, for each
//! known value of their labels. So `rate()` sees the first event, and `absent()` means that the
//! process is missing. Those with `grpc.method` begin with a method's first call. Rare values of
//! `grpc.disconnect_error` begin with their first event.
//!
//! # Labels
//!
//! `grpc.method` has no leading slash: `shop.Orders/Place`. If clients could invent names, the
//! label would be unbounded. Hence A66's rule: methods that are not registered are `other`. At the
//! client, tonic's generated code registers its methods by putting a [`tonic::GrpcMethod`] into
//! each request. At the server, a method is registered if its service was
//! [added](crate::Server::add_service) and a call of it has ended with another status than
//! UNIMPLEMENTED. The first hundred names in an added service are accepted untested, and there are
//! never more than a thousand.
//!
//! `grpc.target` is the target in its canonical form. `ChannelBuilder::metrics_target` replaces it
//! by a name, for many targets or for addresses.
//!
//! # Sources
//!
//! Names, units, labels and boundaries: gRFC A66 (calls and attempts), A96 (retries; "If there were
//! no retries, 0 is not reported"), A94 (subchannels, in place of A78's `grpc.lb.pick_first.*`),
//! A91 (ejections), A78 (`weighted_round_robin`). Names that begin with `meshless.` are this
//! library's own.

#[cfg(feature = "otel")]
pub(crate) mod instrument;
#[cfg(feature = "otel")]
pub(crate) mod message_meter;
#[cfg(not(feature = "otel"))]
mod off;

#[cfg(feature = "otel")]
pub(crate) use self::message_meter::MessageMeter;
#[cfg(not(feature = "otel"))]
pub(crate) use self::off::MessageMeter;
