//! The verdict: a few sentences with advice. Each number in them is from this run.
//!
//! The first sentence says what not to do and why, the second what to do and what it costs. The
//! third compares the strategies when things broke. Names of strategies are in backticks, which the
//! page shows as code. A sentence never says more than the run shows.

use crate::drawing::format::{count, list, percent, plural, ratio};
use crate::experiment::{bounce, levelling};
use crate::facts::{self, BurstFact, StrategyKind, kind};
use crate::results::{Results, SpreadRow};

/// Two sentences on bursts and spread, one on churn, two on servers: those that the run has data
/// for.
pub(crate) fn verdict(results: &Results) -> Vec<String> {
    let steady = !results.burst.is_empty() || !results.spread.is_empty();
    let mut said = Vec::new();
    let servers = servers(results);
    if steady || (facts::churned(results).is_empty() && servers.is_none()) {
        said.extend(steady_load(results));
    }
    said.extend(churn(results));
    said.extend(servers);
    said
}

/// Says what servers can do.
fn servers(results: &Results) -> Option<String> {
    let said = [levelling::text::takeaway(results), bounce::text::takeaway(results)].join(" ");
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}

fn steady_load(results: &Results) -> [String; 2] {
    let bursts = facts::bursts(results);
    let spread: Vec<&SpreadRow> =
        results.spread.iter().filter(|row| facts::total(&row.outcome) > 0).collect();
    let outcomes =
        || results.burst.iter().map(|r| &r.outcome).chain(results.spread.iter().map(|r| &r.outcome));
    if bursts.is_empty() && spread.is_empty() && !results.complete {
        return [
            "This run ended before it could compare anything.".into(),
            "The notes say what was measured until then.".into(),
        ];
    }
    if bursts.is_empty() && spread.is_empty() {
        return [
            "This run measured no call, so it says nothing about any strategy.".into(),
            "Look at the notes for what was left out, and run it again.".into(),
        ];
    }
    let (ok, failed, _) = facts::sum(outcomes());
    if ok == 0 {
        let deadline = results.settings.deadline_ms;
        return [
            format!("No strategy answered any of {}, so this run compares nothing.", plural(failed, "call")),
            format!(
                "Look at the causes below before anything else: {}; the deadline was {deadline:.0} ms and the server worked {:.0} ms.",
                most_frequent_cause(results),
                results.settings.service_time_ms,
            ),
        ];
    }
    [warning(&bursts, &spread), advice(&bursts, &spread)]
}

/// Names the strategies that lost least and most when things broke.
fn churn(results: &Results) -> Option<String> {
    let mut facts = facts::churned(results);
    facts.sort_by(|a, b| a.error_rate().total_cmp(&b.error_rate()));
    let events = plural(facts::events(results).len() as u64, "event");
    let (best, worst) = (facts.first()?, facts.last()?);
    let over = match best.not_over.len() {
        0 => "got over each of them".to_owned(),
        n => format!("had not got over {} of them when the watch ended", count(n as u64)),
    };
    if best.strategy == worst.strategy || worst.failed == 0 {
        return Some(format!(
            "When things broke, in {events}, `{}` lost {} of {} and {over}.",
            best.strategy,
            count(best.failed),
            plural(best.calls, "call"),
        ));
    }
    let twice = match best.duplicated {
        0 => String::new(),
        n => format!(", {} executed twice", plural(n, "call")),
    };
    Some(format!(
        "When things broke, in {events}, `{}` lost {} of its calls ({} of {}{twice}) and {over}; `{}` lost {}.",
        best.strategy,
        percent(best.error_rate()),
        count(best.failed),
        count(best.calls),
        worst.strategy,
        percent(worst.error_rate()),
    ))
}

