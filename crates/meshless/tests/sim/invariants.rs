//! The invariants of ARCHITECTURE.md, in terms of what a run has noted.
//!
//! 1. *No unary call fails while a healthy backend existed for all its life and its deadline
//!    allowed one more attempt.* Healthy is a host that was listed, ran, answered and was reachable
//!    from [`SETTLED`] before the call until its end. Then, with a retry policy, a call with a
//!    generous deadline fails only with what a handler was told to say (which the policy does not
//!    cover), or in a handler that hangs. Without one, it may also fail if some host was killed or
//!    unreachable at a moment of its life. A call with a short deadline may end with
//!    DEADLINE_EXCEEDED besides.
//! 2. *No call is executed twice unless a policy allows it*: with a retry policy, after an
//!    execution that failed as it was told or whose host was killed or unreachable; with hedging,
//!    three times at most.
//! 3. Checked on the wire, in `link.rs`.
//! 4. *An endpoint that has been listed for long gets its share*, in the quiet time at the end.
//! 5. *No task and no socket is left*: checked by the run itself.
//! 6. *Connects per second stay under a bound.* And where nothing happens but restarts, no more
//!    connections are made than were needed: one to each process, and one each time that it is
//!    listed anew.
//!
//! And: no call outlives its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use meshless::Policy;
use tokio::time::Instant;
use tonic::Code;

use crate::log::{Call, CallEnd, Designed, Execution, Kind, Notes};
use crate::scenario::{HEDGES, Repeat, Scenario, ms};
use crate::workload::GENEROUS;

/// What was broken, a sentence each.
pub(crate) fn check(
    scenario: &Scenario,
    notes: &Notes,
    quiet_from: Instant,
    members: &[usize],
) -> Vec<String> {
    let mut broken = notes.violations.clone();
    for call in &notes.calls {
        broken.extend(failure(scenario, notes, call));
        broken.extend(duplicate(scenario, notes, call));
        if call.ended > call.begun + call.deadline + DEADLINE_SLACK {
            broken.push(format!(
                "a call outlived its deadline by {:?}: {call:?}",
                call.ended - (call.begun + call.deadline)
            ));
        }
    }
    broken.extend(share(scenario, notes, quiet_from, members));
    broken.extend(connects(&notes.connects));
    if scenario.restarts_only {
        broken.extend(needless(scenario.policy, notes));
    }
    broken
}

fn failure(scenario: &Scenario, notes: &Notes, call: &Call) -> Option<String> {
    let CallEnd::Failed(code, _) = &call.end else {
        let executed = notes.executions.contains_key(&call.id);
        return (call.end == CallEnd::Answered && !executed).then(|| format!("answered by nobody: {call:?}"));
    };
    let healthy: Vec<_> =
        (0..crate::faults::HOSTS_MAX).filter(|host| is_healthy(notes, *host, call)).collect();
    if healthy.is_empty() {
        return None;
    }
    let executions = notes.executions.get(&call.id).map_or(&[][..], Vec::as_slice);
    let goes_on = retries(scenario, call)
        && call.deadline >= GENEROUS
        && scenario.policy != Policy::PickFirst
        && healthy.iter().any(|host| !comes_and_goes(scenario, notes, *host, call));
    let by_design = executions.iter().any(|execution| match execution.designed {
        Designed::Answer => false,
        Designed::Hang => true,
        // With a retry policy it is tried elsewhere, if there is time and (unlike with
        // `pick_first`) an elsewhere that is there during one of five attempts.
        Designed::Fail(failed) => failed == *code && !(goes_on && failed == Code::Unavailable),
    });
    let was_short = call.deadline < GENEROUS && *code == Code::DeadlineExceeded;
    let may_be_lost = !retries(scenario, call) || call.deadline < GENEROUS;
    let was_lost = may_be_lost && is_struck(notes, call.begun, call.ended, None);
    (!by_design && !was_short && !was_lost)
        .then(|| format!("1: failed though hosts {healthy:?} were well: {call:?}, executions {executions:?}"))
}

/// A stream's attempt is committed by its first message.
fn retries(scenario: &Scenario, call: &Call) -> bool {
    scenario.repeat == Repeat::OnUnavailable && !call.streaming
}

fn is_healthy(notes: &Notes, host: usize, call: &Call) -> bool {
    let from = call.begun - SETTLED;
    let listed = notes.listed.iter().any(|(listed, since, until)| {
        *listed == host && *since <= from && until.is_none_or(|until| until > call.ended)
    });
    let disturbed = notes
        .disturbances
        .iter()
        .filter(|one| !matches!(one.kind, Kind::Far(_)))
        .any(|one| one.host == host && one.from <= call.ended && one.to.is_none_or(|to| to >= from));
    listed && !disturbed
}

/// Whether a host's connections end by their age, and making another takes as long as all attempts
/// of a call together. Then the other hosts may have failed each of these before it is back.
fn comes_and_goes(scenario: &Scenario, notes: &Notes, host: usize, call: &Call) -> bool {
    let from = call.begun - LOSS_IS_KNOWN;
    !scenario.age.is_zero()
        && notes.disturbances.iter().any(|one| {
            matches!(one.kind, Kind::Far(latency) if CONNECTING * latency >= FIVE_ATTEMPTS)
                && one.host == host
                && one.from <= call.ended
                && one.to.is_none_or(|to| to >= from)
        })
}

