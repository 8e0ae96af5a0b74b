//! The aggregates that the executor serves.

use freehold_domain::property::Property;
use freehold_domain::user::User;

use crate::EventSourced;

impl EventSourced for Property {
    const SNAPSHOT_SHAPE: u32 = 1;
}

impl EventSourced for User {
    const SNAPSHOT_SHAPE: u32 = 1;
}
