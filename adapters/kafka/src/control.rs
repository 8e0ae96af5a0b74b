//! What stands in the control topic: how far a log is published, and to where.

use std::collections::BTreeMap;

use freehold_ports::{EventId, GlobalPosition, Published};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The newest record of a log, written in every transaction: all that publishers remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Control {
    pub(crate) position: GlobalPosition,
    pub(crate) event_id: EventId,
    /// Of each topic and partition the position of the last event that was ever sent there.
    pub(crate) topics: BTreeMap<String, Vec<GlobalPosition>>,
}

impl Control {
    /// What stands there before the first record.
    pub(crate) fn nothing() -> Self {
        Self {
            position: GlobalPosition(0),
            event_id: EventId(Uuid::nil()),
            topics: BTreeMap::new(),
        }
    }

    pub(crate) fn published(&self) -> Option<Published> {
        let Self { position, event_id, .. } = *self;
        (position.0 > 0).then_some(Published { position, event_id })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Readers in other languages look at it.
    #[test]
    fn a_record_looks_as_it_always_did() {
        let text = r#"{"position":7,"event_id":"0199f1a2-7b3c-7def-8123-456789abcdef","topics":{"property-events":[7,0,5]}}"#;
        let control: Control = serde_json::from_str(text).unwrap();
        assert_eq!(control.published().unwrap().position, GlobalPosition(7));
        assert_eq!(serde_json::to_string(&control).unwrap(), text);
        assert_eq!(Control::nothing().published(), None);
    }
}
