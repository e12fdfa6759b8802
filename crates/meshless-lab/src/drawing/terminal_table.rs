//! Tables in a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table};

/// An empty table of at most so many columns.
pub(crate) fn new(width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table
}

/// Names to the left, numbers to the right.
pub(crate) fn align(table: &mut Table) {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if i == 0 { (0, 0) } else { (2, 0) });
        if i > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
