//! The physical tables of a generation, and what is made of them before they answer queries.
//!
//! Beside the declared columns a table with text to search has `_words`: what `search_words` gives
//! for its texts, as a `tsvector`. Text compares byte by byte (`COLLATE "C"`), as everywhere.

use freehold_ports::{ColumnKind, Filter, ReadModelError, Table, search_words, split_words};

use super::value::LONGEST_WORD;

/// The column of words; no declared one begins with an underscore.
pub(super) const WORDS: &str = "_words";

/// Longer names would be cut off: 63 bytes are a name's limit, and those of indexes begin with
/// the table's.
const LONGEST_TABLE_NAME: usize = 40;
const LONGEST_COLUMN_NAME: usize = 63;

/// The name of a table's rows in one generation; those of its indexes begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PhysicalTable(String);

impl PhysicalTable {
    pub(super) fn new(table: &str, generation: u32) -> Self {
        Self(format!("{table}{}", Self::suffix(generation)))
    }

    /// What a generation adds to the name of a table.
    pub(super) fn suffix(generation: u32) -> String {
        format!("_g{generation}")
    }

    pub(super) fn rows(&self) -> &str {
        &self.0
    }

    fn key_index(&self) -> String {
        format!("{}_key", self.0)
    }

    fn index(&self, place: usize) -> String {
        format!("{}_index{place}", self.0)
    }

    fn places(&self) -> String {
        format!("{}_place", self.0)
    }

    fn words(&self) -> String {
        format!("{}_word", self.0)
    }
}

/// Refuses names that this engine cannot keep.
pub(super) fn check_names(table: &Table) -> Result<(), ReadModelError> {
    let long = |name: &&str| name.len() > LONGEST_COLUMN_NAME;
    let column = table.columns.iter().map(|column| column.name).find(long);
    match column.or((table.name.len() > LONGEST_TABLE_NAME).then_some(table.name)) {
        None => Ok(()),
        Some(name) => Err(ReadModelError::unfit(table, format!("{name} is too long a name"))),
    }
}

/// Refuses a text whose words are not found, because the index keeps only their beginnings.
pub(super) fn check_words(table: &Table, filters: &[Filter]) -> Result<(), ReadModelError> {
    let too_long = |filter: &Filter| match filter {
        Filter::Text(text) => {
            split_words(&search_words(text)).any(|word| word.len() > LONGEST_WORD)
        }
        _ => false,
    };
    match filters.iter().any(too_long) {
        false => Ok(()),
        true => {
            Err(ReadModelError::unfit(table, format!("a word longer than {LONGEST_WORD} bytes")))
        }
    }
}

/// What makes a generation's empty table with its primary key, and nothing else.
pub(super) fn create_rows(table: &Table, physical: &PhysicalTable) -> String {
    let mut columns: Vec<String> = (table.columns.iter())
        .map(|column| format!("\"{}\" {}", column.name, storage_type(column.kind)))
        .collect();
    if !table.text_search.is_empty() {
        columns.push(format!("\"{WORDS}\" tsvector NOT NULL"));
    }
    format!(
        "CREATE TABLE \"{rows}\" ({columns}, CONSTRAINT \"{key_index}\" PRIMARY KEY ({key}))
         WITH (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)",
        rows = physical.rows(),
        columns = columns.join(", "),
        key_index = physical.key_index(),
        key = quoted(&table.indexed_columns(&[])),
    )
}

/// What makes everything that queries need; each may be done again after a crash.
pub(super) fn steps(table: &Table, physical: &PhysicalTable) -> Vec<String> {
    let rows = physical.rows();
    let index = |name: String, of: String| {
        format!("CREATE INDEX IF NOT EXISTS \"{name}\" ON \"{rows}\" {of}")
    };
    let mut steps = Vec::new();
    if !table.text_search.is_empty() {
        steps.push(index(physical.words(), format!("USING gin (\"{WORDS}\")")));
    }
    if let Some(place) = &table.spatial {
        let columns = quoted(&[place.longitude, place.latitude]);
        // With the columns beside it the index alone can count points; of the expression alone the
        // server does not know that it is all that is asked for.
        let of = format!("USING gist ((point({columns}))) INCLUDE ({columns})");
        steps.push(index(physical.places(), of));
    }
    for (place, columns) in table.indexes.iter().enumerate() {
        let columns = quoted(&table.indexed_columns(columns));
        steps.push(index(physical.index(place), format!("({columns})")));
    }
    // What is visible to all is also noted, so that an index alone can answer.
    steps.push(format!("VACUUM (ANALYZE) \"{rows}\""));
    steps
}

/// Column names as SQL has them: quoted, with commas between.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// How a column of a kind is declared. Moments are microseconds since 1970, so that every one fits.
fn storage_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool => "boolean",
        ColumnKind::Integer | ColumnKind::Timestamp => "bigint",
        ColumnKind::Real => "double precision",
        ColumnKind::Text => "text COLLATE \"C\"",
        ColumnKind::Json => "text",
        ColumnKind::Uuid => "uuid",
    }
}