/// Whether a host (or any) was killed or out of reach at a moment between these.
fn is_struck(notes: &Notes, from: Instant, to: Instant, host: Option<usize>) -> bool {
    notes.disturbances.iter().any(|one| {
        matches!(one.kind, Kind::Killed | Kind::Held)
            && host.is_none_or(|host| host == one.host)
            && one.from <= to
            && match one.kind {
                // What was in flight is lost in that moment; what comes later is refused.
                Kind::Killed => one.from + LOSS_IS_KNOWN >= from,
                _ => one.to.is_none_or(|end| end + LOSS_IS_KNOWN >= from),
            }
    })
}

fn duplicate(scenario: &Scenario, notes: &Notes, call: &Call) -> Option<String> {
    let executions = notes.executions.get(&call.id)?;
    let allowed = match scenario.repeat {
        // One message in the request: what comes back makes no difference to a hedge.
        Repeat::Hedge => executions.len() <= HEDGES as usize,
        Repeat::Never => executions.len() <= 1,
        Repeat::OnUnavailable => executions.windows(2).all(|pair| {
            let [first, second] = pair else { return false };
            let failed = first.designed != Designed::Answer;
            failed
                || is_struck(notes, first.at - LOSS_IS_KNOWN, second.at, Some(first.host))
                // The attempt that was given up, whose bytes arrive once its host can be reached
                // again: after the one that followed it.
                || is_struck(notes, call.begun, second.at, Some(second.host))
        }),
    };
    (!allowed).then(|| format!("2: executed {} times: {call:?}, {executions:?}", executions.len()))
}

fn share(scenario: &Scenario, notes: &Notes, quiet_from: Instant, members: &[usize]) -> Vec<String> {
    if scenario.policy == Policy::PickFirst {
        return Vec::new();
    }
    let least = match scenario.policy {
        // A latency of some seconds is forgotten within a minute, and a quiet host is asked now and
        // then.
        Policy::PeakEwma => 0.02,
        _ => 0.4,
    };
    let mut calls: BTreeMap<usize, usize> = BTreeMap::new();
    let late =
        notes.executions.values().flatten().filter(|execution: &&Execution| execution.at >= quiet_from);
    late.for_each(|execution| *calls.entry(execution.host).or_default() += 1);
    let total: usize = calls.values().sum();
    let fair = total as f64 / members.len() as f64;
    let starved = members
        .iter()
        .filter(|host| (calls.get(host).copied().unwrap_or_default() as f64) < (least * fair).floor());
    let starved = starved
        .map(|host| format!("4: host {host} gets too little after all is well: {calls:?} of {members:?}"));
    let strangers = calls.keys().filter(|host| !members.contains(host));
    let strangers = strangers.map(|host| format!("4: host {host} is not listed and gets calls: {calls:?}"));
    starved.chain(strangers).collect()
}

/// "In any `t` seconds at most `burst + rate × t` begin" (`BalancerConfig::connects_per_second`).
fn connects(connects: &[Instant]) -> Option<String> {
    let excess = connects.iter().enumerate().find_map(|(first, from)| {
        let within = connects[first..].iter().take_while(|at| **at <= *from + ms(1000)).count();
        (within > 300).then_some((within, *from))
    });
    excess.map(|(within, from)| format!("6: {within} connects in the second from {from:?}"))
}

/// Connections that nothing had called for.
fn needless(policy: Policy, notes: &Notes) -> Vec<String> {
    let listings = |host| notes.listed.iter().filter(|(listed, ..)| *listed == host).count();
    let needed = |host| match (notes.started.get(&host).copied().unwrap_or_default(), listings(host)) {
        (0, _) | (_, 0) => 0,
        (processes, listings) => processes + listings - 1,
    };
    let hosts = || 0..crate::faults::HOSTS_MAX;
    let made = |host| notes.made.get(&host).copied().unwrap_or_default();
    if policy == Policy::PickFirst {
        // The first, and one for each process that ended or was no longer listed, if it was the one
        // in use.
        let (made, needed) = (hosts().map(made).sum::<usize>(), hosts().map(needed).sum::<usize>());
        return Vec::from_iter((made > needed).then(|| format!("6: {made} connections, {needed} needed")));
    }
    let needless = hosts().filter(|&host| made(host) > needed(host));
    needless
        .map(|host| format!("6: {} connections to host {host}, {} needed", made(host), needed(host)))
        .collect()
}

/// Time for a host that is back to be found, and to be trusted again: pauses between attempts (3 s
/// at most), ejections (5 s at most in this simulation), and the connect itself.
const SETTLED: Duration = ms(10_000);

/// From the moment when something is lost until the channel can know.
const LOSS_IS_KNOWN: Duration = ms(1000);

/// One-way trips until a connection serves: SYN, its answer, SETTINGS (which the server sends at
/// once), and a health check's question and answer.
const CONNECTING: u32 = 5;

/// What the pauses of [`RetryPolicy::new`](meshless::RetryPolicy::new) between the second attempt
/// and the fifth come to at least: 50, 100 and 200 ms, less 20 %.
const FIVE_ATTEMPTS: Duration = ms(280);

/// The timer's granularity is a millisecond.
const DEADLINE_SLACK: Duration = ms(20);
