//! What goes on beside reading and writing: partitions are made ahead, old command ids dropped,
//! processes wake each other.
//!
//! Every process does all of it; the server lets one at a time, and again is nothing.

use std::collections::HashSet;
use std::convert::identity;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{Clock, GlobalPosition, LogName};
use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::LogRow;
use crate::database::{Database, LIMIT, PoolStatus, within};

/// How often partitions are looked after: far more often than a log fills one.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How often heads are asked for, should no notification arrive.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Notifications to other processes are sent at most so often.
const NEWS_INTERVAL: Duration = Duration::from_millis(10);

/// Notifications are for processes on the same schema.
const CHANNEL: &str = "SELECT 'freehold_' || left(md5(current_schema()), 16)";

/// Makes a log that is not there.
pub(super) async fn make_log(database: &Database, name: &LogName) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH made AS (
             INSERT INTO log (name) SELECT $1 WHERE NOT EXISTS (SELECT FROM log WHERE name = $1)
             ON CONFLICT DO NOTHING RETURNING id)
         INSERT INTO log_head (log_id, position, recorded_at) SELECT id, 0, 0 FROM made",
    )
    .bind(name.as_str())
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Finds a log.
pub(super) async fn open_log(
    database: &Database,
    name: &LogName,
) -> Result<Option<LogRow>, sqlx::Error> {
    let found: Option<(i16, i64)> = sqlx::query_as("SELECT id, epoch FROM log WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(database.pool())
        .await?;
    let Some((id, epoch)) = found else { return Ok(None) };
    let head: i64 = sqlx::query_scalar(HEAD).bind(id).fetch_one(database.pool()).await?;
    let head = watch::Sender::new(GlobalPosition(head as u64));
    Ok(Some(LogRow { id, name: name.clone(), epoch, head, fenced: AtomicBool::new(false) }))
}

/// The position of a log's last event.
pub(super) const HEAD: &str =
    "SELECT position FROM log_head WHERE log_id = $1 ORDER BY position DESC LIMIT 1";

/// Where a log ends, whether it still is in the epoch in which it was opened, and how many events
/// fit into the partitions that are made.
const STANDING: &str = "SELECT head.position, log.epoch = $2, (
         SELECT coalesce(max(upper), 1) - 1 - head.position FROM partition WHERE log_id = $1)
     FROM log, LATERAL (
         SELECT position FROM log_head WHERE log_id = $1 ORDER BY position DESC LIMIT 1) AS head
     WHERE log.id = $1";

/// The events at two positions, as one snapshot has them.
const EVENTS_AT: &str = "SELECT
     (SELECT event_id FROM event WHERE log_id = $1 AND position = $2),
     (SELECT event_id FROM event WHERE log_id = $1 AND position = $3)";

/// The last event that was seen of a log, which is there for as long as the log has one history.
#[derive(Default)]
struct LastSeen(Option<(i64, Uuid)>);

impl LastSeen {
    /// Whether the event still is where it was; then the one at the head is the last seen.
    async fn is_there(
        &mut self,
        pool: &PgPool,
        log: &LogRow,
        head: i64,
    ) -> Result<bool, sqlx::Error> {
        let (position, event) = self.0.unzip();
        // Planned for these positions: a plan for all would lock each partition of the log.
        let events = sqlx::query_as(EVENTS_AT).persistent(false);
        let events = events.bind(log.id).bind(position).bind(head).fetch_one(pool);
        let (there, at_head): (Option<Uuid>, Option<Uuid>) =
            within(LIMIT, identity, events).await?;
        if there != event {
            return Ok(false);
        }
        self.0 = at_head.map(|event| (head, event)).or(self.0);
        Ok(true)
    }
}

/// How the tables are cut.
#[derive(Clone, Copy)]
pub(super) struct Partitions {
    pub(super) events: i64,
    pub(super) command_retention: Duration,
}

impl Partitions {
    /// Makes what a log needs next and drops what nobody needs.
    pub(super) async fn keep(
        &self,
        pool: &PgPool,
        log: &LogRow,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = pool.begin().await?;
        sqlx::query("SELECT keep_partitions($1, $2, $3, $4)")
            .bind(log.id)
            .bind(now.timestamp_micros())
            .bind(self.events)
            .bind(self.command_retention.as_micros() as i64)
            .execute(&mut *transaction)
            .await?;
        // Only the newest is ever read.
        sqlx::query(
            "DELETE FROM log_head WHERE log_id = $1
             AND position < (SELECT max(position) FROM log_head WHERE log_id = $1)",
        )
        .bind(log.id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }
}

/// What the tasks beside need.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) database: Database,
    pub(super) logs: Arc<[Arc<LogRow>]>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) partitions: Partitions,
    /// Wakes when this process stored something.
    pub(super) news: Arc<Notify>,
}

