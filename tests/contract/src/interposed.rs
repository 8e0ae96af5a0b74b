//! Stores that stand before another and change what some calls do: for tests of failures.
//!
//! A test writes the calls that go wrong; every other call goes on to the store behind.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use freehold_ports::{
    AppendError, AppendRequest, Appended, CommandId, Commit, DeadLetter, DeadLetters, EventFilter,
    EventPage, EventStore, Filter, Fingerprint, Generation, GenerationId, GlobalPosition, Hold,
    Key, LetterFilter, LetterGroup, LetterId, LogName, Mark, Page, Query, ReadError,
    ReadModelError, ReadModels, RecordedEvent, RetryPace, Row, StreamId, StreamVersion, Table, Tag,
    TaggedEvent,
};
use tokio::sync::watch;

/// Makes a port of what implements [`InterposedStore`] or [`InterposedModels`].
pub struct Interposed<T>(pub T);

impl<T> Deref for Interposed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The calls of an [`EventStore`] that tests change.
#[async_trait]
pub trait InterposedStore: Send + Sync {
    /// The store that does the work.
    fn behind(&self) -> &dyn EventStore;

    /// As [`EventStore::append`].
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.behind().append(request).await
    }

    /// As [`EventStore::find_command`].
    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        self.behind().find_command(log, command_id).await
    }

    /// As [`EventStore::read_all`].
    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        self.behind().read_all(log, filter, after, limit).await
    }

    /// As [`EventStore::read_stream`].
    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.behind().read_stream(log, stream, after, limit).await
    }

    /// As [`EventStore::last_tagged`].
    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        self.behind().last_tagged(log, tenant, tag).await
    }
}

#[async_trait]
impl<T: InterposedStore> EventStore for Interposed<T> {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.0.append(request).await
    }

    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        self.0.find_command(log, command_id).await
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        self.0.read_all(log, filter, after, limit).await
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.0.read_stream(log, stream, after, limit).await
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        self.0.last_tagged(log, tenant, tag).await
    }

    async fn head(&self, log: &LogName) -> Result<GlobalPosition, ReadError> {
        self.0.behind().head(log).await
    }

    fn subscribe_head(&self, log: &LogName) -> watch::Receiver<GlobalPosition> {
        self.0.behind().subscribe_head(log)
    }
}

/// The calls of [`ReadModels`] that tests change.
#[async_trait]
pub trait InterposedModels: Send + Sync {
    /// The read models that do the work.
    fn behind(&self) -> &dyn ReadModels;

    /// As [`ReadModels::generations`].
    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError> {
        self.behind().generations(projection).await
    }

    /// As [`ReadModels::activate`].
    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.behind().activate(generation).await
    }

    /// As [`ReadModels::fetch`].
    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        self.behind().fetch(generation, table, keys).await
    }

    /// As [`ReadModels::commit`].
    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        self.behind().commit(commit).await
    }

    /// As [`DeadLetters::release`].
    async fn release(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
        pace: RetryPace,
    ) -> Result<u64, ReadModelError> {
        self.behind().release(letters, hold, pace).await
    }

    /// As [`ReadModels::query`].
    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError> {
        self.behind().query(projection, query).await
    }

    /// As [`ReadModels::count`].
    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError> {
        self.behind().count(projection, table, filters).await
    }
}

#[async_trait]
impl<T: InterposedModels> DeadLetters for Interposed<T> {
    async fn letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
        limit: NonZeroU32,
    ) -> Result<Vec<DeadLetter>, ReadModelError> {
        self.0.behind().letters(filter, after, limit).await
    }

    async fn letter_groups(
        &self,
        filter: LetterFilter,
    ) -> Result<Vec<LetterGroup>, ReadModelError> {
        self.0.behind().letter_groups(filter).await
    }

    async fn parked(&self, generation: &GenerationId) -> Result<Vec<DeadLetter>, ReadModelError> {
        self.0.behind().parked(generation).await
    }

    async fn order_retry(
        &self,
        letters: Vec<LetterId>,
        pace: RetryPace,
        by: Arc<str>,
    ) -> Result<u64, ReadModelError> {
        self.0.behind().order_retry(letters, pace, by).await
    }

    async fn hold(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
    ) -> Result<Vec<LetterId>, ReadModelError> {
        self.0.behind().hold(letters, hold).await
    }

    async fn release(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
        pace: RetryPace,
    ) -> Result<u64, ReadModelError> {
        self.0.release(letters, hold, pace).await
    }
}

#[async_trait]
impl<T: InterposedModels> ReadModels for Interposed<T> {
    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError> {
        self.0.generations(projection).await
    }

    async fn create_generation(
        &self,
        projection: &str,
        version: u32,
        tables: &'static [&'static Table],
    ) -> Result<GenerationId, ReadModelError> {
        self.0.behind().create_generation(projection, version, tables).await
    }

    async fn prepare(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.0.behind().prepare(generation).await
    }

    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.0.activate(generation).await
    }

    async fn reopen(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.0.behind().reopen(generation).await
    }

    async fn drop_generation(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.0.behind().drop_generation(generation).await
    }

    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        self.0.fetch(generation, table, keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        self.0.commit(commit).await
    }

    async fn obey(
        &self,
        generation: GenerationId,
        from: Mark,
        decided: StreamVersion,
    ) -> Result<Mark, ReadModelError> {
        self.0.behind().obey(generation, from, decided).await
    }

    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError> {
        self.0.query(projection, query).await
    }

    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError> {
        self.0.count(projection, table, filters).await
    }

    async fn scan(
        &self,
        generation: GenerationId,
        table: &'static Table,
        after: Option<Key>,
        limit: NonZeroU32,
    ) -> Result<Vec<Row>, ReadModelError> {
        self.0.behind().scan(generation, table, after, limit).await
    }
}
