//! A plot: its frame, axes, lines with markers, bands, and labels that do not overlap.
//!
//! Used by every figure; knows nothing of calls and backends.

use super::palette::marker;
use super::scale::Scale;
use super::svg::{Anchor, Svg, text_width};

/// An unfinished plot: a picture with two axes over its inner area.
pub(crate) struct Plot {
    pub(crate) svg: Svg,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    pub(crate) area: Area,
    width: f64,
}

/// The inner area in pixels.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// The size of a picture and the margins around its inner area.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    /// For a desktop page, with room on the right for the names of lines.
    pub(crate) const WIDE: Self =
        Self { width: 800.0, height: 360.0, left: 48.0, right: 166.0, top: 24.0, bottom: 44.0 };
    /// The same picture for a phone; a key above it has the names.
    pub(crate) const NARROW: Self =
        Self { width: 344.0, height: 270.0, left: 44.0, right: 12.0, top: 24.0, bottom: 44.0 };
    /// One of several small pictures side by side.
    pub(crate) const SMALL: Self =
        Self { width: 384.0, height: 195.0, left: 50.0, right: 14.0, top: 27.0, bottom: 40.0 };

    /// Returns true if lines are named at their ends.
    pub(crate) fn names_lines(&self) -> bool {
        self.right > 100.0
    }

    fn area(&self) -> Area {
        Area {
            left: self.left,
            right: self.width - self.right,
            top: self.top,
            bottom: self.height - self.bottom,
        }
    }
}

impl Plot {
    /// Returns an empty plot; the scales cover the frame's inner area.
    pub(crate) fn new(frame: Frame, x: Scale, y: Scale, label: &str) -> Self {
        let area = frame.area();
        let svg = Svg::new(frame.width, frame.height, label);
        let (x, y) = (x.over(area.left, area.right), y.over(area.bottom, area.top));
        Self { svg, x, y, area, width: frame.width }
    }

    /// Adds horizontal grid lines with their values, and the axis's name above.
    pub(crate) fn y_axis(&mut self, ticks: &[f64], name: &str, format: impl Fn(f64) -> String) {
        let Area { left, right, .. } = self.area;
        for tick in ticks {
            let y = self.y.at(*tick);
            self.svg.line("grid", (left, y), (right, y));
            self.svg.text("t", (left - 7.0, y + 4.0), Anchor::End, &format(*tick));
        }
        self.svg.text("t name", (4.0, 12.0), Anchor::Start, name);
    }

    /// Adds ticks below the plot. Labels that would touch the previous one are left out, but never
    /// the last one.
    pub(crate) fn x_axis(&mut self, ticks: &[f64], name: &str, format: impl Fn(f64) -> String) {
        let Area { left, right, bottom, .. } = self.area;
        self.svg.line("axis", (left, bottom), (right, bottom));
        let labels: Vec<(f64, String)> = ticks.iter().map(|t| (self.x.at(*t), format(*t))).collect();
        let half = |text: &str| text_width(text) / 2.0 + 4.0;
        let last_begin = labels.last().map_or(0.0, |(x, text)| x - half(text));
        let mut end = f64::MIN;
        for (i, (x, text)) in labels.iter().enumerate() {
            self.svg.line("axis", (*x, bottom), (*x, bottom + 4.0));
            let is_last = i + 1 == labels.len();
            if x - half(text) >= end && (is_last || x + half(text) <= last_begin) {
                self.svg.text("t", (*x, bottom + 17.0), Anchor::Middle, text);
                end = x + half(text);
            }
        }
        self.svg.text("t name", ((left + right) / 2.0, bottom + 34.0), Anchor::Middle, name);
    }

    /// Fills the area between two lines, as points (x, low, high).
    pub(crate) fn band(&mut self, slot: usize, points: &[(f64, f64, f64)]) {
        let Plot { x, y, .. } = *self;
        let up = points.iter().map(|p| (x.at(p.0), y.at(p.2)));
        let back = points.iter().rev().map(|p| (x.at(p.0), y.at(p.1)));
        let path: Vec<String> = up.chain(back).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if points.len() > 1 {
            self.svg.path(&format!("band s{slot}"), &format!("M{}Z", path.join("L")), "");
        }
    }

    /// Draws a line through the points.
    pub(crate) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let pixels: Vec<_> = points.iter().map(|(x, y)| (self.x.at(*x), self.y.at(*y))).collect();
        self.svg.polyline(class, &pixels);
    }

    /// Draws a marker with its tooltip.
    pub(crate) fn mark(&mut self, class: &str, slot: usize, point: (f64, f64), tip: &str) {
        let d = marker(slot, self.x.at(point.0), self.y.at(point.1), 3.6);
        self.svg.path(&format!("{class} s{slot}"), &d, tip);
    }

    /// Draws a horizontal line for a reference value. Its name is at the left end, since rising
    /// lines are at the right.
    pub(crate) fn reference(&mut self, value: f64, name: &str) {
        let Area { left, right, .. } = self.area;
        let y = self.y.at(value);
        self.svg.line("reference", (left, y), (right, y));
        self.svg.text("t reference-name", (left + 4.0, y - 5.0), Anchor::Start, name);
    }

    /// Names lines beside their last points. Names that would overlap are moved apart, with a thin
    /// line to the point.
    pub(crate) fn names(&mut self, mut names: Vec<Name>) {
        const APART: f64 = 16.0;
        names.sort_by(|a, b| self.y.at(a.at.1).total_cmp(&self.y.at(b.at.1)));
        let mut ys: Vec<f64> = names.iter().map(|name| self.y.at(name.at.1)).collect();
        for i in 1..ys.len() {
            ys[i] = ys[i].max(ys[i - 1] + APART);
        }
        // Names that were pushed out at the bottom push the others up.
        let mut limit = self.area.bottom + 4.0;
        for y in ys.iter_mut().rev() {
            *y = y.min(limit);
            limit = *y - APART;
        }
        let text_x = self.area.right + 22.0;
        for (name, y) in names.iter().zip(ys) {
            let from = (self.x.at(name.at.0) + 6.0, self.y.at(name.at.1));
            self.svg.line("lead", from, (text_x - 4.0, y));
            let text = shortened(&name.text, self.width - text_x);
            self.svg.text(&format!("t label {}", name.class), (text_x, y + 4.0), Anchor::Start, &text);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.svg.finish()
    }
}

/// The name of a line, and its last point.
pub(crate) struct Name {
    pub(crate) at: (f64, f64),
    pub(crate) class: String,
    pub(crate) text: String,
}

/// Cuts a text that does not fit into `width` pixels.
fn shortened(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take((width / text_width("m")) as usize).collect();
    kept.pop();
    kept.push('…');
    kept
}
