//! Logs published to Apache Kafka: [`KafkaPublisher`]; messages of senders read from it:
//! [`KafkaInbox`].
//!
//! One topic a category, the stream as key, an event as CloudEvents 1.0 in binary mode, one
//! transaction a page, which also writes how far the log is published into a control topic.
//! Deliberately absent: reading events back.

mod cluster;
mod control;
mod inbox;
mod partition;
mod publisher;
mod records;

pub use cluster::KafkaOptions;
pub use inbox::{InboxOptions, InboxStatus, KafkaInbox, Message, NotNow, Recipient, TakenIn};
pub use partition::partition_of;
pub use publisher::KafkaPublisher;
