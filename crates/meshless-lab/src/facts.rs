//! The findings of a run as data: where each strategy's bursts began to fail, and how each loaded
//! the backends.
//!
//! Only this module derives something from rows. Sentences, tables and pictures read its results
//! and [`Results`].

use crate::results::{BounceRow, BurstRow, Causes, ChurnRow, LevellingRow, Outcome, Results, SpreadRow};

/// The bursts of one strategy.
pub(crate) struct BurstFact<'a> {
    pub(crate) strategy: &'a str,
    /// By number of calls, smallest first; never empty.
    pub(crate) rows: Vec<&'a BurstRow>,
}

impl<'a> BurstFact<'a> {
    /// Returns the smallest burst with a failed call.
    pub(crate) fn onset(&self) -> Option<&'a BurstRow> {
        self.rows.iter().copied().find(|row| row.outcome.failed > 0)
    }

    /// Returns the largest burst that this run shows without a failure: the one below the onset. 0
    /// if there is none.
    pub(crate) fn clean_to(&self) -> u64 {
        self.rows.iter().take_while(|row| row.outcome.failed == 0).last().map_or(0, |row| row.calls)
    }

    pub(crate) fn largest(&self) -> &'a BurstRow {
        self.rows[self.rows.len() - 1]
    }

    /// Returns true if already the smallest burst had failures, so that their onset is unknown.
    pub(crate) fn fails_from_the_start(&self) -> bool {
        self.rows[0].outcome.failed > 0
    }
}

/// Returns the bursts by strategy, in the order of the run.
pub(crate) fn bursts(results: &Results) -> Vec<BurstFact<'_>> {
    let mut facts: Vec<BurstFact<'_>> = Vec::new();
    for row in results.burst.iter().filter(|row| total(&row.outcome) > 0) {
        match facts.iter_mut().find(|f| f.strategy == row.strategy) {
            Some(fact) => fact.rows.push(row),
            None => facts.push(BurstFact { strategy: &row.strategy, rows: vec![row] }),
        }
    }
    for fact in &mut facts {
        fact.rows.sort_by_key(|row| row.calls);
    }
    facts
}

/// One event of the churn.
pub(crate) struct EventFact<'a> {
    pub(crate) name: &'a str,
    pub(crate) story: &'a str,
    pub(crate) watched_ms: f64,
    /// One per strategy, in the order of the run; never empty.
    pub(crate) rows: Vec<&'a ChurnRow>,
}

impl<'a> EventFact<'a> {
    pub(crate) fn row(&self, strategy: &str) -> Option<&'a ChurnRow> {
        self.rows.iter().copied().find(|row| row.strategy == strategy)
    }

    /// Returns true if the event is about the backends' shares.
    pub(crate) fn is_about_shares(&self) -> bool {
        matches!(self.name, "scale" | "slow")
    }
}

/// Returns the events in their order. Rows of an event without a note still count as an event.
pub(crate) fn events(results: &Results) -> Vec<EventFact<'_>> {
    let mut facts: Vec<EventFact<'_>> = Vec::new();
    for row in results.churn.iter().filter(|row| row.calls > 0) {
        match facts.iter_mut().find(|fact| fact.name == row.event) {
            Some(fact) => fact.rows.push(row),
            None => {
                let note = results.events.iter().find(|note| note.event == row.event);
                let (story, watched_ms) =
                    note.map_or(("", 0.0), |note| (note.story.as_str(), note.watched_ms));
                facts.push(EventFact { name: &row.event, story, watched_ms, rows: vec![row] });
            }
        }
    }
    facts
}

/// The outcome of one strategy's calls, all events together.
pub(crate) struct ChurnFact<'a> {
    pub(crate) strategy: &'a str,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) duplicated: u64,
    /// The events that had not converged when the watch ended.
    pub(crate) not_over: Vec<&'a str>,
}

impl ChurnFact<'_> {
    pub(crate) fn error_rate(&self) -> f64 {
        self.failed as f64 / self.calls.max(1) as f64
    }
}