/// What not to do.
fn warning(bursts: &[BurstFact<'_>], spread: &[&SpreadRow]) -> String {
    let stuck = stuck(spread);
    let per_call = bursts.iter().find(|b| kind(b.strategy) == StrategyKind::PerCall);
    let other = longest_lasting(bursts.iter().filter(|b| kind(b.strategy) != StrategyKind::PerCall));
    // A connection per call is only worth a warning if something else lasted longer.
    let storm = per_call.zip(other).filter(|(a, b)| a.onset().is_some() && a.clean_to() < b.clean_to());
    match (stuck, storm) {
        (Some(stuck), Some((per_call, other))) => format!(
            "Neither stay on one connection nor open one per call: {}, and {}, {}.",
            stuck_clause(stuck),
            onset_clause(per_call),
            contrast_clause(other)
        ),
        (Some(stuck), None) => format!("Do not stay on one connection: {}.", stuck_clause(stuck)),
        (None, Some((per_call, other))) => {
            format!(
                "Do not open a connection per call: {}, {}.",
                onset_clause(per_call),
                contrast_clause(other)
            )
        }
        (None, None) => neutral(bursts, spread),
    }
}

/// What to do.
fn advice(bursts: &[BurstFact<'_>], spread: &[&SpreadRow]) -> String {
    let choices: Vec<&SpreadRow> = spread.iter().copied().filter(|row| facts::has_choice(row)).collect();
    let everywhere = |row: &&&SpreadRow| facts::reached(row) == row.backends;
    let of = |wanted: StrategyKind| choices.iter().filter(move |row| kind(&row.strategy) == wanted);
    // What balances calls and lost none is the answer; among several, the most even.
    let mut even: Vec<_> =
        of(StrategyKind::Other).filter(everywhere).filter(|row| is_clean_and_even(row)).collect();
    even.sort_by(|a, b| a.max_over_mean_per_second.p50.total_cmp(&b.max_over_mean_per_second.p50));
    if let Some(row) = even.first() {
        return format!("Use `{}`: {}.", row.strategy, clean_clause(row));
    }
    let mut ageing: Vec<_> = of(StrategyKind::Ageing).filter(everywhere).collect();
    ageing.sort_by_key(|row| row.outcome.failed);
    if let Some(row) = ageing.first() {
        return ageing_advice(row);
    }
    if let Some(row) = of(StrategyKind::Proxy).filter(everywhere).find(|row| is_clean_and_even(row)) {
        return format!("Of what was measured, only `{}` did well: {}.", row.strategy, clean_clause(row));
    }
    if let Some(row) = of(StrategyKind::PerCall).find(everywhere) {
        return format!(
            "Of what was measured, only `{}` reached all {} backends; it opened {}, so prefer ageing or client-side balancing once you have measured them.",
            row.strategy,
            row.backends,
            plural(row.outcome.connections_opened, "connection")
        );
    }
    if !choices.is_empty() {
        return "No strategy measured here reached every backend, so measure one that does: `max-age-l4`, `max-age-dns` or `l7-proxy`.".into();
    }
    match longest_lasting(bursts.iter()) {
        Some(best) if best.onset().is_none() => format!(
            "Within these sizes `{}` is safe: each of its {} was answered in time.",
            best.strategy,
            plural(best.rows.iter().map(|row| row.outcome.ok).sum(), "call")
        ),
        Some(best) if best.fails_from_the_start() => {
            format!("Measure smaller bursts: even `{}` failed at the smallest one here.", best.strategy)
        }
        Some(best) => format!(
            "Keep bursts below {} or spread them over more connections: that is where even `{}` began to fail.",
            count(best.onset().map_or(0, |row| row.calls)),
            best.strategy
        ),
        None => "To compare how calls spread, run it with two backends or more.".into(),
    }
}

/// Without an uneven client and without a storm of connections, says where failures begin.
fn neutral(bursts: &[BurstFact<'_>], spread: &[&SpreadRow]) -> String {
    if bursts.is_empty() {
        let lost: Vec<String> = spread
            .iter()
            .filter(|row| row.outcome.failed > 0)
            .map(|row| format!("`{}` {} of {}", row.strategy, count(row.outcome.failed), count(row.calls)))
            .collect();
        return if lost.is_empty() {
            format!("No call failed in the spread run, with any of {} strategies.", spread.len())
        } else {
            format!("Under steady load calls were lost: {}.", list(&lost))
        };
    }
    let failing: Vec<String> = bursts.iter().filter(|b| b.onset().is_some()).map(onset_clause).collect();
    if failing.is_empty() {
        let largest = bursts.iter().map(|b| b.largest().calls).max().unwrap_or(0);
        format!("No burst failed a call with any strategy, up to {} at once.", plural(largest, "call"))
    } else {
        format!("Know where bursts begin to fail: {}.", list(&failing))
    }
}

fn ageing_advice(row: &SpreadRow) -> String {
    let spread = format!(
        "`{}` reached all {} backends, the busiest with {}× the mean over the run and {}× within a typical second",
        row.strategy,
        row.backends,
        ratio(row.max_over_mean),
        ratio(row.max_over_mean_per_second.p50)
    );
    let lost = row.outcome.failed;
    if lost == 0 {
        return format!(
            "Age the connections on the server: {spread}, and of {} none was lost at {}.",
            plural(row.calls, "call"),
            plural(row.rotations, "rotation")
        );
    }
    let safe = facts::safe_to_repeat(&row.outcome.causes);
    let share = match safe {
        0 => "none of which is known to be safe to send again".to_owned(),
        _ if safe == lost && lost == 1 => "which no server had executed".to_owned(),
        _ if safe == lost => "none of which a server had executed".to_owned(),
        _ => format!("{} of which no server had executed", count(safe)),
    };
    format!(
        "Age the connections on the server, and send again what its rotations lose: {spread}, but today's tonic client lost {} of {} ({}) over {}, {share}.",
        count(lost),
        plural(row.calls, "call"),
        percent(row.outcome.error_rate),
        plural(row.rotations, "rotation"),
    )
}

fn clean_clause(row: &SpreadRow) -> String {
    let rotations = match row.rotations {
        0 => String::new(),
        n => format!(" over {}", plural(n, "rotation")),
    };
    format!(
        "it reached all {} backends, the busiest with {}× the mean in a typical second, and lost none of {}{rotations}",
        row.backends,
        ratio(row.max_over_mean_per_second.p50),
        plural(row.calls, "call")
    )
}

/// A quarter above the mean in a typical second: a fleet with the usual headroom does not notice
/// it.
const EVEN: f64 = 1.25;

fn is_clean_and_even(row: &SpreadRow) -> bool {
    row.outcome.failed == 0 && row.outcome.duplicated == 0 && row.max_over_mean_per_second.p50 <= EVEN
}

/// Returns a client that left backends idle, first today's single connection.
fn stuck<'a>(spread: &[&'a SpreadRow]) -> Option<&'a SpreadRow> {
    let mut stuck = spread.iter().copied().filter(|row| facts::has_choice(row) && facts::reached(row) == 1);
    let first = stuck.next()?;
    if kind(&first.strategy) == StrategyKind::Single {
        return Some(first);
    }
    Some(stuck.find(|row| kind(&row.strategy) == StrategyKind::Single).unwrap_or(first))
}

