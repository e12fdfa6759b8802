//! What breaks, and what each strategy makes of it: a matrix of events and strategies, and each
//! event in time.

use std::fmt::Write as _;

use super::text;
use crate::drawing::chart::{Frame, Plot};
use crate::drawing::figure::{Figure, Key, Panel, Pictures, strategy_swatch};
use crate::drawing::format::{NBSP, count, list, ms, percent, plural, ratio, short};
use crate::drawing::palette::Palette;
use crate::drawing::scale::Scale;
use crate::drawing::svg::{Anchor, escape};
use crate::facts::{self, EventFact};
use crate::results::{ChurnRow, ChurnSlice, Results};

/// A table: a row per event, a column per strategy, a shade by how many calls failed.
pub(super) fn matrix(results: &Results, palette: &Palette) -> Option<Figure> {
    let events = facts::events(results);
    if events.is_empty() {
        return None;
    }
    let settings = &results.settings.churn;
    Some(Figure {
        id: "churn",
        title: "What breaks, and who notices",
        takeaway: text::losses(results),
        method: format!(
            "Each strategy has a client of {} calls a second, backends of its own that work {} on a call, and a deadline of {}. A cell counts the calls that ended after the \
             event had begun: the share that failed and, below, how long it took until the client had got over it, or that it did not while it was watched. What a client on \
             one connection feels depends on where that is, so what is hurt is the backend that got most calls just before. Between the events that age connections \
             quickly, those of the strategies that age live {}, so what max-age-dns loses at rotations is in its cells.",
            short(settings.rate),
            ms(settings.service_time_ms),
            ms(settings.deadline_ms),
            ms(settings.max_connection_age_ms),
        ),
        key: SHADES.iter().enumerate().map(|(i, (_, name))| Key::fill(&format!("m{i}"), name)).collect(),
        pictures: Pictures::Table(table(&events, palette)),
    })
}

/// One small picture per event: a lane for each strategy.
pub(super) fn timelines(results: &Results, palette: &Palette) -> Option<Figure> {
    let events = facts::events(results);
    if events.iter().flat_map(|event| &event.rows).all(|row| row.timeline.is_empty()) {
        return None;
    }
    let deadline = results.settings.churn.deadline_ms;
    let panels = events.iter().map(|event| draw(event, deadline, palette)).collect();
    Some(Figure {
        id: "churn-time",
        title: "Each event in time",
        takeaway: text::got_over(results),
        method: format!(
            "A lane for each strategy, a column for each tenth of a second, by the moment calls were due. A lane is as high as all calls of the column and as the deadline of {}. \
             Vertical lines are moments of the event.",
            ms(deadline)
        ),
        key: vec![
            Key::fill("fail", "calls failed"),
            Key::line("line ink", "p99 of the answered"),
            Key::line("line ink dashed", "share of the new backends (scale) or of the slow one (slow)"),
        ],
        pictures: Pictures::Several(panels),
    })
}

