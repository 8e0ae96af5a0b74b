//! What stands for reading from Kafka in a program that was built without.

use std::sync::Arc;

use freehold_ports::{MessageId, RefusedItem};

use super::Ingest;
use crate::config::{Config, Part};
use crate::stores::{Stores, StoresError};

/// There is none.
pub(crate) enum Inbox {}

impl Inbox {
    /// Refuses the role.
    pub(crate) fn of(config: &Config, _: &Arc<Ingest>) -> Result<Option<Self>, StoresError> {
        if config.roles.has(Part::Ingest) { Err(StoresError::NoKafka) } else { Ok(None) }
    }

    pub(crate) fn start(&self, _: &Stores) {
        match *self {}
    }

    pub(crate) async fn stop(&self) {
        match *self {}
    }

    pub(crate) fn check(&self) -> Result<Option<String>, String> {
        match *self {}
    }
}

/// What came of trying a refused message again.
#[allow(dead_code, reason = "without Kafka there is one outcome")]
pub(crate) enum Again {
    TakenIn(u64, Vec<RefusedItem>),
    Gone,
    NotNow(String),
}

/// Says that nothing here reads from Kafka.
pub(crate) async fn take_again(_: &Config, _: &Arc<Ingest>, _: &Stores, _: &MessageId) -> Again {
    Again::NotNow(StoresError::NoKafka.to_string())
}
