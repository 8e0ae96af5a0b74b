//! Reading streams, gathered: who asks while the server answers somebody else is asked for together
//! with all who wait, in one call, and who asks the same shares one answer.
//!
//! Nobody waits for a timer, and a task reads only as long as somebody asks. What would make the
//! others wait, many events or a large one, is only found by such a call and then read apart.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use freehold_ports::{ReadError, RecordedEvent, StreamId, StreamVersion};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgDatabaseError, PgPool, PgRow, PgSeverity};
use tokio::sync::oneshot;

use super::LogRow;
use super::reader::{
    Payloads, Reader, Texts, bigint, event, event_columns, field, is_event, to_i64, unavailable,
};
use crate::database::{LIMIT, within};

/// The most callers that wait: more than that are not served in time.
const WAITING: usize = 8_192;
/// The most streams that one call asks for, and the most events of each.
const STREAMS: usize = 128;
const EVENTS: i64 = 32;
/// A larger payload is read apart, in bytes: so a call answers with 16 MiB at the very most.
const PAYLOAD: i64 = 4 << 10;

/// Streams by name with the first of their events after a version, none of one that has more than
/// are read together; one row at least for each stream that has any.
///
/// One plan for all: the partitions without an event of a stream are left out stream by stream, and
/// a LIMIT inside a subselect makes it one index probe for each, whatever the planner believes.
const TOGETHER: &str = concat!(
    "SELECT ",
    event_columns!("CASE WHEN octet_length(payload) <= $6 THEN payload END AS payload"),
    ", asked.place, found.id, found.last_position
     FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
         AS asked (name, after, most, place)
     CROSS JOIN LATERAL (
         SELECT id, last_position, stream.version - asked.after AS news FROM stream
         WHERE log_id = $1 AND stream.name = asked.name AND stream.version > asked.after LIMIT 1
     ) AS found
     LEFT JOIN LATERAL (
         SELECT * FROM event
         WHERE log_id = $1 AND stream_id = found.id
             AND position BETWEEN found.id AND found.last_position AND version > asked.after
         ORDER BY version
         LIMIT CASE WHEN least(asked.most, found.news) <= $5 THEN asked.most ELSE 0 END
     ) AS event ON true"
);
/// Where such a row has the place of the question, the stream's id, and its last position.
const PLACE: usize = 17;
const ID: usize = 18;
const LAST_POSITION: usize = 19;

/// What a caller asks for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    log: i16,
    stream: StreamId,
    after: StreamVersion,
    limit: u32,
}

/// What a call says to it.
#[derive(Clone)]
enum Told {
    Events(Vec<RecordedEvent>),
    /// It is found, and to be read apart.
    Found {
        id: i64,
        last_position: i64,
    },
}

type Answer = oneshot::Sender<Result<Told, String>>;

/// Reads streams.
pub(super) struct Streams {
    /// Reads what is read apart.
    reader: Reader,
    pool: PgPool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Asked, Answer)>,
    /// How many tasks are reading.
    tasks: u32,
}

impl Streams {
    pub(super) fn new(reader: Reader, pool: PgPool) -> Arc<Self> {
        Arc::new(Self { reader, pool, state: Mutex::default() })
    }

    pub(super) async fn read(
        self: &Arc<Self>,
        log: &LogRow,
        stream: &StreamId,
        after: StreamVersion,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let asked_at = Instant::now();
        let told = self.ask(Asked { log: log.id, stream: stream.clone(), after, limit })?;
        let failed = |source| ReadError::Unavailable { source };
        match tokio::time::timeout(LIMIT, told).await {
            Ok(Ok(Ok(Told::Events(events)))) => Ok(events),
            Ok(Ok(Ok(Told::Found { id, last_position }))) => {
                let apart = self.reader.read_stream(log, stream, id, last_position, after, limit);
                within(LIMIT.saturating_sub(asked_at.elapsed()), unavailable, apart).await
            }
            Ok(Ok(Err(why))) => Err(failed(why.into())),
            Ok(Err(gone)) => Err(failed(gone.into())),
            Err(elapsed) => Err(failed(elapsed.into())),
        }
    }

    /// Adds a question to those that wait, and a task that asks it, unless there are enough.
    fn ask(
        self: &Arc<Self>,
        asked: Asked,
    ) -> Result<oneshot::Receiver<Result<Told, String>>, ReadError> {
        let (answer, told) = oneshot::channel();
        let mut state = self.state();
        if state.waiting.len() >= WAITING {
            // Who went away makes room.
            state.waiting.retain(|(_, answer)| !answer.is_closed());
        }
        if state.waiting.len() >= WAITING {
            metrics::counter!("freehold_stream_reads_refused_total").increment(1);
            return Err(ReadError::Overloaded { retry_after: super::RETRY_AFTER });
        }
        state.waiting.push_back((asked, answer));
        if state.tasks < self.pool.options().get_max_connections() {
            state.tasks += 1;
            drop(state);
            tokio::spawn(Reading { of: self.clone(), done: false }.run());
        }
        Ok(told)
    }

