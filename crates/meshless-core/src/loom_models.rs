//! Models of the state that calls on several threads share. In loom, each model runs in every order
//! that the memory model allows, so every lost wake-up and wrong count is found.
//!
//! `RUSTFLAGS="--cfg meshless_loom" cargo test -p meshless-core --lib --release loom_models`

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::client::outcome::Outcome;
use crate::client::picker::lease::{LoadTracking, PickableConnection};
use crate::client::picker::outcomes::Outcomes;
use crate::client::stream_limit::{Freed, StreamLimit};
use crate::client::waiting_line::WaitingLine;
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;
use crate::ewma::{EwmaDecay, PeakEwma};
use crate::virtual_time::epoch;

#[test]
fn a_call_that_found_no_stream_hears_of_the_one_that_is_freed() {
    loom::model(|| {
        let streams = Arc::new(StreamLimit::new());
        streams.set_max(1);
        assert!(streams.reserve());
        let ends = {
            let streams = Arc::clone(&streams);
            thread::spawn(move || streams.release())
        };
        let reserved = streams.reserve();
        let freed = ends.join().unwrap();
        assert!(reserved || freed == Freed::Room, "turned away, and told nothing");
        assert_eq!(streams.open(), u32::from(reserved));
    });
}

#[test]
fn a_call_that_found_no_stream_hears_of_a_higher_limit() {
    loom::model(|| {
        let streams = Arc::new(StreamLimit::new());
        streams.set_max(1);
        assert!(streams.reserve());
        let raises = {
            let streams = Arc::clone(&streams);
            thread::spawn(move || {
                streams.set_max(2);
                streams.room_after_raise()
            })
        };
        let reserved = streams.reserve();
        let freed = raises.join().unwrap();
        assert!(reserved || freed == Freed::Room, "turned away, and told nothing");
    });
}

#[test]
fn the_last_call_and_the_drain_do_not_miss_each_other() {
    loom::model(|| {
        let streams = Arc::new(StreamLimit::new());
        streams.set_max(2);
        assert!(streams.reserve() && streams.reserve());
        let ends = |streams: &Arc<StreamLimit>| {
            let streams = Arc::clone(streams);
            thread::spawn(move || streams.release())
        };
        let (one, other) = (ends(&streams), ends(&streams));
        assert!(streams.stop_accepting());
        let is_drained = streams.calls() == 0;
        let told = [one.join().unwrap(), other.join().unwrap()].contains(&Freed::LastCall);
        assert!(is_drained || told, "the drain waits for calls that have ended");
    });
}

fn connection(limit: u32) -> Arc<PickableConnection<()>> {
    let (endpoint, id) = (EndpointId::for_tests(1), ConnectionId(1));
    let tracking = LoadTracking { counts_load: true, ..LoadTracking::default() };
    let connection = PickableConnection::new(id, endpoint, (), Arc::default(), tracking);
    connection.set_limit(limit);
    Arc::new(connection)
}

#[test]
fn a_call_that_waits_sees_the_free_place_or_is_woken() {
    loom::model(|| {
        let (connection, line) = (connection(1), Arc::new(WaitingLine::default()));
        let lease = connection.lease(epoch()).expect("it is free");
        let ends = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                drop(lease);
                line.must_wake()
            })
        };
        line.enter();
        let placed = connection.lease(epoch()).is_some();
        let woken = ends.join().unwrap();
        assert!(placed || woken, "it waits for a place that is free");
    });
}

#[test]
fn a_connection_never_carries_more_than_its_limit() {
    loom::model(|| {
        let connection = connection(1);
        let other = {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.lease(epoch()))
        };
        let leases = [connection.lease(epoch()), other.join().unwrap()];
        assert_eq!(leases.iter().flatten().count(), 1, "one place, and one call that has it");
        drop(leases);
        assert_eq!((connection.in_flight(), connection.load.in_flight()), (0, 0));
    });
}

#[test]
fn of_calls_that_fail_at_once_one_trips_the_breaker() {
    loom::model(|| {
        let outcomes = Arc::new(Outcomes::default());
        let other = {
            let outcomes = Arc::clone(&outcomes);
            thread::spawn(move || outcomes.record(Outcome::Failure, 2))
        };
        let reports = [outcomes.record(Outcome::Failure, 2), other.join().unwrap()];
        assert_eq!(reports.iter().filter(|&&report| report).count(), 1);
        assert_eq!((outcomes.consecutive_failures(), outcomes.failures()), (2, 2));
    });
}

#[test]
fn a_probation_places_one_call_and_reports_one_end() {
    loom::model(|| {
        let outcomes = Arc::new(Outcomes::default());
        outcomes.begin_probe();
        let other = {
            let outcomes = Arc::clone(&outcomes);
            thread::spawn(move || (outcomes.take_probe(), outcomes.record(Outcome::Failure, 100)))
        };
        let (probes, reported) = (outcomes.take_probe(), outcomes.record(Outcome::Failure, 100));
        let (other_probes, other_reported) = other.join().unwrap();
        assert!(probes != other_probes, "one call is placed");
        assert!(reported != other_reported, "and one end is reported");
    });
}

#[test]
fn the_longer_of_two_latencies_is_the_peak() {
    loom::model(|| {
        let decay = EwmaDecay::new(epoch(), Duration::from_secs(10));
        let ewma = Arc::new(PeakEwma::default());
        let other = {
            let ewma = Arc::clone(&ewma);
            thread::spawn(move || ewma.record(&decay, 7, Duration::from_millis(2)))
        };
        ewma.record(&decay, 7, Duration::from_millis(5));
        other.join().unwrap();
        let peak = ewma.read(&decay, 7).expect("both were recorded").peak;
        assert_eq!(peak, 5e6, "neither overwrites the other");
    });
}
