//! What queries read: tables that projections declare, fill and can rebuild.
//!
//! A projection's tables live in *generations*. One generation is active and answers queries; a
//! rebuild fills another beside it and then the two swap. Each generation has its own checkpoint,
//! written in the transaction of the rows it speaks for.
//!
//! Beside the port stands what adapters of databases share: whether a question or a row fits its
//! table ([`fit`]), a declaration as text ([`declaration`]), what a question reads ([`reading`]).

mod declaration;
mod fit;
mod reading;

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use reading::{Nulls, Part, Reading, Term, Test, index_in_order, usable_filters};

use crate::{DeadLetters, GlobalPosition, LetterChange, StoreFailure, StreamId, StreamVersion};

/// Keeps read models, and the dead letters of what fills them; its contract runs in
/// `tests/contract`.
#[async_trait]
pub trait ReadModels: DeadLetters {
    /// Every generation of a projection, oldest first.
    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError>;

    /// Makes the empty tables of a new generation, in state [`GenerationState::Building`].
    ///
    /// While a generation is building, secondary indexes may be missing: it is filled, not queried.
    async fn create_generation(
        &self,
        projection: &str,
        version: u32,
        tables: &'static [&'static Table],
    ) -> Result<GenerationId, ReadModelError>;

    /// Makes what queries of a generation need (indexes, search), so that activating it is quick.
    ///
    /// May take long; queries never wait for it, commits at most for a part of it. A caller that
    /// prepares, catches up again and then activates never shows its readers an older state.
    /// [`activate`](Self::activate) does what is left undone.
    async fn prepare(&self, _generation: GenerationId) -> Result<(), ReadModelError> {
        Ok(())
    }

    /// Makes a generation the one that answers queries, in one step for all readers; the one
    /// before it becomes [`GenerationState::Retired`]: it takes no more commits, and can be
    /// activated again. One that was retired before is dropped in the same step, so that what is
    /// retired is what answered last; not if the generation is active already.
    ///
    /// - Errors: [`ReadModelError::Behind`] if readers would see an older state than before, and
    ///   [`ReadModelError::Lacks`] if a stream would be parked whose events they see; nothing is
    ///   changed. A commit to either generation that is under way counts.
    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError>;

    /// Makes a retired generation a building one, so that it takes the commits it lacks before it
    /// is activated again; any other one stays what it is.
    async fn reopen(&self, generation: GenerationId) -> Result<(), ReadModelError>;

    /// Drops a generation that is not active.
    async fn drop_generation(&self, generation: GenerationId) -> Result<(), ReadModelError>;

    /// The rows of those keys that exist, in any order.
    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError>;

    /// Writes rows and letters and moves the checkpoint, all or nothing.
    ///
    /// - Errors: [`ReadModelError::CheckpointMoved`] if the generation does not stand at
    ///   [`Commit::from`]: another process does the same work. [`ReadModelError::Retired`] if
    ///   readers have been given another generation: a commit to this one would be seen by nobody.
    ///   [`ReadModelError::LetterMoved`] if a letter is not there, or there already.
    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError>;

    /// Notes up to which version of its stream of decisions
    /// ([`LetterDecision`](crate::LetterDecision)) a generation is filled from here on; answers where
    /// it stands then, another revision.
    ///
    /// - Errors: as [`commit`](Self::commit).
    async fn obey(
        &self,
        generation: GenerationId,
        from: Mark,
        decided: StreamVersion,
    ) -> Result<Mark, ReadModelError>;

    /// Queries a table of a projection's active generation; never waits for a writer.
    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError>;

    /// How many rows of a projection's active generation match.
    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError>;

    /// Rows of any generation in key order after `after`, to compare or export them.
    async fn scan(
        &self,
        generation: GenerationId,
        table: &'static Table,
        after: Option<Key>,
        limit: NonZeroU32,
    ) -> Result<Vec<Row>, ReadModelError>;
}

/// One table of a projection.
#[derive(Debug, PartialEq)]
pub struct Table {
    /// Its name, unique among all projections: `listing`.
    pub name: &'static str,
    /// Its columns; the first `key_columns` of them are the primary key.
    pub columns: &'static [Column],
    /// How many of the first columns are the primary key.
    pub key_columns: usize,
    /// Further indexes, each a list of column names. The texts that a row has in one of them, or in
    /// its key, have 2,400 bytes at most: some engines store no longer entry.
    pub indexes: &'static [&'static [&'static str]],
    /// Text columns that [`Filter::Text`] searches.
    pub text_search: &'static [&'static str],
    /// Where [`Filter::WithinBox`] and [`Filter::WithinRadius`] look.
    pub spatial: Option<Spatial>,
}

