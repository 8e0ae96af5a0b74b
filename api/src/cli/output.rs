//! What commands write: rows in the format that was asked for, notes, questions, progress.

use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write};

use clap::ValueEnum;
use console::Term;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Value;

use super::{CliError, Exit};
use crate::import::rate;

/// How many rows a table looks at before it settles on the widths of its columns.
const ROWS_FOR_WIDTHS: usize = 200;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a line of names first.
    Csv,
}

/// A kind of row.
pub trait Row {
    /// The names of its columns.
    const COLUMNS: &'static [&'static str];

    /// The columns of a table on a terminal, the one to do without first last: they are shown as
    /// far as they fit, the last of them cut. Without this a table shows all, however long.
    const FITTED: Option<&'static [&'static str]> = None;

    /// Its values, as many as there are columns.
    fn cells(&self) -> Vec<Value>;
}

/// Where and how a command writes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    quiet: bool,
    yes: bool,
    colours: bool,
}

impl Output {
    /// Output as the flags want it; without a format a table on a terminal, else ndjson.
    pub fn new(format: Option<Format>, quiet: bool, yes: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let usual = if terminal { Format::Table } else { Format::Ndjson };
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty());
        Self { format: format.unwrap_or(usual), quiet, yes, colours }
    }

    /// Starts writing rows to stdout.
    pub fn rows<R: Row>(&self) -> Rows<R, BufWriter<io::Stdout>> {
        let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Rows::new(BufWriter::new(io::stdout()), self.format, self.colours, width)
    }

    /// Whether rows are written for a person.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Tells the person at the terminal something that is not data.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            // Without a stderr there is nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Asks before something that cannot be undone; `question` says what will happen, with counts.
    ///
    /// - Errors: [`Exit::Refused`] if the answer is no or nobody is there to answer.
    pub fn confirm(&self, question: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let message = format!("nobody is here to ask; add --yes to {question}");
            return Err(CliError::new(Exit::Refused, message));
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(Exit::Refused, "nothing was done")),
        }
    }

    /// A bar on stderr with rate and time left, or a spinner if the end is unknown; hidden if
    /// stderr is no terminal.
    pub fn progress(&self, total: Option<u64>, what: &'static str) -> ProgressBar {
        let target =
            if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {rate} {eta} left",
            None => "{msg} {spinner} {human_pos} {rate}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates are well formed");
        let style = style.with_key("rate", rate);
        let bar = ProgressBar::with_draw_target(total, target).with_style(style);
        bar.with_message(what)
    }
}

/// A number of things, in words: `1 row`, `2,203 rows`.
pub(super) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { more })
}

/// Writes rows one by one; call [`finish`](Self::finish) after the last.
pub struct Rows<R, W: Write> {
    out: W,
    format: Format,
    colours: bool,
    /// Which columns a table shows, by their places.
    shown: Vec<usize>,
    /// How many characters a line of a table may have.
    width: Option<usize>,
    /// Whether the last column of a table is cut to its width.
    cut: bool,
    written: usize,
    /// Rows of a table whose widths are not settled yet.
    held: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    row: std::marker::PhantomData<R>,
}

impl<R: Row, W: Write> Rows<R, W> {
    fn new(out: W, format: Format, colours: bool, width: Option<usize>) -> Self {
        let row = std::marker::PhantomData;
        let (held, widths) = (Vec::new(), None);
        let place = |name: &&str| R::COLUMNS.iter().position(|column| column == name);
        let (shown, width) = match (R::FITTED, width) {
            (Some(columns), Some(_)) => (columns.iter().filter_map(place).collect(), width),
            _ => ((0..R::COLUMNS.len()).collect(), None),
        };
        Self { out, format, colours, shown, width, cut: false, written: 0, held, widths, row }
    }

    /// Writes one row.
    pub fn write(&mut self, row: &R) -> io::Result<()> {
        let cells = row.cells();
        match self.format {
            Format::Table => {
                let cells: Vec<String> =
                    self.shown.iter().map(|place| plain(&cells[*place])).collect();
                if self.widths.is_some() {
                    self.write_line(&cells)?;
                } else {
                    self.held.push(cells);
                    if self.held.len() == ROWS_FOR_WIDTHS {
                        self.settle()?;
                    }
                }
            }
            Format::Json => {
                self.out.write_all(if self.written == 0 { b"[\n" } else { b",\n" })?;
                self.write_object(&cells)?;
            }
            Format::Ndjson => {
                self.write_object(&cells)?;
                self.out.write_all(b"\n")?;
            }
            Format::Csv => {
                if self.written == 0 {
                    self.write_csv(R::COLUMNS.iter().map(|name| (*name).to_owned()))?;
                }
                self.write_csv(cells.iter().map(plain))?;
            }
        }
        self.written += 1;
        Ok(())
    }

