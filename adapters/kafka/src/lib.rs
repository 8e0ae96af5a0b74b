//! Logs published to Apache Kafka: [`KafkaPublisher`], and brought from there to who follows them:
//! [`KafkaFeed`]; messages of senders read from it: [`KafkaInbox`].
//!
//! One topic a category, the stream as key, an event as CloudEvents 1.0 in binary mode, one
//! transaction a page, which also writes how far the log is published into a control topic.
//! Deliberately absent: reading a log from its beginning; that is what stores are for.

mod cluster;
mod control;
mod feed;
mod inbox;
mod partition;
mod publisher;
mod records;

pub use cluster::KafkaOptions;
pub use feed::KafkaFeed;
pub use inbox::{InboxOptions, InboxStatus, KafkaInbox, Message, NotNow, Recipient, TakenIn};
pub use partition::partition_of;
pub use publisher::KafkaPublisher;
