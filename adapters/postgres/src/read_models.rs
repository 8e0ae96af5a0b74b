//! Read models in tables of a PostgreSQL schema.
//!
//! Commits go through connections that do not wait for the disk; queries through connections of
//! their own, each in one snapshot, and neither waits for the other. The tables of a generation are
//! made by [`schema`], the catalogue of generations is in [`catalogue`], commits are written by
//! [`writer`], what could not be handled is in [`dead_letters`], questions are answered by [`query`]. Absent on purpose: what the rows mean;
//! projections know.

mod catalogue;
mod dead_letters;
mod holds;
mod query;
mod schema;
mod value;
mod writer;

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use freehold_ports::{
    Commit, DeadLetter, DeadLetters, Filter, Generation, GenerationId, Hold, Key, LetterFilter,
    LetterGroup, LetterId, Mark, Page, Query, ReadModelError, ReadModels, RetryPace, Row,
    StreamVersion, Table,
};
use sqlx::postgres::PgPool;

use crate::database::{Database, LIMIT, LONG_LIMIT, Migration, OpenError, Part, failure, within};
use query::Planner;

pub(crate) const SCHEMA: Part = Part {
    name: "read_models",
    migrations: &[
        Migration {
            number: 101,
            sql: include_str!("../../../migrations/postgres/0101_generations_of_read_models.sql"),
        },
        Migration {
            number: 102,
            sql: include_str!("../../../migrations/postgres/0102_dead_letters.sql"),
        },
        Migration {
            number: 103,
            sql: include_str!("../../../migrations/postgres/0103_decisions_about_dead_letters.sql"),
        },
    ],
};

/// How often a question is asked again whose generation is dropped while it is answered: each time
/// another one has become active meanwhile.
const ATTEMPTS: usize = 5;

/// The read models of one schema.
pub struct PostgresReadModels {
    database: Database,
    /// Commits, and what they read before.
    writers: PgPool,
    /// Queries.
    readers: PgPool,
    planner: Planner,
}

impl PostgresReadModels {
    /// Opens the read models in a database, making or migrating what is needed.
    ///
    /// Any number of processes may.
    pub async fn open(database: Database) -> Result<Self, OpenError> {
        database.migrate(&SCHEMA).await?;
        Ok(Self::new(database))
    }

    /// Opens the read models in a database, making and migrating nothing.
    pub async fn open_read_only(database: Database) -> Result<Self, OpenError> {
        database.require(&SCHEMA).await?;
        Ok(Self::new(database))
    }

    fn new(database: Database) -> Self {
        let (writers, readers) = (database.row_writers(), database.row_readers());
        Self { database, writers, readers, planner: Planner::default() }
    }

    /// What became of a failure to read a generation's table: the table may be gone with it.
    async fn of_generation(
        &self,
        generation: &GenerationId,
        error: ReadModelError,
    ) -> ReadModelError {
        if !is_gone(&error) {
            return error;
        }
        match catalogue::checkpoint(&self.writers, generation).await {
            Ok(_) => error,
            Err(why) => why,
        }
    }
}

fn unavailable(error: sqlx::Error) -> ReadModelError {
    ReadModelError::Unavailable { source: failure(error) }
}

/// Whether a table was not there.
fn is_gone(error: &ReadModelError) -> bool {
    let ReadModelError::Unavailable { source } = error else { return false };
    match source.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error.code().as_deref() == Some("42P01"),
        _ => false,
    }
}

#[async_trait]
impl DeadLetters for PostgresReadModels {
    async fn letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
        limit: NonZeroU32,
    ) -> Result<Vec<DeadLetter>, ReadModelError> {
        let letters = dead_letters::list(&self.readers, &filter, after.as_ref(), limit);
        within(LIMIT, unavailable, letters).await
    }

    async fn letter_groups(
        &self,
        filter: LetterFilter,
    ) -> Result<Vec<LetterGroup>, ReadModelError> {
        within(LIMIT, unavailable, dead_letters::groups(&self.readers, &filter)).await
    }

    async fn parked(&self, generation: &GenerationId) -> Result<Vec<DeadLetter>, ReadModelError> {
        within(LONG_LIMIT, unavailable, dead_letters::parked(&self.writers, generation)).await
    }

    async fn order_retry(
        &self,
        letters: Vec<LetterId>,
        pace: RetryPace,
        by: Arc<str>,
    ) -> Result<u64, ReadModelError> {
        let order = dead_letters::order_retry(self.database.pool(), &letters, pace, &by);
        within(LONG_LIMIT, unavailable, order).await
    }

    async fn hold(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
    ) -> Result<Vec<LetterId>, ReadModelError> {
        let hold = holds::hold(self.database.pool(), letters, &hold);
        within(LIMIT, unavailable, hold).await
    }

    async fn release(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
        pace: RetryPace,
    ) -> Result<u64, ReadModelError> {
        let release = holds::release(self.database.pool(), letters, &hold, pace);
        within(LONG_LIMIT, unavailable, release).await
    }
}

#[async_trait]
impl ReadModels for PostgresReadModels {
    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError> {
        within(LONG_LIMIT, unavailable, catalogue::generations(&self.writers, projection)).await
    }

