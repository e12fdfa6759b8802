//! Latency near the capacity: quantiles of each policy, on servers that queue and on servers that
//! bounce.

use super::text;
use crate::drawing::chart::{Frame, Name, Plot};
use crate::drawing::figure::{Figure, Key, Pictures, strategy_swatch, top};
use crate::drawing::format::{ms, percent, plural};
use crate::drawing::palette::Palette;
use crate::drawing::scale::Scale;
use crate::results::{BounceRow, Results};

/// A line per row: p50, p90, p99 and p99.9.
pub(super) fn quantiles(results: &Results, palette: &Palette) -> Option<Figure> {
    let rows: Vec<&BounceRow> = results.bounce.iter().filter(|row| row.outcome.ok > 0).collect();
    let first = *rows.first()?;
    let mut key: Vec<Key> = Vec::new();
    for row in &rows {
        let swatch = strategy_swatch(palette.slot(&row.strategy));
        if !key.iter().any(|key| key.text == row.strategy) {
            key.push(Key { swatch, text: row.strategy.clone(), narrow_only: true });
        }
    }
    key.push(Key::line("line ink dashed", "servers queue"));
    key.push(Key::line("line ink", "servers bounce"));
    Some(Figure {
        id: "bounce",
        title: "Near the capacity: who waits how long",
        takeaway: text::takeaway(results),
        method: format!(
            "{} that know only their own calls, {} of {} each, service times exponential with a mean of {}, arrivals at random at {} of what the servers can do. \
             Servers that queue let a call wait; servers that bounce refuse it before its handler, and the channel tries another: a call is \
             refused up to twice, and its third attempt goes anywhere but to the last server.",
            plural(first.clients as u64, "client"),
            plural(first.backends as u64, "server"),
            plural(first.workers as u64, "worker"),
            ms(first.service_time_ms),
            percent(first.load),
        ),
        key,
        pictures: Pictures::One {
            wide: draw(&rows, palette, Frame { right: 210.0, ..Frame::WIDE }),
            narrow: draw(&rows, palette, Frame::NARROW),
        },
    })
}

fn draw(rows: &[&BounceRow], palette: &Palette, frame: Frame) -> String {
    let hi = top(rows.iter().map(|row| row.outcome.latency_ms.p999));
    // Each quantile as far right as one call in how many is slower.
    let mut plot = Plot::new(
        frame,
        Scale::log(2.0, 1000.0),
        Scale::linear(0.0, hi),
        "Latency by quantile, near the capacity of the servers",
    );
    let ticks = plot.y.ticks(5);
    plot.y_axis(&ticks, "latency", ms);
    plot.x_axis(&[2.0, 10.0, 100.0, 1000.0], "quantile of the answered calls", |x| {
        (if x < 5.0 {
            "p50"
        } else if x < 50.0 {
            "p90"
        } else if x < 500.0 {
            "p99"
        } else {
            "p99.9"
        })
        .into()
    });
    for row in rows {
        let slot = palette.slot(&row.strategy);
        let l = &row.outcome.latency_ms;
        let points = [(2.0, l.p50), (10.0, l.p90), (100.0, l.p99), (1000.0, l.p999)];
        let (line, mark) = if row.bounces { ("line", "mark") } else { ("line dashed", "mark hollow") };
        plot.line(&format!("{line} s{slot}"), &points);
        for (point, name) in points.into_iter().zip(["p50", "p90", "p99", "p99.9"]) {
            plot.mark(mark, slot, point, &format!("{}: {name} {}", name_of(row), ms(point.1)));
        }
    }
    if frame.names_lines() {
        let name = |row: &&BounceRow| Name {
            at: (1000.0, row.outcome.latency_ms.p999),
            class: format!("s{}", palette.slot(&row.strategy)),
            text: name_of(row),
        };
        plot.names(rows.iter().map(name).collect());
    }
    plot.finish()
}

fn name_of(row: &BounceRow) -> String {
    format!("{}, {}", row.strategy, if row.bounces { "bounce" } else { "queue" })
}
