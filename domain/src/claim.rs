//! Keys that must be unique across streams: a sender's reference, an e-mail address.

use crate::Personal;

/// A key that an event takes for its stream, or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What kind of key: `source`, `email`.
    pub namespace: &'static str,
    /// Whether the event takes the key or gives it back.
    pub uniqueness: Uniqueness,
    /// The key; a personal one is stored as a keyed hash, never in clear.
    pub key: ClaimKey,
}

/// Whether a key is taken or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uniqueness {
    /// From here on no other stream of the tenant may take the key.
    Taken,
    /// From here on any stream may take the key.
    Released,
}

/// The key of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimKey {
    /// Stored as it is.
    Clear(String),
    /// Stored as a keyed hash; an erased value claims nothing.
    Personal(Personal<String>),
}
