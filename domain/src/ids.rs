//! Identifiers, each a type of its own so that no two can be confused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! identifier {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

identifier! {
    /// One rentable unit; its stream is `property-<id>`.
    PropertyId,
    /// One marketplace account; its stream is `user-<id>`.
    UserId,
    /// One listing period of a property; a relist gets a new key.
    ListingKey,
    /// A rental application, decided outside this crate's aggregates.
    ApplicationId,
    /// A lease that closed a listing period.
    LeaseId,
    /// A search that a user keeps, chosen by whoever saves it.
    SavedSearchId,
    /// A legal hold on a user's data, chosen by whoever places it.
    LegalHoldId,
    /// The person whose data key seals a personal value; a user's subject is the user's own id.
    SubjectId,
}

impl From<UserId> for SubjectId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}
