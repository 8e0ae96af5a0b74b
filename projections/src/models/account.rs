//! Accounts, what they think of listings, and the searches they keep.
//!
//! Personal values stand here in clear, and become null when the data key of their subject is
//! destroyed. A replay after that meets them erased and ends with the same rows.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_domain::user::{
    AlertPauseReason, AlertSchedule, ConsentMethod, ConsentPurpose, IdentityFailure,
    IdentityMethod, ListingPreference, PreferencesChanged, SearchFilter, Standing,
};
use freehold_domain::{ListingKey, SavedSearchId, UserId};
use freehold_ports::{GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};

use crate::{Json, read_model};

read_model! {
    /// One marketplace account.
    pub struct AccountRow in "account" {
        key {
            /// Whose account it is.
            user: UserId,
        }
        /// Who owns it.
        tenant: Arc<str>,
        /// The feed it came from.
        source: Option<Arc<str>>,
        /// What the feed calls the user.
        reference: Option<Arc<str>>,
        /// The name they want to be shown under; personal.
        display_name: Option<Arc<str>>,
        /// Their e-mail address; personal.
        email: Option<Arc<str>>,
        /// Whether it is known to reach them.
        email_verified: bool,
        /// Their phone number, E.164; personal.
        phone: Option<Arc<str>>,
        /// Whether it is known to reach them.
        phone_verified: bool,
        /// How their identity was verified, if it was.
        identity_method: Option<IdentityMethod>,
        /// When their identity was verified.
        identity_verified_at: Option<DateTime<Utc>>,
        /// Until when that counts; null when it does not lapse.
        identity_expires_at: Option<DateTime<Utc>>,
        /// Why a check of their identity failed, if the last one did.
        identity_failure: Option<IdentityFailure>,
        /// What the account may do.
        status: Standing,
        /// How the marketplace speaks to them: everything they ever set.
        preferences: Json<PreferencesChanged>,
        /// What they said about each purpose, sorted by purpose.
        consents: Json<Vec<ConsentRecord>>,
        /// The searches they keep.
        saved_searches: Json<Vec<SavedSearchId>>,
        /// How many legal holds forbid to erase them.
        legal_holds: i64,
        /// Where their erasure stands.
        erasure: Erasure,
        /// When they asked to be forgotten.
        erasure_requested_at: Option<DateTime<Utc>>,
        /// By when that must be done.
        erasure_deadline: Option<DateTime<Utc>>,
        /// The certificate that says it is done.
        erasure_certificate: Option<Arc<str>>,
        /// When they last asked for a copy of their data.
        export_requested_at: Option<DateTime<Utc>>,
        /// When the account was opened.
        registered_at: DateTime<Utc>,
        /// When its last event was recorded.
        changed_at: DateTime<Utc>,
        /// The position of its last event.
        position: GlobalPosition,
        /// The version of its stream.
        version: StreamVersion,
    }
    indexes [["tenant", "source", "reference"], ["erasure", "erasure_deadline"]]
}

read_model! {
    /// What one user thinks of one listing.
    pub struct ListingPreferenceRow in "listing_preference" {
        key {
            /// The user.
            user: UserId,
            /// The listing period.
            listing: ListingKey,
        }
        /// What they think of it.
        preference: ListingPreference,
        /// Since when.
        since: DateTime<Utc>,
    }
    indexes [["listing"], ["user", "since"]]
}

read_model! {
    /// How many users think what of one listing, at the moment.
    pub struct ListingFavouritesRow in "listing_favourites" {
        key {
            /// The listing period.
            listing: ListingKey,
        }
        /// How many want it.
        favourites: i64,
        /// How many perhaps want it.
        possibilities: i64,
        /// How many do not want it.
        discards: i64,
    }
    indexes [["favourites"]]
}

read_model! {
    /// A search that a user keeps.
    pub struct SavedSearchRow in "saved_search" {
        key {
            /// The search; chosen by the user's client, so only together with the user unique.
            search: SavedSearchId,
            /// Who keeps it.
            user: UserId,
        }
        /// What they call it; personal, null once erased.
        name: Option<Arc<str>>,
        /// The words they look for; personal.
        text: Option<Arc<str>>,
        /// What a listing must be like.
        filter: Json<SearchFilter>,
        /// How often matches are sent.
        schedule: AlertSchedule,
        /// Why matches are not sent at the moment, if they are not.
        paused: Option<AlertPauseReason>,
        /// When it was saved.
        created_at: DateTime<Utc>,
        /// The position of its last event.
        position: GlobalPosition,
    }
    indexes [["user", "created_at"]]
}

/// Where the erasure of a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Erasure {
    /// Nobody asked for it.
    NotRequested,
    /// They asked for it.
    Requested,
    /// Their data key is gone: no personal value of theirs can be read again.
    KeyShredded,
    /// Every place that held their data confirmed that it is gone.
    Completed,
}

/// What a user said about one purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsentRecord {
    /// What the data may be used for.
    pub purpose: ConsentPurpose,
    /// Which version of the privacy notice they were shown.
    pub notice_version: String,
    /// How the consent was collected.
    pub method: ConsentMethod,
    /// Whose law applies: ISO 3166-1 or 3166-2.
    pub jurisdiction: String,
    /// When they agreed.
    pub granted_at: DateTime<Utc>,
    /// From when it no longer counts; absent when it lasts until withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When they took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<DateTime<Utc>>,
}
