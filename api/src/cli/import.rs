//! `freehold import`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, IsTerminal as _, Read, Seek};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::HumanCount;
use serde_json::{Value, json};
use uuid::Uuid;

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::import::{Bars, FileFormat, FileReport, Progress, Silent, import_file};
use crate::ingest::{ItemAnswer, Notice, SOURCE_SHAPE, Sender, is_source};
use crate::node::Node;
use crate::platform::Caller;

/// Imports properties from a file, in the shapes of /api/events/property; again it changes nothing.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    ///
    /// A row of a table says how a property is: when several have one reference, the last
    /// counts. Rows with an event_type, and lines of JSON, may tell one thing after another, and
    /// all are taken.
    file: PathBuf,
    /// Whose references the file holds, such as the feed's name
    #[arg(long, value_parser = source)]
    source: String,
    /// How the file is written; by its ending unless said
    #[arg(long = "as", value_name = "KIND")]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A table with a header
    Csv,
    /// One JSON object a line
    Ndjson,
}

/// A table shows the first errors and the first warnings of each code, other formats all.
const ERRORS_SHOWN: u64 = 20;
const WARNINGS_SHOWN: u64 = 2;

fn source(name: &str) -> Result<String, String> {
    if is_source(name) { Ok(name.to_owned()) } else { Err(format!("a source {SOURCE_SHAPE}")) }
}

/// What was wrong with a row, or was bent.
struct Said {
    line: u64,
    kind: &'static str,
    notice: Notice,
}

impl Row for Said {
    const COLUMNS: &'static [&'static str] = &["line", "kind", "code", "field", "message", "value"];

    fn cells(&self) -> Vec<Value> {
        let Notice { code, field, message, value } = &self.notice;
        let (line, kind) = (self.line, self.kind);
        vec![json!(line), json!(kind), json!(code), json!(field), json!(message), json!(value)]
    }
}

impl Import {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let format = self.format()?;
        let unreadable = |error: std::io::Error| {
            let path = self.file.display();
            CliError::new(Exit::NotFound, format!("{path} cannot be read: {error}"))
        };
        let file = File::open(&self.file).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() {
            return self.load(global, format, (&file, metadata.len()));
        }
        // A pipe cannot be read twice.
        let mut text = Vec::new();
        (&file).read_to_end(&mut text).map_err(unreadable)?;
        let bytes = text.len() as u64;
        self.load(global, format, (Cursor::new(text), bytes))
    }

    fn load(
        &self,
        global: &Global,
        format: FileFormat,
        file: (impl Read + Seek, u64),
    ) -> Result<(), CliError> {
        let config = global.load([])?.config;
        super::block_on(async {
            let node = Node::open(&config).await?;
            let caller = Caller {
                actor: "import".into(),
                tenant: config.tenant.default.as_str().into(),
                correlation_id: Uuid::now_v7(),
            };
            let sender = Sender { caller: &caller, source: Some(&self.source), request_key: None };
            let output = global.output();
            // Lines that are written as they come would tear a bar on the same terminal.
            let silent = global.quiet || !output.is_table() && std::io::stdout().is_terminal();
            let bars: Box<dyn Progress> =
                if silent { Box::new(Silent) } else { Box::new(Bars::default()) };
            let mut rows = output.rows();
            let all = !output.is_table();
            let (mut errors, mut warnings) = (0, BTreeMap::new());
            let mut written = Ok(());
            let mut show = |line: u64, answer: &ItemAnswer| {
                let mut write = |kind, notice: &Notice| {
                    if written.is_ok() {
                        written = rows.write(&Said { line, kind, notice: notice.clone() });
                    }
                };
                for notice in &answer.errors {
                    errors += 1;
                    if all || errors <= ERRORS_SHOWN {
                        write("error", notice);
                    }
                }
                for notice in &answer.warnings {
                    let of_code = warnings.entry(notice.code).or_insert(0);
                    *of_code += 1;
                    if all || *of_code <= WARNINGS_SHOWN {
                        write("warning", notice);
                    }
                }
            };
            let report = import_file(&node.ingest, &sender, format, file, &*bars, &mut show).await;
            drop(bars);
            node.stop().await;
            if all || errors > 0 || !warnings.is_empty() {
                written?;
                rows.finish()?;
            }
            let report = report?;
            if report.rows() == 0 {
                output.note(&format!("{} has no rows", self.file.display()));
                return Ok(());
            }
            output.note(&summary(&report, all));
            if report.refused == 0 {
                return Ok(());
            }
            let were = if report.refused == 1 { "was" } else { "were" };
            let refused = counted(report.refused, "row", "rows");
            let stored = if report.errors.contains_key("UNCLOSED_QUOTE") {
                "of those before the quote that is never closed the others"
            } else {
                "the others"
            };
            let message = format!("{refused} {were} refused; {stored} are stored");
            Err(CliError::new(Exit::Refused, message))
        })
    }

    fn format(&self) -> Result<FileFormat, CliError> {
        let ending = self.file.extension().and_then(|ending| ending.to_str());
        match (self.kind, ending) {
            (Some(Kind::Csv), _) | (None, Some("csv")) => Ok(FileFormat::Csv),
            (Some(Kind::Ndjson), _) | (None, Some("ndjson" | "jsonl")) => Ok(FileFormat::Ndjson),
            (None, _) => {
                let path = self.file.display();
                let message = format!("cannot tell what {path} is; add --as csv or --as ndjson");
                Err(CliError::new(Exit::Usage, message))
            }
        }
    }
}

/// What came of the rows; of errors and warnings how many of each code.
fn summary(report: &FileReport, all: bool) -> String {
    let FileReport { created, updated, unchanged, left_out, refused, errors, warnings } = report;
    let sum = |counts: &BTreeMap<&'static str, u64>| counts.values().sum::<u64>();
    let (errors_sum, warnings_sum) = (sum(errors), sum(warnings));
    let mut summary = format!(
        "{} created, {} updated, {} unchanged, {} refused, {}",
        HumanCount(*created),
        HumanCount(*updated),
        HumanCount(*unchanged),
        HumanCount(*refused),
        counted(warnings_sum, "warning", "warnings"),
    );
    if *left_out > 0 {
        summary += &format!(
            "\nleft out {}: a later row has the same reference",
            counted(*left_out, "row", "rows")
        );
    }
    let mut by_code = |kind: &str, counts: &BTreeMap<&'static str, u64>| {
        if counts.is_empty() {
            return;
        }
        let counts = counts.iter().map(|(code, count)| format!("{code} {}", HumanCount(*count)));
        summary += &format!("\n{kind}: {}", counts.collect::<Vec<_>>().join(", "));
    };
    by_code("errors", errors);
    by_code("warnings", warnings);
    let hidden = errors_sum > ERRORS_SHOWN || warnings.values().any(|sum| *sum > WARNINGS_SHOWN);
    if hidden && !all {
        summary += &format!(
            "\nshown are the first {ERRORS_SHOWN} errors and {WARNINGS_SHOWN} warnings of each code; \
             --format ndjson shows all"
        );
    }
    summary
}
