//! What Freehold needs from outside, as small traits with the types they exchange.
//!
//! [`EventStore`] keeps the logs, [`SnapshotStore`] shortcuts to aggregate states, [`KeyVault`] the
//! keys of people, [`ReadModels`] what queries read, [`DeadLetters`] what could not be handled,
//! [`Clock`] the time. [`Publisher`] shows a log to readers elsewhere, [`Intake`] keeps how far
//! messages of senders are taken in. [`Feed`] brings what is published to those
//! who follow, [`Merge`] puts its partitions back into the log's order. [`RestoreLog`] and
//! [`RestoreKeys`] move what is stored to another store. [`EventCodec`] stands between typed events
//! and the bytes a store keeps. Adapters implement the traits, one crate a
//! technology; the suites they must pass are in `tests/contract`.

mod clock;
mod codec;
mod dead_letters;
mod event_store;
mod feed;
mod geometry;
mod intake;
mod key_vault;
mod letter_decisions;
mod log;
mod master_key;
mod merge;
mod publisher;
mod read_models;
mod recently_used;
mod restore;
mod sealing;
mod search_words;
mod snapshots;

pub use clock::{Clock, SystemClock};
pub use codec::{
    ChangedPersonal, CodecError, EncodedPayload, EventCodec, SealedText, SubjectKeys, kept_personal,
};
pub use dead_letters::{
    DeadLetter, DeadLetters, Fault, Hold, LetterChange, LetterFilter, LetterGroup, LetterId,
    RetryPace, Tried,
};
pub use event_store::{
    AppendError, AppendRequest, Appended, Boundary, EventFilter, EventPage, EventStore,
    InvalidRequest, NewEvent, Provenance, ReadError, RecordedEvent, StoreFailure, TaggedEvent,
};
pub use feed::{Feed, FeedError, FeedPages};
pub use geometry::{GeoBox, meters_between};
pub use intake::{
    Intake, IntakeStep, MessageId, RefusedFilter, RefusedItem, SourcePartition, Taken,
};
pub use key_vault::{KeyVault, KeyedHash, SubjectKey, VaultError};
pub use letter_decisions::{
    EventPlace, LetterDecision, LetterDiscarded, LetterEdited, LettersRetried,
};
pub use log::{
    CommandId, EventId, ExpectedVersion, Fingerprint, GlobalPosition, InvalidName, LogName,
    PayloadCodec, StreamId, StreamVersion, Tag,
};
pub use master_key::MasterKey;
pub use merge::{Merge, Merged, Partition, Sent};
pub use publisher::{PublishError, Published, Publisher};
pub use read_models::{
    Column, ColumnKind, Commit, Filter, Generation, GenerationId, GenerationState, Key, Mark,
    Nulls, Order, Page, Part, Query, ReadModelError, ReadModels, Reading, Row, RowChange, Spatial,
    Table, TableChanges, Term, Test, Value, index_in_order, usable_filters,
};
pub use recently_used::RecentlyUsed;
pub use restore::{
    RecordedAnswer, RestoreBatch, RestoreError, RestoreKeys, RestoreKeysError, RestoreLog,
    WrappedKey,
};
pub use search_words::{search_words, split_words};
pub use snapshots::{Snapshot, SnapshotStore};
