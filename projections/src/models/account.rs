//! Accounts, what they think of listings, and the searches they keep.
//!
//! Personal values stand here sealed, as in the log, and become null with the event that says that
//! their key is destroyed. What a generation holds that is not filled any more is then unreadable
//! like every other copy.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_domain::user::{
    AlertPauseReason, AlertSchedule, Change, ConsentGranted, ConsentMethod, ConsentPurpose,
    IdentityFailure, IdentityMethod, ListingPreference, PreferencesChanged, SearchFilter,
    SearchSaved, Standing, UserEvent, UserRegistered,
};
use freehold_domain::{ListingKey, Personal, SavedSearchId, UserId};
use freehold_ports::{
    EventFilter, GlobalPosition, LogName, RecordedEvent, SealedText, StreamVersion, Table,
};
use serde::{Deserialize, Serialize};

use super::{events_of, get_all, stream_uuid, unknown};
use crate::{ApplyError, Json, ProjectedEvent, Projection, Rows, TypedRow, read_model};

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
        display_name: Option<SealedText>,
        /// Their e-mail address; personal.
        email: Option<SealedText>,
        /// Whether it is known to reach them.
        email_verified: bool,
        /// Their phone number, E.164; personal.
        phone: Option<SealedText>,
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
        name: Option<SealedText>,
        /// The words they look for; personal.
        text: Option<SealedText>,
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

/// Fills [`AccountRow`], [`ListingPreferenceRow`], [`ListingFavouritesRow`] and
/// [`SavedSearchRow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Accounts;

impl Projection for Accounts {
    type Event = UserEvent;

    const NAME: &'static str = "accounts";
    const VERSION: u32 = 2;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        events_of("user")
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[
            AccountRow::TABLE,
            ListingPreferenceRow::TABLE,
            ListingFavouritesRow::TABLE,
            SavedSearchRow::TABLE,
        ]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, UserEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let ProjectedEvent { recorded, event } = event;
        let user = UserId(stream_uuid(recorded)?);
        let mut account = match event {
            UserEvent::UserRegistered(event) => register(user, recorded, event),
            event => {
                // Asked for first, so that the rows of one event are fetched together.
                let fold = Fold { recorded, user, rows: &mut *rows };
                let beside = fold.beside(event);
                let account = rows.get::<AccountRow>(&(user,))?.cloned();
                let mut account = account.ok_or_else(|| unknown("user", user.0))?;
                beside?;
                change(&mut account, recorded, event);
                if let UserEvent::SubjectKeyShredded(_) = event {
                    forget_searches(&account, recorded.position, rows)?;
                }
                account
            }
        };
        account.changed_at = recorded.recorded_at;
        account.position = recorded.position;
        account.version = recorded.version;
        rows.put(account);
        Ok(())
    }
}

fn register(user: UserId, recorded: &RecordedEvent, event: &UserRegistered) -> AccountRow {
    let source = event.source.as_ref();
    AccountRow {
        user,
        tenant: recorded.provenance.tenant.clone(),
        source: source.map(|from| Arc::from(from.source.as_str())),
        reference: source.map(|from| Arc::from(from.reference.as_str())),
        display_name: event.display_name.as_ref().and_then(sealed),
        email: event.email.as_ref().and_then(sealed),
        email_verified: false,
        phone: event.phone.as_ref().and_then(sealed),
        phone_verified: false,
        identity_method: None,
        identity_verified_at: None,
        identity_expires_at: None,
        identity_failure: None,
        status: Standing::Active,
        preferences: Json::default(),
        consents: Json::default(),
        saved_searches: Json::default(),
        legal_holds: 0,
        erasure: Erasure::NotRequested,
        erasure_requested_at: None,
        erasure_deadline: None,
        erasure_certificate: None,
        export_requested_at: None,
        registered_at: event.registered_at,
        changed_at: recorded.recorded_at,
        position: recorded.position,
        version: recorded.version,
    }
}