    /// Shows what was written so far; for output that goes on while somebody watches.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.format == Format::Table && self.widths.is_none() && !self.held.is_empty() {
            self.settle()?;
        }
        self.out.flush()
    }

    /// Writes what is due at the end.
    pub fn finish(mut self) -> io::Result<()> {
        match self.format {
            Format::Table if self.widths.is_none() => self.settle()?,
            Format::Json if self.written == 0 => self.out.write_all(b"[]\n")?,
            Format::Json => self.out.write_all(b"\n]\n")?,
            Format::Csv if self.written == 0 => {
                self.write_csv(R::COLUMNS.iter().map(|name| (*name).to_owned()))?;
            }
            Format::Table | Format::Ndjson | Format::Csv => {}
        }
        self.out.flush()
    }

    fn write_object(&mut self, cells: &[Value]) -> io::Result<()> {
        let mut json = serde_json::Serializer::new(&mut self.out);
        let mut object = json.serialize_map(Some(cells.len()))?;
        for (name, cell) in R::COLUMNS.iter().zip(cells) {
            object.serialize_entry(name, cell)?;
        }
        object.end()?;
        Ok(())
    }

    fn write_csv(&mut self, cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut line = csv::WriterBuilder::new().from_writer(&mut self.out);
        line.write_record(cells)?;
        line.flush()
    }

    /// Fixes the widths by what is held, and writes it.
    fn settle(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let names: Vec<String> =
            self.shown.iter().map(|place| R::COLUMNS[*place].to_uppercase()).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
        for row in &held {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.cut = self.width.is_some_and(|terminal| fit(&mut widths, terminal));
        self.widths = Some(widths);
        if self.colours {
            self.out.write_all(b"\x1b[1m")?;
        }
        self.write_line(&names)?;
        if self.colours {
            self.out.write_all(b"\x1b[0m")?;
        }
        held.iter().try_for_each(|row| self.write_line(row))
    }

    fn write_line(&mut self, cells: &[String]) -> io::Result<()> {
        let widths = self.widths.as_deref().unwrap_or_default();
        let last = widths.len().saturating_sub(1);
        let line = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if self.cut && column == last && cell.chars().count() > *width {
                return cell.chars().take(width.saturating_sub(1)).chain(['…']).collect();
            }
            format!("{cell:width$}")
        });
        let line: Vec<String> = line.collect();
        writeln!(self.out, "{}", line.join("  ").trim_end())
    }
}

/// The least that is left of a column.
const LEAST_WIDTH: usize = 10;

/// Drops the columns that do not fit into a line, and narrows the last that does; whether it did
/// either.
fn fit(widths: &mut Vec<usize>, terminal: usize) -> bool {
    let mut used = 0;
    for column in 0..widths.len() {
        let gap = if column == 0 { 0 } else { 2 };
        let left = terminal.saturating_sub(used + gap);
        if widths[column] > left {
            let keep = if column == 0 || left >= LEAST_WIDTH { column + 1 } else { column };
            widths[column] = left;
            widths.truncate(keep);
            return true;
        }
        used += gap + widths[column];
    }
    false
}

/// A value for people and for CSV: text without quotes, nothing for null.
fn plain(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        // A line break or an escape sequence in data must not draw on somebody's terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        cell => cell.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rent(&'static str, Option<u64>);

    impl Row for Rent {
        const COLUMNS: &'static [&'static str] = &["unit", "rent"];

        fn cells(&self) -> Vec<Value> {
            vec![self.0.into(), self.1.into()]
        }
    }

    fn written(format: Format, rows: &[Rent]) -> String {
        let mut out = Vec::new();
        let mut writer = Rows::new(&mut out, format, false, None);
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_writes_the_same_rows() {
        let rows = [Rent("attic, front", Some(900)), Rent("cellar\x1b[2J", None)];
        assert_eq!(
            written(Format::Table, &rows),
            "UNIT          RENT\nattic, front  900\ncellar [2J\n"
        );
        assert_eq!(
            written(Format::Ndjson, &rows[..1]),
            "{\"unit\":\"attic, front\",\"rent\":900}\n"
        );
        assert_eq!(
            written(Format::Json, &rows[..1]),
            "[\n{\"unit\":\"attic, front\",\"rent\":900}\n]\n"
        );
        assert_eq!(written(Format::Csv, &rows), "unit,rent\n\"attic, front\",900\ncellar [2J,\n");
    }

    struct Long;

    impl Row for Long {
        const COLUMNS: &'static [&'static str] = &["id", "made_at", "text"];
        const FITTED: Option<&'static [&'static str]> = Some(&["text", "id"]);

        fn cells(&self) -> Vec<Value> {
            vec!["0123456789abcdef".into(), "today".into(), "some words".into()]
        }
    }

    #[test]
    fn a_table_on_a_terminal_has_the_columns_that_fit() {
        let written = |width| {
            let mut out = Vec::new();
            let mut writer = Rows::new(&mut out, Format::Table, false, width);
            writer.write(&Long).unwrap();
            writer.finish().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Some(28)), "TEXT        ID\nsome words  0123456789abcdef\n");
        assert_eq!(written(Some(23)), "TEXT        ID\nsome words  0123456789…\n");
        assert_eq!(written(Some(21)), "TEXT\nsome words\n");
        assert_eq!(written(Some(5)), "TEXT\nsome…\n");
        assert_eq!(
            written(None),
            "ID                MADE_AT  TEXT\n0123456789abcdef  today    some words\n",
            "a file is no terminal"
        );
    }

    #[test]
    fn no_rows_are_still_well_formed() {
        assert_eq!(written(Format::Json, &[]), "[]\n");
        assert_eq!(written(Format::Csv, &[]), "unit,rent\n");
        assert_eq!(written(Format::Ndjson, &[]), "");
    }
}
