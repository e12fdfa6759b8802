//! How uneven the backends were: within each second, and over a growing window beside the theory.

use std::collections::BTreeMap;

use super::text;
use super::theory;
use crate::drawing::chart::{Frame, Name, Plot};
use crate::drawing::figure::{self, Figure, Key, Pictures, deviation, strategy_swatch};
use crate::drawing::format::{ms, percent, ratio, short};
use crate::drawing::palette::{Palette, marker};
use crate::drawing::scale::Scale;
use crate::drawing::svg::Anchor;
use crate::facts::{self, StrategyKind};
use crate::results::{Results, Second, SpreadRow};

/// A row per strategy, a dot per second, the median and the whole run marked.
pub(super) fn per_second(results: &Results, palette: &Palette) -> Option<Figure> {
    let rows = rows(results);
    let most = rows.iter().map(|row| row.backends).max()?;
    Some(Figure {
        id: "per-second",
        title: "The busiest backend, second by second",
        takeaway: text::per_second(results),
        method: format!(
            "Calls of the busiest backend over the mean of all: 1 is even, {most} means one backend had everything, which is what theory says of \
             one connection at any instant. A dot is one second, later ones lower."
        ),
        key: vec![
            Key {
                swatch: figure::swatch(r#"<circle class="dot ink" cx="9" cy="7" r="3"/>"#),
                text: "one second".into(),
                narrow_only: false,
            },
            Key {
                swatch: figure::swatch(r#"<path class="median" d="M9 0V14"/>"#),
                text: "typical second (median)".into(),
                narrow_only: false,
            },
            Key {
                swatch: figure::swatch(&format!(r#"<path class="whole" d="{}"/>"#, marker(3, 9.0, 7.0, 4.5))),
                text: "whole run".into(),
                narrow_only: false,
            },
        ],
        pictures: Pictures::One {
            wide: draw_strips(&rows, most, palette, Frame { left: 160.0, right: 24.0, ..Frame::WIDE }),
            narrow: draw_strips(&rows, most, palette, Frame { left: 14.0, right: 14.0, ..Frame::NARROW }),
        },
    })
}

/// A line per strategy: deviation of the shares from the start to each second; theory dashed.
pub(super) fn since_start(results: &Results, palette: &Palette) -> Option<Figure> {
    let rows: Vec<_> = rows(results).into_iter().filter(|row| row.timeline.len() > 1).collect();
    let seconds = rows.iter().map(|row| row.timeline.len()).max()?;
    let age = results.settings.max_connection_age_ms;
    let mut key: Vec<Key> = rows
        .iter()
        .map(|row| Key {
            swatch: strategy_swatch(palette.slot(&row.strategy)),
            text: row.strategy.clone(),
            narrow_only: true,
        })
        .collect();
    key.push(Key { narrow_only: true, ..Key::line("theory", "theory") });
    Some(Figure {
        id: "since-start",
        title: "How soon it evens out",
        takeaway: text::since_start(results),
        method: format!(
            "Standard deviation of the calls per backend over their mean, from the start to each second; 0.1 % stands for anything below. \
             Dashed: √((M−1)/N · g) for M backends and N = 1 connection that is chosen anew at random each {}; g is 1 at an instant and falls like age over time, \
             because each rotation is one more throw of the dice. With a connection per call N is the number of calls so far. Both are expectations over many runs.",
            ms(age)
        ),
        key,
        pictures: Pictures::One {
            wide: draw_since_start(&rows, seconds, age, palette, Frame::WIDE),
            narrow: draw_since_start(&rows, seconds, age, palette, Frame::NARROW),
        },
    })
}

fn draw_strips(rows: &[&SpreadRow], most: usize, palette: &Palette, frame: Frame) -> String {
    const ROW: f64 = 46.0;
    let named_inside = frame.left < 100.0;
    let frame = Frame { top: 30.0, height: 30.0 + rows.len() as f64 * ROW + frame.bottom, ..frame };
    let x = Scale::linear(1.0, most as f64);
    let mut plot =
        Plot::new(frame, x, Scale::linear(0.0, 1.0), "Busiest backend over the mean, second by second");
    let (top, bottom) = (plot.area.top, plot.area.bottom);
    for tick in plot.x.ticks(4) {
        plot.svg.line("grid", (plot.x.at(tick), top), (plot.x.at(tick), bottom));
    }
    plot.svg.line("reference", (plot.area.right, top), (plot.area.right, bottom));
    let theory = format!("one connection at an instant: M = {most}");
    plot.svg.text("t reference-name", (plot.area.right, 18.0), Anchor::End, &theory);
    plot.svg.text("t name", (plot.area.left, 18.0), Anchor::Start, "even");
    for (i, row) in rows.iter().enumerate() {
        let slot = palette.slot(&row.strategy);
        let y0 = top + i as f64 * ROW;
        let (from, to) = if named_inside { (y0 + 20.0, y0 + ROW - 8.0) } else { (y0 + 9.0, y0 + ROW - 9.0) };
        if named_inside {
            plot.svg.text(
                &format!("t label halo s{slot}"),
                (plot.area.left, y0 + 13.0),
                Anchor::Start,
                &row.strategy,
            );
        } else {
            plot.svg.text(
                &format!("t label s{slot}"),
                (plot.area.left - 16.0, y0 + ROW / 2.0 + 4.0),
                Anchor::End,
                &row.strategy,
            );
        }
        for (s, second) in row.timeline.iter().enumerate() {
            let Some(value) = max_over_mean(second, row.backends) else { continue };
            let y = from + (to - from) * (s as f64 + 0.5) / row.timeline.len() as f64;
            let tip = format!("{}, second {}: {}× the mean", row.strategy, s + 1, ratio(value));
            plot.svg.path(&format!("dot s{slot}"), &marker(0, plot.x.at(value), y, 3.0), &tip);
        }
        let median = plot.x.at(row.max_over_mean_per_second.p50);
        let tip = format!("{}, typical second: {}×", row.strategy, ratio(row.max_over_mean_per_second.p50));
        let d = format!("M{median:.1} {:.1}V{:.1}", from - 4.0, to + 4.0);
        plot.svg.path("median", &d, &tip);
        let tip = format!("{}, whole run: {}×", row.strategy, ratio(row.max_over_mean));
        plot.svg.path("whole", &marker(3, plot.x.at(row.max_over_mean), (from + to) / 2.0, 5.0), &tip);
        if i > 0 {
            plot.svg.line(
                "grid",
                (if named_inside { plot.area.left } else { 8.0 }, y0),
                (plot.area.right, y0),
            );
        }
    }
    let ticks = plot.x.ticks(4);
    plot.x_axis(&ticks, "busiest backend over the mean", |v| format!("{}×", short(v)));
    plot.finish()
}

fn draw_since_start(
    rows: &[&SpreadRow],
    seconds: usize,
    age_ms: f64,
    palette: &Palette,
    frame: Frame,
) -> String {
    let most = rows.iter().map(|row| row.backends).max().unwrap_or(2);
    let highest = theory::relative_deviation(most, 1.0, 0.0) * 1.4;
    let y = Scale::log(FLOOR, highest);
    let mut plot =
        Plot::new(frame, Scale::linear(0.0, seconds as f64), y, "Unevenness since the start, against time");
    plot.y_axis(&[0.001, 0.01, 0.1, 1.0], "deviation over mean", percent);
    let ticks = plot.x.ticks(5);
    plot.x_axis(&ticks, "seconds since the start", short);
    let mut names = Vec::new();
    for (name, theory) in theories(rows, most, age_ms) {
        let points: Vec<_> =
            (1..=seconds * 4).map(|q| q as f64 / 4.0).map(|t| (t, theory(t).max(FLOOR))).collect();
        plot.line("theory", &points);
        if let Some(at) = points.last().copied() {
            names.push(Name { at, class: "reference-name".into(), text: name.into() });
        }
    }
    for row in rows {
        let slot = palette.slot(&row.strategy);
        let points = cumulative(row);
        plot.line(&format!("line s{slot}"), &points);
        for (t, value) in &points {
            if (*t as usize).is_multiple_of(mark_every(seconds)) {
                plot.mark(
                    "mark",
                    slot,
                    (*t, *value),
                    &format!("{}, after {t} s: {}", row.strategy, percent(*value)),
                );
            }
        }
        if let Some(at) = points.last().copied() {
            names.push(Name { at, class: format!("s{slot}"), text: row.strategy.clone() });
        }
    }
    if frame.names_lines() {
        plot.names(names);
    }
    plot.finish()
}

/// Its name, and the expected deviation after so many seconds.
type Theory = (&'static str, Box<dyn Fn(f64) -> f64>);

/// Expected deviation after so many seconds, for what the run has: one ageing connection, a
/// connection per call.
fn theories(rows: &[&SpreadRow], backends: usize, age_ms: f64) -> Vec<Theory> {
    let mut theories: Vec<Theory> = Vec::new();
    if rows.iter().any(|row| facts::kind(&row.strategy) == StrategyKind::Ageing) && age_ms > 0.0 {
        let theory = move |t: f64| theory::relative_deviation(backends, 1.0, t * 1000.0 / age_ms);
        theories.push(("theory, N = 1", Box::new(theory)));
    }
    if let Some(row) = rows.iter().find(|row| facts::kind(&row.strategy) == StrategyKind::PerCall) {
        let per_second = row.calls as f64 / row.timeline.len() as f64;
        let theory = move |t: f64| theory::relative_deviation(backends, (per_second * t).max(1.0), 0.0);
        theories.push(("theory, N = calls", Box::new(theory)));
    }
    theories
}

/// Deviation of the shares from the start to the end of each second.
fn cumulative(row: &SpreadRow) -> Vec<(f64, f64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut points = Vec::with_capacity(row.timeline.len());
    for (i, second) in row.timeline.iter().enumerate() {
        for (backend, calls) in &second.share {
            *sums.entry(backend.clone()).or_default() += calls;
        }
        if let Some(value) = deviation(&sums, row.backends) {
            points.push(((i + 1) as f64, value.max(FLOOR)));
        }
    }
    points
}

fn max_over_mean(second: &Second, backends: usize) -> Option<f64> {
    let total: u64 = second.share.values().sum();
    let max = second.share.values().max()?;
    (total > 0).then(|| *max as f64 * backends as f64 / total as f64)
}

fn rows(results: &Results) -> Vec<&SpreadRow> {
    results.spread.iter().filter(|row| facts::has_choice(row) && !row.timeline.is_empty()).collect()
}

/// About ten markers on a line.
fn mark_every(seconds: usize) -> usize {
    (seconds / 10).max(1)
}

/// What is more even than one in a thousand is drawn here.
const FLOOR: f64 = 0.001;
