//! The one task of this process that writes to a log: takes what waits, decides it, makes one call,
//! answers each.
//!
//! Other processes may write to the same log. What a decision assumes is therefore checked by the
//! call that stores it; if it is not so, the batch is decided again under the log's lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_ports::{
    AppendError, Appended, Clock, CommandId, Fingerprint, GlobalPosition, RecentlyUsed,
    StoreFailure, StreamVersion,
};
use sqlx::postgres::{PgConnection, PgDatabaseError, PgRow, PgSeverity};
use sqlx::{Connection as _, Row as _};
use tokio::sync::Notify;
use uuid::Uuid;

use super::LogRow;
use super::batch::{Columns, Decided, LookedUp, Memory, NameIds, Stream, Verdict, decide};
use super::keeping::Partitions;
use super::queue::{Queue, Waiting};
use crate::database::{Database, TRUSTED_FOR};

/// Longer than the server itself gives any statement, so that its answer comes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(45);
/// So many batches are looked up before they are written after one was not as assumed: a client
/// that repeats its commands, or another process on the same streams, rarely stops at one.
const CAREFUL_BATCHES: u32 = 64;
const REMEMBERED_NAMES: usize = 10_000;
/// So many callers are answered by another task; fewer rather come along with the next batch.
const ANSWERED_BESIDE: usize = 256;

/// What `append_events` raises.
const NOT_AS_ASSUMED: &str = "FH001";
const OTHER_EPOCH: &str = "FH002";
/// The unique index that a stream violates which was believed to be new.
const STREAM_NAME: &str = "stream_name";
/// What PostgreSQL raises where a table has no partition for a row.
pub(super) const NO_PARTITION: &str = "23514";

pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) log: Arc<LogRow>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) partitions: Partitions,
    /// Woken when there is news for other processes.
    pub(super) news: Arc<Notify>,
    /// The last event of this process, as position and command id.
    pub(super) last_event: Option<(GlobalPosition, CommandId)>,
}

/// Why none of a batch can be answered.
enum Failed {
    /// Something that was assumed is not so: nothing is stored.
    NotAsAssumed,
    /// The log has no room prepared: nothing is stored.
    NoPartition,
    /// The log's history is another one than this process knows: nothing is stored.
    Fenced,
    /// Surely nothing of it is stored.
    NothingStored(StoreFailure),
    /// It may be stored.
    Unknown(StoreFailure),
}

impl Failed {
    fn before_writing(error: sqlx::Error) -> Self {
        Self::NothingStored(error.into())
    }

