//! How far topics of senders are taken in, each step one statement.

use std::convert::identity;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use freehold_ports::{
    Intake, IntakeStep, MessageId, ReadError, RefusedFilter, RefusedItem, SourcePartition, Taken,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Executor as _, Postgres, Row as _};

use super::PostgresEventStore;
use super::reader::unavailable;
use crate::database::{LIMIT, within};

const COLUMNS: &str =
    "topic, partition, message_offset, cluster, stamp, item, code, field, what, refused_at";

/// A partition that nobody has read, and one that is where its reader found it.
const BEGIN: &str = "INSERT INTO intake (cluster, topic, partition, message_offset, stamp)
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING 1";
const MOVE: &str = "UPDATE intake SET message_offset = $4, stamp = $5
     WHERE cluster = $1 AND topic = $2 AND partition = $3 AND message_offset = $13 AND stamp = $14
     RETURNING 1";

/// Lists items of one partition where `moved` has a row.
const LIST: &str =
    "INSERT INTO refused_message (cluster, topic, partition, message_offset, stamp, item, code,
         field, what, refused_at)
     SELECT $1, $2, $3, items.* FROM moved,
         unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[],
             $12::bigint[]) AS items
     ON CONFLICT DO NOTHING";

/// The columns of items, to be unnested.
#[derive(Default)]
struct Columns {
    offsets: Vec<i64>,
    stamps: Vec<i64>,
    items: Vec<i64>,
    codes: Vec<String>,
    fields: Vec<Option<String>>,
    whats: Vec<String>,
    times: Vec<i64>,
}

impl Columns {
    fn of(refused: &[RefusedItem]) -> Self {
        let mut columns = Self::default();
        for item in refused {
            columns.offsets.push(item.message.at.offset as i64);
            columns.stamps.push(item.message.at.stamp);
            columns.items.push(item.item.map_or(-1, i64::from));
            columns.codes.push(text(&item.code));
            columns.fields.push(item.field.as_deref().map(text));
            columns.whats.push(text(&item.what));
            columns.times.push(item.refused_at.timestamp_micros());
        }
        columns
    }
}

/// What a field is called comes from its sender, and the server takes no NUL.
fn text(said: &str) -> String {
    said.replace('\0', "\u{fffd}")
}

#[async_trait]
impl Intake for PostgresEventStore {
    async fn taken(&self, partition: &SourcePartition) -> Result<Option<Taken>, ReadError> {
        let sql = "SELECT message_offset, stamp FROM intake
             WHERE cluster = $1 AND topic = $2 AND partition = $3";
        let row = of(sql, partition).fetch_optional(self.database.pool());
        let row = within(LIMIT, identity, row).await.map_err(unavailable)?;
        row.map(|row| taken_in(&row, [0, 1])).transpose().map_err(unavailable)
    }

    async fn advance(&self, step: IntakeStep) -> Result<bool, ReadError> {
        let IntakeStep { partition, from, to, refused } = step;
        let moving = if from.is_some() { MOVE } else { BEGIN };
        let columns = Columns::of(&refused);
        let sql =
            format!("WITH moved AS ({moving}), listed AS ({LIST}) SELECT count(*) FROM moved");
        let mut advance = of(&sql, &partition)
            .bind(to.offset as i64)
            .bind(to.stamp)
            .bind(&columns.offsets)
            .bind(&columns.stamps)
            .bind(&columns.items)
            .bind(&columns.codes)
            .bind(&columns.fields)
            .bind(&columns.whats)
            .bind(&columns.times);
        if let Some(from) = from {
            advance = advance.bind(from.offset as i64).bind(from.stamp);
        }
        let row = within(LIMIT, identity, self.database.pool().fetch_one(advance)).await;
        let moved: i64 = row.and_then(|row| row.try_get(0)).map_err(unavailable)?;
        Ok(moved == 1)
    }

