//! The figures of a report, in the order of the page: each has its finding, its method, and its
//! pictures.

use std::collections::BTreeMap;

use super::palette::marker;
use super::svg::escape;

/// One complete figure.
pub(crate) struct Figure {
    /// Anchor in the page.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// The finding of this run.
    pub(crate) takeaway: String,
    /// What is drawn, and how it was measured.
    pub(crate) method: String,
    pub(crate) key: Vec<Key>,
    pub(crate) pictures: Pictures,
}

/// The pictures of a figure.
pub(crate) enum Pictures {
    /// One picture over the whole width, drawn for a desktop and for a phone.
    One {
        /// For a desktop: lines are named where they end.
        wide: String,
        /// For a phone: lines are named in the key.
        narrow: String,
    },
    /// Small ones side by side, each with a heading.
    Several(Vec<Panel>),
    /// A table, as HTML.
    Table(String),
}

/// One of several small pictures.
pub(crate) struct Panel {
    /// Class of the heading's marker; `None` for a plain heading.
    pub(crate) slot: Option<usize>,
    pub(crate) title: String,
    /// A few numbers after the heading.
    pub(crate) note: String,
    pub(crate) svg: String,
}

/// An entry of a figure's key.
pub(crate) struct Key {
    /// A small SVG.
    pub(crate) swatch: String,
    pub(crate) text: String,
    /// True if only the narrow picture needs it.
    pub(crate) narrow_only: bool,
}

impl Key {
    /// A filled box of a class.
    pub(crate) fn fill(class: &str, text: &str) -> Self {
        let swatch = swatch(&format!(r#"<rect class="{class}" x="3" y="1" width="12" height="12"/>"#));
        Self { swatch, text: text.to_owned(), narrow_only: false }
    }

    /// A piece of line of a class.
    pub(crate) fn line(class: &str, text: &str) -> Self {
        let swatch = swatch(&format!(r#"<path class="{class}" d="M0 7H18"/>"#));
        Self { swatch, text: text.to_owned(), narrow_only: false }
    }

    pub(crate) fn strategy(slot: usize, name: &str) -> Self {
        let swatch = strategy_swatch(slot);
        Self { swatch, text: name.to_owned(), narrow_only: true }
    }
}

/// The marker of a strategy on a piece of its line.
pub(crate) fn strategy_swatch(slot: usize) -> String {
    let d = marker(slot, 9.0, 7.0, 3.6);
    swatch(&format!(r#"<path class="line s{slot}" d="M0 7H18"/><path class="mark s{slot}" d="{d}"/>"#))
}

/// Returns the standard deviation of the backends' calls over their mean; `None` if no call was
/// answered.
pub(crate) fn deviation(share: &BTreeMap<String, u64>, backends: usize) -> Option<f64> {
    let total: u64 = share.values().sum();
    if total == 0 || backends == 0 {
        return None;
    }
    let mean = total as f64 / backends as f64;
    // Backends without a call may be missing in the map.
    let missing = backends.saturating_sub(share.len()) as f64 * mean * mean;
    let squares: f64 = share.values().map(|calls| (*calls as f64 - mean).powi(2)).sum();
    Some(((squares + missing) / backends as f64).sqrt() / mean)
}

pub(crate) fn swatch(inner: &str) -> String {
    format!(
        r#"<svg class="swatch" viewBox="0 0 18 14" width="18" height="14" aria-hidden="true">{inner}</svg>"#
    )
}

/// Converts a text with code in backticks to HTML.
pub(crate) fn inline(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(i, piece)| if i % 2 == 1 { format!("<code>{}</code>", escape(piece)) } else { escape(piece) })
        .collect()
}

/// Returns an upper end for axes, a little above the largest value.
pub(crate) fn top(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0, f64::max) * 1.06
}