impl Keeper {
    pub(super) fn start(self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().keep_partitions());
        tasks.spawn(self.clone().poll_heads());
        tasks.spawn(self.clone().tell_news());
        tasks.spawn(self.hear_news());
        tasks
    }

    async fn keep_partitions(self) {
        loop {
            sleep(KEEP_INTERVAL).await;
            for log in &*self.logs {
                let now = self.clock.now();
                let kept = self.partitions.keep(self.database.pool(), log, now);
                if let Err(error) = within(LIMIT, identity, kept).await {
                    tracing::warn!(log = %log.name, %error, "partitions not kept, trying again");
                }
            }
        }
    }

    async fn poll_heads(self) {
        let mut away = HashSet::new();
        let mut last_seen: Vec<_> = self.logs.iter().map(|_| LastSeen::default()).collect();
        loop {
            for (log, last_seen) in self.logs.iter().zip(&mut last_seen) {
                let standing = sqlx::query_as(STANDING).bind(log.id).bind(log.epoch);
                let standing = standing.fetch_optional(self.database.pool());
                let standing: Result<Option<(i64, bool, i64)>, _> =
                    within(LIMIT, identity, standing).await;
                let standing = match standing {
                    Ok(Some((head, true, room))) => {
                        let same = last_seen.is_there(self.database.pool(), log, head).await;
                        same.map(|same| Some((head, same, room)))
                    }
                    standing => standing,
                };
                // Once each time: this is every second.
                match &standing {
                    Err(error) if away.insert(log.id) => {
                        tracing::warn!(log = %log.name, %error, "log not read, trying again");
                    }
                    Ok(_) if away.remove(&log.id) => {
                        tracing::info!(log = %log.name, "the log is read again");
                    }
                    _ => {}
                }
                match standing {
                    Ok(Some((head, true, room))) => {
                        raise(log, head);
                        gauge("freehold_log_prepared_events", &log.name).set(room as f64);
                    }
                    Ok(_) => log.fence(),
                    Err(_) => {}
                }
                let fenced = if log.is_fenced() { 1.0 } else { 0.0 };
                gauge("freehold_log_fenced", &log.name).set(fenced);
            }
            for PoolStatus { name, idle, in_use, limit } in self.database.pools() {
                for (state, connections) in [("idle", idle), ("in_use", in_use)] {
                    let labels = [("pool", name), ("state", state)];
                    let gauge = metrics::gauge!("freehold_postgres_connections", &labels);
                    gauge.set(f64::from(connections));
                }
                let gauge = metrics::gauge!("freehold_postgres_connections_limit", "pool" => name);
                gauge.set(f64::from(limit));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Tells other processes from a connection of the pool, after the commit: inside an append a
    /// notification would serialise commits of the whole server.
    async fn tell_news(self) {
        let mut told: Vec<GlobalPosition> = self.logs.iter().map(|log| head_of(log)).collect();
        loop {
            self.news.notified().await;
            for (log, told) in self.logs.iter().zip(&mut told) {
                let head = head_of(log);
                if head == *told {
                    continue;
                }
                let news = format!("SELECT pg_notify(({CHANNEL}), $1)");
                let news = sqlx::query(&news).bind(format!("{} {head}", log.id));
                match within(LIMIT, identity, news.execute(self.database.pool())).await {
                    Ok(_) => *told = head,
                    Err(error) => tracing::debug!(%error, "other processes not told"),
                }
            }
            sleep(NEWS_INTERVAL).await;
        }
    }

    async fn hear_news(self) {
        let held = self.database.listener();
        loop {
            if let Err(error) = self.listen(&held).await {
                tracing::debug!(%error, "not listening to other processes, trying again");
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn listen(&self, held: &PgPool) -> Result<(), sqlx::Error> {
        let channel = sqlx::query_scalar(CHANNEL).fetch_one(self.database.pool());
        let channel: String = within(LIMIT, identity, channel).await?;
        let mut listener = PgListener::connect_with(held).await?;
        listener.listen(&channel).await?;
        loop {
            let news = listener.recv().await?;
            let Some((id, head)) = news.payload().split_once(' ') else { continue };
            let log = self.logs.iter().find(|log| log.id.to_string() == id);
            // Anybody may notify, so it only says that there is something to look at.
            if let (Some(log), Ok(head)) = (log, head.parse::<u64>())
                && GlobalPosition(head) > head_of(log)
            {
                let head = sqlx::query_scalar(HEAD).bind(log.id).fetch_one(self.database.pool());
                raise(log, within(LIMIT, identity, head).await?);
            }
        }
    }
}

fn gauge(name: &'static str, log: &LogName) -> metrics::Gauge {
    metrics::gauge!(name, "log" => log.to_string())
}

fn head_of(log: &LogRow) -> GlobalPosition {
    *log.head.borrow()
}

fn raise(log: &LogRow, head: i64) {
    log.raise_head(GlobalPosition(head as u64));
}
