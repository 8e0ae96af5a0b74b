//! Values of rows as SQLite keeps them: UUIDs as 16 bytes, moments as microseconds since 1970.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_ports::{ColumnKind, ReadModelError, Row, Table, Value};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use uuid::Uuid;

/// A value lent to a statement.
pub(super) struct Bound<'a>(pub(super) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(yes) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*yes))),
            Value::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Value::Real(number) => ToSqlOutput::Borrowed(ValueRef::Real(*number)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            Value::Timestamp(at) => ToSqlOutput::Borrowed(ValueRef::Integer(at.timestamp_micros())),
        })
    }
}

/// Whether that is how the value is stored.
pub(super) fn is_stored_as(value: &Value, stored: ValueRef<'_>) -> bool {
    match (value, stored) {
        (Value::Null, ValueRef::Null) => true,
        (Value::Bool(yes), ValueRef::Integer(number)) => i64::from(*yes) == number,
        (Value::Integer(number), ValueRef::Integer(stored)) => *number == stored,
        (Value::Real(number), ValueRef::Real(stored)) => *number == stored,
        (Value::Text(text), ValueRef::Text(stored)) => text.as_bytes() == stored,
        (Value::Uuid(id), ValueRef::Blob(stored)) => id.as_bytes() == stored,
        (Value::Timestamp(at), ValueRef::Integer(micros)) => at.timestamp_micros() == micros,
        _ => false,
    }
}

/// A value as the query builder takes it.
pub(super) fn to_builder(value: &Value) -> sea_query::Value {
    match value {
        Value::Null => sea_query::Value::BigInt(None),
        Value::Bool(yes) => i64::from(*yes).into(),
        Value::Integer(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        Value::Text(text) => text.as_ref().into(),
        Value::Uuid(id) => id.as_bytes().to_vec().into(),
        Value::Timestamp(at) => at.timestamp_micros().into(),
    }
}

/// A value that the query builder put aside, lent to a statement.
pub(super) struct BoundByBuilder<'a>(pub(super) &'a sea_query::Value);

impl ToSql for BoundByBuilder<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use sea_query::Value as Built;
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Built::BigInt(Some(number)) => ValueRef::Integer(*number),
            Built::BigUnsigned(Some(number)) => {
                ValueRef::Integer(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            Built::Double(Some(number)) => ValueRef::Real(*number),
            Built::String(Some(text)) => ValueRef::Text(text.as_bytes()),
            Built::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            _ => ValueRef::Null,
        }))
    }
}

/// How SQLite declares a column of a kind.
pub(super) fn storage_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool | ColumnKind::Integer | ColumnKind::Timestamp => "INTEGER",
        ColumnKind::Real => "REAL",
        ColumnKind::Text | ColumnKind::Json => "TEXT",
        ColumnKind::Uuid => "BLOB",
    }
}

/// Reads a table's row from a statement that selects its columns in their order.
pub(super) fn read_row(
    table: &'static Table,
    selected: &rusqlite::Row<'_>,
) -> Result<Row, ReadModelError> {
    let read = |(place, column): (usize, &freehold_ports::Column)| {
        let stored = selected.get_ref(place).map_err(super::unavailable)?;
        read_value(column.kind, stored).ok_or_else(|| ReadModelError::Unavailable {
            source: format!("{}.{} holds {stored:?}", table.name, column.name).into(),
        })
    };
    table.columns.iter().enumerate().map(read).collect::<Result<_, _>>().map(Row)
}

fn read_value(kind: ColumnKind, stored: ValueRef<'_>) -> Option<Value> {
    Some(match (kind, stored) {
        (_, ValueRef::Null) => Value::Null,
        (ColumnKind::Bool, ValueRef::Integer(number)) => Value::Bool(number != 0),
        (ColumnKind::Integer, ValueRef::Integer(number)) => Value::Integer(number),
        (ColumnKind::Real, ValueRef::Real(number)) => Value::Real(number),
        (ColumnKind::Text | ColumnKind::Json, ValueRef::Text(text)) => {
            Value::Text(Arc::from(std::str::from_utf8(text).ok()?))
        }
        (ColumnKind::Uuid, ValueRef::Blob(bytes)) => Value::Uuid(Uuid::from_slice(bytes).ok()?),
        (ColumnKind::Timestamp, ValueRef::Integer(micros)) => {
            Value::Timestamp(DateTime::<Utc>::from_timestamp_micros(micros)?)
        }
        _ => return None,
    })
}