/// What an event does to the account alone.
fn change(account: &mut AccountRow, recorded: &RecordedEvent, event: &UserEvent) {
    use UserEvent as E;
    match event {
        E::EmailVerified(_) => account.email_verified = true,
        E::PhoneVerified(_) => account.phone_verified = true,
        E::IdentityVerified(event) => {
            account.identity_method = Some(event.method);
            account.identity_verified_at = Some(recorded.occurred_at);
            account.identity_expires_at = event.expires_at;
            account.identity_failure = None;
        }
        E::IdentityVerificationFailed(event) => account.identity_failure = Some(event.reason),
        E::ProfileUpdated(event) => {
            update(&mut account.display_name, &event.display_name);
            if update(&mut account.email, &event.email) {
                account.email_verified = false;
            }
            if update(&mut account.phone, &event.phone) {
                account.phone_verified = false;
            }
        }
        E::PreferencesChanged(event) => {
            let PreferencesChanged { language, currency, units, channels } = event.clone();
            let kept = &mut account.preferences.0;
            kept.language = language.or(kept.language.take());
            kept.currency = currency.or(kept.currency);
            kept.units = units.or(kept.units);
            kept.channels = channels.or(kept.channels.take());
        }
        E::ConsentGranted(event) => grant(&mut account.consents.0, event),
        E::ConsentWithdrawn(event) => {
            let mut consents = account.consents.0.iter_mut();
            if let Some(consent) = consents.find(|consent| consent.purpose == event.purpose) {
                consent.withdrawn_at = Some(event.withdrawn_at);
            }
        }
        E::SearchSaved(event) => account.saved_searches.0.push(event.search),
        E::SearchDeleted(event) => {
            account.saved_searches.0.retain(|search| *search != event.search);
        }
        E::UserSuspended(_) => account.status = Standing::Suspended,
        E::UserReinstated(_) => account.status = Standing::Active,
        E::AccountClosed(_) => account.status = Standing::Closed,
        E::DataExportRequested(_) => account.export_requested_at = Some(recorded.occurred_at),
        E::ErasureRequested(event) => {
            account.erasure = Erasure::Requested;
            account.erasure_requested_at = Some(event.requested_at);
            account.erasure_deadline = Some(event.deadline);
        }
        E::ErasureCancelled(_) => {
            account.erasure = Erasure::NotRequested;
            account.erasure_requested_at = None;
            account.erasure_deadline = None;
        }
        E::LegalHoldPlaced(_) => account.legal_holds += 1,
        E::LegalHoldReleased(_) => account.legal_holds -= 1,
        E::SubjectKeyShredded(_) => {
            account.display_name = None;
            account.email = None;
            account.phone = None;
            account.erasure = Erasure::KeyShredded;
        }
        E::UserErased(event) => {
            account.erasure = Erasure::Completed;
            account.erasure_certificate = Some(Arc::from(event.certificate.as_str()));
        }
        // The account says only that something happened; the other tables say what.
        E::UserRegistered(_)
        | E::ListingPreferenceSet(_)
        | E::ListingPreferenceCleared(_)
        | E::SearchRenamed(_)
        | E::AlertScheduleChanged(_)
        | E::AlertPaused(_) => {}
    }
}

/// An event at work on the tables beside the account.
struct Fold<'a> {
    recorded: &'a RecordedEvent,
    user: UserId,
    rows: &'a mut Rows,
}

