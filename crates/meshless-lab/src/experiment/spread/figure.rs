//! Which backend answered, second by second: one small picture per strategy.

use super::text;
use crate::drawing::chart::{Frame, Plot};
use crate::drawing::figure::{self, Figure, Key, Panel, Pictures, top};
use crate::drawing::format::{count, ms, plural, ratio, short};
use crate::drawing::palette::Palette;
use crate::drawing::scale::Scale;
use crate::facts;
use crate::results::{Results, SpreadRow};

/// Stacked bars of one second each, failures on top, rotations marked above.
pub(super) fn share(results: &Results, palette: &Palette) -> Option<Figure> {
    let rows: Vec<&SpreadRow> = results.spread.iter().filter(|row| !row.timeline.is_empty()).collect();
    if rows.is_empty() {
        return None;
    }
    let seconds = rows.iter().map(|row| row.timeline.len()).max().unwrap_or(1);
    let highest = top(rows
        .iter()
        .flat_map(|row| &row.timeline)
        .map(|s| (s.share.values().sum::<u64>() + s.failed) as f64));
    let backends = backends(&rows);
    let panels = rows.iter().map(|row| draw(row, &backends, seconds, highest, palette)).collect();
    let mut key: Vec<Key> = backends
        .iter()
        .enumerate()
        .map(|(i, b)| Key::fill(&format!("b{}", i % BACKEND_COLOURS), b))
        .collect();
    key.push(Key::fill("fail", "failed"));
    if rows.iter().any(|row| !row.rotations_at_ms.is_empty()) {
        key.push(Key {
            swatch: figure::swatch(r#"<path class="rotation" d="M5 3h8l-4 7z"/>"#),
            text: "rotation".into(),
            narrow_only: false,
        });
    }
    Some(Figure {
        id: "share",
        title: "Who answered, second by second",
        takeaway: text::share(results),
        method: format!(
            "One client sends {} calls a second on schedule, whatever comes back, to {} behind one address or name. \
             A bar is one second, by the backend that answered; a mark is a connection that a server closed for its age.",
            short(results.settings.rate),
            plural(results.settings.backends as u64, "backend"),
        ),
        key,
        pictures: Pictures::Several(panels),
    })
}

fn draw(row: &SpreadRow, backends: &[String], seconds: usize, highest: f64, palette: &Palette) -> Panel {
    let slot = palette.slot(&row.strategy);
    let label = format!("Calls per second of {} by backend", row.strategy);
    let mut plot =
        Plot::new(Frame::SMALL, Scale::linear(0.0, seconds as f64), Scale::linear(0.0, highest), &label);
    let ticks = plot.y.ticks(3);
    plot.y_axis(&ticks, "calls per second", short);
    for (i, second) in row.timeline.iter().enumerate() {
        let (x0, x1) = (plot.x.at(i as f64), plot.x.at((i + 1) as f64));
        let gap = if x1 - x0 > 5.0 { 1.0 } else { 0.0 };
        let mut below = 0.0;
        let shares = backends.iter().enumerate().map(|(b, name)| {
            (format!("b{}", b % BACKEND_COLOURS), name.as_str(), second.share.get(name).copied().unwrap_or(0))
        });
        for (class, name, calls) in shares.chain([("fail".to_owned(), "failed", second.failed)]) {
            let (y0, y1) = (plot.y.at(below), plot.y.at(below + calls as f64));
            // A single failed call among thousands must still be seen.
            let height = if calls > 0 && name == "failed" { (y0 - y1).max(2.0) } else { y0 - y1 };
            let tip = format!("second {}, {name}: {}", i + 1, plural(calls, "call"));
            plot.svg.rect(&class, (x0, y0 - height), (x1 - x0 - gap, height), &tip);
            below += calls as f64;
        }
    }
    for at in &row.rotations_at_ms {
        let x = plot.x.at(at / 1000.0);
        let d = format!("M{:.1} {y:.1}h7l-3.5 6z", x - 3.5, y = plot.area.top - 7.0);
        plot.svg.path("rotation", &d, &format!("rotation at {}", ms(*at)));
    }
    let ticks = plot.x.ticks(5);
    plot.x_axis(&ticks, "seconds", short);
    let busiest = if facts::has_choice(row) {
        format!(", busiest {}× the mean", ratio(row.max_over_mean))
    } else {
        String::new()
    };
    let (reached, backends) = (facts::reached(row), plural(row.backends as u64, "backend"));
    let note = format!("{reached} of {backends}{busiest}, {} failed", count(row.outcome.failed));
    Panel { slot: Some(slot), title: row.strategy.clone(), note, svg: plot.finish() }
}

/// Backends that any strategy reached, in order of name.
fn backends(rows: &[&SpreadRow]) -> Vec<String> {
    let mut names: Vec<String> = rows
        .iter()
        .flat_map(|row| row.share.keys().chain(row.timeline.iter().flat_map(|s| s.share.keys())))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Classes `b0`…; with more backends the colours repeat, neighbours still differ.
const BACKEND_COLOURS: usize = 6;
