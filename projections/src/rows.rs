//! The rows a page of events works on, typed and in memory.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use freehold_ports::{Key, Row, RowChange, Table, TableChanges};

use crate::{MalformedRow, TypedRow};

/// A row was asked for that is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row is not loaded yet")]
pub struct Missing;

/// What a projection reads and writes.
///
/// Writes of an event are seen by its own later reads at once, and by other events only once the
/// whole event was applied.
#[derive(Default)]
pub struct Rows {
    tables: HashMap<TypeId, Box<dyn AnyTable>>,
}

impl Rows {
    /// The row of that key; `None` if there is none.
    pub fn get<R: TypedRow>(&mut self, key: &R::Key) -> Result<Option<&R>, Missing> {
        let table = self.table::<R>();
        if let Some(place) = table.staged.iter().rposition(|(staged, _)| staged == key) {
            return Ok(table.staged[place].1.as_ref());
        }
        match table.loaded.get_mut(key) {
            Some(slot) => {
                slot.used = true;
                Ok(slot.row.as_ref())
            }
            None => {
                table.asked.push(key.clone());
                Err(Missing)
            }
        }
    }

    /// The row is now this, whether or not there was one.
    pub fn put<R: TypedRow>(&mut self, row: R) {
        let key = row.key();
        self.table::<R>().staged.push((key, Some(row)));
    }

    /// The row of that key is gone, whether or not there was one.
    pub fn delete<R: TypedRow>(&mut self, key: R::Key) {
        self.table::<R>().staged.push((key, None));
    }

    /// Keeps what the event wrote.
    pub(crate) fn keep_event(&mut self) {
        self.tables.values_mut().for_each(|table| table.keep_staged());
    }

    /// Forgets what the event wrote.
    pub(crate) fn forget_event(&mut self) {
        self.tables.values_mut().for_each(|table| table.forget_staged());
    }

    /// Rows that were asked for and are not loaded, each once.
    pub(crate) fn take_asked(&mut self) -> Vec<(TypeId, &'static Table, Vec<Key>)> {
        let asked = |(id, table): (&TypeId, &mut Box<dyn AnyTable>)| {
            let keys = table.take_asked();
            (!keys.is_empty()).then(|| (*id, table.table(), keys))
        };
        self.tables.iter_mut().filter_map(asked).collect()
    }

    /// Takes in what the store says about `keys`: those without a row do not exist.
    pub(crate) fn load(
        &mut self,
        table: TypeId,
        keys: &[Key],
        rows: Vec<Row>,
    ) -> Result<(), MalformedRow> {
        self.tables.get_mut(&table).map_or(Ok(()), |table| table.load(keys, rows))
    }

    /// What the page wrote, each row once.
    pub(crate) fn changes(&self) -> Vec<TableChanges> {
        self.tables.values().filter_map(|table| table.changes()).collect()
    }

    /// The page's changes are stored: what stays in memory is what the store holds, at most `most`
    /// rows a table, those the page used first.
    pub(crate) fn settle(&mut self, most: usize) {
        self.tables.values_mut().for_each(|table| table.settle(most));
    }

    fn table<R: TypedRow>(&mut self) -> &mut LoadedTable<R> {
        let table = self
            .tables
            .entry(TypeId::of::<R>())
            .or_insert_with(|| Box::new(LoadedTable::<R>::default()));
        let table: &mut dyn Any = &mut **table;
        table.downcast_mut().expect("each table is stored under the type of its rows")
    }
}

/// A table whose row type is not known to the caller.
trait AnyTable: Any + Send {
    fn table(&self) -> &'static Table;
    fn keep_staged(&mut self);
    fn forget_staged(&mut self);
    fn take_asked(&mut self) -> Vec<Key>;
    fn load(&mut self, keys: &[Key], rows: Vec<Row>) -> Result<(), MalformedRow>;
    fn changes(&self) -> Option<TableChanges>;
    fn settle(&mut self, most: usize);
}

struct LoadedTable<R: TypedRow> {
    loaded: HashMap<R::Key, Slot<R>>,
    /// What the event at hand wrote, newest last.
    staged: Vec<(R::Key, Option<R>)>,
    asked: Vec<R::Key>,
}

impl<R: TypedRow> Default for LoadedTable<R> {
    fn default() -> Self {
        Self { loaded: HashMap::new(), staged: Vec::new(), asked: Vec::new() }
    }
}

struct Slot<R> {
    row: Option<R>,
    changed: bool,
    used: bool,
}

impl<R: TypedRow> AnyTable for LoadedTable<R> {
    fn table(&self) -> &'static Table {
        R::TABLE
    }

    fn keep_staged(&mut self) {
        for (key, row) in self.staged.drain(..) {
            self.loaded.insert(key, Slot { row, changed: true, used: true });
        }
    }

    fn forget_staged(&mut self) {
        self.staged.clear();
    }

    fn take_asked(&mut self) -> Vec<Key> {
        let asked: std::collections::HashSet<R::Key> = self.asked.drain(..).collect();
        asked.iter().map(R::key_values).collect()
    }

    fn load(&mut self, keys: &[Key], rows: Vec<Row>) -> Result<(), MalformedRow> {
        for key in keys {
            let absent = Slot { row: None, changed: false, used: true };
            self.loaded.entry(R::key_from(key)?).or_insert(absent);
        }
        for row in rows {
            let row = R::from_row(row)?;
            self.loaded.insert(row.key(), Slot { row: Some(row), changed: false, used: true });
        }
        Ok(())
    }

    fn changes(&self) -> Option<TableChanges> {
        let change = |(key, slot): (&R::Key, &Slot<R>)| match &slot.row {
            Some(row) => RowChange::Put(row.to_row()),
            None => RowChange::Delete(R::key_values(key)),
        };
        let changes: Vec<RowChange> =
            self.loaded.iter().filter(|(_, slot)| slot.changed).map(change).collect();
        (!changes.is_empty()).then_some(TableChanges { table: R::TABLE, changes })
    }

    fn settle(&mut self, most: usize) {
        if self.loaded.len() > most {
            self.loaded.retain(|_, slot| slot.used);
        }
        if self.loaded.len() > most {
            self.loaded.clear();
        }
        for slot in self.loaded.values_mut() {
            slot.changed = false;
            slot.used = false;
        }
    }
}
