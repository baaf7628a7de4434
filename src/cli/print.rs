//! Printing. A reader that goes away (`| head`) is no error.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Data.
pub(super) fn data(text: &str) {
    let _the_reader_may_be_gone = writeln!(std::io::stdout(), "{text}");
}

/// A message to people.
pub(super) fn say(text: &str) {
    let _the_reader_may_be_gone = writeln!(std::io::stderr(), "{text}");
}

/// Data as JSON.
pub(super) fn json(value: &impl Serialize) {
    data(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A table with this head; plain columns where nobody looks.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    if std::io::stdout().is_terminal() {
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        // For `awk`: one row, one line.
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head);
    table
}

/// Rows as CSV.
pub(super) fn csv<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Result<(), super::Failure> {
    let failed = |error: &dyn std::error::Error| super::Failure::Code(1, error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    let _the_reader_may_be_gone = std::io::stdout().write_all(&bytes);
    Ok(())
}

/// Whether colours are seen: on a terminal, unless `NO_COLOR` is set.
pub(super) fn is_coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The completions of `shell`.
pub(super) fn completions(command: &mut clap::Command, shell: clap_complete::Shell) -> Result<(), super::Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "updates-bridge", &mut script);
    let _the_reader_may_be_gone = std::io::stdout().write_all(&script);
    Ok(())
}
