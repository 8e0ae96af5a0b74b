//! `freehold projection`: read models, also while servers run on the store.

use std::time::Duration;

use clap::Subcommand;
use freehold_ports::{
    GenerationId, GenerationState, LogName, ReadModelError, Row as StoredRow, Value as StoredValue,
};
use freehold_projections::{
    Difference, FailurePolicy, ProjectionError, ProjectionStatus, Verification,
};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::node::projections;
use crate::stores::Stores;

/// How often a progress bar is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Look at read models, and build them again.
#[derive(Debug, Subcommand)]
pub(super) enum Projection {
    /// Print every generation of every projection
    List,
    /// Fill a new generation from the log and swap to it; the one before is kept
    Rebuild {
        /// The projection's name
        name: String,
    },
    /// Swap back to the generation before
    Rollback {
        /// The projection's name
        name: String,
    },
    /// Fold the log once more and compare every row
    Verify {
        /// The projection's name
        name: String,
    },
}

struct GenerationRow {
    name: &'static str,
    version: u32,
    generation: u32,
    state: &'static str,
    position: u64,
    head: u64,
    /// How many positions it is behind; none where it is retired, as it is not filled then.
    lag: Option<u64>,
}

impl Row for GenerationRow {
    const COLUMNS: &'static [&'static str] =
        &["name", "version", "generation", "state", "position", "head", "lag"];

    fn cells(&self) -> Vec<Value> {
        vec![
            json!(self.name),
            json!(self.version),
            json!(self.generation),
            json!(self.state),
            json!(self.position),
            json!(self.head),
            json!(self.lag),
        ]
    }
}

impl Projection {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        // Reading the log is enough; the read models say by their checkpoints if a server goes on
        // at the same time.
        let only_looks = matches!(self, Self::List);
        super::block_on(async {
            let config = global.load([])?.config;
            let stores = Stores::open_read_only(&config).await?;
            let done = self.act(global, &stores, config.failure_policy()).await;
            if !only_looks {
                stores.close().await;
            }
            done
        })
    }

    async fn act(
        self,
        global: &Global,
        stores: &Stores,
        policy: FailurePolicy,
    ) -> Result<(), CliError> {
        let projections = projections(stores, policy, None);
        match self {
            Self::List => {
                let mut rows = global.output().rows();
                let mut any = false;
                for status in projections.statuses() {
                    for row in generations(stores, &status).await? {
                        rows.write(&row)?;
                        any = true;
                    }
                }
                rows.finish()?;
                if !any {
                    global
                        .output()
                        .note("there are no read models yet; `freehold serve` makes them");
                }
                Ok(())
            }
            Self::Rebuild { name } => {
                let log = projections.status(&name)?.log;
                let bar =
                    global.output().progress(Some(stores.events.head(&log).await?.0), "events");
                let rebuild = projections.rebuild(&name)?;
                let mut tick = tokio::time::interval(TICK);
                let watched = async {
                    loop {
                        tick.tick().await;
                        if let Ok(Some(building)) =
                            projections.status(&name).map(|status| status.building)
                        {
                            bar.set_length(building.status.head.0);
                            bar.set_position(building.status.position.0);
                        }
                    }
                };
                let generation = tokio::select! {
                    generation = rebuild.finished() => generation?,
                    () = watched => unreachable!("the bar is drawn until the rebuild ends"),
                };
                bar.finish_and_clear();
                global.output().note(&format!(
                    "generation {} of {name} answers queries; `freehold projection rollback \
                         {name}` goes back",
                    generation.number
                ));
                print_generation(global, stores, &projections.status(&name)?, &generation).await
            }
            Self::Rollback { name } => {
                let generation = projections.roll_back(&name).await?;
                global.output().note(&format!(
                    "generation {} of {name} answers queries again",
                    generation.number
                ));
                print_generation(global, stores, &projections.status(&name)?, &generation).await
            }
            Self::Verify { name } => {
                let log = projections.status(&name)?.log;
                refuse_ahead(stores, &name, &log).await?;
                let spinner = global.output().progress(None, "folding the log once more");
                spinner.enable_steady_tick(TICK);
                let verification = projections.verify(&name).await?;
                spinner.finish_and_clear();
                report(global, &name, &verification)
            }
        }
    }
}

