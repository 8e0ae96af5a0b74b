//! An account as its events left it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use super::command::UserCommand;
use super::event::{ConsentGranted, IdentityVerified, PreferencesChanged, UserEvent};
use super::refusal::UserRefused;
use super::search::SearchFilter;
use super::value::{
    AlertPauseReason, AlertSchedule, Change, ConsentPurpose, ListingPreference, UserSource,
};
use crate::{Circumstances, LegalHoldId, ListingKey, Personal, SavedSearchId, UserId};

/// A marketplace account; each state holds only what exists in that state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum User {
    /// Nobody is registered yet.
    #[default]
    Unregistered,
    /// Someone has, or had, an account here.
    Registered(Box<Account>),
    /// Their data key is gone; confirmation from every place that held copies is awaited.
    Shredded(UserId),
    /// They are forgotten.
    Erased(UserId),
}

/// The account of a registered user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Whose account it is.
    pub user: UserId,
    /// What the account may do.
    pub standing: Standing,
    /// The name they want to be shown under.
    pub display_name: Option<Personal<String>>,
    /// Their e-mail address.
    pub email: Option<Contact>,
    /// Their phone number.
    pub phone: Option<Contact>,
    /// The sender's reference, for a user that came from a feed.
    pub source: Option<UserSource>,
    /// The last successful check of their identity.
    pub identity: Option<IdentityVerified>,
    /// How the marketplace speaks to them: everything they ever set.
    pub preferences: PreferencesChanged,
    /// What they said about each purpose.
    pub consents: BTreeMap<ConsentPurpose, Consent>,
    /// What they think of listings.
    pub listing_preferences: BTreeMap<ListingKey, ListingPreference>,
    /// The searches they keep.
    pub saved_searches: BTreeMap<SavedSearchId, SavedSearch>,
    /// The legal holds in force, with their reasons.
    pub legal_holds: BTreeMap<LegalHoldId, Personal<String>>,
    /// By when they must be forgotten, if they asked for it.
    pub erasure_deadline: Option<DateTime<Utc>>,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Everything.
    Active,
    /// Nothing until an operator reinstates it, apart from the person's rights to their data.
    Suspended,
    /// Nothing any more, apart from the person's rights to their data.
    Closed,
}

/// A way to reach someone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The address or number.
    pub value: Personal<String>,
    /// Whether it is known to reach them.
    pub verified: bool,
}

/// What someone said about one purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consent {
    /// They agreed; the record says to what.
    Granted(ConsentGranted),
    /// They took it back.
    Withdrawn(DateTime<Utc>),
}

/// A search someone keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSearch {
    /// What they call it.
    pub name: Personal<String>,
    /// The words they look for.
    pub text: Option<Personal<String>>,
    /// What a listing must be like.
    pub filter: SearchFilter,
    /// How often matches are sent.
    pub schedule: AlertSchedule,
    /// Why matches are not sent at the moment, if they are not.
    pub paused: Option<AlertPauseReason>,
}

impl Consent {
    /// Whether the consent counts at `now`; to be asked at the moment the data is used.
    pub fn counts_at(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Granted(ConsentGranted { expires_at, .. }) => {
                expires_at.is_none_or(|expiry| now < expiry)
            }
            Self::Withdrawn(_) => false,
        }
    }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserRefused;
    type Services = Circumstances;

    async fn handle(
        &mut self,
        command: UserCommand,
        circumstances: &Circumstances,
        sink: &EventSink<Self>,
    ) -> Result<(), UserRefused> {
        for event in self.decide(command, circumstances)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: UserEvent) {
        match (&mut *self, event) {
            (Self::Unregistered, UserEvent::UserRegistered(event)) => {
                let contact = |value| Contact { value, verified: false };
                *self = Self::Registered(Box::new(Account {
                    user: event.user,
                    standing: Standing::Active,
                    display_name: event.display_name,
                    email: event.email.map(contact),
                    phone: event.phone.map(contact),
                    source: event.source,
                    identity: None,
                    preferences: PreferencesChanged::default(),
                    consents: BTreeMap::new(),
                    listing_preferences: BTreeMap::new(),
                    saved_searches: BTreeMap::new(),
                    legal_holds: BTreeMap::new(),
                    erasure_deadline: None,
                }));
            }
            (Self::Registered(account), UserEvent::SubjectKeyShredded(_)) => {
                *self = Self::Shredded(account.user);
            }
            (Self::Registered(account), event) => account.apply(event),
            (Self::Shredded(user), UserEvent::UserErased(_)) => *self = Self::Erased(*user),
            // No decision emits anything else here; a fold has nobody to refuse it to.
            (Self::Unregistered | Self::Shredded(_) | Self::Erased(_), _) => {}
        }
    }
}