    /// What an error in reply to a writing call means.
    fn while_writing(error: sqlx::Error) -> Self {
        let said = match &error {
            sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>(),
            _ => None,
        };
        match said {
            Some(said) if said.code() == NOT_AS_ASSUMED => Self::NotAsAssumed,
            Some(said) if said.constraint() == Some(STREAM_NAME) => Self::NotAsAssumed,
            Some(said) if said.code() == OTHER_EPOCH => Self::Fenced,
            Some(said) if said.code() == NO_PARTITION => Self::NoPartition,
            // Worse than an error, the server ended the session, maybe after it committed.
            Some(said) if matches!(said.severity(), PgSeverity::Error) => {
                Self::NothingStored(error.into())
            }
            _ => Self::Unknown(error.into()),
        }
    }
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        let _closes = ClosesQueue(self.queue.clone());
        let (mut session, mut failing) = (None, false);
        loop {
            // Callers who were answered just now come along with their next request.
            tokio::task::yield_now().await;
            let Some(batch) = self.queue.take().await else { return };
            metrics::histogram!("freehold_append_batch_requests").record(batch.len() as f64);
            let writing = self.write(&mut session, &batch);
            let written = match tokio::time::timeout(CALL_TIMEOUT, writing).await {
                Ok(written) => written,
                Err(elapsed) => Err(Failed::Unknown(elapsed.into())),
            };
            if std::mem::replace(&mut failing, written.is_err()) && !failing {
                tracing::info!(log = %self.log.name, "events are appended again");
            }
            match written {
                // Meanwhile the server has those who came while it wrote.
                Ok(verdicts) if batch.len() >= ANSWERED_BESIDE => {
                    tokio::spawn(async move { answer(batch, verdicts) });
                }
                Ok(verdicts) => answer(batch, verdicts),
                Err(failed) => {
                    session = None;
                    self.answer_failure(batch, failed);
                }
            }
        }
    }

    async fn write(
        &mut self,
        session: &mut Option<Session>,
        batch: &[Waiting],
    ) -> Result<Vec<Verdict>, Failed> {
        if self.log.is_fenced() {
            return Err(Failed::Fenced);
        }
        if let Some(open) = session
            && open.used.elapsed() > TRUSTED_FOR
            && !crate::database::answers(&mut open.connection).await
        {
            *session = None;
        }
        let session = match session {
            Some(session) => session,
            None => session.insert(self.open_session().await?),
        };
        let stored = match self.store(session, batch).await {
            Err(Failed::NoPartition) => {
                let now = self.clock.now();
                let kept = self.partitions.keep(self.database.pool(), &self.log, now).await;
                kept.map_err(Failed::before_writing)?;
                self.store(session, batch).await
            }
            stored => stored,
        };
        session.used = Instant::now();
        stored
    }

    /// Connects, and makes sure that the log still is the one this process wrote to.
    async fn open_session(&self) -> Result<Session, Failed> {
        let mut connection = self.database.connect().await.map_err(Failed::before_writing)?;
        let same_epoch = sqlx::query_scalar("SELECT epoch = $2 FROM log WHERE id = $1")
            .bind(self.log.id)
            .bind(self.log.epoch)
            .fetch_optional(&mut connection)
            .await
            .map_err(Failed::before_writing)?;
        let same_history = match self.last_event {
            None => true,
            Some((position, command)) => {
                let sql = "SELECT command_id FROM event WHERE log_id = $1 AND position = $2";
                let found: Option<Uuid> = sqlx::query_scalar(sql)
                    .bind(self.log.id)
                    .bind(position.0 as i64)
                    .fetch_optional(&mut connection)
                    .await
                    .map_err(Failed::before_writing)?;
                found == Some(command.0)
            }
        };
        if same_epoch != Some(true) || !same_history {
            return Err(Failed::Fenced);
        }
        Ok(Session {
            connection,
            memory: Memory::default(),
            names: RecentlyUsed::new(REMEMBERED_NAMES),
            careful: 0,
            used: Instant::now(),
        })
    }

    async fn store(
        &mut self,
        session: &mut Session,
        batch: &[Waiting],
    ) -> Result<Vec<Verdict>, Failed> {
        let names = session.name_ids(batch).await.map_err(Failed::before_writing)?;
        let mut looked_up = LookedUp::default();
        let Session { connection, memory, .. } = session;
        let mut surprised = false;
        let careful = session.careful > 0;
        if careful {
            session.careful -= 1;
            look_up(connection, &self.log, batch, 0..batch.len(), &names, &mut looked_up).await?;
            surprised = memory.learn(&looked_up);
        }
        let decided = loop {
            match decide(batch, memory, &looked_up) {
                Ok(decided) => break decided,
                Err(some) if looked_up.asked.is_empty() => {
                    look_up(connection, &self.log, batch, some, &names, &mut looked_up).await?;
                }
                Err(_) => {
                    let all = 0..batch.len();
                    look_up(connection, &self.log, batch, all, &names, &mut looked_up).await?;
                }
            }
            surprised |= memory.learn(&looked_up);
        };
        if careful && (surprised || decided.refuses_any()) {
            session.careful = CAREFUL_BATCHES;
        }
        let sent = Instant::now();
        let stored = append(connection, &self.log, &*self.clock, &decided, &names).await;
        match stored {
            Ok(head) => Ok(self.settle(decided, head, memory, sent)),
            Err(Failed::NotAsAssumed) => {
                session.careful = CAREFUL_BATCHES;
                self.store_locked(session, batch, &names).await
            }
            Err(failed) => Err(failed),
        }
    }

    /// Decides under the log's lock, where nothing can change between look-up and write.
    async fn store_locked(
        &mut self,
        session: &mut Session,
        batch: &[Waiting],
        names: &NameIds<'_>,
    ) -> Result<Vec<Verdict>, Failed> {
        metrics::counter!("freehold_append_batches_decided_again_total").increment(1);
        let Session { connection, memory, .. } = session;
        let mut transaction = connection.begin().await.map_err(Failed::before_writing)?;
        let locked = sqlx::query("SELECT FROM log WHERE id = $1 AND epoch = $2 FOR NO KEY UPDATE")
            .bind(self.log.id)
            .bind(self.log.epoch)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(Failed::before_writing)?;
        if locked.is_none() {
            return Err(Failed::Fenced);
        }
        let mut looked_up = LookedUp::default();
        let all = 0..batch.len();
        look_up(&mut transaction, &self.log, batch, all, names, &mut looked_up).await?;
        memory.learn(&looked_up);
        let inconsistent = || Failed::NothingStored("the log contradicts itself".into());
        let decided = decide(batch, memory, &looked_up).map_err(|_| inconsistent())?;
        let stored = append(&mut transaction, &self.log, &*self.clock, &decided, names).await;
        let head = match stored {
            Ok(head) => head,
            Err(Failed::NotAsAssumed) => return Err(inconsistent()),
            // Before the commit, whatever it is.
            Err(Failed::Unknown(error)) => return Err(Failed::NothingStored(error)),
            Err(failed) => return Err(failed),
        };
        let sent = Instant::now();
        transaction.commit().await.map_err(Failed::while_writing)?;
        Ok(self.settle(decided, head, memory, sent))
    }

    /// What a commit that was sent at `sent` made of a batch.
    fn settle(
        &mut self,
        decided: Decided<'_>,
        head: GlobalPosition,
        memory: &mut Memory,
        sent: Instant,
    ) -> Vec<Verdict> {
        if decided.admits_any() {
            metrics::histogram!("freehold_append_commit_seconds").record(sent.elapsed());
        }
        if let Some((offset, command)) = decided.last_event() {
            let position = GlobalPosition(head.0 + offset);
            self.last_event = Some((position, command));
            // The head first: who has an answer must find it covered by the head.
            self.log.raise_head(position);
            self.news.notify_one();
        }
        decided.settle(head, memory)
    }

    fn answer_failure(&self, batch: Vec<Waiting>, failed: Failed) {
        let log = &self.log.name;
        let (why, unknown) = match failed {
            Failed::Fenced => {
                self.log.fence();
                for Waiting { answer, .. } in batch {
                    // Nobody to tell: the caller went away.
                    let _ = answer.send(Err(AppendError::Fenced { log: log.clone() }));
                }
                return;
            }
            Failed::NotAsAssumed => ("the log contradicts itself".into(), false),
            Failed::NoPartition => ("no partition was made for the next events".into(), false),
            Failed::NothingStored(error) => (error, false),
            Failed::Unknown(error) => (error, true),
        };
        let why: StoreFailure = why;
        tracing::error!(%log, error = %why, requests = batch.len(), unknown, "events not appended");
        let why = why.to_string();
        for Waiting { request, answer } in batch {
            let source = StoreFailure::from(why.clone());
            // Nobody to tell: the caller went away.
            let _ = answer.send(Err(match unknown {
                true => AppendError::OutcomeUnknown { stream: request.stream, source },
                false => AppendError::Unavailable { source },
            }));
        }
    }
}