impl Table {
    /// The place of a column in a row.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The key of a row of this table.
    pub fn key_of(&self, row: &Row) -> Key {
        Key(row.0[..self.key_columns].to_vec())
    }
}

/// One column.
#[derive(Debug, PartialEq)]
pub struct Column {
    /// Its name, `snake_case`.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
}

/// What a column holds; every column may also be null, except those of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Yes or no.
    Bool,
    /// A signed 64-bit number.
    Integer,
    /// A 64-bit float.
    Real,
    /// UTF-8 text.
    Text,
    /// A UUID.
    Uuid,
    /// A moment, to the microsecond.
    Timestamp,
    /// JSON text, not searched.
    Json,
}

/// The two columns of a point; rows without both are in no area.
#[derive(Debug, PartialEq, Eq)]
pub struct Spatial {
    /// Degrees north, [`ColumnKind::Real`].
    pub latitude: &'static str,
    /// Degrees east, [`ColumnKind::Real`].
    pub longitude: &'static str,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A float; never NaN.
    Real(f64),
    /// Text, or JSON text.
    Text(Arc<str>),
    /// A UUID.
    Uuid(Uuid),
    /// A moment, to the microsecond.
    Timestamp(DateTime<Utc>),
}

/// A row: one value for each column of its table, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

/// The values of a row's key columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(pub Vec<Value>);

/// What happens to a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// The row is now this, whether or not it was there.
    Put(Row),
    /// The row is gone.
    Delete(Key),
}

/// Changes to one table, at most one for each key.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// The table.
    pub table: &'static Table,
    /// What happens to its rows.
    pub changes: Vec<RowChange>,
}

/// Names one generation of one projection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GenerationId {
    /// The projection.
    pub projection: Arc<str>,
    /// Counted from 1.
    pub number: u32,
}

/// Where a generation stands; whoever changes it says where it stood and moves it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The checkpoint: the last position whose effects it holds.
    pub position: GlobalPosition,
    /// How often letters were changed, or retries ordered, without moving the checkpoint.
    pub revision: u64,
}

impl From<GlobalPosition> for Mark {
    /// Where nothing but the checkpoint was ever moved.
    fn from(position: GlobalPosition) -> Self {
        Self { position, revision: 0 }
    }
}

/// What one transaction does to a generation.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which one.
    pub generation: GenerationId,
    /// Where it stands, as far as the writer knows.
    pub from: Mark,
    /// Its checkpoint from now on.
    pub to: GlobalPosition,
    /// What happens to rows.
    pub changes: Vec<TableChanges>,
    /// What happens to letters.
    pub letters: Vec<LetterChange>,
}

impl Commit {
    /// Moves the checkpoint and rows, and no letter.
    pub fn moving(
        generation: GenerationId,
        from: impl Into<Mark>,
        to: GlobalPosition,
        changes: Vec<TableChanges>,
    ) -> Self {
        Self { generation, from: from.into(), to, changes, letters: Vec::new() }
    }

    /// Where the generation stands afterwards: letters that move no checkpoint move the revision,
    /// so that no commit which was folded before them passes.
    pub fn mark(&self) -> Mark {
        let Mark { position, revision } = self.from;
        let moves_revision = self.to == position && !self.letters.is_empty();
        Mark { position: self.to, revision: revision + u64::from(moves_revision) }
    }
}

/// A generation and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its name.
    pub id: GenerationId,
    /// The version of the projection that fills it.
    pub version: u32,
    /// Whether queries read it.
    pub state: GenerationState,
    /// The last position whose effects it holds.
    pub checkpoint: GlobalPosition,
    /// How often letters were changed, or retries ordered, without moving the checkpoint.
    pub revision: u64,
    /// Up to which version of its stream of decisions it is [filled](ReadModels::obey).
    pub decided: StreamVersion,
}

impl Generation {
    /// Where it stands.
    pub fn mark(&self) -> Mark {
        Mark { position: self.checkpoint, revision: self.revision }
    }
}

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// Being filled; never read by queries.
    Building,
    /// Read by queries; at most one of a projection.
    Active,
    /// Read before; kept as it is, so that it can be [reopened](ReadModels::reopen) and activated
    /// again.
    Retired,
}