    async fn refused(
        &self,
        filter: RefusedFilter,
        after: Option<RefusedItem>,
        limit: u32,
    ) -> Result<Vec<RefusedItem>, ReadError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM refused_message
             WHERE ($1::text IS NULL OR topic = $1) AND ($2::bigint IS NULL OR partition = $2)
               AND ($3::bigint IS NULL OR message_offset = $3)
               AND ($4::text IS NULL
                    OR (topic, partition, message_offset, cluster, stamp, item)
                       > ($4 COLLATE \"C\", $5::bigint, $6::bigint, $7::text, $8::bigint,
                          $9::bigint))
             ORDER BY topic, partition, message_offset, cluster, stamp, item LIMIT $10"
        );
        let place = after.as_ref().map(RefusedItem::place);
        let list = sqlx::query(&sql)
            .bind(filter.topic.as_deref())
            .bind(filter.partition.map(i64::from))
            .bind(filter.offset.map(|offset| offset as i64))
            .bind(place.map(|place| place.0))
            .bind(place.map(|place| i64::from(place.1)))
            .bind(place.map(|place| place.2 as i64))
            .bind(place.map(|place| place.3))
            .bind(place.map(|place| place.4))
            .bind(place.map(|place| place.5.map_or(-1, i64::from)))
            .bind(i64::from(limit));
        let rows = within(LIMIT, identity, list.fetch_all(self.database.pool())).await;
        let rows = rows.map_err(unavailable)?;
        rows.iter().map(item_in).collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn settle(&self, message: &MessageId, still: Vec<RefusedItem>) -> Result<u64, ReadError> {
        let columns = Columns::of(&still);
        // Of an item that is refused again the row is kept, since a statement sees no row that it
        // makes itself.
        let sql = "WITH still AS (
                 SELECT * FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[],
                     $10::bigint[]) AS items (item, code, field, what, refused_at)
             ), gone AS (
                 DELETE FROM refused_message AS old
                 WHERE cluster = $1 AND topic = $2 AND partition = $3 AND message_offset = $4
                   AND stamp = $5
                   AND NOT EXISTS (SELECT 1 FROM still WHERE still.item = old.item)
                 RETURNING 1
             ), kept AS (
                 INSERT INTO refused_message (cluster, topic, partition, message_offset, stamp,
                     item, code, field, what, refused_at)
                 SELECT $1, $2, $3, $4, $5, still.* FROM still
                 ON CONFLICT (topic, partition, message_offset, cluster, stamp, item)
                 DO UPDATE SET code = excluded.code, field = excluded.field,
                     what = excluded.what, refused_at = excluded.refused_at
             )
             SELECT count(*) FROM gone";
        let settle = of(sql, &message.partition)
            .bind(message.at.offset as i64)
            .bind(message.at.stamp)
            .bind(&columns.items)
            .bind(&columns.codes)
            .bind(&columns.fields)
            .bind(&columns.whats)
            .bind(&columns.times);
        let row = within(LIMIT, identity, self.database.pool().fetch_one(settle)).await;
        let gone: i64 = row.and_then(|row| row.try_get(0)).map_err(unavailable)?;
        Ok(gone as u64)
    }
}

/// A statement whose first three parameters say which partition.
fn of<'q>(sql: &'q str, partition: &'q SourcePartition) -> Query<'q, Postgres, PgArguments> {
    let number = i64::from(partition.partition);
    sqlx::query(sql).bind(&*partition.cluster).bind(&*partition.topic).bind(number)
}

fn taken_in(row: &PgRow, [offset, stamp]: [usize; 2]) -> Result<Taken, sqlx::Error> {
    let offset: i64 = row.try_get(offset)?;
    Ok(Taken { offset: offset as u64, stamp: row.try_get(stamp)? })
}

fn item_in(row: &PgRow) -> Result<RefusedItem, sqlx::Error> {
    let text = |column: usize| row.try_get::<String, _>(column).map(Arc::from);
    let refused_at: i64 = row.try_get(9)?;
    let refused_at = DateTime::from_timestamp_micros(refused_at);
    let partition: i64 = row.try_get(1)?;
    let partition = u32::try_from(partition).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let item: i64 = row.try_get(5)?;
    Ok(RefusedItem {
        message: MessageId {
            partition: SourcePartition { cluster: text(3)?, topic: text(0)?, partition },
            at: taken_in(row, [2, 4])?,
        },
        item: u32::try_from(item).ok(),
        code: text(6)?,
        field: row.try_get::<Option<String>, _>(7)?.map(Arc::from),
        what: text(8)?,
        refused_at: refused_at.ok_or_else(|| sqlx::Error::Decode("no such time".into()))?,
    })
}
