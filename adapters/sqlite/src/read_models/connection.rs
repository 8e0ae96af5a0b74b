//! Opening connections: one that writes, several that read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freehold_ports::{ReadModelError, meters_between, search_words, split_words};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::unavailable;

/// How long a writer waits for another process that writes the same file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that one thread uses at a time.
pub(super) type Shared = Arc<Mutex<Connection>>;

/// Connections that only read; each query borrows one.
pub(super) struct Readers {
    idle: Mutex<Vec<Shared>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(connections: Vec<Shared>) -> Self {
        Self { permits: Semaphore::new(connections.len()), idle: Mutex::new(connections) }
    }

    /// Runs `read` in one read transaction on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let readers = self.clone();
        let permit = readers.permits.acquire().await.expect("the semaphore is never closed");
        permit.forget();
        let borrowed = Borrowed { connection: self.take(), readers: self.clone() };
        tokio::task::spawn_blocking(move || {
            let connection = lock(&borrowed.connection);
            let transaction = connection.unchecked_transaction().map_err(unavailable)?;
            read(&transaction)
        })
        .await
        .map_err(|error| ReadModelError::Unavailable { source: error.into() })?
    }

    fn take(&self) -> Shared {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().expect("there are as many permits as connections")
    }
}

/// A connection on its way back to the idle ones, also when the caller stopped waiting.
struct Borrowed {
    connection: Shared,
    readers: Arc<Readers>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut idle = self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.connection.clone());
        self.readers.permits.add_permits(1);
    }
}

/// The connection inside; a thread that panicked with it left no transaction open.
pub(super) fn lock(connection: &Shared) -> std::sync::MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the file for writing and makes it a write-ahead log.
pub(super) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(
        // A power loss may undo the last transactions, each of them with its checkpoint: the log
        // has their events. So `normal` is enough, and no commit waits for the disk.
        // Rows and keys are changed all over the file, and the write-ahead log takes whole pages:
        // small ones, and a checkpoint of 16 MiB that writes a page once that changed often, but
        // does not keep commits waiting for long.
        "PRAGMA page_size = 4096;
         PRAGMA journal_mode = wal;
         PRAGMA synchronous = normal;
         PRAGMA wal_autocheckpoint = 4096;
         PRAGMA journal_size_limit = 134217728;
         PRAGMA cache_size = -131072;",
    )?;
    set_up(connection)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // What the operating system has in memory is read where it is, without a copy.
    connection.execute_batch("PRAGMA cache_size = -8192; PRAGMA mmap_size = 1099511627776;")?;
    set_up(connection)
}

/// Opens a database that lives as long as its connection.
pub(super) fn open_in_memory() -> rusqlite::Result<Connection> {
    set_up(Connection::open_in_memory()?)
}

fn set_up(connection: Connection) -> rusqlite::Result<Connection> {
    connection.set_prepared_statement_cache_capacity(512);
    connection.execute_batch("PRAGMA temp_store = memory; PRAGMA recursive_triggers = off;")?;
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("search_words", -1, flags, words_of)?;
    connection.create_scalar_function("words_begin", -1, flags, words_begin)?;
    connection.create_scalar_function("meters_between", 4, flags, |context| {
        let from = (context.get(0)?, context.get(1)?);
        let to = context.get::<Option<f64>>(2)?.zip(context.get::<Option<f64>>(3)?);
        Ok(to.map(|to| meters_between(from, to)))
    })?;
    Ok(connection)
}

/// The words of all arguments; null has none.
fn words_of(context: &Context<'_>) -> rusqlite::Result<String> {
    let mut words = String::new();
    for argument in 0..context.len() {
        if let ValueRef::Text(text) = context.get_raw(argument) {
            words.push_str(&search_words(&String::from_utf8_lossy(text)));
        }
    }
    Ok(words)
}

/// Whether every word of the first argument, as [`search_words`] gives them, begins a word of the
/// others.
fn words_begin(context: &Context<'_>) -> rusqlite::Result<bool> {
    let mut missing: Vec<&str> = split_words(context.get_raw(0).as_str()?).collect();
    for argument in 1..context.len() {
        let ValueRef::Text(text) = context.get_raw(argument) else { continue };
        strike_out(&mut missing, text);
    }
    Ok(missing.is_empty())
}

/// Removes the words, each after its space, that begin a word of the text.
fn strike_out(missing: &mut Vec<&str>, text: &[u8]) {
    if !text.is_ascii() {
        let words = search_words(&String::from_utf8_lossy(text));
        return missing.retain(|word| !words.contains(word));
    }
    // Queries that walk an order call this for every row, so the words are compared in place.
    let mut within = false;
    for (at, byte) in text.iter().enumerate() {
        let is_letter = byte.is_ascii_alphanumeric();
        if is_letter && !within {
            missing.retain(|word| {
                let word = &word.as_bytes()[1..];
                !text[at..].get(..word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
            });
        }
        within = is_letter;
    }
}

#[cfg(test)]
mod tests {
    use freehold_ports::{search_words, split_words};
    use proptest::prelude::*;

    use super::strike_out;

    proptest! {
        /// Comparing in place finds what the words of the text say.
        #[test]
        fn a_word_is_struck_out_if_it_begins_a_word(
            wanted in "[a-c1 ßÉ-]{0,6}",
            text in "[a-cA-C1 ßÉ-]{0,12}",
        ) {
            let (wanted, words) = (search_words(&wanted), search_words(&text));
            let mut missing: Vec<&str> = split_words(&wanted).collect();
            strike_out(&mut missing, text.as_bytes());
            let expected: Vec<&str> =
                split_words(&wanted).filter(|word| !words.contains(word)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
