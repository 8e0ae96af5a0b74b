//! Values of rows as they cross the wire, and back.
//!
//! PostgreSQL keeps no NUL in a text. So U+0000 is stored as U+0001 U+0001, and U+0001 itself as
//! U+0001 U+0002: nothing is lost, and bytes compare as before.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::DateTime;
use freehold_ports::{ColumnKind, ReadModelError, Row, Table, Value, search_words, split_words};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo};
use sqlx::{Arguments as _, Encode, Postgres, Row as _, Type};
use uuid::Uuid;

use super::unavailable;

/// How much of a word is kept, in bytes; PostgreSQL's own limit is 2,046.
pub(super) const LONGEST_WORD: usize = 1_000;

/// How much of a row's words is kept, in bytes; PostgreSQL's own limit is 1 MiB.
const ALL_WORDS: usize = 500_000;

/// A column of a table in the store.
pub(super) enum Stored {
    /// The declared column at this place.
    Column(usize, ColumnKind),
    /// The words of the texts at these places.
    Words(Vec<usize>),
}

impl Stored {
    /// The first columns of a table, by what is declared.
    pub(super) fn first(table: &Table, columns: usize) -> Vec<Self> {
        let columns = table.columns[..columns].iter().enumerate();
        columns.map(|(place, column)| Self::Column(place, column.kind)).collect()
    }

    /// All columns of a table.
    pub(super) fn all(table: &Table) -> Vec<Self> {
        let mut all = Self::first(table, table.columns.len());
        let texts: Vec<usize> =
            table.text_search.iter().filter_map(|name| table.column(name)).collect();
        if !texts.is_empty() {
            all.push(Self::Words(texts));
        }
        all
    }

    /// The type's name, its number and that of arrays of it; numbers are the same in every server.
    fn wire(&self) -> (&'static str, u32, u32) {
        match self {
            Self::Column(_, kind) => match kind {
                ColumnKind::Bool => ("boolean", 16, 1000),
                ColumnKind::Integer | ColumnKind::Timestamp => ("bigint", 20, 1016),
                ColumnKind::Real => ("float8", 701, 1022),
                ColumnKind::Text | ColumnKind::Json => ("text", 25, 1009),
                ColumnKind::Uuid => ("uuid", 2950, 2951),
            },
            Self::Words(_) => ("tsvector", 3614, 3643),
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        self.wire().0
    }

    /// Writes the length and the bytes of this column of a row.
    fn put(&self, row: &[Value], to: &mut Vec<u8>) -> Result<(), BoxDynError> {
        match self {
            Self::Column(place, _) => put(to, |to| put_value(&row[*place], to)),
            Self::Words(texts) => put(to, |to| {
                put_words(texts.iter().map(|place| &row[*place]), to);
                IsNull::No
            }),
        }
    }

    fn is_null(&self, row: &[Value]) -> bool {
        matches!(self, Self::Column(place, _) if row[*place] == Value::Null)
    }
}

/// One column of some rows, as an array that `unnest` makes rows of again.
pub(super) struct ColumnOf<'a> {
    pub(super) column: &'a Stored,
    pub(super) rows: &'a [&'a [Value]],
}

impl Type<Postgres> for ColumnOf<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for ColumnOf<'_> {
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.column.wire().2)))
    }

    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let nulls = self.rows.iter().any(|row| self.column.is_null(row));
        buffer.extend_from_slice(&i32::from(!self.rows.is_empty()).to_be_bytes()); // dimensions
        buffer.extend_from_slice(&i32::from(nulls).to_be_bytes());
        buffer.extend_from_slice(&self.column.wire().1.to_be_bytes());
        if !self.rows.is_empty() {
            buffer.extend_from_slice(&i32::try_from(self.rows.len())?.to_be_bytes());
            buffer.extend_from_slice(&1_i32.to_be_bytes()); // counted from
        }
        self.rows.iter().try_for_each(|row| self.column.put(row, buffer))?;
        Ok(IsNull::No)
    }
}

/// Writes the length and the bytes of something.
fn put(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> IsNull) -> Result<(), BoxDynError> {
    let at = to.len();
    to.extend_from_slice(&[0; 4]);
    let length = match write(to) {
        IsNull::Yes => -1,
        IsNull::No => i32::try_from(to.len() - at - 4)?,
    };
    to[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_value(value: &Value, to: &mut Vec<u8>) -> IsNull {
    match value {
        Value::Null => return IsNull::Yes,
        Value::Bool(yes) => to.push(u8::from(*yes)),
        Value::Integer(number) => to.extend_from_slice(&number.to_be_bytes()),
        // One zero, not two that look different.
        Value::Real(number) => to.extend_from_slice(&(number + 0.0).to_be_bytes()),
        Value::Text(text) => to.extend_from_slice(escaped(text).as_bytes()),
        Value::Uuid(id) => to.extend_from_slice(id.as_bytes()),
        Value::Timestamp(at) => to.extend_from_slice(&at.timestamp_micros().to_be_bytes()),
    }
    IsNull::No
}

/// Writes the words of texts as the bytes of a `tsvector`: each once, in order, without positions.
fn put_words<'a>(texts: impl Iterator<Item = &'a Value>, to: &mut Vec<u8>) {
    let mut words = String::new();
    for text in texts {
        if let Value::Text(text) = text {
            words.push_str(&search_words(text));
        }
    }
    let mut left = ALL_WORDS;
    let mut words: Vec<&str> = split_words(&words)
        .map(|word| beginning(&word[1..]))
        .take_while(|word| {
            left = left.saturating_sub(word.len());
            left > 0
        })
        .collect();
    words.sort_unstable();
    words.dedup();
    to.extend_from_slice(&(words.len() as u32).to_be_bytes());
    for word in words {
        to.extend_from_slice(word.as_bytes());
        to.extend_from_slice(&[0, 0, 0]); // its end, no positions
    }
}

/// As much of a word as is kept.
fn beginning(word: &str) -> &str {
    &word[..word.floor_char_boundary(LONGEST_WORD)]
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}"))
}

