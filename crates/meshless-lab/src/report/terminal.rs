//! The run in a terminal: a table per experiment, and the verdict wrapped to the width.

use comfy_table::Table;

use super::verdict::verdict;
use crate::drawing::format::NBSP;
use crate::experiment;
use crate::results::Results;

/// Returns everything, in lines of at most `width` if the words allow it.
pub(crate) fn text(results: &Results, width: u16, colour: bool) -> String {
    let style = Style { colour };
    let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
    let mut out = String::new();
    if !results.complete {
        out += &style.warning("Interrupted: what follows was measured until then.");
        out += "\n\n";
    }
    for (title, table) in
        experiment::ALL.iter().filter_map(|experiment| (experiment.tables().in_terminal)(results, width))
    {
        out += &style.bold(&title);
        out.push('\n');
        out += &style.table(&table);
        out.push('\n');
    }
    for sentence in verdict(results) {
        out += &style.bold(&wrap(&sentence.replace('`', ""), width));
        out.push('\n');
    }
    for note in &results.notes {
        out += &wrap(&format!("Note: {note}"), width);
        out.push('\n');
    }
    out.replace([NBSP, '\u{202f}'], " ")
}

fn wrap(text: &str, width: u16) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > usize::from(width) {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// ANSI sequences, or none. The table crate's own styling would ask the terminal, but here the
/// caller decides.
struct Style {
    colour: bool,
}

impl Style {
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn warning(&self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn table(&self, table: &Table) -> String {
        let header = table.header().map_or(0, |_| 1);
        let mut text = String::new();
        for (i, line) in table.lines().enumerate() {
            let line = line.trim_end();
            text += &if i < header { self.wrap("2", line) } else { line.to_owned() };
            text.push('\n');
        }
        text
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Below this width a table is not readable.
const MIN_WIDTH: u16 = 60;
/// Above this width sentences are hard to read.
const MAX_WIDTH: u16 = 140;
