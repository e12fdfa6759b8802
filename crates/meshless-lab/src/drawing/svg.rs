//! A writer for the few SVG elements that charts need.
//!
//! Colours, strokes and fonts are CSS classes of the page, so one picture works in light, dark and
//! print. Text stays text, and every string is escaped.

use std::fmt::{Display, Write as _};

/// An unfinished picture.
pub(crate) struct Svg {
    text: String,
}

/// The side of a text at which its point is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// Returns an empty picture; a screen reader reads `label` instead.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        let text = format!(
            r#"<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{}">"#,
            escape(label)
        );
        Self { text }
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (x1, y1, x2, y2) = (n(from.0), n(from.1), n(to.0), n(to.1));
        self.push(format_args!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    /// Adds a rectangle with a tooltip; an empty one is left out.
    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), tip: &str) {
        if w > 0.0 && h > 0.0 {
            let (x, y, w, h, tip) = (n(x), n(y), n(w), n(h), title(tip));
            self.push(format_args!(
                r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}">{tip}</rect>"#
            ));
        }
    }

    /// Adds any shape, with a tooltip unless `tip` is empty.
    pub(crate) fn path(&mut self, class: &str, d: &str, tip: &str) {
        let tip = title(tip);
        self.push(format_args!(r#"<path class="{class}" d="{d}">{tip}</path>"#));
    }

    /// Adds straight lines through the points.
    pub(crate) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 1 {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{} {}", n(*x), n(*y))).collect();
            self.path(class, &format!("M{}", points.join("L")), "");
        }
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let (x, y, text) = (n(x), n(y), escape(text));
        self.push(format_args!(r#"<text class="{class}" x="{x}" y="{y}"{anchor}>{text}</text>"#));
    }

    /// Adds a bold name and a remark after it, as one text element: only the browser knows the
    /// width of the name.
    pub(crate) fn name_and_remark(&mut self, class: &str, (x, y): (f64, f64), name: &str, remark: &str) {
        let (x, y, name, remark) = (n(x), n(y), escape(name), escape(remark));
        self.push(format_args!(
            r#"<text class="t halo" x="{x}" y="{y}"><tspan class="label {class}">{name}</tspan><tspan dx="10">{remark}</tspan></text>"#
        ));
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }

    fn push(&mut self, element: impl Display) {
        // Writing to a `String` does not fail.
        let _ = write!(self.text, "{element}");
    }
}

/// Escapes text for any place of HTML or SVG, including attributes in double quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Control characters have no meaning in a page, and NUL is an error in HTML.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Estimates the width of a text at the charts' 12 px: 0.55 em per character, as in common sans
/// fonts. That is close enough to keep labels apart.
pub(crate) fn text_width(text: &str) -> f64 {
    const PX_PER_CHARACTER: f64 = 6.7;
    text.chars().count() as f64 * PX_PER_CHARACTER
}

fn title(tip: &str) -> String {
    if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escape(tip)) }
}

/// Formats a coordinate: a tenth of a pixel is enough. NaN is drawn at 0, so that the picture stays
/// valid.
fn n(v: f64) -> f64 {
    if v.is_finite() { (v * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_cannot_break_out() {
        let mut svg = Svg::new(10.0, 10.0, "\"><script>");
        svg.text("t", (0.0, f64::NAN), Anchor::Start, "a<b & 'c'\0");
        svg.rect("r", (0.0, 0.0), (1.0, 1.0), "</title>");
        let text = svg.finish();
        assert!(!text.contains("<script>") && !text.contains("</title></title>") && !text.contains('\0'));
        assert!(text.contains("a&lt;b &amp; &#39;c&#39;\u{fffd}") && !text.contains("NaN"));
    }
}