    /// Asks, and once more on another connection if that one fails: it may have been cut long ago,
    /// and many wait for the answer. What the server refuses it is not asked again: it said so in
    /// a session that goes on, and it may have too much to do already.
    async fn answered(
        &self,
        connection: &mut Option<PoolConnection<Postgres>>,
        batch: &Batch,
    ) -> Result<Vec<Told>, ReadError> {
        let error = match self.together(connection, batch).await {
            Ok(told) => return Ok(told),
            Err(error) => error,
        };
        if is_refused(&error) || !close(connection) {
            return Err(error);
        }
        self.together(connection, batch).await
    }

    /// Asks for all that wait of one log in one call; what is wrong with a stream is said when it
    /// is read apart.
    async fn together(
        &self,
        connection: &mut Option<PoolConnection<Postgres>>,
        batch: &Batch,
    ) -> Result<Vec<Told>, ReadError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.pool.acquire().await.map_err(unavailable)?),
        };
        let (mut names, mut after, mut most) = (Vec::new(), Vec::new(), Vec::new());
        for (asked, _) in &batch.asked {
            names.push(asked.stream.as_str());
            after.push(to_i64(asked.after.0));
            most.push(i64::from(asked.limit));
        }
        let rows = sqlx::query(TOGETHER)
            .bind(batch.log)
            .bind(names)
            .bind(after)
            .bind(most)
            .bind(EVENTS)
            .bind(PAYLOAD)
            .fetch_all(&mut **connection)
            .await
            .map_err(unavailable)?;
        let mut told = vec![Told::Events(Vec::new()); batch.asked.len()];
        let (mut texts, mut kept) = (Texts::default(), Vec::with_capacity(rows.len()));
        for row in rows {
            let (place, id) = (place_of(&row)?, bigint(&row, ID)?);
            if is_event(&row)? && field(&row, 16)?.is_some() {
                texts.know(id, &batch.asked[place].0.stream);
                kept.push((place, row));
            } else {
                told[place] = Told::Found { id, last_position: bigint(&row, LAST_POSITION)? };
            }
        }
        let of_events = kept.iter().map(|(_, row)| row);
        self.reader.name(connection, batch.log, of_events, &mut texts).await?;
        let mut payloads = Payloads::default();
        for (place, row) in &kept {
            let Told::Events(events) = &mut told[*place] else { continue };
            match event(row, &texts, &mut payloads) {
                Ok(event) => events.push(event),
                Err(_) => {
                    let (id, last_position) = (bigint(row, ID)?, bigint(row, LAST_POSITION)?);
                    told[*place] = Told::Found { id, last_position };
                }
            }
        }
        for told in &mut told {
            if let Told::Events(events) = told {
                // As they come already; nothing in the statement promises it.
                events.sort_by_key(|event| event.version);
            }
        }
        Ok(told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a connection that failed, if there is one, so that the pool has room for another.
fn close(connection: &mut Option<PoolConnection<Postgres>>) -> bool {
    let failed = connection.take();
    let was_open = failed.is_some();
    if let Some(mut failed) = failed {
        failed.close_on_drop();
    }
    was_open
}

/// Whether the server refused what it was asked, in a session that goes on.
fn is_refused(error: &ReadError) -> bool {
    let ReadError::Unavailable { source } = error else { return false };
    let Some(sqlx::Error::Database(said)) = source.downcast_ref() else { return false };
    let said = said.try_downcast_ref::<PgDatabaseError>();
    said.is_some_and(|said| matches!(said.severity(), PgSeverity::Error))
}

fn place_of(row: &PgRow) -> Result<usize, ReadError> {
    Ok(bigint(row, PLACE)? as usize - 1)
}

/// Questions about one log, each with all who ask it.
struct Batch {
    log: i16,
    asked: Vec<(Asked, Vec<Answer>)>,
}

impl State {
    /// What waits, oldest first, as much as one call takes. None if nobody waits any more.
    fn take(&mut self) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        let mut places: HashMap<Asked, usize, RandomState> = HashMap::default();
        while let Some((asked, answer)) = self.waiting.front() {
            if answer.is_closed() {
                self.waiting.pop_front();
                continue;
            }
            let batch = batch.get_or_insert(Batch { log: asked.log, asked: Vec::new() });
            let place = places.get(asked).copied();
            if asked.log != batch.log || place.is_none() && batch.asked.len() == STREAMS {
                break;
            }
            let Some((asked, answer)) = self.waiting.pop_front() else { break };
            match place {
                Some(place) => batch.asked[place].1.push(answer),
                None => {
                    places.insert(asked.clone(), batch.asked.len());
                    batch.asked.push((asked, vec![answer]));
                }
            }
        }
        batch
    }
}