/// Returns the strategies of the churn, in the order of the run.
pub(crate) fn churned(results: &Results) -> Vec<ChurnFact<'_>> {
    let mut facts: Vec<ChurnFact<'_>> = Vec::new();
    for row in results.churn.iter().filter(|row| row.calls > 0) {
        let at = facts.iter().position(|fact| fact.strategy == row.strategy).unwrap_or_else(|| {
            facts.push(ChurnFact {
                strategy: &row.strategy,
                calls: 0,
                failed: 0,
                duplicated: 0,
                not_over: Vec::new(),
            });
            facts.len() - 1
        });
        let fact = &mut facts[at];
        fact.calls += row.calls;
        fact.failed += row.failed;
        fact.duplicated += row.duplicated;
        if row.converges && row.converged_ms.is_none() {
            fact.not_over.push(&row.event);
        }
    }
    facts
}

/// Returns the event with the most attempts per call, if that is worth a sentence.
pub(crate) fn most_attempts(results: &Results) -> Option<(&ChurnRow, f64)> {
    let rows = results.churn.iter().filter(|row| row.calls > 0);
    let rows = rows.filter_map(|row| Some((row, row.attempts_per_call?)));
    let many = rows.filter(|(_, attempts)| *attempts >= MANY_ATTEMPTS);
    many.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// Returns pairs of a strategy without levelled ages and with them.
pub(crate) fn levelled(results: &Results) -> Vec<(&LevellingRow, &LevellingRow)> {
    let measured = || results.levelling.iter().filter(|row| row.deviation > 0.0);
    let with =
        |without: &&LevellingRow| measured().find(|row| row.exponent > 0 && row.strategy == without.strategy);
    measured().filter(|row| row.exponent == 0).filter_map(|row| Some((row, with(&row)?))).collect()
}

/// Returns pairs of a strategy on servers that queue and on servers that bounce.
pub(crate) fn bounced(results: &Results) -> Vec<(&BounceRow, &BounceRow)> {
    let answered = || results.bounce.iter().filter(|row| row.outcome.ok > 0);
    let bounce = |queue: &&BounceRow| answered().find(|row| row.bounces && row.strategy == queue.strategy);
    answered().filter(|row| !row.bounces).filter_map(|row| Some((row, bounce(&row)?))).collect()
}

/// Returns the number of backends that answered at least one call.
pub(crate) fn reached(row: &SpreadRow) -> usize {
    row.share.values().filter(|calls| **calls > 0).count()
}

/// Returns true if a spread row says something about balance.
pub(crate) fn has_choice(row: &SpreadRow) -> bool {
    row.backends > 1 && row.outcome.ok > 0
}

/// Returns the number of failed calls that no server executed: they can be sent again safely.
pub(crate) fn safe_to_repeat(causes: &Causes) -> u64 {
    causes.never_sent + causes.sent_not_processed
}

/// Fewer attempts are explained by the race of a call with a connection's end.
const MANY_ATTEMPTS: f64 = 1.02;

/// Returns the number of calls that ended, answered or failed.
pub(crate) fn total(outcome: &Outcome) -> u64 {
    outcome.ok + outcome.failed
}

/// Returns the four causes with their names, in the order of stacked bars.
pub(crate) fn causes(causes: &Causes) -> [(&'static str, u64); 4] {
    [
        ("deadline passed", causes.deadline),
        ("never sent", causes.never_sent),
        ("sent, not executed", causes.sent_not_processed),
        ("executed, answer lost", causes.processed),
    ]
}

/// Returns the causes of several rows together.
pub(crate) fn sum<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> (u64, u64, Causes) {
    outcomes.fold((0, 0, Causes::default()), |(ok, failed, mut sum), outcome| {
        sum.deadline += outcome.causes.deadline;
        sum.never_sent += outcome.causes.never_sent;
        sum.sent_not_processed += outcome.causes.sent_not_processed;
        sum.processed += outcome.causes.processed;
        (ok + outcome.ok, failed + outcome.failed, sum)
    })
}

/// The kind of a strategy, from its name: the verdict chooses its advice by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StrategyKind {
    /// A connection for each call.
    PerCall,
    /// One connection for the whole run.
    Single,
    /// The server ages the connection.
    Ageing,
    /// A proxy balances.
    Proxy,
    /// The client balances, or this version does not know the name.
    Other,
}

/// By the name as `compare --strategies` takes it.
pub(crate) fn kind(strategy: &str) -> StrategyKind {
    match strategy {
        "connection-per-call" => StrategyKind::PerCall,
        "single-connection" => StrategyKind::Single,
        name if name.starts_with("max-age") => StrategyKind::Ageing,
        name if name.ends_with("-proxy") => StrategyKind::Proxy,
        _ => StrategyKind::Other,
    }
}