    async fn create_generation(
        &self,
        projection: &str,
        version: u32,
        tables: &'static [&'static Table],
    ) -> Result<GenerationId, ReadModelError> {
        for table in tables {
            table.check_declaration()?;
            schema::check_names(table)?;
        }
        let create = async {
            catalogue::sweep(self.database.pool()).await;
            catalogue::create(self.database.pool(), projection, version, tables).await
        };
        within(LONG_LIMIT, unavailable, create).await
    }

    async fn prepare(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        catalogue::prepare(&self.database, &generation).await
    }

    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        self.prepare(generation.clone()).await?;
        within(LONG_LIMIT, unavailable, catalogue::swap(self.database.pool(), &generation)).await
    }

    async fn reopen(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        catalogue::reopen(self.database.pool(), &generation).await
    }

    async fn drop_generation(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        within(
            LONG_LIMIT,
            unavailable,
            catalogue::drop_generation(self.database.pool(), &generation),
        )
        .await
    }

    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        keys.iter().try_for_each(|key| table.check_key(&key.0))?;
        let rows = writer::fetch(&self.writers, &generation, table, &keys);
        match within(LONG_LIMIT, unavailable, rows).await {
            Err(error) => Err(self.of_generation(&generation, error).await),
            fetched => fetched,
        }
    }

    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        commit.check()?;
        within(LONG_LIMIT, unavailable, writer::commit(&self.writers, &commit)).await
    }

    async fn obey(
        &self,
        generation: GenerationId,
        from: Mark,
        decided: StreamVersion,
    ) -> Result<Mark, ReadModelError> {
        let obey = catalogue::obey(self.database.pool(), &generation, from, decided);
        within(LONG_LIMIT, unavailable, obey).await
    }

    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError> {
        query.check()?;
        schema::check_words(query.table, &query.filters)?;
        let mut attempt = 1;
        loop {
            let answer = query::page(&self.readers, &self.planner, projection, &query);
            match within(LIMIT, unavailable, answer).await {
                Err(error) if is_gone(&error) && attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError> {
        table.check_filters(&filters)?;
        schema::check_words(table, &filters)?;
        let mut attempt = 1;
        loop {
            let answer = query::count(&self.readers, &self.planner, projection, table, &filters);
            match within(LIMIT, unavailable, answer).await {
                Err(error) if is_gone(&error) && attempt < ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
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
        let rows = writer::scan(&self.writers, &generation, table, after.as_ref(), limit);
        match within(LONG_LIMIT, unavailable, rows).await {
            Err(error) => Err(self.of_generation(&generation, error).await),
            scanned => scanned,
        }
    }
}

#[cfg(test)]
mod tests {
    use freehold_contract::Fresh;
    use freehold_test_stores::Schema;

    use super::query::Scale;
    use super::*;

    async fn open(schema: &Schema) -> PostgresReadModels {
        // The crate of this test is another than that of the schema.
        PostgresReadModels::open(Database::at(&schema.url()).unwrap()).await.unwrap()
    }

    async fn fresh(scale: Scale) -> Fresh<dyn ReadModels> {
        let schema = Schema::new();
        let mut store = open(&schema).await;
        store.planner = Planner::with(scale);
        Fresh::keeping(Arc::new(store), schema)
    }

    /// The suite once more with the plans of a large table, in which everything is many: each of
    /// them is taken, so that one that is wrong shows.
    mod with_the_plans_of_large_tables {
        use super::*;

        const LARGE: Scale = Scale { sample: 2, dense: 1, patience: 1, many: 3, row: 4.0 };

        /// Numbers that are so small that rows of a test lie on both sides of each.
        mod mixed {
            use super::*;
            freehold_contract::read_models_suite!(fresh(LARGE).await, #[ignore = "set TEST_POSTGRES_URL"]);
        }

        /// A walk is never dense, and all that filters leave is looked up.
        mod looks_up {
            use super::*;
            const UP: Scale = Scale { sample: 1, dense: 99, many: 99, row: 1e9, ..LARGE };
            freehold_contract::read_models_suite!(fresh(UP).await, #[ignore = "set TEST_POSTGRES_URL"]);
        }

        /// Looking up always costs more.
        mod only_walks {
            use super::*;
            const WALKS: Scale = Scale { sample: 1, many: 0, row: 0.0, ..LARGE };
            freehold_contract::read_models_suite!(fresh(WALKS).await, #[ignore = "set TEST_POSTGRES_URL"]);
        }
    }

    /// Commits of rows do not wait for the disk; whatever else there is does.
    #[tokio::test]
    #[ignore = "set TEST_POSTGRES_URL"]
    async fn only_commits_of_rows_do_not_wait_for_the_disk() {
        let schema = Schema::new();
        let store = open(&schema).await;
        for (pool, waits) in [(&store.writers, "off"), (store.database.pool(), "on")] {
            let setting: String =
                sqlx::query_scalar("SHOW synchronous_commit").fetch_one(pool).await.unwrap();
            assert_eq!(setting, waits);
        }
    }
}
