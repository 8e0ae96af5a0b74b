//! `freehold stream`: one aggregate, as it is and as it was.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use clap::Subcommand;
use freehold_commands::EventSourced;
use freehold_domain::SubjectId;
use freehold_domain::property::Property;
use freehold_domain::user::User;
use freehold_ports::{LogName, StreamId, StreamVersion};
use serde_json::{Value, json};

use super::{CliError, Exit, Global, Output, Row};
use crate::stores::{Stores, StoresError};

/// Look at one aggregate.
#[derive(Debug, Subcommand)]
pub(super) enum Stream {
    /// Print the state that a stream folds to, personal values opened
    Show {
        /// The stream, such as property-0199...
        stream: StreamId,
        /// The log
        #[arg(long, default_value = "domain")]
        log: LogName,
        /// As it was after this version, 0 for before its first event; without it, as it is
        #[arg(long, value_name = "VERSION")]
        at: Option<u64>,
    },
    /// Print what differs between two versions of a stream
    Diff {
        /// The stream
        stream: StreamId,
        /// The log
        #[arg(long, default_value = "domain")]
        log: LogName,
        /// The earlier version; 0 is before the first event
        #[arg(long, value_name = "VERSION")]
        from: u64,
        /// The later version; without it, the newest
        #[arg(long, visible_alias = "to", value_name = "VERSION")]
        at: Option<u64>,
    },
}

struct Difference {
    field: String,
    before: Value,
    after: Value,
}

impl Row for Difference {
    const COLUMNS: &'static [&'static str] = &["field", "before", "after"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.field), self.before.clone(), self.after.clone()]
    }
}

struct Field {
    field: String,
    value: Value,
}

impl Row for Field {
    const COLUMNS: &'static [&'static str] = &["field", "value"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.field), self.value.clone()]
    }
}

impl Stream {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        super::block_on(async {
            let stores = global.stores_read_only().await?;
            match self {
                Self::Show { stream, log, at } => {
                    let (state, version) =
                        state_at(&stores, &global.output(), &log, &stream, at).await?;
                    let mut rows = global.output().rows();
                    rows.write(&Field { field: "version".to_owned(), value: json!(version.0) })?;
                    for (field, value) in state {
                        rows.write(&Field { field, value })?;
                    }
                    Ok(rows.finish()?)
                }
                Self::Diff { stream, log, from, at } => {
                    let before =
                        state_at(&stores, &global.output(), &log, &stream, Some(from)).await?.0;
                    let after = state_at(&stores, &global.output(), &log, &stream, at).await?.0;
                    let mut rows = global.output().rows();
                    let names =
                        before.keys().chain(after.keys().filter(|n| !before.contains_key(*n)));
                    for name in names {
                        let value = |of: &Fields| of.get(name).cloned().unwrap_or(Value::Null);
                        let (before, after) = (value(&before), value(&after));
                        if before != after {
                            rows.write(&Difference { field: name.clone(), before, after })?;
                        }
                    }
                    Ok(rows.finish()?)
                }
            }
        })
    }
}

/// Personal values by themselves: what they say, or why nobody can read it.
fn show_personal(state: &mut Value, missing: &[SubjectId]) {
    match state {
        Value::Object(object) => match object.get("$subject").and_then(Value::as_str) {
            Some(subject) => {
                let gone = match subject.parse().is_ok_and(|of| missing.contains(&of)) {
                    true => "key_missing",
                    false => "erased",
                };
                let gone = json!({ gone: true });
                *state = object.remove("value").unwrap_or(gone);
            }
            None => object.values_mut().for_each(|inner| show_personal(inner, missing)),
        },
        Value::Array(items) => items.iter_mut().for_each(|inner| show_personal(inner, missing)),
        _ => {}
    }
}

type Fields = std::collections::BTreeMap<String, Value>;

/// The leaves of a state, each under its path.
fn fields(state: &Value) -> Fields {
    fn collect(path: String, value: &Value, into: &mut Fields) {
        let below = |name: &str| match path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match value {
            Value::Object(object) if !object.is_empty() => {
                object.iter().for_each(|(name, inner)| collect(below(name), inner, into));
            }
            Value::Array(items) if !items.is_empty() => {
                for (place, inner) in items.iter().enumerate() {
                    collect(format!("{path}[{place}]"), inner, into);
                }
            }
            leaf => {
                into.insert(path, leaf.clone());
            }
        }
    }
    let mut found = Fields::new();
    collect(String::new(), state, &mut found);
    found
}

async fn state_at(
    stores: &Stores,
    output: &Output,
    log: &LogName,
    stream: &StreamId,
    at: Option<u64>,
) -> Result<(Fields, StreamVersion), CliError> {
    match stream.category() {
        "property" => fold_to::<Property>(stores, output, log, stream, at).await,
        "user" => fold_to::<User>(stores, output, log, stream, at).await,
        category => {
            let message = format!(
                "{category} is no aggregate of this program, which folds property and user; \
                 `freehold events read --log {log} --stream {stream}` prints its events"
            );
            Err(CliError::new(Exit::Usage, message))
        }
    }
}

async fn fold_to<A: EventSourced>(
    stores: &Stores,
    output: &Output,
    log: &LogName,
    stream: &StreamId,
    at: Option<u64>,
) -> Result<(Fields, StreamVersion), CliError> {
    const PAGE: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");
    let mut aggregate = A::default();
    let mut version = StreamVersion(0);
    let mut exists = false;
    let mut subjects = BTreeSet::new();
    'pages: loop {
        let page = stores.events.read_stream(log, stream, version, PAGE).await?;
        let keys = stores.codec.keys_for(&page).await?;
        exists |= !page.is_empty();
        subjects.extend(page.iter().flat_map(|event| event.subjects.iter().copied()));
        for recorded in &page {
            if at.is_some_and(|at| recorded.version.0 > at) {
                break 'pages;
            }
            aggregate.apply(stores.codec.decode(recorded, &keys)?);
            version = recorded.version;
        }
        if page.len() < PAGE.get() as usize {
            break;
        }
    }
    match at {
        _ if !exists => {
            let message = format!("there is no stream {stream} in the log {log}");
            Err(CliError::new(Exit::NotFound, message))
        }
        // Before its first event a stream has nothing to show.
        Some(0) => Ok((Fields::new(), version)),
        Some(at) if version.0 < at => {
            let message = format!("stream {stream} has no version {at}; it is at {version}");
            Err(CliError::new(Exit::NotFound, message))
        }
        _ => {
            let mut state = serde_json::to_value(&aggregate).map_err(|error| {
                CliError::new(Exit::Failure, format!("the state has no JSON form: {error}"))
            })?;
            let missing = match &stores.keys {
                Some(vault) => vault.without_keys(&Vec::from_iter(subjects)).await,
                None => Ok(Vec::new()),
            };
            let missing = missing.map_err(StoresError::from)?;
            show_personal(&mut state, &missing);
            if let Some(first) = missing.first() {
                output.note(&format!(
                    "warning: the key of {first} is missing and was not destroyed, so what stands \
                     here as key_missing is not erased: `freehold doctor` counts whose keys are \
                     missing and says what to do"
                ));
            }
            Ok((fields(&state), version))
        }
    }
}