fn answer(batch: Vec<Waiting>, verdicts: Vec<Verdict>) {
    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
        // Nobody to tell: the caller went away.
        let _ = waiting.answer.send(verdict);
    }
}

/// Ends the queue with its writer, also if that panics: nobody waits for a task that is gone.
struct ClosesQueue(Arc<Queue>);

impl Drop for ClosesQueue {
    fn drop(&mut self) {
        self.0.close();
        self.0.discard();
    }
}

/// A connection, and what is known as long as it lasts: another server may answer the next one.
struct Session {
    connection: PgConnection,
    memory: Memory,
    names: RecentlyUsed<Arc<str>, i32>,
    /// How many batches are still looked up before they are written.
    careful: u32,
    used: Instant,
}

impl Session {
    /// The numbers of all names in a batch, made where a name has none.
    async fn name_ids<'b>(&mut self, batch: &'b [Waiting]) -> Result<NameIds<'b>, sqlx::Error> {
        let (mut ids, mut missing) = (NameIds::default(), BTreeSet::new());
        for Waiting { request, .. } in batch {
            let provenance = &request.provenance;
            let of_request = [&*provenance.tenant, &*provenance.actor, request.stream.category()];
            let of_events = request.events.iter().map(|event| &*event.event_type);
            for name in of_request.into_iter().chain(of_events) {
                if ids.contains_key(name) {
                    continue;
                }
                match self.names.get(name) {
                    Some(id) => _ = ids.insert(name, id),
                    None => _ = missing.insert(name),
                }
            }
        }
        if missing.is_empty() {
            return Ok(ids);
        }
        let missing: Vec<&str> = missing.into_iter().collect();
        for (place, id) in number_names(&mut self.connection, &missing).await? {
            let name = missing[place];
            self.names.insert(name.into(), id);
            ids.insert(name, id);
        }
        Ok(ids)
    }
}

/// The numbers of names, made where a name has none, with their places.
///
/// The names come in order: two processes that add the same do it in the same order.
pub(super) async fn number_names(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<Vec<(usize, i32)>, sqlx::Error> {
    sqlx::query(
        "INSERT INTO name (text) SELECT text FROM unnest($1::text[]) AS missing (text)
         WHERE (SELECT id FROM name WHERE name.text = missing.text LIMIT 1) IS NULL
         ORDER BY text ON CONFLICT DO NOTHING",
    )
    .bind(names)
    .execute(&mut *connection)
    .await?;
    let sql = "SELECT place, found.id
         FROM unnest($1::text[]) WITH ORDINALITY AS missing (text, place)
         CROSS JOIN LATERAL (
             SELECT id FROM name WHERE name.text = missing.text LIMIT 1
         ) AS found";
    let rows: Vec<(i64, i32)> = sqlx::query_as(sql).bind(names).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(place, id)| (place as usize - 1, id)).collect())
}