/// A generation that has seen more than its log holds is waited for without end.
async fn refuse_ahead(stores: &Stores, name: &str, log: &LogName) -> Result<(), CliError> {
    let head = stores.events.head(log).await?;
    let generations = stores.models.generations(name).await?;
    let ahead = generations.iter().find(|generation| {
        generation.state == GenerationState::Active && generation.checkpoint > head
    });
    let Some(beyond) = ahead else { return Ok(()) };
    let message = format!(
        "{name} is at position {}, and the log {log} ends at {head}: the log was restored to an \
         earlier state, or is another one. Remove the read models, and the next start builds them; \
         README.md, Operate, says how",
        beyond.checkpoint
    );
    Err(CliError::new(Exit::Refused, message))
}

/// Every generation of a projection, as its row.
async fn generations(
    stores: &Stores,
    status: &ProjectionStatus,
) -> Result<Vec<GenerationRow>, CliError> {
    let head = stores.events.head(&status.log).await?.0;
    let generations = stores.models.generations(status.name).await?.into_iter();
    let rows = generations.map(|generation| {
        let retired = generation.state == GenerationState::Retired;
        let lag = head.saturating_sub(generation.checkpoint.0);
        GenerationRow {
            name: status.name,
            version: generation.version,
            generation: generation.id.number,
            state: state_name(generation.state),
            position: generation.checkpoint.0,
            head,
            lag: (!retired).then_some(lag),
        }
    });
    Ok(rows.collect())
}

async fn print_generation(
    global: &Global,
    stores: &Stores,
    status: &ProjectionStatus,
    which: &GenerationId,
) -> Result<(), CliError> {
    let mut rows = global.output().rows();
    for row in generations(stores, status).await? {
        if row.generation == which.number {
            rows.write(&row)?;
        }
    }
    Ok(rows.finish()?)
}

/// What was compared and found, for programs.
struct VerificationRow<'a> {
    name: &'a str,
    position: u64,
    rows: u64,
    differences: u64,
    shown: &'a [DifferenceRow],
}

impl Row for VerificationRow<'_> {
    const COLUMNS: &'static [&'static str] = &["name", "position", "rows", "differences", "shown"];

    fn cells(&self) -> Vec<Value> {
        let shown = self.shown.iter().map(|difference| {
            let names = DifferenceRow::COLUMNS.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(difference.cells()).collect())
        });
        vec![
            json!(self.name),
            json!(self.position),
            json!(self.rows),
            json!(self.differences),
            Value::Array(shown.collect()),
        ]
    }
}

/// A row that is not what the log says: of two that differ, what differs.
struct DifferenceRow {
    table: &'static str,
    key: Value,
    kept: Value,
    folded: Value,
}

impl Row for DifferenceRow {
    const COLUMNS: &'static [&'static str] = &["table", "key", "kept", "folded"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.table), self.key.clone(), self.kept.clone(), self.folded.clone()]
    }
}

impl From<&Difference> for DifferenceRow {
    fn from(difference: &Difference) -> Self {
        let Difference { table, key, kept, folded } = difference;
        let names = || table.columns.iter().map(|column| column.name);
        let values = |row: &StoredRow, other: &Option<StoredRow>| {
            let shown = names().zip(&row.0).enumerate().filter(|(place, (_, value))| {
                other.as_ref().is_none_or(|other| other.0.get(*place) != Some(value))
            });
            let shown = shown.map(|(_, (name, value))| (name.to_owned(), in_json(value)));
            Value::Object(shown.collect())
        };
        let side = |one: &Option<StoredRow>, other| {
            one.as_ref().map_or(Value::Null, |row| values(row, other))
        };
        let key = names().zip(&key.0).map(|(name, value)| (name.to_owned(), in_json(value)));
        Self {
            table: table.name,
            key: Value::Object(key.collect()),
            kept: side(kept, folded),
            folded: side(folded, kept),
        }
    }
}

