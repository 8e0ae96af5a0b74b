//! Moving logs and keys between stores: what is stored comes out, and goes in as it was.

use std::collections::HashMap;
use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_domain::SubjectId;

use crate::{
    AppendRequest, Appended, CommandId, Fingerprint, GlobalPosition, LogName, ReadError,
    RecordedEvent, StoreFailure, StreamId, StreamVersion, VaultError,
};

/// Takes out of a log what its events do not say, and puts recorded events into another one; its
/// contract runs in `tests/contract`.
#[async_trait]
pub trait RestoreLog: Send + Sync {
    /// The answers that these commands got, in any order; none for those that are not remembered.
    async fn answers(
        &self,
        log: &LogName,
        commands: &[CommandId],
    ) -> Result<Vec<RecordedAnswer>, ReadError>;

    /// At most `limit` answers to requests without events, in order of command ids, those after
    /// one of them.
    async fn answers_without_events(
        &self,
        log: &LogName,
        after: Option<CommandId>,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedAnswer>, ReadError>;

    /// Stores events behind the head of a log as they were recorded elsewhere, and answers, all or
    /// none; durable before it returns.
    ///
    /// Nothing is decided here: positions, versions, ids and times stay. An answer that is there
    /// already is left as it is.
    async fn restore(&self, log: &LogName, batch: RestoreBatch) -> Result<(), RestoreError>;
}

/// The answer that a command got, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// The command.
    pub command_id: CommandId,
    /// What it was answered.
    pub answer: Appended,
    /// What it asked for.
    pub fingerprint: Fingerprint,
    /// When, to the microsecond; its retention counts from here.
    pub answered_at: DateTime<Utc>,
}

/// What is restored at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreBatch {
    /// The next events of the log, oldest first.
    pub events: Vec<RecordedEvent>,
    /// Answers up to the last of them.
    pub answers: Vec<RecordedAnswer>,
}

/// Why nothing of a batch was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Events may only follow each other.
    #[error("log {log} ends at position {head}, so position {found} cannot come next")]
    NotNext {
        /// The log.
        log: LogName,
        /// Where it ends.
        head: GlobalPosition,
        /// The position of the event that was to come next.
        found: GlobalPosition,
    },
    /// No store records such an event.
    #[error("position {position} cannot be restored: {what}")]
    Invalid {
        /// The event, or the last one that the answer knows.
        position: GlobalPosition,
        /// What is wrong with it.
        what: String,
    },
    /// The command was answered otherwise.
    #[error("command {command_id} got another answer in this log")]
    OtherAnswer {
        /// The command.
        command_id: CommandId,
    },
    /// The log is not one the store keeps.
    #[error("there is no log {0}; see the logs in the configuration")]
    UnknownLog(LogName),
    /// The store could not be reached or failed; the batch is stored whole or not at all.
    #[error("the event store is unavailable; check its address and that it is running")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
}

impl RestoreBatch {
    /// Checks what every store checks before it restores a batch.
    ///
    /// - Shape: where the log ends, when its last event was recorded, and a look-up of the version
    ///   of a stream.
    /// - Errors: outside, that the look-up failed; inside, the refusal.
    pub fn check<E>(
        &self,
        log: &LogName,
        head: GlobalPosition,
        recorded_at: DateTime<Utc>,
        mut version_of: impl FnMut(&StreamId) -> Result<StreamVersion, E>,
    ) -> Result<Result<(), RestoreError>, E> {
        let mut versions: HashMap<&StreamId, u64> = HashMap::new();
        let (mut last, mut last_recorded_at) = (head, recorded_at);
        for event in &self.events {
            let position = event.position;
            if position.0 != last.0 + 1 {
                let (log, head, found) = (log.clone(), last, position);
                return Ok(Err(RestoreError::NotNext { log, head, found }));
            }
            let version = match versions.get(&event.stream) {
                Some(version) => *version,
                None => version_of(&event.stream)?.0,
            };
            let invalid = |what: String| Ok(Err(RestoreError::Invalid { position, what }));
            if event.version.0 != version + 1 {
                let (stream, found) = (&event.stream, event.version);
                return invalid(format!("{stream} is at version {version}, the event has {found}"));
            }
            if event.recorded_at < last_recorded_at {
                return invalid("recorded_at is before that of the event before".into());
            }
            if event.payload.len() > AppendRequest::MAX_PAYLOAD_BYTES {
                return invalid(format!("payload has {} bytes", event.payload.len()));
            }
            versions.insert(&event.stream, version + 1);
            (last, last_recorded_at) = (position, event.recorded_at);
        }
        for RecordedAnswer { answer, command_id, .. } in &self.answers {
            let (position, events) = (answer.position, u64::from(answer.events));
            if position > last || answer.version.0 < events {
                let what = format!("command {command_id} got an answer that no command gets");
                return Ok(Err(RestoreError::Invalid { position, what }));
            }
        }
        Ok(Ok(()))
    }

    /// How much memory the batch takes in a queue, roughly.
    pub fn queue_bytes(&self) -> usize {
        let events = self.events.iter().map(|event| 384 + event.payload.len());
        256 + events.sum::<usize>() + self.answers.len() * 80
    }
}

/// Takes wrapped keys out of a vault and puts them into another that has the same master key; its
/// contract runs in `tests/contract`.
#[async_trait]
pub trait RestoreKeys: Send + Sync {
    /// Makes the master key that of the vault, if it has none yet; durable before it returns.
    ///
    /// A vault that was opened to be restored has none until somebody knows that it is the right
    /// one: no other opens the vault from then on.
    ///
    /// - Errors: [`VaultError::WrongMasterKey`] if it has another one meanwhile.
    async fn keep_master_key(&self) -> Result<(), VaultError>;

    /// At most `limit` keys in order of their subjects, those after one of them.
    async fn wrapped_keys(
        &self,
        after: Option<SubjectId>,
        limit: NonZeroU32,
    ) -> Result<Vec<WrappedKey>, VaultError>;

    /// Those of the subjects that have neither a key nor a destroyed one.
    async fn without_keys(&self, subjects: &[SubjectId]) -> Result<Vec<SubjectId>, VaultError>;

    /// Stores keys as they were, all or none; durable before it returns. Returns how many subjects
    /// it changed.
    ///
    /// A key that was destroyed in either vault is destroyed afterwards.
    ///
    /// - Errors: [`VaultError::WrongMasterKey`] if the master key does not open one of the keys.
    async fn restore_keys(&self, keys: Vec<WrappedKey>) -> Result<u64, RestoreKeysError>;
}

/// Why no key of a batch was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreKeysError {
    /// Two vaults made a key for the same subject.
    #[error(
        "subject {subject} has another key in this vault; what was sealed with one cannot be read \
         with the other, so restore into a vault that made no keys yet"
    )]
    OtherKey {
        /// Whose key it is.
        subject: SubjectId,
    },
    /// As every use of the vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// A subject's key as a vault stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Whose it is.
    pub subject: SubjectId,
    /// The key, wrapped by the master key; none if it was destroyed.
    pub wrapped: Option<Bytes>,
}
