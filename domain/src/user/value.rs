//! The small values that user commands and events are made of.

use serde::{Deserialize, Serialize};

/// What a command does to one field of a profile, and what an event says was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change<T> {
    /// The field stays as it is; events leave it out.
    #[default]
    Keep,
    /// The field gets this value.
    Set(T),
    /// The field becomes empty.
    Clear,
}

impl<T> Change<T> {
    /// Whether the field stays as it is.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
}

/// Who a user is to a feed: the sender's own reference within that source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserSource {
    /// The feed, such as `crm` or `portal`.
    pub source: String,
    /// The sender's reference, such as `user-456`; never an e-mail address.
    pub reference: String,
}

/// What a person agreed that their data may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConsentPurpose {
    /// Being sent offers.
    Marketing,
    /// Being told about new matches of saved searches.
    Alerts,
    /// Being shown what fits earlier behaviour.
    Personalisation,
    /// Being counted in usage statistics.
    Analytics,
    /// Having data passed to partners.
    PartnerSharing,
    /// Having a tenant screening report ordered.
    Screening,
}

/// How a consent was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConsentMethod {
    /// A form on a web site.
    WebForm,
    /// A screen of a mobile application.
    MobileApp,
    /// A reply by e-mail.
    Email,
    /// A telephone call.
    Phone,
    /// A signed paper.
    Paper,
    /// A feed that passed it on.
    Import,
}

/// How an identity was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdentityMethod {
    /// A passport or identity card, checked remotely.
    Document,
    /// A bank's login.
    Bank,
    /// An electronic identity issued by a state.
    ElectronicId,
    /// Someone looked at the person and the document.
    InPerson,
}

/// Why an identity could not be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IdentityFailure {
    /// The document could not be read.
    DocumentUnreadable,
    /// The document is out of date.
    DocumentExpired,
    /// The name is not the account's.
    NameMismatch,
    /// The face is not the document's.
    FaceMismatch,
    /// The document or the attempt looks forged.
    SuspectedFraud,
}

/// In which units measures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Units {
    /// Square metres and kilometres.
    Metric,
    /// Square feet and miles.
    Imperial,
}

/// Where notifications may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotificationChannel {
    /// By e-mail.
    Email,
    /// By text message.
    Sms,
    /// To a mobile application.
    Push,
}

/// What a user thinks of a listing, after RESO `ContactListingPreference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListingPreference {
    /// Wanted.
    Favorite,
    /// Perhaps.
    Possibility,
    /// Not wanted.
    Discard,
}

/// How often matches of a saved search are sent, after RESO `ScheduleType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertSchedule {
    /// As soon as a listing matches.
    #[serde(rename = "ASAP")]
    Asap,
    /// One digest a day.
    Daily,
    /// One digest a month.
    Monthly,
}

/// Why the alerts of a saved search stopped, after RESO `ReasonActiveOrDisabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertPauseReason {
    /// The user asked for it.
    UserRequested,
    /// It matched more listings than may be sent.
    OverLimit,
    /// It could not be run.
    SearchFailing,
    /// Its alerts were not opened for long.
    Ignored,
    /// It matched nothing for long.
    NoListingsFound,
}

/// In which shape a person receives their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExportFormat {
    /// One JSON document.
    Json,
    /// A table for each kind of record.
    Csv,
}
