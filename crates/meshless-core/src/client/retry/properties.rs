//! Attempts stay within their limits for any failures.

use proptest::prelude::*;

use super::*;
use crate::code::Code;
use crate::rng::Rng;
use crate::virtual_time::epoch;
use std::time::Duration;

fn pushback() -> impl Strategy<Value = Option<Pushback>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Pushback::Stop)),
        1 => (0u64..100).prop_map(|ms| Some(Pushback::After(Duration::from_millis(ms)))),
    ]
}

/// Runs `calls` one after the other; each attempt takes the next of `results`. Returns the attempts
/// and successes.
fn run(
    calls: usize,
    policy: &RetryPolicy,
    throttle: &RetryThrottle,
    mut fails: impl FnMut() -> Option<Option<Pushback>>,
) -> (usize, usize) {
    let mut rng = Rng::new(1, 1);
    let (mut attempts, mut successes) = (0, 0);
    for _ in 0..calls {
        let mut retry = CallRetry::new(Some(policy), Some(throttle));
        loop {
            attempts += 1;
            let Some(pushback) = fails() else {
                throttle.record_success();
                successes += 1;
                break;
            };
            let end = AttemptEnd {
                fate: AttemptFate::MaybeProcessed,
                code: Code::Unavailable,
                pushback,
                timed_out: false,
                replayable: true,
            };
            if let RetryDecision::GiveUp(_) = retry.after(epoch(), None, end, &mut rng) {
                break;
            }
            assert!(retry.previous_attempts() < policy.max_attempts());
        }
    }
    (attempts, successes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The bound in the throttle's documentation.
    #[test]
    fn attempts_beyond_the_calls_are_paid_for(
        max_tokens in 1u32..=1000,
        token_ratio in 0.001f64..2.0,
        max_attempts in 2u32..8,
        results in prop::collection::vec(prop::option::of(pushback()), 1..500),
    ) {
        let policy = RetryPolicy::new(max_attempts, [Code::Unavailable]).unwrap();
        let config = RetryThrottling::new(max_tokens, token_ratio).unwrap();
        let throttle = RetryThrottle::new(config);
        let calls = results.len();
        let mut script = results.into_iter().cycle();
        let (attempts, successes) = run(calls, &policy, &throttle, || script.next().flatten());
        let paid = f64::from(max_tokens) / 2.0 + config.token_ratio() * successes as f64;
        prop_assert!((attempts - calls) as f64 <= paid, "{attempts} attempts for {calls} calls, {paid} paid for");
        prop_assert!((0.0..=f64::from(max_tokens)).contains(&throttle.tokens()));
    }

    /// At twice the capacity half of the attempts fail. Attempts then exceed calls only a little,
    /// and soon not at all.
    #[test]
    fn an_overload_is_not_made_worse(seed in any::<u64>()) {
        let throttle = RetryThrottle::new(RetryThrottling::default());
        let mut rng = Rng::new(seed, 0);
        let calls = 6_000;
        let (attempts, _) =
            run(calls, &RetryPolicy::unavailable(), &throttle, || (rng.unit() < 0.5).then_some(None));
        prop_assert!(attempts as f64 <= 1.1 * calls as f64, "{attempts}");
    }
}
