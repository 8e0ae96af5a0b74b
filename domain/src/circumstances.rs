//! What a decision depends on besides the state and the command.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Who asks: the name of an API token, a feed, or a saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

/// The moment, the asker and the rules in force when a command is decided.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The clock when the command is decided.
    pub now: DateTime<Utc>,
    /// Who asks.
    pub actor: Actor,
    /// The tenant's rules.
    pub policy: Policy,
}

/// Rules that differ between tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Whether the approver of a listing must be someone other than its submitter.
    pub four_eyes: bool,
    /// How many saved searches one user may keep.
    pub max_saved_searches: u32,
    /// How many listing preferences one user may keep.
    pub max_listing_preferences: u32,
    /// How many days an erasure may take after it was asked for.
    pub erasure_deadline_days: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            four_eyes: true,
            max_saved_searches: 100,
            max_listing_preferences: 1_000,
            erasure_deadline_days: 30,
        }
    }
}
