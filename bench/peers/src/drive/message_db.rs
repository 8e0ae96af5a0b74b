//! Message DB: its SQL functions, called with prepared statements over a pool.
//!
//! A write holds a lock of its stream's category until it is committed. Homes are one category; the
//! driver with 64 of them shows what is won where an application can spread its streams, at the
//! price of 64 readers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::{Answer, Asked, At, Peer, Seen};
use crate::history::History;

/// Its own default of a reader's batch.
const BATCH: i64 = 1_000;
/// Its own default between two looks of a consumer that found nothing.
const POLL: Duration = Duration::from_millis(100);
const WRITE: &str = "SELECT write_message($1, $2, $3, $4::jsonb, NULL, $5)";

pub(super) struct MessageDb {
    pool: PgPool,
    history: Arc<History>,
    categories: u128,
}

impl MessageDb {
    pub(super) async fn open(
        asked: &Asked,
        history: Arc<History>,
        categories: u128,
    ) -> anyhow::Result<Self> {
        let pool = super::pool(asked, "message_store, public").await?;
        Ok(Self { pool, history, categories })
    }

    fn category(&self, number: u128) -> String {
        if self.categories == 1 { "property".to_owned() } else { format!("property{number}") }
    }

    fn name(&self, stream: Uuid) -> String {
        format!("{}-{stream}", self.category(stream.as_u128() % self.categories))
    }

    async fn write(
        &self,
        to: impl sqlx::PgExecutor<'_>,
        name: &str,
        version: u64,
    ) -> Result<i64, sqlx::Error> {
        let event = self.history.at(version + 1);
        let payload = std::str::from_utf8(&event.payload).unwrap_or_default();
        sqlx::query_scalar(WRITE)
            .bind(Uuid::now_v7().to_string())
            .bind(name)
            .bind(&*event.event_type)
            .bind(payload)
            .bind(version as i64 - 1)
            .fetch_one(to)
            .await
    }
}

/// The version in "Wrong expected version: 3 (Stream: property-..., Stream Version: 7)".
fn conflict(error: &sqlx::Error) -> Option<At> {
    let text = error.as_database_error()?.message();
    let text = text.strip_prefix("Wrong expected version")?;
    let version: i64 = text.rsplit_once(' ')?.1.strip_suffix(')')?.parse().ok()?;
    Some(At { version: (version + 1) as u64, position: 0 })
}

#[async_trait]
impl Peer for MessageDb {
    async fn append(&self, stream: Uuid, at: At, _: u64) -> anyhow::Result<Answer> {
        match self.write(&self.pool, &self.name(stream), at.version).await {
            Ok(position) => Ok(Answer::Stored(At { version: (position + 1) as u64, position: 0 })),
            Err(error) => match conflict(&error) {
                Some(at) => Ok(Answer::Conflict(at)),
                None => Err(error.into()),
            },
        }
    }

    /// As its own client writes several messages: one call each in a transaction.
    async fn append_batch(&self, stream: Uuid, count: u64) -> anyhow::Result<()> {
        let name = self.name(stream);
        let mut transaction = self.pool.begin().await?;
        for version in 0..count {
            self.write(&mut *transaction, &name, version).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn load(&self, stream: Uuid) -> anyhow::Result<u64> {
        let rows = sqlx::query("SELECT * FROM get_stream_messages($1, 0, $2)")
            .bind(self.name(stream))
            .bind(BATCH)
            .fetch_all(&self.pool)
            .await?;
        let mut version = 0;
        for row in rows {
            let _: serde_json::Value = serde_json::from_str(row.try_get("data")?)?;
            version = row.try_get::<i64, _>("position")? as u64 + 1;
        }
        Ok(version)
    }

    async fn follow(&self, seen: &Seen) -> anyhow::Result<()> {
        let mut next = vec![1_i64; self.categories as usize];
        loop {
            let mut found = false;
            for (number, position) in (0..).zip(&mut next) {
                let rows = sqlx::query("SELECT * FROM get_category_messages($1, $2, $3)")
                    .bind(self.category(number))
                    .bind(*position)
                    .bind(BATCH)
                    .fetch_all(&self.pool)
                    .await?;
                for row in rows {
                    let _: serde_json::Value = serde_json::from_str(row.try_get("data")?)?;
                    let stream: &str = row.try_get("stream_name")?;
                    let (_, id) = stream.split_once('-').context("a stream has a category")?;
                    let version: i64 = row.try_get("position")?;
                    seen.event(id.parse()?, version as u64 + 1);
                    *position = row.try_get::<i64, _>("global_position")? + 1;
                    found = true;
                }
            }
            if !found {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}
