//! Whether rows, keys and questions fit their table; adapters ask before they do anything.

use super::{
    ColumnKind, Commit, Filter, Query, ReadModelError, Row, RowChange, Table, TableChanges, Value,
};
use crate::{search_words, split_words};

/// The most words a text may have, and the most values [`Filter::OneOf`] may list.
const MAX_WORDS: usize = 64;
const MAX_VALUES: usize = 10_000;

impl ReadModelError {
    /// A question, a row or a declaration that does not fit the table.
    pub fn unfit(table: &Table, what: impl Into<String>) -> Self {
        Self::Unfit { table: table.name, what: what.into() }
    }
}

impl ColumnKind {
    /// Whether a column of that kind can hold the value.
    pub fn fits(self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Bool(_) => self == Self::Bool,
            Value::Integer(_) => self == Self::Integer,
            Value::Real(number) => self == Self::Real && !number.is_nan(),
            Value::Text(_) => matches!(self, Self::Text | Self::Json),
            Value::Uuid(_) => self == Self::Uuid,
            Value::Timestamp(_) => self == Self::Timestamp,
        }
    }
}

impl Table {
    /// Refuses key values that are missing, null or of another kind.
    pub fn check_key(&self, values: &[Value]) -> Result<(), ReadModelError> {
        let columns = &self.columns[..self.key_columns];
        if values.len() != columns.len() {
            let what = format!("a key has {} values", columns.len());
            return Err(ReadModelError::unfit(self, what));
        }
        match columns.iter().zip(values).find(|(c, v)| **v == Value::Null || !c.kind.fits(v)) {
            None => Ok(()),
            Some((column, value)) => {
                Err(ReadModelError::unfit(self, format!("key {}: {value:?}", column.name)))
            }
        }
    }

    /// Refuses a row of another shape.
    pub fn check_row(&self, row: &Row) -> Result<(), ReadModelError> {
        if row.0.len() != self.columns.len() {
            let what = format!("a row has {} values", self.columns.len());
            return Err(ReadModelError::unfit(self, what));
        }
        self.check_key(&row.0[..self.key_columns])?;
        match self.columns.iter().zip(&row.0).find(|(c, v)| !c.kind.fits(v)) {
            None => Ok(()),
            Some((column, value)) => {
                Err(ReadModelError::unfit(self, format!("{}: {value:?}", column.name)))
            }
        }
    }

    /// Refuses filters that do not fit.
    pub fn check_filters(&self, filters: &[Filter]) -> Result<(), ReadModelError> {
        let unfit = |what: String| Err(ReadModelError::unfit(self, what));
        let check_value = |name: &'static str, value: &Value| {
            let kind = self.kind_of(name)?;
            if kind == ColumnKind::Json || !kind.fits(value) {
                return unfit(format!("{name} is not compared with {value:?}"));
            }
            Ok(())
        };
        let check_numbers = |numbers: &[f64]| {
            if self.spatial.is_none() {
                return unfit("its rows have no place".to_owned());
            }
            match numbers.iter().find(|number| !number.is_finite()) {
                None => Ok(()),
                Some(number) => unfit(format!("{number} is not a place or a distance")),
            }
        };
        filters.iter().try_for_each(|filter| match filter {
            Filter::Equals(name, value)
            | Filter::AtLeast(name, value)
            | Filter::AtMost(name, value) => check_value(name, value),
            Filter::OneOf(name, values) if values.len() > MAX_VALUES => {
                unfit(format!("more than {MAX_VALUES} values for {name}"))
            }
            Filter::OneOf(name, values) => {
                values.iter().try_for_each(|value| check_value(name, value))
            }
            Filter::IsNull(name) => self.kind_of(name).map(|_| ()),
            Filter::Text(_) if self.text_search.is_empty() => {
                unfit("its rows have no text to search".to_owned())
            }
            Filter::Text(text) if split_words(&search_words(text)).count() > MAX_WORDS => {
                unfit(format!("more than {MAX_WORDS} words"))
            }
            Filter::Text(_) => Ok(()),
            Filter::WithinBox { south, west, north, east } => {
                check_numbers(&[*south, *west, *north, *east])
            }
            Filter::WithinRadius { latitude, longitude, meters } => {
                check_numbers(&[*latitude, *longitude, *meters])
            }
        })
    }

    fn kind_of(&self, name: &str) -> Result<ColumnKind, ReadModelError> {
        match self.column(name) {
            Some(place) => Ok(self.columns[place].kind),
            None => Err(ReadModelError::unfit(self, format!("no column {name}"))),
        }
    }
}

impl TableChanges {
    /// Refuses rows and keys that do not fit the table.
    pub fn check(&self) -> Result<(), ReadModelError> {
        self.changes.iter().try_for_each(|change| match change {
            RowChange::Put(row) => self.table.check_row(row),
            RowChange::Delete(key) => self.table.check_key(&key.0),
        })
    }
}

impl Commit {
    /// Refuses rows and keys that do not fit their tables.
    pub fn check(&self) -> Result<(), ReadModelError> {
        self.changes.iter().try_for_each(TableChanges::check)
    }
}

impl Query {
    /// Refuses a question that does not fit its table.
    pub fn check(&self) -> Result<(), ReadModelError> {
        let table = self.table;
        table.check_filters(&self.filters)?;
        for order in &self.order {
            if table.kind_of(order.column)? == ColumnKind::Json {
                let what = format!("{} is JSON, which has no order", order.column);
                return Err(ReadModelError::unfit(table, what));
            }
        }
        for values in [&self.after, &self.before].into_iter().flatten() {
            if values.len() != self.order.len() + table.key_columns {
                let what = "a place in the order has its order values, then its key";
                return Err(ReadModelError::unfit(table, what));
            }
            let (order, key) = values.split_at(self.order.len());
            table.check_key(key)?;
            for (order, value) in self.order.iter().zip(order) {
                if !table.kind_of(order.column)?.fits(value) {
                    let what = format!("{}: {value:?}", order.column);
                    return Err(ReadModelError::unfit(table, what));
                }
            }
        }
        Ok(())
    }
}
