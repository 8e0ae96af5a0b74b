//! How far topics of senders are taken in, written by the log's writer.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use freehold_ports::{
    Intake, IntakeStep, MessageId, ReadError, RefusedFilter, RefusedItem, SourcePartition, Taken,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::SqliteEventStore;
use super::queue::Work;
use super::reader::{Reader, unavailable};

const COLUMNS: &str =
    "topic, partition, message_offset, cluster, stamp, item, code, field, what, refused_at";

/// Moves a partition and lists what was refused, in the open transaction; false if it is elsewhere.
pub(super) fn advance(connection: &Connection, step: &IntakeStep) -> rusqlite::Result<bool> {
    let IntakeStep { partition, from, to, refused } = step;
    let moved = match from {
        None => {
            let sql = "INSERT INTO intake (cluster, topic, partition, message_offset, stamp)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let SourcePartition { cluster, topic, partition } = partition;
            connection.prepare_cached(sql)?.execute(params![
                cluster,
                topic,
                partition,
                to.offset as i64,
                to.stamp
            ])?
        }
        Some(from) => {
            let sql = "UPDATE intake SET message_offset = ?4, stamp = ?5
                 WHERE cluster = ?1 AND topic = ?2 AND partition = ?3
                   AND message_offset = ?6 AND stamp = ?7";
            let SourcePartition { cluster, topic, partition } = partition;
            connection.prepare_cached(sql)?.execute(params![
                cluster,
                topic,
                partition,
                to.offset as i64,
                to.stamp,
                from.offset as i64,
                from.stamp,
            ])?
        }
    };
    if moved == 1 {
        list(connection, refused)?;
    }
    Ok(moved == 1)
}

/// Lists of a message only what is still refused, in the open transaction.
pub(super) fn settle(
    connection: &Connection,
    message: &MessageId,
    still: &[RefusedItem],
) -> rusqlite::Result<u64> {
    let MessageId { partition: SourcePartition { cluster, topic, partition }, at } = message;
    let sql = "DELETE FROM refused_message
         WHERE cluster = ?1 AND topic = ?2 AND partition = ?3 AND message_offset = ?4 AND stamp = ?5";
    let of = params![cluster, topic, partition, at.offset as i64, at.stamp];
    let gone = connection.prepare_cached(sql)?.execute(of)?;
    list(connection, still)?;
    Ok(gone.saturating_sub(still.len()) as u64)
}

fn list(connection: &Connection, refused: &[RefusedItem]) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO refused_message ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"
    );
    let mut insert = connection.prepare_cached(&sql)?;
    for item in refused {
        let MessageId { partition: SourcePartition { cluster, topic, partition }, at } =
            &item.message;
        insert.execute(params![
            topic,
            partition,
            at.offset as i64,
            cluster,
            at.stamp,
            item.item.map_or(-1, i64::from),
            item.code,
            item.field,
            item.what,
            item.refused_at.timestamp_micros(),
        ])?;
    }
    Ok(())
}

impl Reader {
    fn taken(&self, partition: &SourcePartition) -> rusqlite::Result<Option<Taken>> {
        let sql = "SELECT message_offset, stamp FROM intake
             WHERE cluster = ?1 AND topic = ?2 AND partition = ?3";
        let SourcePartition { cluster, topic, partition } = partition;
        let mut find = self.connection.prepare_cached(sql)?;
        let found = find.query_row(params![cluster, topic, partition], |row| {
            Ok(Taken { offset: row.get::<_, i64>(0)? as u64, stamp: row.get(1)? })
        });
        found.optional()
    }

    fn refused(
        &self,
        filter: &RefusedFilter,
        after: Option<&RefusedItem>,
        limit: u32,
    ) -> rusqlite::Result<Vec<RefusedItem>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM refused_message
             WHERE (?1 IS NULL OR topic = ?1) AND (?2 IS NULL OR partition = ?2)
               AND (?3 IS NULL OR message_offset = ?3)
               AND (?4 IS NULL OR (topic, partition, message_offset, cluster, stamp, item)
                                  > (?4, ?5, ?6, ?7, ?8, ?9))
             ORDER BY topic, partition, message_offset, cluster, stamp, item LIMIT ?10"
        );
        let place = after.map(RefusedItem::place);
        self.connection
            .prepare_cached(&sql)?
            .query_map(
                params![
                    filter.topic,
                    filter.partition,
                    filter.offset.map(|offset| offset as i64),
                    place.map(|place| place.0),
                    place.map(|place| place.1),
                    place.map(|place| place.2 as i64),
                    place.map(|place| place.3),
                    place.map(|place| place.4),
                    place.map(|place| place.5.map_or(-1, i64::from)),
                    limit,
                ],
                item_in,
            )?
            .collect()
    }
}

fn item_in(row: &Row<'_>) -> rusqlite::Result<RefusedItem> {
    let refused_at: i64 = row.get(9)?;
    Ok(RefusedItem {
        message: MessageId {
            partition: SourcePartition {
                topic: row.get(0)?,
                partition: row.get(1)?,
                cluster: row.get(3)?,
            },
            at: Taken { offset: row.get::<_, i64>(2)? as u64, stamp: row.get(4)? },
        },
        item: u32::try_from(row.get::<_, i64>(5)?).ok(),
        code: row.get(6)?,
        field: row.get::<_, Option<Arc<str>>>(7)?,
        what: row.get(8)?,
        refused_at: DateTime::from_timestamp_micros(refused_at)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(9, refused_at))?,
    })
}

#[async_trait]
impl Intake for SqliteEventStore {
    async fn taken(&self, partition: &SourcePartition) -> Result<Option<Taken>, ReadError> {
        let partition = partition.clone();
        self.readers.read(move |reader| reader.taken(&partition).map_err(unavailable)).await
    }

    async fn advance(&self, step: IntakeStep) -> Result<bool, ReadError> {
        self.write(|answer| Work::Advance { step, answer }).await
    }

    async fn refused(
        &self,
        filter: RefusedFilter,
        after: Option<RefusedItem>,
        limit: u32,
    ) -> Result<Vec<RefusedItem>, ReadError> {
        self.readers
            .read(move |reader| reader.refused(&filter, after.as_ref(), limit).map_err(unavailable))
            .await
    }

    async fn settle(&self, message: &MessageId, still: Vec<RefusedItem>) -> Result<u64, ReadError> {
        let message = message.clone();
        self.write(|answer| Work::Settle { message, still, answer }).await
    }
}