/// Asks the server everything about those requests of the batch.
async fn look_up(
    connection: &mut PgConnection,
    log: &LogRow,
    batch: &[Waiting],
    places: impl IntoIterator<Item = usize>,
    names: &NameIds<'_>,
    looked_up: &mut LookedUp,
) -> Result<(), Failed> {
    looked_up.asked.resize(batch.len(), false);
    let (mut streams, mut commands) = (Vec::new(), Vec::new());
    let (mut tenants, mut tenant_ids, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        let request = &batch[place].request;
        looked_up.asked[place] = true;
        streams.push(request.stream.as_str());
        looked_up.streams.insert(request.stream.clone(), None);
        commands.push(request.command_id.0);
        let tenant = &request.provenance.tenant;
        for boundary in &request.boundaries {
            tenants.push((tenant.clone(), boundary.tag.clone()));
            tenant_ids.push(names[&**tenant]);
            tags.push(boundary.tag.as_str());
        }
    }
    let rows = sqlx::query("SELECT * FROM look_up($1, $2, $3, $4, $5)")
        .bind(log.id)
        .bind(&streams)
        .bind(&commands)
        .bind(&tenant_ids)
        .bind(&tags)
        .fetch_all(connection)
        .await
        .map_err(Failed::before_writing)?;
    for row in rows {
        let (kind, place): (i16, i64) = (get(&row, 0)?, get(&row, 1)?);
        let place = place as usize - 1;
        let (version, id_or_position): (i64, i64) = (get(&row, 2)?, get(&row, 3)?);
        match kind {
            1 => {
                let name = streams[place]
                    .parse()
                    .map_err(|error| Failed::NothingStored(StoreFailure::from(error)))?;
                let stream = Stream { id: id_or_position, version: version as u64 };
                looked_up.streams.insert(name, Some(stream));
            }
            2 => {
                let appended = Appended {
                    version: StreamVersion(version as u64),
                    position: GlobalPosition(id_or_position as u64),
                    events: get::<i32>(&row, 4)? as u32,
                    repeated: false,
                };
                let fingerprint = Fingerprint(get::<Uuid>(&row, 5)?.into_bytes());
                looked_up.commands.insert(CommandId(commands[place]), (appended, fingerprint));
            }
            _ => {
                let position = GlobalPosition(id_or_position as u64);
                looked_up.tags.insert(tenants[place].clone(), position);
            }
        }
    }
    Ok(())
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, Failed>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(Failed::before_writing)
}

/// Stores what is admitted in one call; returns the head that it follows.
async fn append(
    connection: &mut PgConnection,
    log: &LogRow,
    clock: &dyn Clock,
    decided: &Decided<'_>,
    names: &NameIds<'_>,
) -> Result<GlobalPosition, Failed> {
    if !decided.admits_any() {
        return Ok(GlobalPosition(0));
    }
    let columns = Columns::of(decided, names);
    let head: i64 = sqlx::query_scalar(
        "SELECT append_events(
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
             $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36,
             $37, $38, $39, $40, $41, $42)",
    )
    .bind(log.id)
    .bind(log.epoch)
    .bind(clock.now().timestamp_micros())
    .bind(columns.condition_tenants)
    .bind(columns.condition_tags)
    .bind(columns.condition_after)
    .bind(columns.command_ids)
    .bind(columns.fingerprints)
    .bind(columns.command_versions)
    .bind(columns.command_offsets)
    .bind(columns.command_events)
    .bind(columns.new_names)
    .bind(columns.new_categories)
    .bind(columns.new_versions)
    .bind(columns.new_first)
    .bind(columns.new_last)
    .bind(columns.absent_names)
    .bind(columns.old_ids)
    .bind(columns.old_from)
    .bind(columns.old_to)
    .bind(columns.old_last)
    .bind(columns.same_ids)
    .bind(columns.same_versions)
    .bind(columns.streams)
    .bind(columns.versions)
    .bind(columns.occurred_at)
    .bind(columns.categories)
    .bind(columns.types)
    .bind(columns.tenants)
    .bind(columns.actors)
    .bind(columns.schema_versions)
    .bind(columns.codecs)
    .bind(columns.event_ids)
    .bind(columns.event_command_ids)
    .bind(columns.correlation_ids)
    .bind(columns.causation_ids)
    .bind(columns.subjects)
    .bind(columns.event_tags)
    .bind(columns.payloads)
    .bind(columns.tag_offsets)
    .bind(columns.tag_tenants)
    .bind(columns.tags)
    .fetch_one(connection)
    .await
    .map_err(Failed::while_writing)?;
    Ok(GlobalPosition(head as u64))
}
