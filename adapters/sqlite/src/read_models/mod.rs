//! Read models in a SQLite file of their own.
//!
//! One thread owns the connection that writes; queries borrow one of several that only read, and
//! in write-ahead mode neither waits for the other. The tables of a generation are made by
//! [`schema`], the catalogue of generations is in [`catalogue`], what could not be handled in
//! [`dead_letters`], questions are answered by [`query`]. Absent on purpose: what the rows mean;
//! projections know.

mod catalogue;
mod connection;
mod dead_letters;
mod holds;
mod query;
mod schema;
mod value;
mod writer;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use freehold_ports::{
    Commit, DeadLetter, DeadLetters, Filter, Generation, GenerationId, Hold, Key, LetterFilter,
    LetterGroup, LetterId, Mark, Page, Query, ReadModelError, ReadModels, RetryPace, Row,
    StreamVersion, Table,
};

use crate::file::OpenError;
use connection::{Readers, Shared};
use query::Planner;
use schema::PhysicalTable;
use value::Bound;
use writer::Writer;

/// How many queries run at the same time at least; more wait for a connection.
const MIN_READERS: usize = 4;

/// [`ReadModels`] in a SQLite file, or in memory.
pub struct SqliteReadModels {
    writer: Writer,
    readers: Arc<Readers>,
    planner: Arc<Planner>,
}

impl SqliteReadModels {
    /// Opens the read models in a folder, making what is not there.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("read_models.sqlite");
        let unavailable = |error: rusqlite::Error| OpenError::unavailable(&path, error);
        std::fs::create_dir_all(folder).map_err(|error| OpenError::unavailable(folder, error))?;
        let mut writer = connection::open_writer(&path).map_err(unavailable)?;
        catalogue::migrate(&mut writer, &path)?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).max(MIN_READERS);
        let readers = (0..count).map(|_| connection::open_reader(&path).map(shared));
        let readers = readers.collect::<Result<_, _>>().map_err(unavailable)?;
        Self::start(&path, shared(writer), readers)
    }

    /// Read models that live as long as this value.
    ///
    /// One connection serves everything, so here a query waits for a commit that is being written.
    /// SQLite's shared memory databases would lock queries out of it just the same, but answer
    /// "busy" instead of waiting in line.
    pub fn in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let opened = connection::open_in_memory();
        let mut connection = opened.map_err(|error| OpenError::unavailable(path, error))?;
        catalogue::migrate(&mut connection, path)?;
        let connection = shared(connection);
        Self::start(path, connection.clone(), vec![connection])
    }

    /// Stores what waits and empties the write-ahead log.
    pub async fn close(&self) -> Result<(), ReadModelError> {
        self.writer.empty_write_ahead_log().await
    }

    fn start(path: &Path, writer: Shared, readers: Vec<Shared>) -> Result<Self, OpenError> {
        let writer = Writer::start(writer).map_err(|error| OpenError::unavailable(path, error))?;
        Ok(Self { writer, readers: Arc::new(Readers::new(readers)), planner: Arc::default() })
    }
}

fn shared(connection: rusqlite::Connection) -> Shared {
    Arc::new(Mutex::new(connection))
}

fn unavailable(error: rusqlite::Error) -> ReadModelError {
    ReadModelError::Unavailable { source: error.into() }
}

