//! How many connections each server has, moment by moment, without levelling and with it.

use super::text;
use crate::drawing::chart::{Frame, Plot};
use crate::drawing::figure::{self, Figure, Key, Panel, Pictures};
use crate::drawing::format::{NBSP, count, ms, percent, plural, ratio, short};
use crate::drawing::palette::Palette;
use crate::drawing::scale::Scale;
use crate::results::{LevellingRow, Results};

/// One small picture per row: a line for each server, and how far theory lets them stray.
pub(super) fn connections(results: &Results, palette: &Palette) -> Option<Figure> {
    let first = results.levelling.first()?;
    let highest = figure::top(
        results
            .levelling
            .iter()
            .flat_map(|row| &row.timeline)
            .flat_map(|sample| sample.connections.values().map(|n| *n as f64)),
    );
    Some(Figure {
        id: "levelling",
        title: "Connections on each server, and levelled ages",
        takeaway: text::takeaway(results),
        method: format!(
            "{} of one connection each, through a virtual address that picks one of {} at random, at a maximum age of {}. A line is a server. Levelled: each \
             server ends its connections with hazard (n/n̄)³ over the age, n̄ being its own average. The band is one standard deviation of theory: √((M−1)/N) for M \
             servers and N connections, and that over √3.25 with levelling. One run of so many ages scatters by ± {} around it.",
            plural(first.clients as u64, "client"),
            plural(first.backends as u64, "server"),
            ms(first.max_connection_age_ms),
            percent(scatter(first)),
        ),
        key: vec![
            Key::line("line thin ink", "connections of one server"),
            Key::fill("band ink", "one standard deviation, in theory"),
        ],
        pictures: Pictures::Several(
            results.levelling.iter().map(|row| draw(row, highest, palette)).collect(),
        ),
    })
}

fn draw(row: &LevellingRow, highest: f64, palette: &Palette) -> Panel {
    let slot = palette.slot(&row.strategy);
    let (kind, age) = match row.exponent {
        0 => ("ages as they are", String::new()),
        _ => (
            "ages levelled",
            format!(", {}{NBSP}× the rotations of one per age", ratio(row.rotations_per_age)),
        ),
    };
    let label = format!("Connections of each server, {}, {kind}", row.strategy);
    let at = |at_ms: f64| at_ms / 1000.0;
    let (from, to) = match (row.timeline.first(), row.timeline.last()) {
        (Some(first), Some(last)) => (at(first.at_ms), at(last.at_ms)),
        _ => (0.0, 0.0),
    };
    let mut plot = Plot::new(Frame::SMALL, Scale::linear(from, to), Scale::linear(0.0, highest), &label);
    let ticks = plot.y.ticks(3);
    plot.y_axis(&ticks, "connections", short);
    let ticks = plot.x.ticks(5);
    plot.x_axis(&ticks, "", |at| short(at) + &format!("{NBSP}s"));
    let deviation = row.connections * row.deviation_expected;
    let (low, high) = ((row.connections - deviation).max(0.0), row.connections + deviation);
    plot.band(slot, &[(from, low, high), (to, low, high)]);
    let servers: Vec<&String> = row.timeline.iter().flat_map(|sample| sample.connections.keys()).collect();
    let mut names = servers;
    names.sort_unstable();
    names.dedup();
    for name in names {
        let connections = |sample: &crate::results::LevellingSample| {
            (at(sample.at_ms), sample.connections.get(name).copied().unwrap_or(0) as f64)
        };
        plot.line(&format!("line thin s{slot}"), &row.timeline.iter().map(connections).collect::<Vec<_>>());
    }
    let note = format!(
        "deviation {} (theory {}), fullest {}{NBSP}× the mean; {} failed{age}",
        percent(row.deviation),
        percent(row.deviation_expected),
        ratio(row.max_over_mean),
        count(row.failed),
    );
    Panel { slot: Some(slot), title: format!("{}, {kind}", row.strategy), note, svg: plot.finish() }
}

/// Relative standard deviation of a deviation that was measured for so many ages: half of
/// √(2/(D(M−1))), which is that of a variance whose memory is one age.
fn scatter(row: &LevellingRow) -> f64 {
    let draws = row.ages.max(1.0) * row.backends.saturating_sub(1).max(1) as f64;
    (2.0 / draws).sqrt() / 2.0
}
