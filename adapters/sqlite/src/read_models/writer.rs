//! The one thread that writes.
//!
//! Commits that wait at the same moment share a transaction, each in a savepoint of its own, so
//! that a refused one takes nothing with it. Whatever else changes the file (making a generation,
//! one piece of preparing it, swapping) comes between them.

use freehold_ports::{Commit, ReadModelError, RowChange, Table, TableChanges, Value};
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::connection::{BUSY_TIMEOUT, Shared, lock};
use super::schema::{PhysicalTable, quoted};
use super::value::{Bound, is_stored_as};
use super::{catalogue, dead_letters, unavailable};
use crate::file;

/// The most rows that commits may gather in one transaction; a larger one goes alone.
const ROWS_PER_TRANSACTION: usize = 20_000;

/// What waits for the writer; more callers wait for a place in the queue.
const QUEUE: usize = 64;

type Reply = oneshot::Sender<Result<(), ReadModelError>>;

/// Hands work to the thread that writes.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Commit(Waiting),
    Other(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// A commit, and who waits for its outcome.
struct Waiting {
    commit: Commit,
    reply: Reply,
}

impl Waiting {
    fn rows(&self) -> usize {
        self.commit.changes.iter().map(|table| table.changes.len()).sum()
    }
}

impl Writer {
    pub(super) fn start(connection: Shared) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("read-models-writer".to_owned());
        thread.spawn(move || run(&connection, queue))?;
        Ok(Self { jobs })
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Commit(Waiting { commit, reply })).await.map_err(gone)?;
        answer.await.map_err(gone)?
    }

    /// Empties the write-ahead log once everything that waits is stored.
    pub(super) async fn empty_write_ahead_log(&self) -> Result<(), ReadModelError> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let emptied = file::empty_write_ahead_log(connection);
            let restored = connection.busy_timeout(BUSY_TIMEOUT);
            // Nobody waits for the answer if the caller gave up.
            let _ = reply.send(emptied.and(restored).map_err(unavailable));
        };
        self.jobs.send(Job::Other(Box::new(job))).await.map_err(gone)?;
        answer.await.map_err(gone)?
    }

    /// Runs `work` in a transaction of its own, which is kept if it succeeds.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            // Nobody waits for the answer if the caller gave up.
            let _ = reply.send(in_transaction(connection, work));
        };
        self.jobs.send(Job::Other(Box::new(job))).await.map_err(gone)?;
        answer.await.map_err(gone)?
    }

    /// As [`transact`](Self::transact), and on the disk before it is answered, with all before it.
    pub(super) async fn transact_durably<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let durable = connection.pragma_update(None, "synchronous", "full");
            let done = durable.map_err(unavailable).and_then(|()| in_transaction(connection, work));
            let restored = connection.pragma_update(None, "synchronous", "normal");
            // Nobody waits for the answer if the caller gave up.
            let _ = reply.send(done.and_then(|done| restored.map(|()| done).map_err(unavailable)));
        };
        self.jobs.send(Job::Other(Box::new(job))).await.map_err(gone)?;
        answer.await.map_err(gone)?
    }
}

fn gone(_: impl Sized) -> ReadModelError {
    ReadModelError::Unavailable { source: "the writer of the read models has ended".into() }
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, ReadModelError>,
) -> Result<T, ReadModelError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unavailable)?;
    let result = work(&transaction)?;
    transaction.commit().map_err(unavailable)?;
    Ok(result)
}

