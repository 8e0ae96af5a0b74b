//! What can happen to a marketplace account.
//!
//! Every name, address, phone number and free text is [`Personal`], with the user as its subject.
//! Moments are recorded where they are part of the fact (a consent, a deadline); when an event was
//! stored, and by whom, stands in its envelope.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::search::SearchFilter;
use super::value::{
    AlertPauseReason, AlertSchedule, Change, ConsentMethod, ConsentPurpose, ExportFormat,
    IdentityFailure, IdentityMethod, ListingPreference, NotificationChannel, Units, UserSource,
};
use crate::event::stored_events;
use crate::{
    Claim, ClaimKey, Currency, LegalHoldId, ListingKey, Personal, SavedSearchId, SubjectId,
    Uniqueness, UserId,
};

stored_events! {
    /// What can happen to a marketplace account.
    pub enum UserEvent (personal: true, claims: claims, shredded: shredded_subject) {
        UserRegistered = 1,
        EmailVerified = 1,
        PhoneVerified = 1,
        IdentityVerified = 1,
        IdentityVerificationFailed = 1,
        ProfileUpdated = 1,
        PreferencesChanged = 1,
        ConsentGranted = 1,
        ConsentWithdrawn = 1,
        ListingPreferenceSet = 1,
        ListingPreferenceCleared = 1,
        SearchSaved = 1,
        SearchRenamed = 1,
        AlertScheduleChanged = 1,
        AlertPaused = 1,
        SearchDeleted = 1,
        UserSuspended = 1,
        UserReinstated = 1,
        AccountClosed = 1,
        DataExportRequested = 1,
        ErasureRequested = 1,
        ErasureCancelled = 1,
        LegalHoldPlaced = 1,
        LegalHoldReleased = 1,
        SubjectKeyShredded = 1,
        UserErased = 1,
    }
}

/// An account came into being.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRegistered {
    /// Whose account it is.
    pub user: UserId,
    /// The name they want to be shown under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Personal<String>>,
    /// Their e-mail address, normalised; absent only for users that a feed knows by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Personal<String>>,
    /// Their phone number in E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Personal<String>>,
    /// The sender's reference, for a user that came from a feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<UserSource>,
    /// When the account was opened.
    pub registered_at: DateTime<Utc>,
}

/// The user proved that the account's e-mail address reaches them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailVerified {}

/// The user proved that the account's phone number reaches them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneVerified {}

/// Someone checked that the user is who they say; the documents stay with the checker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityVerified {
    /// How it was checked.
    pub method: IdentityMethod,
    /// Until when the check counts; absent when it does not lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Someone checked, and could not confirm that the user is who they say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityVerificationFailed {
    /// How it was checked.
    pub method: IdentityMethod,
    /// Why it failed.
    pub reason: IdentityFailure,
}

/// Names or addresses changed; holds the changed fields only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileUpdated {
    /// The name they want to be shown under.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub display_name: Change<Personal<String>>,
    /// Their e-mail address, normalised; a new one is unverified.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub email: Change<Personal<String>>,
    /// The e-mail address given up by this change: the key to release, read by nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_email: Option<Personal<String>>,
    /// Their phone number in E.164; a new one is unverified.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    pub phone: Change<Personal<String>>,
}

/// How the marketplace speaks to the user changed; holds the changed fields only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferencesChanged {
    /// The language, as a BCP 47 tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The currency prices are shown in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The units areas and distances are shown in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Units>,
    /// Every channel that may be used; empty means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<BTreeSet<NotificationChannel>>,
}

/// The user agreed to one purpose; replaces what they said about it before.
///
/// - Source: ISO/IEC TS 27560. The record's identifier is the event id, the principal is the
///   stream's user and the controller is the tenant, so none of the three is repeated here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentGranted {
    /// What the data may be used for.
    pub purpose: ConsentPurpose,
    /// Which version of the privacy notice they were shown.
    pub notice_version: String,
    /// How the consent was collected.
    pub method: ConsentMethod,
    /// Whose law applies: ISO 3166-1 or 3166-2, such as `DE` or `US-CA`.
    pub jurisdiction: String,
    /// When they agreed.
    pub granted_at: DateTime<Utc>,
    /// From when the consent no longer counts; absent when it lasts until withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The user took a consent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentWithdrawn {
    /// What the data may no longer be used for.
    pub purpose: ConsentPurpose,
    /// When they took it back.
    pub withdrawn_at: DateTime<Utc>,
}

