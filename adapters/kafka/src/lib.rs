//! Logs published to Apache Kafka: [`KafkaPublisher`].
//!
//! One topic a category, the stream as key, an event as CloudEvents 1.0 in binary mode, one
//! transaction a page, which also writes how far the log is published into a control topic.
//! Deliberately absent: reading events back.

mod cluster;
mod control;
mod partition;
mod publisher;
mod records;

pub use cluster::KafkaOptions;
pub use partition::partition_of;
pub use publisher::KafkaPublisher;