impl Fold<'_> {
    fn beside(mut self, event: &UserEvent) -> Result<(), ApplyError> {
        use UserEvent as E;
        match event {
            E::ListingPreferenceSet(event) => self.prefer(event.listing, Some(event.preference)),
            E::ListingPreferenceCleared(event) => self.prefer(event.listing, None),
            E::SearchSaved(event) => {
                self.save(event);
                Ok(())
            }
            E::SearchRenamed(event) => {
                self.change_search(event.search, |row| row.name = sealed(&event.name))
            }
            E::AlertScheduleChanged(event) => self.change_search(event.search, |row| {
                row.schedule = event.schedule;
                row.paused = None;
            }),
            E::AlertPaused(event) => {
                self.change_search(event.search, |row| row.paused = Some(event.reason))
            }
            E::SearchDeleted(event) => {
                self.rows.delete::<SavedSearchRow>((event.search, self.user));
                Ok(())
            }
            E::UserRegistered(_)
            | E::EmailVerified(_)
            | E::PhoneVerified(_)
            | E::IdentityVerified(_)
            | E::IdentityVerificationFailed(_)
            | E::ProfileUpdated(_)
            | E::PreferencesChanged(_)
            | E::ConsentGranted(_)
            | E::ConsentWithdrawn(_)
            | E::UserSuspended(_)
            | E::UserReinstated(_)
            | E::AccountClosed(_)
            | E::DataExportRequested(_)
            | E::ErasureRequested(_)
            | E::ErasureCancelled(_)
            | E::LegalHoldPlaced(_)
            | E::LegalHoldReleased(_)
            | E::SubjectKeyShredded(_)
            | E::UserErased(_) => Ok(()),
        }
    }

    fn prefer(
        &mut self,
        listing: ListingKey,
        preference: Option<ListingPreference>,
    ) -> Result<(), ApplyError> {
        let user = self.user;
        let before = self.rows.get::<ListingPreferenceRow>(&(user, listing));
        let before = before.map(|row| row.map(|row| row.preference));
        let favourites = self.rows.get::<ListingFavouritesRow>(&(listing,))?.cloned();
        let before = before?;
        let mut favourites = favourites.unwrap_or(ListingFavouritesRow {
            listing,
            favourites: 0,
            possibilities: 0,
            discards: 0,
        });
        if let Some(before) = before {
            *favourites.count(before) -= 1;
        }
        match preference {
            Some(preference) => {
                *favourites.count(preference) += 1;
                let since = self.recorded.occurred_at;
                self.rows.put(ListingPreferenceRow { user, listing, preference, since });
            }
            None => self.rows.delete::<ListingPreferenceRow>((user, listing)),
        }
        self.rows.put(favourites);
        Ok(())
    }

    fn save(&mut self, event: &SearchSaved) {
        self.rows.put(SavedSearchRow {
            search: event.search,
            user: self.user,
            name: sealed(&event.name),
            text: event.text.as_ref().and_then(sealed),
            filter: Json(event.filter.clone()),
            schedule: event.schedule,
            paused: None,
            created_at: self.recorded.occurred_at,
            position: self.recorded.position,
        });
    }

    fn change_search(
        &mut self,
        search: SavedSearchId,
        change: impl FnOnce(&mut SavedSearchRow),
    ) -> Result<(), ApplyError> {
        let row = self.rows.get::<SavedSearchRow>(&(search, self.user))?.cloned();
        let mut row = row.ok_or_else(|| unknown("saved search", search.0))?;
        change(&mut row);
        row.position = self.recorded.position;
        self.rows.put(row);
        Ok(())
    }
}

impl ListingFavouritesRow {
    fn count(&mut self, preference: ListingPreference) -> &mut i64 {
        match preference {
            ListingPreference::Favorite => &mut self.favourites,
            ListingPreference::Possibility => &mut self.possibilities,
            ListingPreference::Discard => &mut self.discards,
        }
    }
}

/// The names and words of someone's searches go with their data key.
fn forget_searches(
    account: &AccountRow,
    position: GlobalPosition,
    rows: &mut Rows,
) -> Result<(), ApplyError> {
    let keys = account.saved_searches.0.iter().map(|search| (*search, account.user));
    for search in get_all::<SavedSearchRow>(rows, keys)?.into_iter().flatten() {
        rows.put(SavedSearchRow { name: None, text: None, position, ..search });
    }
    Ok(())
}

/// A personal value as a fold meets it: sealed. One that is not is kept nowhere.
fn sealed(value: &Personal<String>) -> Option<SealedText> {
    SealedText::parse(value.known()?)
}

/// Changes a personal column; says whether the event had something to say about it.
fn update(column: &mut Option<SealedText>, change: &Change<Personal<String>>) -> bool {
    match change {
        Change::Keep => return false,
        Change::Set(value) => *column = sealed(value),
        Change::Clear => *column = None,
    }
    true
}

fn grant(consents: &mut Vec<ConsentRecord>, event: &ConsentGranted) {
    let granted = ConsentRecord {
        purpose: event.purpose,
        notice_version: event.notice_version.clone(),
        method: event.method,
        jurisdiction: event.jurisdiction.clone(),
        granted_at: event.granted_at,
        expires_at: event.expires_at,
        withdrawn_at: None,
    };
    match consents.binary_search_by_key(&event.purpose, |consent| consent.purpose) {
        Ok(place) => consents[place] = granted,
        Err(place) => consents.insert(place, granted),
    }
}
