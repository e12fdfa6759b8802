//! Error rate and latency against the number of calls at once: the original experiment's figures.

use super::text;
use crate::drawing::chart::{Frame, Name, Plot};
use crate::drawing::figure::{Figure, Key, Panel, Pictures, top};
use crate::drawing::format::{count, ms, percent, percent_mark, short};
use crate::drawing::palette::Palette;
use crate::drawing::scale::{Scale, round_up};
use crate::facts::{self, BurstFact};
use crate::results::Results;

/// One line per strategy, a band from the best round to the worst.
pub(super) fn error_rate(results: &Results, palette: &Palette) -> Option<Figure> {
    let bursts = facts::bursts(results);
    if bursts.is_empty() {
        return None;
    }
    Some(Figure {
        id: "error-rate",
        title: "Error rate against calls at once",
        takeaway: text::error_rate(results),
        method: format!(
            "N calls begin at the same moment, in one client process against one server process that works {} on each; a call fails if it is not answered within {}. \
             A point is the mean of {}, its band reaches from the best round to the worst.",
            ms(results.settings.service_time_ms),
            ms(results.settings.deadline_ms),
            rounds(&bursts),
        ),
        key: bursts.iter().map(|b| Key::strategy(palette.slot(b.strategy), b.strategy)).collect(),
        pictures: Pictures::One {
            wide: draw_error_rate(&bursts, palette, Frame::WIDE),
            narrow: draw_error_rate(&bursts, palette, Frame::NARROW),
        },
    })
}

/// One small picture per strategy: p50 and p99 of the answered calls.
pub(super) fn latency(results: &Results, palette: &Palette) -> Option<Figure> {
    let bursts: Vec<_> =
        facts::bursts(results).into_iter().filter(|b| b.rows.iter().any(|row| row.outcome.ok > 0)).collect();
    if bursts.is_empty() {
        return None;
    }
    let rows = || bursts.iter().flat_map(|b| &b.rows).filter(|row| row.outcome.ok > 0);
    let lo = rows().map(|row| row.outcome.latency_ms.p50).fold(f64::MAX, f64::min).max(0.01);
    let hi = top(rows().map(|row| row.outcome.latency_ms.p99).chain([results.settings.deadline_ms]));
    // Even steps show a queue growing; even factors are for ranges that no even step can hold.
    let y = if hi / lo > 30.0 { Scale::log(lo * 0.8, hi) } else { Scale::linear(0.0, hi) };
    let panels = bursts.iter().map(|b| draw_latency(b, &bursts, results, palette, y)).collect();
    Some(Figure {
        id: "latency",
        title: "Latency against calls at once",
        takeaway: text::latency(results),
        method: "The same bursts. Latency counts from the moment a call was due to begin, over the answered calls alone: \
                 where many fail, those that are left look fast, so read it beside the error rate."
            .into(),
        key: vec![Key::line("line ink", "p50"), Key::line("line ink dashed", "p99")],
        pictures: Pictures::Several(panels),
    })
}