fn table(events: &[EventFact<'_>], palette: &Palette) -> String {
    let strategies: Vec<&str> =
        palette.names().filter(|name| events.iter().any(|event| event.row(name).is_some())).collect();
    let mut out = String::from(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Failed calls by event and strategy\">\
         <table class=\"matrix\">\n<thead><tr><th scope=\"col\">Event</th>",
    );
    for name in &strategies {
        // A long name may break behind its joints.
        let broken = escape(name).replace('_', "_<wbr>").replace('-', "-<wbr>").replace('+', "<wbr>+");
        let swatch = strategy_swatch(palette.slot(name));
        let _ = write!(out, "<th scope=\"col\">{swatch}{broken}</th>");
    }
    out += "</tr></thead>\n<tbody>\n";
    for event in events {
        let (name, story) = (escape(event.name), escape(event.story));
        let _ = write!(out, "<tr><th scope=\"row\" title=\"{story}\">{name}</th>");
        for strategy in &strategies {
            match event.row(strategy) {
                Some(row) => out += &cell(event, row),
                None => out += "<td>–</td>",
            }
        }
        out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
    out
}

fn cell(event: &EventFact<'_>, row: &ChurnRow) -> String {
    let rate = if row.failed == 0 { "0".to_owned() } else { percent(row.error_rate) };
    let converged = match (row.converges, row.converged_ms) {
        (false, _) => String::new(),
        // That nothing failed has been said.
        (true, Some(0.0)) => String::new(),
        (true, Some(after)) => format!("after {}", ms(after)),
        (true, None) => format!("not in {}", ms(event.watched_ms)),
    };
    let class = if row.converges && row.converged_ms.is_none() { " class=\"never\"" } else { "" };
    format!(
        "<td class=\"m{}\" title=\"{}\"><b>{}</b><small{class}>{}</small></td>",
        shade(row),
        escape(&detail(row)),
        escape(&rate),
        escape(&converged)
    )
}

/// Everything about a cell, for whoever points at it.
fn detail(row: &ChurnRow) -> String {
    let mut text = format!(
        "{}, {}: {} of {} failed",
        row.event,
        row.strategy,
        count(row.failed),
        plural(row.calls, "call")
    );
    let causes: Vec<String> = facts::causes(&row.failed_by_cause)
        .into_iter()
        .filter(|(_, calls)| *calls > 0)
        .map(|(name, calls)| format!("{name} {}", count(calls)))
        .collect();
    let statuses: Vec<String> =
        row.statuses.iter().map(|(status, calls)| format!("{status} {}", count(*calls))).collect();
    if !causes.is_empty() {
        let _ = write!(text, " ({}; {})", list(&causes), list(&statuses));
    }
    let (before, after) = (&row.latency_ms.before, &row.latency_ms.after);
    let _ = write!(
        text,
        "; {} executed twice; {}{}p99 {} before, {} after",
        count(row.duplicated),
        row.attempts_per_call
            .map_or_else(String::new, |attempts| format!("{} attempts a call; ", ratio(attempts))),
        row.connections_per_client.map_or_else(String::new, |opened| {
            format!("{} opened by a client; ", plural(opened.round() as u64, "connection"))
        }),
        ms(before.p99),
        ms(after.p99)
    );
    text
}

/// Index of the first shade whose limit holds the row.
fn shade(row: &ChurnRow) -> usize {
    if row.failed == 0 {
        return 0;
    }
    let found = SHADES.iter().skip(1).position(|(limit, _)| row.error_rate < *limit);
    found.map_or(SHADES.len() - 1, |position| position + 1)
}

fn draw(event: &EventFact<'_>, deadline: f64, palette: &Palette) -> Panel {
    const TRACK: f64 = 26.0;
    const LANE: f64 = 46.0;
    let slices = || event.rows.iter().flat_map(|row| &row.timeline);
    let first = slices().map(|slice| slice.at_ms).fold(0.0, f64::min);
    let last = slices().map(|slice| slice.at_ms + SLICE_MS).fold(first, f64::max);
    let height = 26.0 + LANE * event.rows.len() as f64 + 34.0;
    let frame = Frame { left: 2.0, right: 10.0, top: 26.0, bottom: 34.0, height, ..Frame::SMALL };
    let label = format!("Failed calls and latency in time, event {}", event.name);
    let mut plot = Plot::new(frame, Scale::linear(first, last), Scale::linear(0.0, 1.0), &label);
    for (lane, row) in event.rows.iter().enumerate() {
        let slot = palette.slot(&row.strategy);
        let top = plot.area.top + lane as f64 * LANE;
        let floor = top + 14.0 + TRACK;
        let failed = match row.failed {
            0 => String::from("none failed"),
            n => format!("{} failed", count(n)),
        };
        plot.svg.name_and_remark(&format!("s{slot}"), (plot.area.left, top + 9.0), &row.strategy, &failed);
        plot.svg.line("grid", (plot.area.left, floor), (plot.area.right, floor));
        for slice in row.timeline.iter().filter(|slice| slice.failed > 0) {
            let (x0, x1) = (plot.x.at(slice.at_ms), plot.x.at(slice.at_ms + SLICE_MS));
            // A single failed call must still be seen.
            let height = (part(slice.failed, slice) * TRACK).max(2.5);
            plot.svg.rect("fail", (x0, floor - height), (x1 - x0 - 0.6, height), "");
        }
        let x = plot.x;
        let mut line = |class: &str, value: &dyn Fn(&ChurnSlice) -> f64| {
            // A slice without an answer breaks the line.
            for run in row.timeline.split(|slice| slice.ok == 0) {
                let at = |slice: &ChurnSlice| {
                    (x.at(slice.at_ms + SLICE_MS / 2.0), floor - value(slice).clamp(0.0, 1.0) * TRACK)
                };
                plot.svg.polyline(&format!("{class} thin s{slot}"), &run.iter().map(at).collect::<Vec<_>>());
            }
        };
        line("line", &|slice| slice.p99_ms / deadline.max(1.0));
        if event.is_about_shares() {
            line("line dashed", &|slice| part(slice.concerned, slice));
        }
        // Invisible columns carry the numbers.
        for slice in &row.timeline {
            let (x0, x1) = (plot.x.at(slice.at_ms), plot.x.at(slice.at_ms + SLICE_MS));
            let tip = format!(
                "{}, {}: {} failed, {} answered, p99 {}",
                row.strategy,
                ms(slice.at_ms),
                count(slice.failed),
                count(slice.ok),
                ms(slice.p99_ms)
            );
            plot.svg.rect("hit", (x0, floor - TRACK), (x1 - x0, TRACK), &tip);
        }
    }
    marks(&mut plot, event);
    let ticks = plot.x.ticks(6);
    plot.x_axis(&ticks, "", |at| short(at / 1000.0) + &format!("{NBSP}s"));
    Panel { slot: None, title: event.name.to_owned(), note: event.story.to_owned(), svg: plot.finish() }
}

/// Vertical lines, named where there is room.
fn marks(plot: &mut Plot, event: &EventFact<'_>) {
    let Some(row) = event.rows.first() else { return };
    let mut free_from = f64::MIN;
    for mark in &row.marks {
        let x = plot.x.at(mark.at_ms);
        plot.svg.line("moment", (x, plot.area.top - 8.0), (x, plot.area.bottom));
        if x >= free_from {
            plot.svg.text("t reference-name", (x, plot.area.top - 13.0), Anchor::Middle, &mark.name);
            free_from = x + 62.0;
        }
    }
}

/// Part of a slice's calls.
fn part(calls: u64, slice: &ChurnSlice) -> f64 {
    calls as f64 / (slice.ok + slice.failed).max(1) as f64
}

/// Error rates below which a cell has the shade, and what the key calls them. The first is for none
/// at all.
const SHADES: [(f64, &str); 5] = [
    (0.0, "no call failed"),
    (0.01, "fewer than 1 % failed"),
    (0.05, "fewer than 5 %"),
    (0.25, "fewer than 25 %"),
    (1.0, "more"),
];

/// Length of a slice of the timeline.
const SLICE_MS: f64 = 100.0;