fn unescaped(text: &str) -> Arc<str> {
    if !text.bytes().any(|byte| byte == 1) {
        return Arc::from(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\u{1}' if characters.next() == Some('\u{1}') => '\0',
            character => character,
        });
    }
    Arc::from(plain)
}

/// A value as the query builder takes it.
pub(super) fn to_builder(value: &Value) -> sea_query::Value {
    match value {
        Value::Null => sea_query::Value::Bool(None),
        Value::Bool(yes) => (*yes).into(),
        Value::Integer(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        Value::Text(text) => escaped(text).into_owned().into(),
        Value::Uuid(id) => (*id).into(),
        Value::Timestamp(at) => at.timestamp_micros().into(),
    }
}

/// The values of a statement that the query builder has put aside.
pub(super) fn arguments(values: &sea_query::Values) -> Result<PgArguments, ReadModelError> {
    use sea_query::Value as Built;
    let mut arguments = PgArguments::default();
    for value in &values.0 {
        match value {
            Built::Bool(yes) => arguments.add(yes),
            Built::BigInt(number) => arguments.add(number),
            Built::BigUnsigned(number) => {
                arguments.add(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
            }
            Built::Double(number) => arguments.add(number),
            Built::String(text) => arguments.add(text.as_deref()),
            Built::Uuid(id) => arguments.add(id),
            Built::Array(_, elements) => add_array(&mut arguments, elements.as_deref()),
            other => Err(format!("no column holds {other:?}").into()),
        }
        .map_err(|error| ReadModelError::Unavailable { source: error })?;
    }
    Ok(arguments)
}

/// Adds an array of values of one type.
fn add_array(
    arguments: &mut PgArguments,
    elements: Option<&Vec<sea_query::Value>>,
) -> Result<(), BoxDynError> {
    use sea_query::Value as Built;
    macro_rules! all {
        ($variant:ident) => {{
            let elements = elements.into_iter().flatten();
            let of = elements.map(|element| match element {
                Built::$variant(element) => element.clone(),
                _ => None,
            });
            arguments.add(of.collect::<Vec<_>>())
        }};
    }
    match elements.and_then(|elements| elements.first()) {
        Some(Built::Bool(_)) => all!(Bool),
        Some(Built::Double(_)) => all!(Double),
        Some(Built::String(_)) => all!(String),
        Some(Built::Uuid(_)) => all!(Uuid),
        _ => all!(BigInt),
    }
}

/// Reads a table's row from a statement that selects its columns in their order; one that the
/// generation lacks is null.
pub(super) fn read_row(table: &Table, selected: &PgRow) -> Result<Row, ReadModelError> {
    let read = |(place, column): (usize, &freehold_ports::Column)| {
        read_value(column.kind, selected, place).map_err(unavailable)
    };
    table.columns.iter().enumerate().map(read).collect::<Result<_, _>>().map(Row)
}

fn read_value(kind: ColumnKind, row: &PgRow, at: usize) -> Result<Value, sqlx::Error> {
    // What is null has no type, and the others have theirs: the table was made so.
    let value = match kind {
        ColumnKind::Bool => row.try_get_unchecked::<Option<bool>, _>(at)?.map(Value::Bool),
        ColumnKind::Integer => row.try_get_unchecked::<Option<i64>, _>(at)?.map(Value::Integer),
        ColumnKind::Real => row.try_get_unchecked::<Option<f64>, _>(at)?.map(Value::Real),
        ColumnKind::Text | ColumnKind::Json => {
            row.try_get_unchecked::<Option<&str>, _>(at)?.map(|text| Value::Text(unescaped(text)))
        }
        ColumnKind::Uuid => row.try_get_unchecked::<Option<Uuid>, _>(at)?.map(Value::Uuid),
        ColumnKind::Timestamp => match row.try_get_unchecked::<Option<i64>, _>(at)? {
            None => None,
            Some(micros) => {
                let moment = DateTime::from_timestamp_micros(micros);
                let moment = moment.ok_or_else(|| sqlx::Error::ColumnDecode {
                    index: at.to_string(),
                    source: format!("{micros} is no moment").into(),
                })?;
                Some(Value::Timestamp(moment))
            }
        },
    };
    Ok(value.unwrap_or(Value::Null))
}
