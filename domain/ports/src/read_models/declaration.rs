//! A table's declaration: whether it can be made, and as the text that a catalogue keeps.

use serde_json::json;

use super::{Column, ColumnKind, ReadModelError, Table};

impl Table {
    /// Refuses a declaration that cannot be made or queried.
    pub fn check_declaration(&self) -> Result<(), ReadModelError> {
        let is_name = |name: &str| {
            name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
                && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        };
        let columns = self.columns.iter().map(|column| column.name);
        if let Some(name) = std::iter::once(self.name).chain(columns).find(|name| !is_name(name)) {
            return Err(ReadModelError::unfit(self, format!("{name} is not a name in snake_case")));
        }
        if self.key_columns == 0 || self.key_columns > self.columns.len() {
            return Err(ReadModelError::unfit(self, "the key needs at least one of the columns"));
        }
        let indexed = self.indexes.iter().copied().flatten();
        let spatial = self.spatial.iter().flat_map(|place| [&place.latitude, &place.longitude]);
        let mut named = indexed.chain(self.text_search).chain(spatial);
        match named.find(|name| self.column(name).is_none()) {
            None => Ok(()),
            Some(name) => Err(ReadModelError::unfit(self, format!("there is no column {name}"))),
        }
    }

    /// The declaration as a catalogue keeps it, to tell whether a generation was made from another.
    pub fn declaration(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|c| [c.name, c.kind.name()]).collect();
        let spatial = self.spatial.as_ref().map(|place| [place.latitude, place.longitude]);
        json!({
            "columns": columns,
            "key_columns": self.key_columns,
            "indexes": self.indexes,
            "text_search": self.text_search,
            "spatial": spatial,
        })
        .to_string()
    }

    /// An index's columns with the key behind them, so that it gives a total order; without any,
    /// the key's own index.
    pub fn indexed_columns(&self, index: &[&'static str]) -> Vec<&'static str> {
        let key = self.columns[..self.key_columns].iter().map(|column| column.name);
        let mut columns = index.to_vec();
        columns.extend(key.filter(|name| !index.contains(name)));
        columns
    }
}

impl Column {
    /// Whether a declaration from the catalogue has this column, of this kind.
    pub fn is_in(&self, declaration: &serde_json::Value) -> bool {
        let declared = json!([self.name, self.kind.name()]);
        declaration["columns"].as_array().is_some_and(|columns| columns.contains(&declared))
    }
}

impl ColumnKind {
    /// Its name in a declaration.
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
        }
    }
}