fn in_json(value: &StoredValue) -> Value {
    match value {
        StoredValue::Null => Value::Null,
        StoredValue::Bool(value) => json!(value),
        StoredValue::Integer(value) => json!(value),
        StoredValue::Real(value) => json!(value),
        StoredValue::Text(value) => json!(**value),
        StoredValue::Uuid(value) => json!(value),
        StoredValue::Timestamp(value) => json!(value),
    }
}

fn report(global: &Global, name: &str, verification: &Verification) -> Result<(), CliError> {
    let Verification { through, rows, differences, shown } = verification;
    let shown: Vec<DifferenceRow> = shown.iter().map(DifferenceRow::from).collect();
    if !global.output().is_table() {
        let (position, rows, differences) = (through.0, *rows, *differences);
        let mut result = global.output().rows();
        result.write(&VerificationRow { name, position, rows, differences, shown: &shown })?;
        result.finish()?;
    } else if *differences > 0 {
        let mut table = global.output().rows();
        shown.iter().try_for_each(|difference| table.write(difference))?;
        table.finish()?;
    }
    if *differences == 0 {
        let message = format!("{name} equals a fresh fold: {rows} rows at position {through}");
        global.output().note(&message);
        return Ok(());
    }
    let message = format!(
        "in {name} {} not what a fresh fold of {} has at position {through}: changed, lost or made \
         up; `freehold projection rebuild {name}` mends that",
        counted(*differences, "row is", "rows are"),
        counted(*rows, "row", "rows"),
    );
    Err(CliError::new(Exit::Failure, message))
}

fn state_name(state: GenerationState) -> &'static str {
    match state {
        GenerationState::Building => "building",
        GenerationState::Active => "active",
        GenerationState::Retired => "retired",
    }
}

impl From<ProjectionError> for CliError {
    fn from(error: ProjectionError) -> Self {
        let exit = match &error {
            ProjectionError::Unknown(_) => Exit::NotFound,
            ProjectionError::Busy(_) | ProjectionError::Retrying(_) => Exit::Conflict,
            ProjectionError::NoEarlier(_) | ProjectionError::OtherVersion { .. } => Exit::Refused,
            // No later try helps where the log does not have what readers see.
            ProjectionError::ReadModels(
                ReadModelError::Behind { .. } | ReadModelError::Lacks { .. },
            ) => Exit::Refused,
            ProjectionError::Stopped(_) | ProjectionError::Ended => Exit::Failure,
            ProjectionError::ReadModels(_) => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ReadModelError> for CliError {
    fn from(error: ReadModelError) -> Self {
        Self::new(Exit::Unavailable, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use freehold_ports::{Column, ColumnKind, Key, Table};

    use super::*;

    #[test]
    fn of_two_rows_what_differs_is_shown_and_of_one_alone_all() {
        static LISTINGS: Table = Table {
            name: "listing",
            columns: &[
                Column { name: "listing", kind: ColumnKind::Integer },
                Column { name: "title", kind: ColumnKind::Text },
                Column { name: "beds", kind: ColumnKind::Integer },
            ],
            key_columns: 1,
            indexes: &[],
            text_search: &[],
            spatial: None,
        };
        let row = |title: &str| {
            let title = StoredValue::Text(title.into());
            Some(StoredRow(vec![StoredValue::Integer(7), title, StoredValue::Null]))
        };
        let cells = |kept, folded| {
            let key = Key(vec![StoredValue::Integer(7)]);
            DifferenceRow::from(&Difference { table: &LISTINGS, key, kept, folded }).cells()
        };
        let key = json!({"listing": 7});
        let changed = [json!("listing"), key.clone(), json!({"title": "a"}), json!({"title": "b"})];
        assert_eq!(cells(row("a"), row("b")), changed);
        let all = json!({"listing": 7, "title": "a", "beds": null});
        assert_eq!(cells(None, row("a")), [json!("listing"), key, Value::Null, all]);
    }
}
