//! How far the topics of senders are taken into the logs, and what of them was refused.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ReadError;

/// Keeps, beside the logs, how far topics of senders are taken into them; its contract runs in
/// `tests/contract`.
///
/// What is stored of a message is durable before its partition moves past it, so whoever begins
/// where a partition stands misses nothing. A message that was stored and not moved past comes
/// again; its command ids tell the log so.
#[async_trait]
pub trait Intake: Send + Sync {
    /// The last message of a partition that was taken in; none before the first.
    async fn taken(&self, partition: &SourcePartition) -> Result<Option<Taken>, ReadError>;

    /// Moves a partition on, and lists what was refused on the way: all of it or nothing.
    ///
    /// False, and nothing is written, where the partition is not where its reader left it: another
    /// one reads it now.
    ///
    /// - Errors: whether it is written is unknown; [`taken`](Self::taken) says so.
    async fn advance(&self, step: IntakeStep) -> Result<bool, ReadError>;

    /// What was refused and is not settled, by topic, partition, offset and item: at most `limit`
    /// that come behind `after`.
    async fn refused(
        &self,
        filter: RefusedFilter,
        after: Option<RefusedItem>,
        limit: u32,
    ) -> Result<Vec<RefusedItem>, ReadError>;

    /// Lists of a message only what is `still` refused; how many items of it are listed no more.
    async fn settle(&self, message: &MessageId, still: Vec<RefusedItem>) -> Result<u64, ReadError>;
}

/// One partition of a topic of senders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePartition {
    /// What the cluster calls itself: offsets of another one mean something else.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// Its number in the topic.
    pub partition: u32,
}

/// Where a message stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taken {
    /// Its offset.
    pub offset: u64,
    /// When it was sent, in milliseconds since 1970, -1 if that is unknown: tells it from the
    /// message that has its offset after the topic was deleted and made anew.
    pub stamp: i64,
}

/// One message of a sender, for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Where it was sent to.
    pub partition: SourcePartition,
    /// Which one there.
    pub at: Taken,
}

/// What a reader did with a partition.
#[derive(Clone, Debug)]
pub struct IntakeStep {
    /// Which one.
    pub partition: SourcePartition,
    /// Where it found it.
    pub from: Option<Taken>,
    /// The last message that it took in; of a topic that was made anew it may be an earlier one.
    pub to: Taken,
    /// What it refused on the way.
    pub refused: Vec<RefusedItem>,
}

/// One item of a message that is in no log because it cannot be; without anything it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedItem {
    /// The message, which has it as long as its topic keeps it.
    pub message: MessageId,
    /// Its place there, from 0; none if the message as a whole was refused.
    pub item: Option<u32>,
    /// A stable code for programs.
    pub code: Arc<str>,
    /// The path of the field, where one is at fault.
    pub field: Option<Arc<str>>,
    /// What is wrong, for people.
    pub what: Arc<str>,
    /// When, to the microsecond.
    pub refused_at: DateTime<Utc>,
}

/// Which refused items are meant: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedFilter {
    /// Of one topic.
    pub topic: Option<Arc<str>>,
    /// Of one partition of topics.
    pub partition: Option<u32>,
    /// Of the messages at one offset.
    pub offset: Option<u64>,
}

impl RefusedItem {
    /// The order in which refused items are listed; nothing else has the same.
    pub fn place(&self) -> (&str, u32, u64, &str, i64, Option<u32>) {
        let MessageId { partition, at } = &self.message;
        let SourcePartition { cluster, topic, partition } = partition;
        (topic, *partition, at.offset, cluster, at.stamp, self.item)
    }
}

impl RefusedFilter {
    /// Whether an item of this message is meant.
    pub fn admits(&self, message: &MessageId) -> bool {
        let MessageId { partition, at } = message;
        self.topic.as_ref().is_none_or(|topic| *topic == partition.topic)
            && self.partition.is_none_or(|number| number == partition.partition)
            && self.offset.is_none_or(|offset| offset == at.offset)
    }
}
