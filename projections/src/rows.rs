//! The rows a page of events works on, typed and in memory.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};

use freehold_ports::{Key, ReadModelError, Row, RowChange, Table, TableChanges};

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
    /// Few, so that looking through them is faster than hashing.
    tables: Vec<(TypeId, Box<dyn AnyTable>)>,
}

impl Rows {
    /// The row of that key; `None` if there is none.
    pub fn get<R: TypedRow>(&mut self, key: &R::Key) -> Result<Option<&R>, Missing> {
        self.table::<R>().get(key)
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

    /// Refuses what the event wrote if a store would.
    pub(crate) fn check_event(&self) -> Result<(), ReadModelError> {
        self.tables.iter().try_for_each(|(_, table)| table.check_staged())
    }

    /// Keeps what the event wrote.
    pub(crate) fn keep_event(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.keep_staged());
    }

    /// Forgets what the event wrote.
    pub(crate) fn forget_event(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.forget_staged());
    }

    /// Lets later events see what the event wrote, until guesses are forgotten.
    pub(crate) fn guess_event(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.guess_staged());
    }

    /// Forgets every guess: rows are again what they surely are.
    pub(crate) fn forget_guesses(&mut self) {
        self.tables.iter_mut().for_each(|(_, table)| table.forget_guesses());
    }

    /// Whether a row was asked for that is not loaded.
    pub(crate) fn lacks_some(&self) -> bool {
        self.tables.iter().any(|(_, table)| table.lacks_some())
    }

    /// Rows that were asked for and are not loaded, each once.
    pub(crate) fn take_asked(&mut self) -> Vec<(TypeId, &'static Table, Vec<Key>)> {
        let asked = |(id, table): &mut (TypeId, Box<dyn AnyTable>)| {
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
        let found = self.tables.iter_mut().find(|(id, _)| *id == table);
        found.map_or(Ok(()), |(_, table)| table.load(keys, rows))
    }

    /// What was written since it was last asked for, each row once.
    pub(crate) fn take_changes(&mut self) -> Vec<TableChanges> {
        self.tables.iter_mut().filter_map(|(_, table)| table.take_changes()).collect()
    }

    /// The page is done: rows that no recent page used may go, once there are many.
    ///
    /// Those of this page and the one before always stay: their changes may be on their way to the
    /// store, which therefore cannot be asked for them.
    pub(crate) fn age(&mut self, bytes: usize) {
        self.tables.iter_mut().for_each(|(_, table)| table.age(bytes));
    }

    fn table<R: TypedRow>(&mut self) -> &mut LoadedTable<R> {
        let id = TypeId::of::<R>();
        let place = self.tables.iter().position(|(table, _)| *table == id).unwrap_or_else(|| {
            self.tables.push((id, Box::new(LoadedTable::<R>::default())));
            self.tables.len() - 1
        });
        let table: &mut dyn Any = &mut *self.tables[place].1;
        table.downcast_mut().expect("each table is stored under the type of its rows")
    }
}

/// A table whose row type is not known to the caller.
trait AnyTable: Any + Send + Sync {
    fn table(&self) -> &'static Table;
    fn check_staged(&self) -> Result<(), ReadModelError>;
    fn keep_staged(&mut self);
    fn forget_staged(&mut self);
    fn guess_staged(&mut self);
    fn forget_guesses(&mut self);
    fn lacks_some(&self) -> bool;
    fn take_asked(&mut self) -> Vec<Key>;
    fn load(&mut self, keys: &[Key], rows: Vec<Row>) -> Result<(), MalformedRow>;
    fn take_changes(&mut self) -> Option<TableChanges>;
    fn age(&mut self, bytes: usize);
}

struct LoadedTable<R: TypedRow> {
    /// Used since the rows last aged.
    fresh: HashMap<R::Key, Slot<R>>,
    /// Used before that, and not since; nothing among them is changed.
    aged: HashMap<R::Key, Slot<R>>,
    /// The keys whose slots are changed, each once.
    changed: Vec<R::Key>,
    /// What the event at hand wrote, newest last.
    staged: Vec<(R::Key, Option<R>)>,
    /// What rows may become, while events are looked ahead at.
    guessed: HashMap<R::Key, Option<R>>,
    asked: Vec<R::Key>,
}

