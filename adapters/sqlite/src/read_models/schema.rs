//! The physical tables of a generation, and what is made of them before they answer queries.
//!
//! A table keeps its rows under a whole number (`_row`), which the indexes for text and places
//! refer to. Triggers keep those two current; they are made with them, so that filling a
//! generation pays for neither. (Inside a trigger OR REPLACE would not do: the statement that fires
//! it decides what happens on a conflict.)

use freehold_ports::Table;

use super::value::storage_type;

/// The name of a table's rows in one generation; those of its indexes begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PhysicalTable(String);

impl PhysicalTable {
    pub(super) fn new(table: &str, generation: u32) -> Self {
        Self(format!("{table}_g{generation}"))
    }

    pub(super) fn rows(&self) -> &str {
        &self.0
    }

    pub(super) fn key_index(&self) -> String {
        format!("{}_key", self.0)
    }

    pub(super) fn index(&self, place: usize) -> String {
        format!("{}_index{place}", self.0)
    }

    pub(super) fn places(&self) -> String {
        format!("{}_place", self.0)
    }

    pub(super) fn words(&self) -> String {
        format!("{}_word", self.0)
    }
}

/// One piece of making what queries need; each runs in a transaction of its own.
pub(super) struct Step {
    pub(super) sql: String,
    /// The table that `sql` goes through from row `?1` (exclusive) to row `?2` (inclusive);
    /// without one, `sql` runs once.
    pub(super) through: Option<String>,
}

/// What makes a generation's empty table with its primary key, and nothing else.
pub(super) fn create_rows(table: &Table, physical: &PhysicalTable) -> String {
    let columns: Vec<String> = (table.columns.iter().enumerate())
        .map(|(place, column)| {
            let not_null = if place < table.key_columns { " NOT NULL" } else { "" };
            format!("\"{}\" {}{not_null}", column.name, storage_type(column.kind))
        })
        .collect();
    format!(
        "CREATE TABLE \"{rows}\" (_row INTEGER PRIMARY KEY, {columns}) STRICT;
         CREATE UNIQUE INDEX \"{key_index}\" ON \"{rows}\" ({key});",
        rows = physical.rows(),
        columns = columns.join(", "),
        key_index = physical.key_index(),
        key = quoted(&table.indexed_columns(&[])),
    )
}

/// What makes everything that queries need; each step may be done again after a crash.
pub(super) fn steps(table: &Table, physical: &PhysicalTable) -> Vec<Step> {
    let once = |sql| Step { sql, through: None };
    let through = |sql| Step { sql, through: Some(physical.rows().to_owned()) };
    let rows = physical.rows();
    let mut steps: Vec<Step> = (table.indexes.iter().enumerate())
        .map(|(place, index)| {
            once(format!(
                "CREATE INDEX IF NOT EXISTS \"{}\" ON \"{rows}\" ({})",
                physical.index(place),
                quoted(&table.indexed_columns(index)),
            ))
        })
        .collect();
    if let Some(place) = &table.spatial {
        let (latitude, longitude) = (place.latitude, place.longitude);
        let places = physical.places();
        let insert = |insert: &str, of: &str, from: &str| {
            format!(
                "{insert} INTO \"{places}\"
                 SELECT {of}_row, {of}\"{latitude}\", {of}\"{latitude}\",
                        {of}\"{longitude}\", {of}\"{longitude}\" {from}
                 WHERE {of}\"{latitude}\" IS NOT NULL AND {of}\"{longitude}\" IS NOT NULL"
            )
        };
        steps.push(once(format!(
            "CREATE VIRTUAL TABLE IF NOT EXISTS \"{places}\"
             USING rtree(id, south, north, west, east);
             CREATE TRIGGER IF NOT EXISTS \"{places}_insert\" AFTER INSERT ON \"{rows}\"
             BEGIN {insert}; END;
             CREATE TRIGGER IF NOT EXISTS \"{places}_update\"
             AFTER UPDATE OF \"{latitude}\", \"{longitude}\" ON \"{rows}\"
             WHEN {changed}
             BEGIN DELETE FROM \"{places}\" WHERE id = old._row; {insert}; END;
             CREATE TRIGGER IF NOT EXISTS \"{places}_delete\" AFTER DELETE ON \"{rows}\"
             BEGIN DELETE FROM \"{places}\" WHERE id = old._row; END;",
            insert = insert("INSERT", "new.", ""),
            changed = any_changed(&[latitude, longitude]),
        )));
        let backfill = insert("INSERT OR REPLACE", "", &format!("FROM \"{rows}\""));
        steps.push(through(format!("{backfill} AND _row > ?1 AND _row <= ?2")));
    }
    if !table.text_search.is_empty() {
        let words = physical.words();
        let of = |prefix: &str| {
            let columns = table.text_search.iter().map(|name| format!("{prefix}\"{name}\""));
            columns.collect::<Vec<_>>().join(", ")
        };
        // The words are made by `search_words`, one token each: the tokenizer only splits them,
        // positions are not needed, and the text itself is kept once, in the rows.
        steps.push(once(format!(
            "CREATE VIRTUAL TABLE IF NOT EXISTS \"{words}\" USING fts5(words, tokenize = 'ascii',
                 content = '', contentless_delete = 1, detail = none);
             CREATE TRIGGER IF NOT EXISTS \"{words}_insert\" AFTER INSERT ON \"{rows}\"
             BEGIN INSERT INTO \"{words}\"(rowid, words)
                   VALUES (new._row, search_words({new})); END;
             CREATE TRIGGER IF NOT EXISTS \"{words}_update\"
             AFTER UPDATE OF {columns} ON \"{rows}\" WHEN {changed}
             BEGIN DELETE FROM \"{words}\" WHERE rowid = old._row;
                   INSERT INTO \"{words}\"(rowid, words)
                   VALUES (new._row, search_words({new})); END;
             CREATE TRIGGER IF NOT EXISTS \"{words}_delete\" AFTER DELETE ON \"{rows}\"
             BEGIN DELETE FROM \"{words}\" WHERE rowid = old._row; END;",
            new = of("new."),
            columns = of(""),
            changed = any_changed(table.text_search),
        )));
        steps.push(through(format!(
            "INSERT OR REPLACE INTO \"{words}\"(rowid, words)
             SELECT _row, search_words({}) FROM \"{rows}\" WHERE _row > ?1 AND _row <= ?2",
            of(""),
        )));
    }
    steps.push(once(format!("PRAGMA analysis_limit = 2000; ANALYZE \"{rows}\"")));
    steps
}

/// What drops a generation's table with everything made of it.
pub(super) fn drop_rows(physical: &PhysicalTable) -> String {
    [physical.places(), physical.words(), physical.rows().to_owned()]
        .map(|name| format!("DROP TABLE IF EXISTS \"{name}\";"))
        .concat()
}

/// Column names as SQL has them: quoted, with commas between.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn any_changed(columns: &[&str]) -> String {
    let changed = columns.iter().map(|name| format!("old.\"{name}\" IS NOT new.\"{name}\""));
    changed.collect::<Vec<_>>().join(" OR ")
}
