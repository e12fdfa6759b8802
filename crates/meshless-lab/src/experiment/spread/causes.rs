//! Why calls failed: a stacked bar per strategy, for bursts and for steady load.

use crate::drawing::chart::{Frame, Plot};
use crate::drawing::figure::{Figure, Key, Panel, Pictures};
use crate::drawing::format::{count, percent, percent_mark, plural};
use crate::drawing::palette::{Palette, strategies};
use crate::drawing::scale::{Scale, round_up};
use crate::facts;
use crate::results::{Causes, Outcome, Results};

/// Failed calls of one strategy.
struct Bar {
    strategy: String,
    calls: u64,
    failed: u64,
    causes: Causes,
}

/// Two pictures at most; without a failed call there is no figure.
pub(super) fn causes(results: &Results, palette: &Palette) -> Option<Figure> {
    let names = strategies(results);
    let bars = |of: &dyn Fn(&str) -> Vec<Outcome>| -> Vec<Bar> {
        let bar = |name: &String| {
            let outcomes = of(name);
            let (ok, failed, causes) = facts::sum(outcomes.iter());
            (ok + failed > 0).then(|| Bar { strategy: name.clone(), calls: ok + failed, failed, causes })
        };
        names.iter().filter_map(bar).collect()
    };
    let burst = bars(&|name| {
        results.burst.iter().filter(|r| r.strategy == name).map(|r| r.outcome.clone()).collect()
    });
    let spread = bars(&|name| {
        results.spread.iter().filter(|r| r.strategy == name).map(|r| r.outcome.clone()).collect()
    });
    let panels: Vec<Panel> = [("Bursts, all sizes", burst), ("Steady load", spread)]
        .into_iter()
        .filter(|(_, bars)| bars.iter().any(|bar| bar.failed > 0))
        .map(|(title, bars)| Panel {
            slot: None,
            title: title.into(),
            note: String::new(),
            svg: draw(title, &bars, palette),
        })
        .collect();
    if panels.is_empty() {
        return None;
    }
    let key = facts::causes(&Causes::default()).into_iter().enumerate();
    Some(Figure {
        id: "causes",
        title: "Why calls failed",
        takeaway: takeaway(results),
        method: "Share of all calls that failed, by what happened to them. Servers count the ids of the calls they begin to execute, so a call that failed at \
                 the client is known to have been executed or not. The two pictures have their own scales."
            .into(),
        key: key.map(|(i, (name, _))| Key::fill(&format!("k{i}"), name)).collect(),
        pictures: Pictures::Several(panels),
    })
}

fn draw(title: &str, bars: &[Bar], palette: &Palette) -> String {
    const ROW: f64 = 42.0;
    let rate = |bar: &Bar| bar.failed as f64 / bar.calls as f64;
    let hi = round_up(bars.iter().map(rate).fold(0.0, f64::max)).min(1.0);
    let frame = Frame {
        left: 14.0,
        right: 16.0,
        top: 6.0,
        height: 6.0 + ROW * bars.len() as f64 + 44.0,
        bottom: 44.0,
        ..Frame::SMALL
    };
    let mut plot = Plot::new(
        frame,
        Scale::linear(0.0, hi),
        Scale::linear(0.0, 1.0),
        &format!("Causes of failure: {title}"),
    );
    for tick in plot.x.ticks(4) {
        plot.svg.line("grid", (plot.x.at(tick), plot.area.top), (plot.x.at(tick), plot.area.bottom));
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = plot.area.top + i as f64 * ROW;
        let slot = palette.slot(&bar.strategy);
        let total = match bar.failed {
            0 => format!("none of {}", plural(bar.calls, "call")),
            failed => format!("{} of {}, {}", count(failed), plural(bar.calls, "call"), percent(rate(bar))),
        };
        plot.svg.name_and_remark(&format!("s{slot}"), (plot.area.left, y + 13.0), &bar.strategy, &total);
        let mut from = 0u64;
        for (k, (name, calls)) in facts::causes(&bar.causes).into_iter().enumerate() {
            let (x0, x1) = (
                plot.x.at(from as f64 / bar.calls as f64),
                plot.x.at((from + calls) as f64 / bar.calls as f64),
            );
            let tip = format!("{}, {name}: {}", bar.strategy, plural(calls, "call"));
            plot.svg.rect(&format!("k{k}"), (x0, y + 19.0), (x1 - x0, 13.0), &tip);
            from += calls;
        }
    }
    let ticks = plot.x.ticks(4);
    plot.x_axis(&ticks, "of all calls", percent_mark);
    plot.finish()
}

/// What failures were, and whether they were safe to repeat.
fn takeaway(results: &Results) -> String {
    let part = |place: &str, (_, failed, causes): (u64, u64, Causes)| {
        let (name, most) = facts::causes(&causes).into_iter().max_by_key(|(_, calls)| *calls)?;
        (failed > 0 && most > 0).then(|| {
            let safe = facts::safe_to_repeat(&causes) as f64 / failed as f64;
            format!(
                "{place}, {} of {} failed with the cause “{name}”; {} of them are known not to have been executed, so safe to send again",
                count(most),
                plural(failed, "call"),
                percent(safe)
            )
        })
    };
    let burst = part("In bursts", facts::sum(results.burst.iter().map(|r| &r.outcome)));
    let spread = part("Under steady load", facts::sum(results.spread.iter().map(|r| &r.outcome)));
    let parts: Vec<String> = burst.into_iter().chain(spread).collect();
    if parts.is_empty() { "No call failed.".into() } else { format!("{}.", parts.join(". ")) }
}