/// A question to one table.
#[derive(Clone, Debug)]
pub struct Query {
    /// The table.
    pub table: &'static Table,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// Sort order. Nulls come last in either direction. The key is always appended, in the
    /// direction of the last column asked for, so that the order is total and one index can serve
    /// it.
    pub order: Vec<Order>,
    /// Only rows after this one in the order: its `order` values, then its key.
    pub after: Option<Vec<Value>>,
    /// Only rows before this one in the order.
    pub before: Option<Vec<Value>>,
    /// Take the last rows instead of the first; they still come in the order asked for.
    pub backwards: bool,
    /// At most so many rows.
    pub limit: NonZeroU32,
}

/// One sort column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub column: &'static str,
    /// Largest first.
    pub descending: bool,
}

/// A condition on a row; a null value meets none but [`Filter::IsNull`].
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// The column equals the value.
    Equals(&'static str, Value),
    /// The column equals one of the values; none of them means no row.
    OneOf(&'static str, Vec<Value>),
    /// The column is at least the value.
    AtLeast(&'static str, Value),
    /// The column is at most the value.
    AtMost(&'static str, Value),
    /// The column is null.
    IsNull(&'static str),
    /// Every word of the text begins a word of one of the table's text columns, whatever their
    /// case and accents: [`search_words`](crate::search_words) says what a word is. A text without
    /// words is no condition.
    Text(String),
    /// The point lies in the box; west may exceed east, then it crosses the antimeridian.
    WithinBox {
        /// Southern edge, degrees.
        south: f64,
        /// Western edge, degrees.
        west: f64,
        /// Northern edge, degrees.
        north: f64,
        /// Eastern edge, degrees.
        east: f64,
    },
    /// The point lies at most so far from the centre, along a great circle of a sphere with a
    /// radius of 6,371,008.8 metres.
    WithinRadius {
        /// Degrees north of the centre.
        latitude: f64,
        /// Degrees east of the centre.
        longitude: f64,
        /// Metres.
        meters: f64,
    },
}

/// Rows that match, in the order asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether more rows follow in the direction of reading.
    pub has_more: bool,
    /// The checkpoint that these rows show.
    pub checkpoint: GlobalPosition,
}

/// Why a read model could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelError {
    /// No generation of the projection is active.
    #[error("projection {0} is not built yet; watch `freehold projection list`")]
    NotBuilt(Arc<str>),
    /// There is no such generation.
    #[error("projection {} has no generation {}", .0.projection, .0.number)]
    NoGeneration(GenerationId),
    /// The active generation cannot be dropped.
    #[error("generation {} of {} answers queries; activate another one first", .0.number, .0.projection)]
    Active(GenerationId),
    /// The generation is retired and takes no commits.
    #[error("generation {} of {} is retired; another one answers queries", .0.number, .0.projection)]
    Retired(GenerationId),
    /// Readers would go back in time.
    #[error(
        "generation {} of {} stands at {checkpoint}, and readers see {active}; let it catch up, or \
         remove the read models if the log was restored to an earlier state: README.md, Operate, \
         says how",
        generation.number,
        generation.projection
    )]
    Behind {
        /// Which generation.
        generation: GenerationId,
        /// Where it is.
        checkpoint: GlobalPosition,
        /// Where the active generation is.
        active: GlobalPosition,
    },
    /// Readers would lose events of a stream.
    #[error(
        "generation {} of {} has stream {stream} parked at position {position}, which readers see \
         applied; mend what parks it and try again",
        generation.number,
        generation.projection
    )]
    Lacks {
        /// Which generation.
        generation: GenerationId,
        /// What is parked in it.
        stream: StreamId,
        /// Where.
        position: GlobalPosition,
    },
    /// A letter is not as the writer believed.
    #[error("the dead letter of {stream} in {} is another one by now", generation.projection)]
    LetterMoved {
        /// Where it is parked.
        generation: GenerationId,
        /// Whose it is.
        stream: StreamId,
    },
    /// Someone else moved the checkpoint, or changed what moves none.
    #[error(
        "{} stands at {} (revision {}), not {} (revision {}); another process runs it",
        generation.projection, actual.position, actual.revision, expected.position,
        expected.revision
    )]
    CheckpointMoved {
        /// Which generation.
        generation: GenerationId,
        /// Where the writer believed it was.
        expected: Mark,
        /// Where it is.
        actual: Mark,
    },
    /// A question that does not fit the table.
    #[error("table {table}: {what}")]
    Unfit {
        /// The table.
        table: &'static str,
        /// What does not fit.
        what: String,
    },
    /// The store could not be reached or failed.
    #[error("the read models are unavailable; check their address and that they are running")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
}