/// The user said what they think of a listing; replaces what they said about it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPreferenceSet {
    /// Which listing.
    pub listing: ListingKey,
    /// What they think of it.
    pub preference: ListingPreference,
}

/// The user no longer says anything about a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPreferenceCleared {
    /// Which listing.
    pub listing: ListingKey,
}

/// The user keeps a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchSaved {
    /// Which search.
    pub search: SavedSearchId,
    /// What the user calls it.
    pub name: Personal<String>,
    /// The words they look for, beside the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Personal<String>>,
    /// What a listing must be like.
    pub filter: SearchFilter,
    /// How often matches are sent.
    pub schedule: AlertSchedule,
}

/// A saved search got another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRenamed {
    /// Which search.
    pub search: SavedSearchId,
    /// What the user calls it now.
    pub name: Personal<String>,
}

/// Matches of a saved search are sent at another pace from now on; paused alerts resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertScheduleChanged {
    /// Which search.
    pub search: SavedSearchId,
    /// How often matches are sent.
    pub schedule: AlertSchedule,
}

/// Matches of a saved search are no longer sent, until its schedule is set again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPaused {
    /// Which search.
    pub search: SavedSearchId,
    /// Why.
    pub reason: AlertPauseReason,
}

/// The user no longer keeps a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDeleted {
    /// Which search.
    pub search: SavedSearchId,
}

/// An operator stopped the account from acting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSuspended {
    /// Why, in the operator's words.
    pub reason: Personal<String>,
}

/// An operator let the account act again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReinstated {}

/// The account ended; its e-mail address is free for another account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountClosed {
    /// Why, in the words of whoever closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Personal<String>>,
    /// The e-mail address given up: the key to release, read by nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_email: Option<Personal<String>>,
}

/// The user asked for a copy of their data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataExportRequested {
    /// In which shape.
    pub format: ExportFormat,
}

/// The user asked to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRequested {
    /// When they asked.
    pub requested_at: DateTime<Utc>,
    /// By when it must be done.
    pub deadline: DateTime<Utc>,
}

/// The user no longer asks to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureCancelled {}

/// The law forbids to erase this user for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHoldPlaced {
    /// Which hold.
    pub hold: LegalHoldId,
    /// Why, in the words of whoever placed it.
    pub reason: Personal<String>,
}

/// A legal hold ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalHoldReleased {
    /// Which hold.
    pub hold: LegalHoldId,
}

/// The user's data key is gone: no personal value of theirs can be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectKeyShredded {
    /// Whose key it was.
    pub subject: SubjectId,
}

/// Every place that held the user's data confirmed that it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserErased {
    /// The reference of the certificate that says so.
    pub certificate: String,
}

fn claims(event: &UserEvent) -> Vec<Claim> {
    match event {
        UserEvent::UserRegistered(UserRegistered { email, source, .. }) => {
            let email = email.iter().map(|email| email_claim(email, Uniqueness::Taken));
            email.chain(source.iter().map(source_claim)).collect()
        }
        UserEvent::ProfileUpdated(ProfileUpdated { email, released_email, .. }) => {
            let taken = match email {
                Change::Set(email) => Some(email_claim(email, Uniqueness::Taken)),
                Change::Keep | Change::Clear => None,
            };
            taken.into_iter().chain(released(released_email)).collect()
        }
        UserEvent::AccountClosed(AccountClosed { released_email, .. }) => {
            released(released_email).collect()
        }
        _ => Vec::new(),
    }
}

fn email_claim(email: &Personal<String>, uniqueness: Uniqueness) -> Claim {
    Claim { namespace: "email", uniqueness, key: ClaimKey::Personal(email.clone()) }
}

fn released(email: &Option<Personal<String>>) -> impl Iterator<Item = Claim> {
    email.iter().map(|email| email_claim(email, Uniqueness::Released))
}

// Never released: a reference that stays taken keeps a feed from bringing an erased user back.
fn source_claim(source: &UserSource) -> Claim {
    let key = format!("user/{}/{}", source.source, source.reference);
    Claim { namespace: "source", uniqueness: Uniqueness::Taken, key: ClaimKey::Clear(key) }
}

fn shredded_subject(event: &UserEvent) -> Option<SubjectId> {
    match event {
        UserEvent::SubjectKeyShredded(SubjectKeyShredded { subject }) => Some(*subject),
        _ => None,
    }
}
