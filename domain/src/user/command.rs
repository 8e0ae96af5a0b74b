//! What can be asked of a marketplace account.
//!
//! Commands carry text as it was sent; deciding parses it. A command that changes nothing is
//! accepted and emits nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::search::SearchFilter;
use super::value::{
    AlertPauseReason, AlertSchedule, Change, ConsentMethod, ConsentPurpose, ExportFormat,
    IdentityFailure, IdentityMethod, NotificationChannel, Units, UserSource,
};
use crate::{Currency, LeaseId, LegalHoldId, ListingKey, SavedSearchId, UserId};
use serde::Serialize;

macro_rules! commands {
    ($($command:ident),+ $(,)?) => {
        /// A request to a marketplace account; each variant holds the struct of its name.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[allow(missing_docs, reason = "each variant is documented at the struct of its name")]
        pub enum UserCommand { $( $command($command) ),+ }

        $( impl From<$command> for UserCommand {
            fn from(command: $command) -> Self { Self::$command(command) }
        } )+
    };
}

commands! {
    RegisterUser, VerifyEmail, VerifyPhone, VerifyIdentity, UpdateProfile, ChangePreferences,
    GrantConsent, WithdrawConsent, FavouriteListing, PossibleListing, DiscardListing,
    ClearPreference, SaveSearch, RenameSearch, ChangeSchedule, PauseAlert, DeleteSearch,
    SuspendUser, ReinstateUser, CloseAccount, RequestDataExport, RequestErasure, CancelErasure,
    PlaceLegalHold, ReleaseLegalHold, RecordKeyShredded, CompleteErasure,
}

/// Opens an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterUser {
    /// The new account's identifier.
    pub user: UserId,
    /// Where the user comes from.
    pub origin: Origin,
    /// The name they want to be shown under.
    pub display_name: Option<String>,
    /// Their e-mail address; required of clients.
    pub email: Option<String>,
    /// Their phone number, with country code.
    pub phone: Option<String>,
}

/// Where a user comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// They opened the account themselves.
    Client,
    /// A feed knows them by its own reference.
    Feed(UserSource),
}

/// Records that a link sent to an e-mail address was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyEmail {
    /// The address the link was sent to.
    pub email: String,
}

/// Records that a code sent to a phone number came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyPhone {
    /// The number the code was sent to.
    pub phone: String,
}

/// Records how a check of the user's identity ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyIdentity {
    /// How it was checked.
    pub method: IdentityMethod,
    /// How it ended.
    pub outcome: IdentityOutcome,
}

/// How a check of an identity ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum IdentityOutcome {
    /// They are who they say.
    Verified {
        /// Until when the check counts; `None` when it does not lapse.
        expires_at: Option<DateTime<Utc>>,
    },
    /// It could not be confirmed; an earlier successful check still counts.
    Failed {
        /// Why not.
        reason: IdentityFailure,
    },
}

/// Changes names and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateProfile {
    /// The name they want to be shown under.
    pub display_name: Change<String>,
    /// Their e-mail address; a client's can be changed but not cleared.
    pub email: Change<String>,
    /// Their phone number, with country code.
    pub phone: Change<String>,
}

/// Changes how the marketplace speaks to the user; absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangePreferences {
    /// The language, as a BCP 47 tag.
    pub language: Option<String>,
    /// The currency prices are shown in.
    pub currency: Option<Currency>,
    /// The units areas and distances are shown in.
    pub units: Option<Units>,
    /// Every channel that may be used; empty means none.
    pub channels: Option<BTreeSet<NotificationChannel>>,
}

/// Records that the user agreed to one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantConsent {
    /// What the data may be used for.
    pub purpose: ConsentPurpose,
    /// Which version of the privacy notice they were shown.
    pub notice_version: String,
    /// How the consent was collected.
    pub method: ConsentMethod,
    /// Whose law applies: ISO 3166-1 or 3166-2, such as `DE` or `US-CA`.
    pub jurisdiction: String,
    /// From when the consent no longer counts; `None` when it lasts until withdrawn.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Takes a consent back; needs no more than its purpose, and no standing of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WithdrawConsent {
    /// What the data may no longer be used for.
    pub purpose: ConsentPurpose,
}

/// Marks a listing as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FavouriteListing {
    /// Which listing.
    pub listing: ListingKey,
}

/// Marks a listing as perhaps wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PossibleListing {
    /// Which listing.
    pub listing: ListingKey,
}

/// Marks a listing as not wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiscardListing {
    /// Which listing.
    pub listing: ListingKey,
}

/// Takes back what the user said about a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClearPreference {
    /// Which listing.
    pub listing: ListingKey,
}

/// Keeps a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaveSearch {
    /// The new search's identifier.
    pub search: SavedSearchId,
    /// What the user calls it.
    pub name: String,
    /// The words they look for, beside the filter.
    pub text: Option<String>,
    /// What a listing must be like.
    pub filter: SearchFilter,
    /// How often matches are sent.
    pub schedule: AlertSchedule,
}

/// Gives a saved search another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenameSearch {
    /// Which search.
    pub search: SavedSearchId,
    /// What the user calls it from now on.
    pub name: String,
}

/// Sets how often matches of a saved search are sent; resumes paused alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeSchedule {
    /// Which search.
    pub search: SavedSearchId,
    /// How often matches are sent from now on.
    pub schedule: AlertSchedule,
}

/// Stops the alerts of a saved search; the first reason stands until they resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PauseAlert {
    /// Which search.
    pub search: SavedSearchId,
    /// Why.
    pub reason: AlertPauseReason,
}

/// Stops keeping a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeleteSearch {
    /// Which search.
    pub search: SavedSearchId,
}

/// Stops the account from acting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspendUser {
    /// Why, in the operator's words.
    pub reason: String,
}

/// Lets a suspended account act again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReinstateUser {}

/// Ends the account, for good, and gives up its e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CloseAccount {
    /// Why, in the words of whoever closes it.
    pub reason: Option<String>,
}

/// Asks for a copy of the user's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestDataExport {
    /// In which shape.
    pub format: ExportFormat,
}

/// Asks that the user be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestErasure {
    /// A lease of the user that has not ended, looked up by whoever sends the command.
    pub live_lease: Option<LeaseId>,
}

/// Takes a request to be forgotten back; a closed account stays closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CancelErasure {}

/// Forbids the erasure of the user for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceLegalHold {
    /// The new hold's identifier.
    pub hold: LegalHoldId,
    /// Why, in the words of whoever places it.
    pub reason: String,
}

/// Ends a legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseLegalHold {
    /// Which hold.
    pub hold: LegalHoldId,
}

/// Records that the user's data key is gone; sent by the erasure saga only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordKeyShredded {}

/// Records that every place confirmed the erasure; sent by the erasure saga only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompleteErasure {
    /// The reference of the certificate that says so.
    pub certificate: String,
}