impl Account {
    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::EmailVerified(_) => verify(&mut self.email),
            UserEvent::PhoneVerified(_) => verify(&mut self.phone),
            UserEvent::IdentityVerified(event) => self.identity = Some(event),
            UserEvent::ProfileUpdated(event) => {
                change(&mut self.display_name, event.display_name, |name| name);
                let contact = |value| Contact { value, verified: false };
                change(&mut self.email, event.email, contact);
                change(&mut self.phone, event.phone, contact);
            }
            UserEvent::PreferencesChanged(event) => {
                let PreferencesChanged { language, currency, units, channels } = event;
                let kept = &mut self.preferences;
                kept.language = language.or(kept.language.take());
                kept.currency = currency.or(kept.currency);
                kept.units = units.or(kept.units);
                kept.channels = channels.or(kept.channels.take());
            }
            UserEvent::ConsentGranted(event) => {
                self.consents.insert(event.purpose, Consent::Granted(event));
            }
            UserEvent::ConsentWithdrawn(event) => {
                self.consents.insert(event.purpose, Consent::Withdrawn(event.withdrawn_at));
            }
            UserEvent::ListingPreferenceSet(event) => {
                self.listing_preferences.insert(event.listing, event.preference);
            }
            UserEvent::ListingPreferenceCleared(event) => {
                self.listing_preferences.remove(&event.listing);
            }
            UserEvent::SearchSaved(event) => {
                let (name, text) = (event.name, event.text);
                let (filter, schedule) = (event.filter, event.schedule);
                let saved = SavedSearch { name, text, filter, schedule, paused: None };
                self.saved_searches.insert(event.search, saved);
            }
            UserEvent::SearchRenamed(event) => {
                if let Some(saved) = self.saved_searches.get_mut(&event.search) {
                    saved.name = event.name;
                }
            }
            UserEvent::AlertScheduleChanged(event) => {
                if let Some(saved) = self.saved_searches.get_mut(&event.search) {
                    saved.schedule = event.schedule;
                    saved.paused = None;
                }
            }
            UserEvent::AlertPaused(event) => {
                if let Some(saved) = self.saved_searches.get_mut(&event.search) {
                    saved.paused = Some(event.reason);
                }
            }
            UserEvent::SearchDeleted(event) => {
                self.saved_searches.remove(&event.search);
            }
            UserEvent::UserSuspended(_) => self.standing = Standing::Suspended,
            UserEvent::UserReinstated(_) => self.standing = Standing::Active,
            UserEvent::AccountClosed(_) => self.standing = Standing::Closed,
            UserEvent::ErasureRequested(event) => self.erasure_deadline = Some(event.deadline),
            UserEvent::ErasureCancelled(_) => self.erasure_deadline = None,
            UserEvent::LegalHoldPlaced(event) => {
                self.legal_holds.insert(event.hold, event.reason);
            }
            UserEvent::LegalHoldReleased(event) => {
                self.legal_holds.remove(&event.hold);
            }
            // Facts that no later decision asks about, and those that `User` itself folds.
            UserEvent::UserRegistered(_)
            | UserEvent::IdentityVerificationFailed(_)
            | UserEvent::DataExportRequested(_)
            | UserEvent::SubjectKeyShredded(_)
            | UserEvent::UserErased(_) => {}
        }
    }
}

fn verify(contact: &mut Option<Contact>) {
    if let Some(contact) = contact {
        contact.verified = true;
    }
}

fn change<T, U>(field: &mut Option<U>, change: Change<T>, into: impl FnOnce(T) -> U) {
    match change {
        Change::Keep => {}
        Change::Set(value) => *field = Some(into(value)),
        Change::Clear => *field = None,
    }
}