#[async_trait]
impl DeadLetters for SqliteReadModels {
    async fn letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
        limit: NonZeroU32,
    ) -> Result<Vec<DeadLetter>, ReadModelError> {
        let list = move |reader: &rusqlite::Connection| {
            dead_letters::list(reader, &filter, after.as_ref(), limit)
        };
        self.readers.read(list).await
    }

    async fn letter_groups(
        &self,
        filter: LetterFilter,
    ) -> Result<Vec<LetterGroup>, ReadModelError> {
        self.readers.read(move |reader| dead_letters::groups(reader, &filter)).await
    }

    async fn parked(&self, generation: &GenerationId) -> Result<Vec<DeadLetter>, ReadModelError> {
        let generation = generation.clone();
        self.readers.read(move |reader| dead_letters::parked(reader, &generation)).await
    }

    async fn order_retry(
        &self,
        letters: Vec<LetterId>,
        pace: RetryPace,
        by: Arc<str>,
    ) -> Result<u64, ReadModelError> {
        let order = move |transaction: &rusqlite::Transaction<'_>| {
            dead_letters::order_retry(transaction, &letters, pace, &by)
        };
        self.writer.transact_durably(order).await
    }

    async fn hold(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
    ) -> Result<Vec<LetterId>, ReadModelError> {
        let hold =
            move |transaction: &rusqlite::Transaction<'_>| holds::hold(transaction, letters, &hold);
        self.writer.transact_durably(hold).await
    }

    async fn release(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
        pace: RetryPace,
    ) -> Result<u64, ReadModelError> {
        let release = move |transaction: &rusqlite::Transaction<'_>| {
            holds::release(transaction, &letters, &hold, pace)
        };
        self.writer.transact_durably(release).await
    }
}

#[async_trait]
impl ReadModels for SqliteReadModels {
    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError> {
        let projection = projection.to_owned();
        self.readers.read(move |reader| catalogue::generations(reader, &projection)).await
    }

    async fn create_generation(
        &self,
        projection: &str,
        version: u32,
        tables: &'static [&'static Table],
    ) -> Result<GenerationId, ReadModelError> {
        tables.iter().try_for_each(|table| table.check_declaration())?;
        let projection = projection.to_owned();
        let create = move |transaction: &rusqlite::Transaction<'_>| {
            catalogue::create(transaction, &projection, version, tables).map_err(unavailable)
        };
        self.writer.transact(create).await
    }

    async fn prepare(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        loop {
            let generation = generation.clone();
            let piece = move |transaction: &rusqlite::Transaction<'_>| {
                catalogue::prepare_a_piece(transaction, &generation)
            };
            if !self.writer.transact(piece).await? {
                return Ok(());
            }
        }
    }

    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.prepare(generation.clone()).await?;
        self.writer.transact(move |transaction| catalogue::swap(transaction, &generation)).await
    }

    async fn reopen(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.writer.transact(move |transaction| catalogue::reopen(transaction, &generation)).await
    }

    async fn drop_generation(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        let drop = move |transaction: &rusqlite::Transaction<'_>| {
            catalogue::drop_generation(transaction, &generation)
        };
        self.writer.transact(drop).await
    }

    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        keys.iter().try_for_each(|key| table.check_key(&key.0))?;
        self.readers.read(move |reader| fetch(reader, &generation, table, &keys)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        commit.check()?;
        self.writer.commit(commit).await
    }

    async fn obey(
        &self,
        generation: GenerationId,
        from: Mark,
        decided: StreamVersion,
    ) -> Result<Mark, ReadModelError> {
        let obey = move |transaction: &rusqlite::Transaction<'_>| {
            catalogue::obey(transaction, &generation, from, decided)
        };
        self.writer.transact(obey).await
    }

    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError> {
        query.check()?;
        let projection = projection.to_owned();
        let planner = self.planner.clone();
        self.readers.read(move |reader| query::page(reader, &planner, &projection, &query)).await
    }

    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError> {
        table.check_filters(&filters)?;
        let projection = projection.to_owned();
        let planner = self.planner.clone();
        let count = move |reader: &rusqlite::Connection| {
            query::count(reader, &planner, &projection, table, &filters)
        };
        self.readers.read(count).await
    }

    async fn scan(
        &self,
        generation: GenerationId,
        table: &'static Table,
        after: Option<Key>,
        limit: NonZeroU32,
    ) -> Result<Vec<Row>, ReadModelError> {
        if let Some(key) = &after {
            table.check_key(&key.0)?;
        }
        self.readers.read(move |reader| scan(reader, &generation, table, after, limit)).await
    }
}