impl<R: TypedRow> Default for LoadedTable<R> {
    fn default() -> Self {
        Self {
            fresh: HashMap::new(),
            aged: HashMap::new(),
            changed: Vec::new(),
            staged: Vec::new(),
            guessed: HashMap::new(),
            asked: Vec::new(),
        }
    }
}

struct Slot<R> {
    row: Option<R>,
    changed: bool,
}

impl<R: TypedRow> LoadedTable<R> {
    fn get(&mut self, key: &R::Key) -> Result<Option<&R>, Missing> {
        if let Some(place) = self.staged.iter().rposition(|(staged, _)| staged == key) {
            return Ok(self.staged[place].1.as_ref());
        }
        if let Some(guessed) = self.guessed.get(key) {
            return Ok(guessed.as_ref());
        }
        if !self.fresh.contains_key(key) {
            let Some((key, slot)) = self.aged.remove_entry(key) else {
                self.asked.push(key.clone());
                return Err(Missing);
            };
            self.fresh.insert(key, slot);
        }
        Ok(self.fresh.get(key).and_then(|slot| slot.row.as_ref()))
    }
}

impl<R: TypedRow> AnyTable for LoadedTable<R> {
    fn table(&self) -> &'static Table {
        R::TABLE
    }

    fn check_staged(&self) -> Result<(), ReadModelError> {
        self.staged.iter().try_for_each(|(key, row)| match row {
            Some(row) => R::TABLE.check_row(&row.to_row()),
            None => R::TABLE.check_key(&R::key_values(key).0),
        })
    }

    fn keep_staged(&mut self) {
        for (key, row) in self.staged.drain(..) {
            let slot = self.fresh.get_mut(&key);
            match slot {
                Some(slot) if slot.row == row => {}
                Some(Slot { changed: true, row: kept }) => *kept = row,
                _ => {
                    self.changed.push(key.clone());
                    self.fresh.insert(key, Slot { row, changed: true });
                }
            }
        }
    }

    fn forget_staged(&mut self) {
        self.staged.clear();
    }

    fn guess_staged(&mut self) {
        self.guessed.extend(self.staged.drain(..));
    }

    fn forget_guesses(&mut self) {
        self.guessed = HashMap::new();
    }

    fn lacks_some(&self) -> bool {
        !self.asked.is_empty()
    }

    fn take_asked(&mut self) -> Vec<Key> {
        let asked: HashSet<R::Key> = self.asked.drain(..).collect();
        asked.iter().map(R::key_values).collect()
    }

    fn load(&mut self, keys: &[Key], rows: Vec<Row>) -> Result<(), MalformedRow> {
        for row in rows {
            let row = R::from_row(row)?;
            let slot = self.fresh.entry(row.key());
            slot.or_insert(Slot { row: Some(row), changed: false });
        }
        for key in keys {
            let slot = self.fresh.entry(R::key_from(key)?);
            slot.or_insert(Slot { row: None, changed: false });
        }
        Ok(())
    }

    fn take_changes(&mut self) -> Option<TableChanges> {
        if self.changed.is_empty() {
            return None;
        }
        let mut changes = Vec::with_capacity(self.changed.len());
        for key in self.changed.drain(..) {
            let slot = self.fresh.get_mut(&key).expect("what is changed is fresh");
            slot.changed = false;
            changes.push(match &slot.row {
                Some(row) => RowChange::Put(row.to_row()),
                None => RowChange::Delete(R::key_values(&key)),
            });
        }
        Some(TableChanges { table: R::TABLE, changes })
    }

    fn age(&mut self, bytes: usize) {
        if self.fresh.len() * size_of::<(R::Key, Slot<R>)>() > bytes / 2 {
            self.aged = std::mem::take(&mut self.fresh);
        }
    }
}
