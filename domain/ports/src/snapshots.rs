//! Shortcuts to aggregate states; deleting them loses nothing but time.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{LogName, ReadError, StreamId, StreamVersion};

/// A state as it was after a version of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many events were folded into it.
    pub version: StreamVersion,
    /// The shape of the state: a snapshot of another shape is ignored.
    pub shape: u32,
    /// The state; personal values inside are sealed.
    pub state: Bytes,
}

/// Keeps the newest snapshot of each stream.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// The newest snapshot of a stream, if there is one.
    async fn load(&self, log: &LogName, stream: &StreamId) -> Result<Option<Snapshot>, ReadError>;

    /// Keeps a snapshot unless a newer one is there.
    async fn save(
        &self,
        log: &LogName,
        stream: &StreamId,
        snapshot: Snapshot,
    ) -> Result<(), ReadError>;

    /// Deletes every snapshot; the next loads fold from the first event.
    async fn clear(&self) -> Result<(), ReadError>;
}
