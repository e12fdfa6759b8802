//! Settings of a channel at their edges: no duration panics, and the order in which they are set
//! does not count.

use std::num::NonZeroU32;
use std::time::Duration;

use meshless::balancing::{
    BackoffConfig, BalancerConfig, EjectionConfig, OutlierConfig, SlowStartConfig, WeightedConfig,
};
use meshless::{ChannelBuilder, HedgingPolicy, Policy, RetryPolicy};
use tokio::io::DuplexStream;
use tonic::Code;

use super::network::*;
use crate::raw_peer::{RawPeer, Received};

const SECOND: Duration = Duration::from_secs(1);

type Setter = (&'static str, fn(ChannelBuilder, Duration) -> ChannelBuilder);

/// Every setting of a channel that is a duration.
const SETTERS: &[Setter] = &[
    ("timeout", |builder, duration| builder.timeout(duration)),
    ("connect_timeout", |builder, duration| builder.connect_timeout(duration)),
    ("idle_timeout", |builder, duration| builder.idle_timeout(duration)),
    ("keepalive time", |builder, duration| builder.keepalive(duration, SECOND)),
    ("keepalive timeout", |builder, duration| builder.keepalive(SECOND, duration).stall_timeout(None)),
    ("stall_timeout", |builder, duration| builder.stall_timeout(duration)),
    ("ejection", |builder, duration| {
        let outliers = OutlierConfig::default().interval(duration);
        let ejection = EjectionConfig::default().base_time(duration).max_time(duration);
        builder.ejection(ejection.outlier_detection(outliers))
    }),
    ("peak_ewma", |builder, duration| {
        let balancer = BalancerConfig::new(Policy::PeakEwma).latency_decay(duration);
        builder.balancer(balancer.failure_penalty(duration).stale_max(duration))
    }),
    ("weights", |builder, duration| {
        let weighted = WeightedConfig::default().oob_load_report(true).oob_reporting_period(duration);
        let weighted = weighted.blackout_period(duration).expiration_period(duration).update_period(duration);
        let balancer = BalancerConfig::new(Policy::WeightedRoundRobin).weighted(weighted);
        builder.balancer(balancer.slow_start(SlowStartConfig::new(duration)))
    }),
    ("backoff", |builder, duration| {
        let longest = duration.max(Duration::from_nanos(1));
        let backoff = BackoffConfig::new(longest, 1.6, 0.2, longest).unwrap();
        builder.balancer(BalancerConfig::default().backoff(backoff.with_min_connect_timeout(duration)))
    }),
    ("retry", |builder, duration| {
        let longest = duration.max(Duration::from_nanos(1));
        let policy = RetryPolicy::unavailable().with_backoff(longest, longest, 1e300).unwrap();
        builder.retry(policy.with_per_attempt_timeout(longest).unwrap())
    }),
    ("hedging", |builder, duration| builder.hedging(HedgingPolicy::new(3, duration).unwrap())),
];

#[tokio::test(start_paused = true)]
async fn no_duration_is_too_short_or_too_long_to_be_set() {
    for (name, set) in SETTERS {
        for duration in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut network = Network::new();
            network.set(backend(2), Dial::Refuse);
            network.set(backend(3), Dial::Mute);
            let builder = network.channel(&[backend(1), backend(2), backend(3)]);
            let channel = set(builder, duration).connect_lazy().unwrap();
            network.serve(100, Call::answer);
            for _ in 0..3 {
                // It may fail; it ends, and not with a panic.
                if let Err(status) = check_within(&channel, 10 * SECOND).await {
                    assert_ne!(status.code(), Code::Internal, "{name} {duration:?}: {status}");
                }
                tokio::time::sleep(2 * SECOND).await;
            }
            channel.state().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_settings_does_not_count() {
    let balancer = || BalancerConfig::default().connections_per_endpoint(NonZeroU32::MIN);
    let orders: [fn(ChannelBuilder, BalancerConfig) -> ChannelBuilder; 2] = [
        |builder, balancer| {
            let builder = builder.policy(Policy::PickFirst).ejection(None).keepalive_without_calls(true);
            builder.balancer(balancer).keepalive(10 * SECOND, SECOND)
        },
        |builder, balancer| {
            let builder = builder.keepalive(10 * SECOND, SECOND).balancer(balancer);
            builder.keepalive_without_calls(true).ejection(None).policy(Policy::PickFirst)
        },
    ];
    for order in orders {
        let mut network = Network::new();
        let builder = network.channel(&[backend(1), backend(2)]).stall_timeout(None).idle_timeout(None);
        let channel = order(builder, balancer()).connect_lazy().unwrap();
        let call = tokio::spawn({
            let channel = channel.clone();
            async move { check(&channel).await }
        });
        let mut peer = network.accept_raw(&[]).await;
        let stream = peer.expect_request().await;
        peer.answer(stream, SERVING).await;
        call.await.unwrap().unwrap();
        assert_eq!(network.connections_waiting(), 0, "pick_first connects to one");
        assert!(is_pinged_within(&mut peer, 11 * SECOND).await, "without calls, too");
    }
}

#[tokio::test(start_paused = true)]
async fn keepalive_can_be_turned_off() {
    let mut network = Network::new();
    let builder = network.channel(&[backend(1)]).stall_timeout(None).idle_timeout(None);
    let builder = builder.keepalive_without_calls(true).keepalive(None, SECOND);
    let channel = builder.connect_lazy().unwrap();
    let call =
        tokio::spawn(
            async move { check_within(&channel, 600 * SECOND).await.map_err(|status| status.code()) },
        );
    let mut peer = network.accept_raw(&[]).await;
    assert!(!is_pinged_within(&mut peer, 300 * SECOND).await);
    assert_eq!(call.await.unwrap(), Err(Code::DeadlineExceeded));
}

async fn is_pinged_within(peer: &mut RawPeer<DuplexStream>, wait: Duration) -> bool {
    let pinged = async {
        loop {
            match peer.next().await {
                Received::Ping { ack: false, .. } => return true,
                Received::Closed => return false,
                _ => {}
            }
        }
    };
    tokio::time::timeout(wait, pinged).await.unwrap_or(false)
}
