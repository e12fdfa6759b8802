//! Latency and failures around a rotation, all rotations of a run laid over each other.

use super::text;
use crate::drawing::chart::{Frame, Plot};
use crate::drawing::figure::{Figure, Key, Panel, Pictures, top};
use crate::drawing::format::{count, ms, plural};
use crate::drawing::palette::Palette;
use crate::drawing::scale::{Scale, round_up};
use crate::drawing::svg::Anchor;
use crate::results::{AroundRotation, Results, SpreadRow};

/// One small picture per strategy that rotated.
pub(super) fn around(results: &Results, palette: &Palette) -> Option<Figure> {
    let rows: Vec<&SpreadRow> = results.spread.iter().filter(|row| !row.around_rotation.is_empty()).collect();
    if rows.is_empty() {
        return None;
    }
    let slices = || rows.iter().flat_map(|row| &row.around_rotation);
    let highest = top(slices().filter(|s| s.ok > 0).map(|s| s.p99_ms)).max(1.0);
    let lowest = slices().map(|s| s.offset_ms).fold(f64::MAX, f64::min);
    let last = slices().map(|s| s.offset_ms).fold(f64::MIN, f64::max) + width(&rows[0].around_rotation);
    let failed = slices().map(|s| s.failed).max().unwrap_or(0);
    let x = Scale::linear(lowest, last);
    let panels = rows.iter().map(|row| draw(row, x, highest, failed, palette)).collect();
    Some(Figure {
        id: "rotation",
        title: "What a rotation costs",
        takeaway: text::rotation(results),
        method: "Calls by the moment they were due, relative to the server's first GOAWAY on their connection; all rotations of the run lie over each other. \
                 The strip below counts the failed ones."
            .into(),
        key: vec![Key::line("line ink", "p50"), Key::line("line ink dashed", "p99"), Key::fill("fail", "failed calls")],
        pictures: Pictures::Several(panels),
    })
}

fn draw(row: &SpreadRow, x: Scale, highest: f64, most_failed: u64, palette: &Palette) -> Panel {
    const GAP: f64 = 16.0;
    const STRIP: f64 = 32.0;
    let slot = palette.slot(&row.strategy);
    let label = format!("Latency and failures of {} around a rotation", row.strategy);
    let frame = Frame { height: 236.0, bottom: 40.0 + STRIP + GAP, ..Frame::SMALL };
    let mut plot = Plot::new(frame, x, Scale::linear(0.0, highest), &label);
    let ticks = plot.y.ticks(3);
    plot.y_axis(&ticks, "latency", ms);
    let zero = plot.x.at(0.0);
    plot.svg.line("reference", (zero, plot.area.top - 4.0), (zero, plot.area.bottom + GAP + STRIP));
    plot.svg.text("t reference-name", (zero, plot.area.top - 9.0), Anchor::Middle, "GOAWAY");
    let slices = &row.around_rotation;
    let step = width(slices);
    // A slice without an answer breaks the line instead of being drawn over.
    for run in slices.split(|slice| slice.ok == 0).filter(|run| !run.is_empty()) {
        for (class, value) in [("line dashed", p99 as fn(&AroundRotation) -> f64), ("line", p50)] {
            let points: Vec<_> = run.iter().map(|s| (s.offset_ms + step / 2.0, value(s))).collect();
            plot.line(&format!("{class} s{slot}"), &points);
        }
    }
    let floor = plot.area.bottom + GAP + STRIP;
    let full = round_up(most_failed as f64);
    for slice in slices {
        let (x0, x1) = (plot.x.at(slice.offset_ms), plot.x.at(slice.offset_ms + step));
        let height = if slice.failed == 0 { 0.0 } else { (slice.failed as f64 / full * STRIP).max(2.0) };
        let tip = format!(
            "{} to {}: {} failed, {} answered",
            ms(slice.offset_ms),
            ms(slice.offset_ms + step),
            count(slice.failed),
            count(slice.ok)
        );
        let w = (x1 - x0 - 0.5).max(0.5);
        plot.svg.rect("fail", (x0, floor - height), (w, height), &tip);
        // An invisible column carries the numbers of the slice.
        let tip = format!("{}: p50 {}, p99 {}", ms(slice.offset_ms), ms(slice.p50_ms), ms(slice.p99_ms));
        plot.svg.rect("hit", (x0, plot.area.top), (x1 - x0, plot.area.bottom - plot.area.top), &tip);
    }
    if most_failed > 0 {
        plot.svg.text(
            "t fail",
            (plot.area.left - 7.0, floor - STRIP + 9.0),
            Anchor::End,
            &count(full as u64),
        );
        plot.svg.line("grid", (plot.area.left, floor - STRIP), (plot.area.right, floor - STRIP));
    }
    plot.area.bottom = floor;
    let ticks = plot.x.ticks(5);
    plot.x_axis(&ticks, "from the GOAWAY", ms);
    let failed: u64 = slices.iter().map(|s| s.failed).sum();
    let note = format!("{}, {} failed nearby", plural(row.rotations, "rotation"), count(failed));
    Panel { slot: Some(slot), title: row.strategy.clone(), note, svg: plot.finish() }
}

/// Length of a slice: slices are equally long and in order.
fn width(slices: &[AroundRotation]) -> f64 {
    match slices {
        [first, second, ..] if second.offset_ms > first.offset_ms => second.offset_ms - first.offset_ms,
        _ => 100.0,
    }
}

fn p50(slice: &AroundRotation) -> f64 {
    slice.p50_ms
}

fn p99(slice: &AroundRotation) -> f64 {
    slice.p99_ms
}