fn draw_error_rate(bursts: &[BurstFact<'_>], palette: &Palette, frame: Frame) -> String {
    let worst = bursts
        .iter()
        .flat_map(|b| &b.rows)
        .flat_map(|row| row.error_rate_by_round.iter().copied().chain([row.outcome.error_rate]))
        .filter(|rate| rate.is_finite())
        .fold(0.0, f64::max);
    // At least 1 %, so that noise does not fill the picture; at most 100 %.
    let hi = if worst > 0.5 { 1.0 } else { round_up(worst).clamp(0.01, 1.0) };
    let mut plot =
        Plot::new(frame, x_scale(bursts), Scale::linear(0.0, hi), "Error rate against calls at once");
    let ticks = plot.y.ticks(5);
    plot.y_axis(&ticks, "calls failed", percent_mark);
    plot.x_axis(&sizes(bursts), "calls at once (N)", short);
    for b in bursts {
        let band: Vec<_> = b
            .rows
            .iter()
            .filter(|row| !row.error_rate_by_round.is_empty())
            .map(|row| {
                let rates = || row.error_rate_by_round.iter().copied();
                (row.calls as f64, rates().fold(1.0, f64::min), rates().fold(0.0, f64::max))
            })
            .collect();
        plot.band(palette.slot(b.strategy), &band);
    }
    for b in bursts {
        let slot = palette.slot(b.strategy);
        let points: Vec<_> = b.rows.iter().map(|row| (row.calls as f64, row.outcome.error_rate)).collect();
        plot.line(&format!("line s{slot}"), &points);
        for (row, point) in b.rows.iter().zip(points) {
            let tip = format!(
                "{}, N = {}: {} failed ({} of {})",
                b.strategy,
                count(row.calls),
                percent(row.outcome.error_rate),
                count(row.outcome.failed),
                count(facts::total(&row.outcome))
            );
            plot.mark("mark", slot, point, &tip);
        }
    }
    if frame.names_lines() {
        let name = |b: &BurstFact<'_>| Name {
            at: (b.largest().calls as f64, b.largest().outcome.error_rate),
            class: format!("s{}", palette.slot(b.strategy)),
            text: b.strategy.to_owned(),
        };
        plot.names(bursts.iter().map(name).collect());
    }
    plot.finish()
}

fn draw_latency(
    b: &BurstFact<'_>,
    all: &[BurstFact<'_>],
    results: &Results,
    palette: &Palette,
    y: Scale,
) -> Panel {
    let slot = palette.slot(b.strategy);
    let label = format!("Latency of {} against calls at once", b.strategy);
    let mut plot = Plot::new(Frame::SMALL, x_scale(all), y, &label);
    let ticks = plot.y.ticks(4);
    plot.y_axis(&ticks, "latency", ms);
    plot.x_axis(&sizes(all), "calls at once (N)", short);
    plot.reference(results.settings.deadline_ms, &format!("deadline {}", ms(results.settings.deadline_ms)));
    let answered: Vec<_> = b.rows.iter().filter(|row| row.outcome.ok > 0).collect();
    let tip = |calls: u64, what: &str, value: f64| {
        format!("{}, N = {}: {what} {}", b.strategy, count(calls), ms(value))
    };
    for (class, what) in [("line dashed", "p99"), ("line", "p50")] {
        let value = |l: &crate::results::Latency| if what == "p50" { l.p50 } else { l.p99 };
        let points: Vec<_> =
            answered.iter().map(|row| (row.calls as f64, value(&row.outcome.latency_ms))).collect();
        plot.line(&format!("{class} s{slot}"), &points);
        for (row, point) in answered.iter().zip(points) {
            plot.mark(
                if what == "p50" { "mark" } else { "mark hollow" },
                slot,
                point,
                &tip(row.calls, what, point.1),
            );
        }
    }
    let note = answered.last().map_or_else(String::new, |row| {
        let latency = &row.outcome.latency_ms;
        format!("N = {}: p50 {}, p99 {}", count(row.calls), ms(latency.p50), ms(latency.p99))
    });
    Panel { slot: Some(slot), title: b.strategy.to_owned(), note, svg: plot.finish() }
}

fn x_scale(bursts: &[BurstFact<'_>]) -> Scale {
    let sizes = sizes(bursts);
    Scale::log(sizes.first().copied().unwrap_or(1.0), sizes.last().copied().unwrap_or(1.0))
}

/// Every N that was measured.
fn sizes(bursts: &[BurstFact<'_>]) -> Vec<f64> {
    let mut sizes: Vec<u64> = bursts.iter().flat_map(|b| &b.rows).map(|row| row.calls).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().map(|n| n as f64).collect()
}

fn rounds(bursts: &[BurstFact<'_>]) -> String {
    let rounds = || bursts.iter().flat_map(|b| &b.rows).map(|row| row.rounds);
    match (rounds().min().unwrap_or(0), rounds().max().unwrap_or(0)) {
        (1, 1) => "1 round".into(),
        (lo, hi) if lo == hi => format!("{hi} rounds"),
        (lo, hi) => format!("{lo} to {hi} rounds"),
    }
}