fn fetch(
    reader: &rusqlite::Connection,
    generation: &GenerationId,
    table: &'static Table,
    keys: &[Key],
) -> Result<Vec<Row>, ReadModelError> {
    catalogue::checkpoint(reader, generation)?;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let equals: Vec<String> =
        names[..table.key_columns].iter().map(|name| format!("\"{name}\" = ?")).collect();
    let sql = format!(
        "SELECT {} FROM \"{}\" WHERE {}",
        schema::quoted(&names),
        PhysicalTable::new(table.name, generation.number).rows(),
        equals.join(" AND "),
    );
    // In one process a look-up for each key costs less than a statement that joins all of them.
    let mut statement = reader.prepare_cached(&sql).map_err(unavailable)?;
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        for (place, value) in key.0.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, Bound(value)).map_err(unavailable)?;
        }
        let mut found = statement.raw_query();
        if let Some(row) = found.next().map_err(unavailable)? {
            rows.push(value::read_row(table, row)?);
        }
    }
    Ok(rows)
}

fn scan(
    reader: &rusqlite::Connection,
    generation: &GenerationId,
    table: &'static Table,
    after: Option<Key>,
    limit: NonZeroU32,
) -> Result<Vec<Row>, ReadModelError> {
    catalogue::checkpoint(reader, generation)?;
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let key = schema::quoted(&names[..table.key_columns]);
    let values = after.map_or_else(Vec::new, |key| key.0);
    let condition = match &*values {
        [] => String::new(),
        values => format!("WHERE ({key}) > ({})", vec!["?"; values.len()].join(", ")),
    };
    // Without statistics SQLite would rather sort the whole table for every page.
    let physical = PhysicalTable::new(table.name, generation.number);
    let sql = format!(
        "SELECT {} FROM \"{}\" INDEXED BY \"{}\" {condition} ORDER BY {key} LIMIT {limit}",
        schema::quoted(&names),
        physical.rows(),
        physical.key_index(),
    );
    let mut statement = reader.prepare_cached(&sql).map_err(unavailable)?;
    let mut selected = statement
        .query(rusqlite::params_from_iter(values.iter().map(Bound)))
        .map_err(unavailable)?;
    let mut rows = Vec::new();
    while let Some(row) = selected.next().map_err(unavailable)? {
        rows.push(value::read_row(table, row)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use freehold_contract::Fresh;
    use freehold_ports::{
        Column, ColumnKind, GlobalPosition, Order, RowChange, TableChanges, Value,
    };

    use super::*;

    /// The suite once more with the plans of a large table, in which everything is many: each of
    /// them is forced, so that one that is wrong shows.
    mod with_the_plans_of_large_tables {
        use super::*;
        use crate::read_models::query::Scale;

        const LARGE: Scale =
            Scale { sample: 2, dense: 1, patience: 4, rare: 20, many: 6, sorted: 2 };

        fn fresh(scale: Scale) -> Fresh<dyn ReadModels> {
            let mut store = SqliteReadModels::in_memory().unwrap();
            store.planner = Arc::new(Planner::with(scale));
            Fresh::new(Arc::new(store))
        }

        /// Numbers that are so small that rows of a test lie on both sides of each.
        mod mixed {
            use super::*;
            freehold_contract::read_models_suite!(fresh(LARGE));
        }

        /// A walk is never dense, every filter gives candidates, and the order is walked for them.
        mod walks_among_candidates {
            use super::*;
            const AMONG: Scale = Scale { dense: 9, rare: 99, many: 99, sorted: 0, ..LARGE };
            freehold_contract::read_models_suite!(fresh(AMONG));
        }

        /// The same, and all of them are looked up.
        mod sorts_candidates {
            use super::*;
            const SORTED: Scale = Scale { dense: 9, rare: 99, many: 99, sorted: 99, ..LARGE };
            freehold_contract::read_models_suite!(fresh(SORTED));
        }

        /// Every walk is taken for dense and given up after its first row.
        mod gives_walks_up {
            use super::*;
            const GIVEN_UP: Scale =
                Scale { sample: 1, dense: 0, patience: 0, rare: 99, many: 99, sorted: 2 };
            freehold_contract::read_models_suite!(fresh(GIVEN_UP));
        }

        /// No index has an answer.
        mod only_walks {
            use super::*;
            const WALKS: Scale = Scale { dense: 9, rare: 0, many: 0, ..LARGE };
            freehold_contract::read_models_suite!(fresh(WALKS));
        }
    }

    const fn column(name: &'static str, kind: ColumnKind) -> Column {
        Column { name, kind }
    }

    const OLD: Table = Table {
        name: "home",
        columns: &[
            column("home", ColumnKind::Integer),
            column("price", ColumnKind::Integer),
            column("title", ColumnKind::Text),
        ],
        key_columns: 1,
        indexes: &[],
        text_search: &[],
        spatial: None,
    };
    static BEFORE: [&Table; 1] = [&OLD];
    static AFTER: Table = Table {
        columns: &[
            column("home", ColumnKind::Integer),
            column("rooms", ColumnKind::Integer),
            column("title", ColumnKind::Text),
            column("price", ColumnKind::Real),
        ],
        indexes: &[&["rooms"], &["title"]],
        text_search: &["title"],
        ..OLD
    };

    fn row(home: i64, title: &str) -> Row {
        Row(vec![Value::Integer(home), Value::Integer(5), Value::Text(Arc::from(title))])
    }

    /// A new release queries what the old one built until its own generation is ready.
    #[tokio::test]
    async fn a_generation_of_another_declaration_answers_with_nulls_for_what_it_lacks() {
        let store = SqliteReadModels::in_memory().unwrap();
        let old = store.create_generation("homes", 1, &BEFORE).await.unwrap();
        let rows = [row(1, "red brick"), row(2, "blue")].map(RowChange::Put).to_vec();
        let changes = vec![TableChanges { table: &OLD, changes: rows }];
        store
            .commit(Commit::moving(old.clone(), GlobalPosition(0), GlobalPosition(1), changes))
            .await
            .unwrap();
        store.activate(old).await.unwrap();
        let query = |filters| Query {
            table: &AFTER,
            filters,
            order: vec![Order { column: "rooms", descending: true }],
            after: None,
            before: None,
            backwards: false,
            limit: NonZeroU32::new(10).unwrap(),
        };

        let found = store.query("homes", query(vec![Filter::Text("BRICK".into())])).await.unwrap();

        let title = Value::Text(Arc::from("red brick"));
        assert_eq!(found.rows, [Row(vec![Value::Integer(1), Value::Null, title, Value::Null])]);
        let priced = Filter::AtLeast("price", Value::Real(0.0));
        assert_eq!(store.query("homes", query(vec![priced])).await.unwrap().rows, []);
        assert_eq!(store.query("homes", query(Vec::new())).await.unwrap().rows.len(), 2);
    }

    /// A second process on the same file sees what the first has committed, and may write too.
    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_may_open_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let one = SqliteReadModels::open(folder.path()).unwrap();
        let other = SqliteReadModels::open(folder.path()).unwrap();
        let generation = one.create_generation("homes", 1, &BEFORE).await.unwrap();
        let change = |home| {
            let changes = vec![RowChange::Put(row(home, ""))];
            vec![TableChanges { table: &OLD, changes }]
        };
        for at in 0..20 {
            let (from, to) = (GlobalPosition(at), GlobalPosition(at + 1));
            let home = i64::try_from(at).unwrap();
            let (store, stale) = if at % 2 == 0 { (&one, &other) } else { (&other, &one) };
            store.commit(Commit::moving(generation.clone(), from, to, change(home))).await.unwrap();
            let late =
                stale.commit(Commit::moving(generation.clone(), from, to, change(home))).await;
            assert!(matches!(late, Err(ReadModelError::CheckpointMoved { .. })));
        }
        other.activate(generation).await.unwrap();
        assert_eq!(one.count("homes", &OLD, Vec::new()).await.unwrap(), 20);
    }
}