fn stuck_clause(row: &SpreadRow) -> String {
    let (ok, backends) = (plural(row.outcome.ok, "answered call"), row.backends);
    format!("with `{}` one of {backends} backends got all of {ok}", row.strategy)
}

fn onset_clause(fact: &BurstFact<'_>) -> String {
    let Some(row) = fact.onset() else { return format!("`{}` failed no burst", fact.strategy) };
    let rate = percent(row.outcome.error_rate);
    let calls = count(row.calls);
    if fact.fails_from_the_start() {
        format!("`{}` failed already at {calls} calls at once ({rate})", fact.strategy)
    } else {
        format!("`{}` began to fail at {calls} calls at once ({rate})", fact.strategy)
    }
}

fn contrast_clause(other: &BurstFact<'_>) -> String {
    match other.onset() {
        Some(row) => format!("`{}` only at {}", other.strategy, count(row.calls)),
        None => format!("`{}` not up to {}", other.strategy, count(other.largest().calls)),
    }
}

/// Returns the strategy that stayed clean up to the largest burst. The number of clean sizes does
/// not count; of equals, the first is returned.
fn longest_lasting<'a, 'b: 'a>(bursts: impl Iterator<Item = &'a BurstFact<'b>>) -> Option<&'a BurstFact<'b>> {
    bursts.fold(None, |best, fact| match best {
        Some(best) if best.clean_to() >= fact.clean_to() => Some(best),
        _ => Some(fact),
    })
}

fn most_frequent_cause(results: &Results) -> String {
    let outcomes = results.burst.iter().map(|r| &r.outcome).chain(results.spread.iter().map(|r| &r.outcome));
    let (_, failed, causes) = facts::sum(outcomes);
    let most = facts::causes(&causes).into_iter().max_by_key(|(_, calls)| *calls);
    most.map_or_else(String::new, |(name, calls)| {
        format!("{} of {} failed with the cause “{name}”", count(calls), count(failed))
    })
}