fn run(connection: &Shared, mut queue: mpsc::Receiver<Job>) {
    let mut next = queue.blocking_recv();
    while let Some(job) = next.take() {
        match job {
            Job::Other(work) => work(&mut lock(connection)),
            Job::Commit(first) => {
                let mut rows = first.rows();
                let mut batch = vec![first];
                while let Ok(job) = queue.try_recv() {
                    match job {
                        Job::Commit(commit) if rows + commit.rows() <= ROWS_PER_TRANSACTION => {
                            rows += commit.rows();
                            batch.push(commit);
                        }
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                commit_together(&mut lock(connection), batch);
            }
        }
        if next.is_none() {
            next = queue.blocking_recv();
        }
    }
}

fn commit_together(connection: &mut Connection, batch: Vec<Waiting>) {
    if let [only] = &*batch {
        let outcome = in_transaction(connection, |transaction| write(transaction, &only.commit));
        return answer(batch, vec![outcome]);
    }
    let outcomes = in_transaction(connection, |transaction| {
        batch.iter().map(|waiting| write_or_undo(transaction, &waiting.commit)).collect()
    });
    match outcomes {
        Ok(outcomes) => answer(batch, outcomes),
        // Nothing of the batch was kept. Alone, each gets the answer that is its own.
        Err(_) => batch.into_iter().for_each(|commit| commit_together(connection, vec![commit])),
    }
}

fn answer(batch: Vec<Waiting>, outcomes: Vec<Result<(), ReadModelError>>) {
    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
        // Nobody waits for the answer if the caller gave up.
        let _ = waiting.reply.send(outcome);
    }
}

/// Writes one of several commits of a transaction; a refused one leaves nothing behind. Fails if
/// the transaction as a whole cannot go on.
fn write_or_undo(
    transaction: &Transaction<'_>,
    commit: &Commit,
) -> Result<Result<(), ReadModelError>, ReadModelError> {
    transaction.execute_batch("SAVEPOINT one").map_err(unavailable)?;
    let outcome = write(transaction, commit);
    let end = if outcome.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
    transaction.execute_batch(end).map_err(unavailable)?;
    Ok(outcome)
}

fn write(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), ReadModelError> {
    catalogue::move_mark(transaction, &commit.generation, commit.from, commit.mark())?;
    let prepared = catalogue::is_prepared(transaction, &commit.generation).map_err(unavailable)?;
    for TableChanges { table, changes } in &commit.changes {
        let physical = PhysicalTable::new(table.name, commit.generation.number);
        let write = if prepared { write_indexed } else { write_bare };
        write(transaction, table, &physical, changes).map_err(unavailable)?;
    }
    dead_letters::change(transaction, &commit.generation, &commit.letters)
}

/// Writes to a table that has no index but its key: one statement a row.
fn write_bare(
    transaction: &Transaction<'_>,
    table: &Table,
    physical: &PhysicalTable,
    changes: &[RowChange],
) -> rusqlite::Result<()> {
    let names = names_of(table);
    let (key, others) = names.split_at(table.key_columns);
    let updates: Vec<String> =
        others.iter().map(|name| format!("\"{name}\" = excluded.\"{name}\"")).collect();
    let conflict = match &*updates {
        [] => "NOTHING".to_owned(),
        updates => format!("UPDATE SET {}", updates.join(", ")),
    };
    let insert = insert(table, physical);
    let mut put = transaction
        .prepare_cached(&format!("{insert} ON CONFLICT ({}) DO {conflict}", quoted(key)))?;
    let mut delete = transaction.prepare_cached(&delete(table, physical))?;
    for change in changes {
        match change {
            RowChange::Put(row) => execute(&mut put, &row.0)?,
            RowChange::Delete(key) => execute(&mut delete, &key.0)?,
        }
    }
    Ok(())
}

/// Writes to a table with all its indexes: reads the row first, and touches only the columns that
/// differ, because every index over a column that is set is written, whether it differs or not.
fn write_indexed(
    transaction: &Transaction<'_>,
    table: &Table,
    physical: &PhysicalTable,
    changes: &[RowChange],
) -> rusqlite::Result<()> {
    let names = names_of(table);
    let mut find = transaction.prepare_cached(&format!(
        "SELECT {}, _row FROM \"{}\" WHERE {}",
        quoted(&names),
        physical.rows(),
        key_equals(table),
    ))?;
    let mut insert = transaction.prepare_cached(&insert(table, physical))?;
    let mut delete = transaction.prepare_cached(&delete(table, physical))?;
    let mut different = Vec::with_capacity(names.len());
    for change in changes {
        let values = match change {
            RowChange::Put(row) => &row.0,
            RowChange::Delete(key) => {
                execute(&mut delete, &key.0)?;
                continue;
            }
        };
        bind(&mut find, &values[..table.key_columns])?;
        let mut found = find.raw_query();
        let Some(stored) = found.next()? else {
            execute(&mut insert, values)?;
            continue;
        };
        different.clear();
        for (place, value) in values.iter().enumerate() {
            if !is_stored_as(value, stored.get_ref(place)?) {
                different.push(place);
            }
        }
        if different.is_empty() {
            continue;
        }
        let row: i64 = stored.get(names.len())?;
        drop(found);
        let sets: Vec<String> =
            different.iter().map(|place| format!("\"{}\" = ?", names[*place])).collect();
        let mut update = transaction.prepare_cached(&format!(
            "UPDATE \"{}\" SET {} WHERE _row = ?",
            physical.rows(),
            sets.join(", "),
        ))?;
        for (parameter, place) in (1..).zip(&different) {
            update.raw_bind_parameter(parameter, Bound(&values[*place]))?;
        }
        update.raw_bind_parameter(different.len() + 1, row)?;
        update.raw_execute()?;
    }
    Ok(())
}

fn names_of(table: &Table) -> Vec<&'static str> {
    table.columns.iter().map(|column| column.name).collect()
}

fn key_equals(table: &Table) -> String {
    let key = &table.columns[..table.key_columns];
    let equals: Vec<String> = key.iter().map(|column| format!("\"{}\" = ?", column.name)).collect();
    equals.join(" AND ")
}

fn insert(table: &Table, physical: &PhysicalTable) -> String {
    let names = names_of(table);
    let values = vec!["?"; names.len()].join(", ");
    format!("INSERT INTO \"{}\" ({}) VALUES ({values})", physical.rows(), quoted(&names))
}

fn delete(table: &Table, physical: &PhysicalTable) -> String {
    format!("DELETE FROM \"{}\" WHERE {}", physical.rows(), key_equals(table))
}

fn bind(statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    let mut values = (1..).zip(values);
    values.try_for_each(|(place, value)| statement.raw_bind_parameter(place, Bound(value)))
}

fn execute(statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    bind(statement, values)?;
    statement.raw_execute().map(|_| ())
}
