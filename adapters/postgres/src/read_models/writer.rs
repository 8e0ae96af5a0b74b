//! Commits, and what projections read before them: rows by their keys.
//!
//! Every statement finds its rows one by one in the key's index, whatever the planner believes of
//! a table that was filled since it was last analysed.

use std::num::NonZeroU32;

use freehold_ports::{
    Commit, GenerationId, Key, ReadModelError, Row, RowChange, Table, TableChanges, Value,
};
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use sqlx::{Arguments as _, query_with};

use super::schema::{PhysicalTable, WORDS, quoted};
use super::value::{ColumnOf, Stored, read_row};
use super::{catalogue, dead_letters, unavailable};

/// The most rows of a statement, so that none takes long.
const ROWS_AT_ONCE: usize = 5_000;

/// Writes changes and moves the checkpoint, all or nothing.
pub(super) async fn commit(pool: &PgPool, commit: &Commit) -> Result<(), ReadModelError> {
    let Commit { generation, from, changes, letters, .. } = commit;
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    catalogue::move_mark(&mut transaction, generation, *from, commit.mark()).await?;
    for TableChanges { table, changes } in changes {
        let physical = PhysicalTable::new(table.name, generation.number);
        let (mut rows, mut keys): (Vec<&[Value]>, Vec<&[Value]>) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                RowChange::Put(row) => rows.push(&row.0),
                RowChange::Delete(key) => keys.push(&key.0),
            }
        }
        put(&mut transaction, table, &physical, &rows).await.map_err(unavailable)?;
        delete(&mut transaction, table, &physical, &keys).await.map_err(unavailable)?;
    }
    dead_letters::change(&mut transaction, generation, letters).await?;
    transaction.commit().await.map_err(unavailable)
}

async fn put(
    connection: &mut PgConnection,
    table: &Table,
    physical: &PhysicalTable,
    rows: &[&[Value]],
) -> Result<(), sqlx::Error> {
    let mut names = names_of(table);
    if !table.text_search.is_empty() {
        names.push(WORDS);
    }
    let (key, others) = names.split_at(table.key_columns);
    let updates: Vec<String> =
        others.iter().map(|name| format!("\"{name}\" = excluded.\"{name}\"")).collect();
    let conflict = match &*updates {
        [] => "NOTHING".to_owned(),
        updates => format!("UPDATE SET {}", updates.join(", ")),
    };
    let columns = Stored::all(table);
    let sql = format!(
        "INSERT INTO \"{}\" ({}) SELECT * FROM {} ON CONFLICT ({}) DO {conflict}",
        physical.rows(),
        quoted(&names),
        unnest(&columns),
        quoted(key),
    );
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let arguments = columns_of(&columns, rows)?;
        query_with(&sql, arguments).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete(
    connection: &mut PgConnection,
    table: &Table,
    physical: &PhysicalTable,
    keys: &[&[Value]],
) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let columns = Stored::first(table, table.key_columns);
    // Rows stay where they are: who moves them moves the checkpoint first.
    let sql = format!(
        "DELETE FROM \"{rows}\" WHERE ctid = ANY (ARRAY (
             SELECT (SELECT ctid FROM \"{rows}\" AS _rows WHERE {} LIMIT 1)
             FROM {} AS _keys ({})
         ))",
        key_equals(table),
        unnest(&columns),
        key_names(table),
        rows = physical.rows(),
    );
    query_with(&sql, columns_of(&columns, keys)?).execute(connection).await.map(drop)
}

/// The rows of those keys that exist.
pub(super) async fn fetch(
    pool: &PgPool,
    generation: &GenerationId,
    table: &'static Table,
    keys: &[Key],
) -> Result<Vec<Row>, ReadModelError> {
    catalogue::checkpoint(pool, generation).await?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Stored::first(table, table.key_columns);
    let sql = format!(
        "SELECT _found.* FROM {} AS _keys ({})
         CROSS JOIN LATERAL (SELECT {} FROM \"{}\" AS _rows WHERE {} LIMIT 1) AS _found",
        unnest(&columns),
        key_names(table),
        quoted(&names_of(table)),
        PhysicalTable::new(table.name, generation.number).rows(),
        key_equals(table),
    );
    let keys: Vec<&[Value]> = keys.iter().map(|key| &*key.0).collect();
    let arguments = columns_of(&columns, &keys).map_err(unavailable)?;
    let found = query_with(&sql, arguments).fetch_all(pool).await.map_err(unavailable)?;
    found.iter().map(|row| read_row(table, row)).collect()
}

/// Rows in key order.
pub(super) async fn scan(
    pool: &PgPool,
    generation: &GenerationId,
    table: &'static Table,
    after: Option<&Key>,
    limit: NonZeroU32,
) -> Result<Vec<Row>, ReadModelError> {
    catalogue::checkpoint(pool, generation).await?;
    let names = names_of(table);
    let key = quoted(&names[..table.key_columns]);
    let columns = Stored::first(table, table.key_columns);
    let condition = match after {
        None => String::new(),
        Some(_) => format!("WHERE ({key}) > (SELECT * FROM {})", unnest(&columns)),
    };
    let sql = format!(
        "SELECT {} FROM \"{}\" {condition} ORDER BY {key} LIMIT {limit}",
        quoted(&names),
        PhysicalTable::new(table.name, generation.number).rows(),
    );
    let after: Vec<&[Value]> = after.iter().map(|key| &*key.0).collect();
    let arguments = match &*after {
        [] => PgArguments::default(),
        after => columns_of(&columns, after).map_err(unavailable)?,
    };
    let found = query_with(&sql, arguments).fetch_all(pool).await.map_err(unavailable)?;
    found.iter().map(|row| read_row(table, row)).collect()
}

fn names_of(table: &Table) -> Vec<&'static str> {
    table.columns.iter().map(|column| column.name).collect()
}

/// The columns of keys in a statement, beside the rows they look for.
fn key_names(table: &Table) -> String {
    let names: Vec<String> = (0..table.key_columns).map(|place| format!("_{place}")).collect();
    names.join(", ")
}

fn key_equals(table: &Table) -> String {
    let key = table.columns[..table.key_columns].iter().enumerate();
    let equals = key.map(|(place, column)| format!("_rows.\"{}\" = _keys._{place}", column.name));
    equals.collect::<Vec<_>>().join(" AND ")
}

/// What makes rows of as many arrays as there are columns.
fn unnest(columns: &[Stored]) -> String {
    let arrays = (1..).zip(columns).map(|(at, column)| format!("${at}::{}[]", column.type_name()));
    format!("unnest({})", arrays.collect::<Vec<_>>().join(", "))
}

fn columns_of(columns: &[Stored], rows: &[&[Value]]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for column in columns {
        arguments.add(ColumnOf { column, rows }).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
