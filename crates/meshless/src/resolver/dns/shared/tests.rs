//! The task of a name, in virtual time, with a scripted lookup.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::resolver::dns::question::FoundAddresses;

const SECOND: Duration = Duration::from_secs(1);

/// Answers from a script, and repeats its last line; each answer takes `takes`. Counts lookups, and
/// how many run at once.
struct Script {
    lines: VecDeque<Result<FoundAddresses, ResolveError>>,
    takes: Duration,
    began: Arc<Mutex<Vec<Instant>>>,
}

impl LookUp for Script {
    async fn look(&mut self, _: &Early<'_>) -> Result<FoundAddresses, ResolveError> {
        self.began.lock().unwrap().push(Instant::now());
        sleep(self.takes).await;
        match self.lines.len() {
            1 => self.lines[0].clone(),
            _ => self.lines.pop_front().unwrap(),
        }
    }
}

/// Starts a name's task on a script. Returns it with the start times of its lookups.
fn begin(
    lines: impl IntoIterator<Item = Result<FoundAddresses, ResolveError>>,
) -> (SharedLookup, Arc<Mutex<Vec<Instant>>>) {
    let began = Arc::new(Mutex::new(Vec::new()));
    let takes = Duration::from_millis(10);
    let script = Script { lines: lines.into_iter().collect(), takes, began: Arc::clone(&began) };
    (spawn(script, DnsConfig::default(), &Handle::current()), began)
}

fn found(last: u8, ttl_s: u64) -> Result<FoundAddresses, ResolveError> {
    Ok(FoundAddresses {
        addresses: vec![IpAddr::from([10, 0, 0, last])],
        ttl: Duration::from_secs(ttl_s),
        complete: true,
    })
}

fn failed() -> Result<FoundAddresses, ResolveError> {
    Err(ResolveError::NoSuchName { name: "echo".to_owned() })
}

async fn next(answers: &mut watch::Receiver<DnsAnswer>) -> Result<Vec<IpAddr>, ResolveError> {
    answers.changed().await.unwrap();
    answers.borrow_and_update().clone().unwrap().map(|addresses| addresses.to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_when_the_records_expire() {
    let (shared, _) = begin([found(1, 5), found(2, 5)]);
    let mut answers = shared.found();
    assert_eq!(next(&mut answers).await, Ok(vec![IpAddr::from([10, 0, 0, 1])]));
    let first = Instant::now();
    assert_eq!(next(&mut answers).await, Ok(vec![IpAddr::from([10, 0, 0, 2])]));
    assert!(first.elapsed() <= 6 * SECOND + Duration::from_millis(10), "{:?}", first.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_and_tried_again_until_it_ends() {
    let (shared, _) = begin([found(1, 5), failed(), failed(), found(2, 5)]);
    let mut answers = shared.found();
    let start = Instant::now();
    assert!(next(&mut answers).await.is_ok());
    assert!(next(&mut answers).await.is_err());
    assert!(next(&mut answers).await.is_err());
    assert_eq!(next(&mut answers).await, Ok(vec![IpAddr::from([10, 0, 0, 2])]));
    // TTL 5 s, then backoffs of 1 s and 1.6 s, each ± 20 %, and four lookups.
    let took = start.elapsed().as_secs_f64();
    assert!((7.6 * 0.8..7.6 * 1.2 + 0.05).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn many_channels_that_doubt_at_once_cause_one_lookup_an_interval() {
    let (shared, began) = begin([found(1, 30)]);
    let mut answers = shared.found();
    next(&mut answers).await.unwrap();
    sleep(5 * SECOND).await;
    for _ in 0..100 {
        shared.resolve_now(ResolveHint::Stale);
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_millis(900)).await;
    assert_eq!(began.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn hints_beyond_measure_stay_within_the_bound() {
    let (shared, began) = begin([failed()]);
    for _ in 0..600 {
        shared.resolve_now(ResolveHint::AllFailed);
        sleep(Duration::from_millis(100)).await;
    }
    // 60 s: the first lookup, 3 tokens, 12 refilled, and the backoff's own of 1, 1.6, 2.6… up to 5
    // s.
    let lookups = began.lock().unwrap().len();
    assert!((10..=34).contains(&lookups), "{lookups}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_subscriber_ends_the_lookups() {
    let (shared, began) = begin([found(1, 5)]);
    let mut answers = shared.found();
    next(&mut answers).await.unwrap();
    drop(shared);
    sleep(60 * SECOND).await;
    assert_eq!(began.lock().unwrap().len(), 1);
    assert!(answers.changed().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_the_loss_of_all_backends_gives_way_to_the_next() {
    for old in [found(1, 30), failed()] {
        let (shared, began) = begin([found(1, 30), old, found(2, 30)]);
        let mut answers = shared.found();
        next(&mut answers).await.unwrap();
        sleep(5 * SECOND).await;
        shared.resolve_now(ResolveHint::Stale);
        sleep(Duration::from_millis(5)).await;
        // The lookup for that hint is running when the last backend is lost.
        shared.resolve_now(ResolveHint::AllFailed);
        assert_eq!(next(&mut answers).await, Ok(vec![IpAddr::from([10, 0, 0, 2])]));
        assert_eq!(began.lock().unwrap().len(), 3);
    }
}

/// Finds one family at once, and waits for the other one.
struct HalfAnswer {
    began: Arc<Mutex<u32>>,
}

impl LookUp for HalfAnswer {
    async fn look(&mut self, early: &Early<'_>) -> Result<FoundAddresses, ResolveError> {
        *self.began.lock().unwrap() += 1;
        let found = FoundAddresses { complete: false, ..found(1, 30).unwrap() };
        early.publish(&found);
        sleep(2 * SECOND).await;
        Ok(found.aged(2 * SECOND))
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_used_at_once_and_its_rest_is_not_waited_for_in_need() {
    let began = Arc::new(Mutex::new(0));
    let look = HalfAnswer { began: Arc::clone(&began) };
    let shared = spawn(look, DnsConfig::default(), &Handle::current());
    let mut answers = shared.found();
    let start = Instant::now();
    assert!(next(&mut answers).await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO);
    shared.resolve_now(ResolveHint::AllFailed);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(*began.lock().unwrap(), 2, "the next lookup begins");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_a_failure_and_is_tried_again() {
    struct Panics(u32);
    impl LookUp for Panics {
        async fn look(&mut self, _: &Early<'_>) -> Result<FoundAddresses, ResolveError> {
            self.0 += 1;
            sleep(Duration::from_millis(10)).await;
            assert!(self.0 > 2, "a lookup of little care");
            found(1, 5)
        }
    }
    let shared = spawn(Panics(0), DnsConfig::default(), &Handle::current());
    let mut answers = shared.found();
    let start = Instant::now();
    for _ in 0..2 {
        let error = next(&mut answers).await.unwrap_err().to_string();
        assert!(error.contains("a lookup of little care"), "{error}");
    }
    assert!(next(&mut answers).await.is_ok());
    assert!(start.elapsed() >= 2 * SECOND, "with the pauses of failures: {:?}", start.elapsed());
}
