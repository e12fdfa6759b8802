//! The colour and the marker of each strategy, the same in every picture and table of a report.
//!
//! The hues come from Okabe and Ito's palette for all kinds of colour vision. They are darker on
//! the light page and lighter on the dark one, so that lines have a contrast of 3:1 (WCAG 2.1,
//! 1.4.11: the test below). A marker's shape repeats the information of the colour.

use crate::results::Results;

/// The slots of the strategies of one run.
pub(crate) struct Palette {
    slots: Vec<(String, usize)>,
}

impl Palette {
    /// Known strategies have the same slot in every run; others get free ones, then start over.
    pub(crate) fn of(results: &Results) -> Self {
        let mut slots: Vec<(String, usize)> = Vec::new();
        for name in strategies(results) {
            if let Some(known) = KNOWN.iter().position(|k| *k == name) {
                slots.push((name, known));
            } else {
                slots.push((name, usize::MAX));
            }
        }
        let mut free = (0..COLOURS.len()).filter(|s| !slots.iter().any(|(_, t)| t == s)).collect::<Vec<_>>();
        free.extend(0..COLOURS.len());
        let mut free = free.into_iter().cycle();
        for (_, slot) in slots.iter_mut().filter(|(_, slot)| *slot == usize::MAX) {
            *slot = free.next().unwrap_or(0);
        }
        Self { slots }
    }

    /// Returns the number of a strategy's class (`s0`, `s1`…) and marker.
    pub(crate) fn slot(&self, strategy: &str) -> usize {
        self.slots.iter().find(|(name, _)| name == strategy).map_or(0, |(_, slot)| *slot)
    }

    /// Returns the strategies in the order of the run.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|(name, _)| name.as_str())
    }
}

/// Returns the strategies of a run, in the order in which they first appear.
pub(crate) fn strategies(results: &Results) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    // The spread first: it has every strategy in order; the burst leaves some out.
    let spread_and_burst =
        results.spread.iter().map(|r| &r.strategy).chain(results.burst.iter().map(|r| &r.strategy));
    let servers =
        results.levelling.iter().map(|r| &r.strategy).chain(results.bounce.iter().map(|r| &r.strategy));
    for name in spread_and_burst.chain(results.churn.iter().map(|r| &r.strategy)).chain(servers) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Returns the CSS custom properties `--s0`… and the classes that use them.
pub(crate) fn css() -> String {
    let vars = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        COLOURS.iter().enumerate().map(|(i, c)| format!("--s{i}:{};", pick(c))).collect::<String>()
    };
    let classes = (0..COLOURS.len()).map(|i| format!(".s{i}{{--c:var(--s{i})}}")).collect::<String>();
    format!(
        ":root{{{}}}@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}{classes}",
        vars(|c| c.0),
        vars(|c| c.1)
    )
}

/// Returns the path of a marker around a point. Each slot has its own shape.
pub(crate) fn marker(slot: usize, x: f64, y: f64, r: f64) -> String {
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> =
            points.iter().map(|(dx, dy)| format!("{:.1} {:.1}", x + dx * r, y + dy * r)).collect();
        format!("M{}Z", points.join("L"))
    };
    match slot % 6 {
        0 => format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", x - r, d = r * 2.0),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)]),
        3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(&[(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)]),
        _ => polygon(&[(-1.2, 0.0), (-0.6, -1.05), (0.6, -1.05), (1.2, 0.0), (0.6, 1.05), (-0.6, 1.05)]),
    }
}

/// The index is the slot in [`COLOURS`].
const KNOWN: [&str; 13] = [
    "single-connection",
    "connection-per-call",
    "max-age-l4",
    "max-age-dns",
    "l7-proxy",
    "round_robin",
    "pick_first",
    "least_request",
    "peak_ewma",
    "tonic-balance",
    "round_robin+retry",
    "round_robin+kubernetes",
    "grpc-go",
];

/// For the light page, for the dark page.
const COLOURS: [(&str, &str); 13] = [
    ("#4d5358", "#b9c0c6"),
    ("#c8460b", "#ff8f55"),
    ("#00609f", "#63b1ee"),
    ("#2b8dbf", "#a5dbf4"),
    ("#a8447f", "#e79bc6"),
    ("#007a57", "#45c79d"),
    ("#946600", "#e6b342"),
    ("#5b45a8", "#b5a4f4"),
    ("#66740a", "#c2cf52"),
    ("#7d5330", "#d3a984"),
    ("#004f5a", "#93e4ec"),
    ("#3f6b2a", "#9fd182"),
    ("#a3262f", "#ff9a9f"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(hex: &str) -> f64 {
        let channel = |i: usize| {
            let v = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_stands_out_on_both_pages() {
        let style = include_str!("../report/style.css");
        assert!(
            style.contains("--page:#fcfcfa") && style.contains("--page:#15181b"),
            "pages below are stale"
        );
        for (light, dark) in COLOURS {
            assert!(contrast(light, "#fcfcfa") >= 3.0, "{light} on the light page");
            assert!(contrast(dark, "#15181b") >= 3.0, "{dark} on the dark page");
        }
    }
}