/// One task that reads until nobody waits.
struct Reading {
    of: Arc<Streams>,
    done: bool,
}

impl Reading {
    async fn run(mut self) {
        let mut connection = None;
        loop {
            // Callers who were answered just now come along with their next question.
            tokio::task::yield_now().await;
            let Some(batch) = self.take() else { return };
            let told = within(LIMIT, unavailable, self.of.answered(&mut connection, &batch)).await;
            match told {
                Ok(told) => {
                    for ((_, answers), told) in batch.asked.into_iter().zip(told) {
                        answer(answers, Ok(told));
                    }
                }
                Err(error) => {
                    if !is_refused(&error) {
                        close(&mut connection);
                    }
                    let source = std::error::Error::source(&error);
                    let why = source.map_or_else(|| error.to_string(), ToString::to_string);
                    for (_, answers) in batch.asked {
                        answer(answers, Err(why.clone()));
                    }
                }
            }
        }
    }

    /// What waits; if nothing does, this task is no longer counted on.
    fn take(&mut self) -> Option<Batch> {
        let mut state = self.of.state();
        let batch = state.take();
        if batch.is_none() {
            state.tasks -= 1;
            self.done = true;
        }
        batch
    }
}

impl Drop for Reading {
    /// The last task that ends before its time takes with it what waits: nobody waits for one that
    /// is gone.
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.of.state();
            state.tasks -= 1;
            if state.tasks == 0 {
                let dropped = mem::take(&mut state.waiting);
                drop(state);
                drop(dropped);
            }
        }
    }
}

fn answer(mut answers: Vec<Answer>, told: Result<Told, String>) {
    let Some(last) = answers.pop() else { return };
    for other in answers {
        // Nobody to tell: the caller went away. So below.
        let _ = other.send(told.clone());
    }
    let _ = last.send(told);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn nowhere() -> Arc<Streams> {
        let pool = PgPool::connect_lazy("postgres://freehold@127.0.0.1:1/nowhere").unwrap();
        Streams::new(Reader::new(pool.clone(), Arc::default()), pool)
    }

    fn about(stream: &str, log: i16) -> (Asked, Answer) {
        let stream = stream.parse().unwrap();
        let (answer, told) = oneshot::channel();
        // For as long as the test.
        mem::forget(told);
        (Asked { log, stream, after: StreamVersion(0), limit: 10 }, answer)
    }

    #[tokio::test]
    async fn nobody_waits_for_a_task_that_is_gone() {
        let streams = nowhere();
        let (answer, told) = oneshot::channel();
        let (asked, _) = about("note-1", 1);
        streams.state().waiting.push_back((asked, answer));
        streams.state().tasks = 2;

        drop(Reading { of: streams.clone(), done: false });
        assert_eq!(streams.state().waiting.len(), 1, "the other task answers it");
        drop(Reading { of: streams.clone(), done: false });

        assert!(told.await.is_err());
        assert_eq!(streams.state().tasks, 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_somebody_went_away() {
        let streams = nowhere();
        let ask = || streams.ask(about("note-1", 1).0);
        // As many as there may be; they do not come to an end.
        streams.state().tasks = streams.pool.options().get_max_connections();
        let mut told: Vec<_> = (0..WAITING).map(|_| ask().unwrap()).collect();

        let refused = ask().err().unwrap();
        assert!(matches!(refused, ReadError::Overloaded { .. }), "{refused:?}");

        told.truncate(WAITING / 2);
        let _later = ask().unwrap();
        assert_eq!(streams.state().waiting.len(), WAITING / 2 + 1);
    }

    #[test]
    fn a_call_takes_the_same_question_once_and_so_many_streams_of_one_log() {
        let mut state = State::default();
        for n in 0..3 * STREAMS {
            state.waiting.push_back(about(&format!("note-{}", n / 2), 1));
        }
        state.waiting.push_back(about("note-1", 2));
        let (asked, answer) = about("note-1", 1);
        state.waiting.push_back((asked.clone(), answer));
        let (gone, _) = oneshot::channel();
        state.waiting.push_front((asked, gone));

        let taken: Vec<Batch> = std::iter::from_fn(|| state.take()).collect();

        let sizes: Vec<_> = taken.iter().map(|one| (one.log, one.asked.len())).collect();
        assert_eq!(sizes, [(1, STREAMS), (1, STREAMS / 2), (2, 1), (1, 1)]);
        let answers = |batch: &Batch| batch.asked.iter().map(|one| one.1.len()).sum::<usize>();
        assert_eq!(taken.iter().map(answers).sum::<usize>(), 3 * STREAMS + 2);
    }
}
