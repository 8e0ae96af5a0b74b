//! `freehold import`.

use std::fs::File;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CliError, Exit, Global, Row};
use crate::import::{Bars, FileFormat, Progress, Silent, import_file};
use crate::ingest::Sender;
use crate::node::Node;
use crate::platform::Caller;

/// Imports properties from a file, in the shapes of /api/events/property; again it changes nothing.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    file: PathBuf,
    /// Whose references the file holds, such as the feed's name
    #[arg(long)]
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

struct Refusal {
    row: u64,
    code: String,
    field: String,
    message: String,
}

impl Row for Refusal {
    const COLUMNS: &'static [&'static str] = &["row", "code", "field", "message"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.row), json!(self.code), json!(self.field), json!(self.message)]
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
        let bytes = file.metadata().map_err(unreadable)?.len();
        let config = global.load([])?.config;
        super::block_on(async {
            let node = Node::open(&config)?;
            let caller = Caller {
                actor: "import".into(),
                tenant: config.tenant.default.as_str().into(),
                correlation_id: Uuid::now_v7(),
            };
            let sender = Sender { caller: &caller, source: Some(&self.source), request_key: None };
            let bars: Box<dyn Progress> =
                if global.quiet { Box::new(Silent) } else { Box::new(Bars::default()) };
            let report = import_file(&node.ingest, &sender, format, (file, bytes), &*bars).await;
            bars.finish();
            node.stop().await;
            let report = report?;
            global.output().note(&format!(
                "{} created, {} updated, {} unchanged, {} refused, {} warnings",
                report.created, report.updated, report.unchanged, report.refused, report.warnings
            ));
            if report.refused == 0 {
                return Ok(());
            }
            let mut rows = global.output().rows();
            for (row, answer) in &report.refusals {
                for notice in &answer.errors {
                    rows.write(&Refusal {
                        row: *row,
                        code: notice.code.to_string(),
                        field: notice.field.clone().unwrap_or_default(),
                        message: notice.message.clone(),
                    })?;
                }
            }
            rows.finish()?;
            let message = format!("{} rows were refused; the others are stored", report.refused);
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
