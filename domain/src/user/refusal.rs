//! Why an account says no.

use std::fmt;

use super::search::SearchFault;
use crate::{Complaint, LeaseId, LegalHoldId, Refusal};

/// Why a command to an account was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what happened and what to do next")]
pub enum UserRefused {
    #[error("this user is already registered; update the profile instead")]
    AlreadyRegistered,
    #[error("this user is not registered; register the user first")]
    NotRegistered,
    #[error("this account is suspended; ask support to reinstate it")]
    UserSuspended,
    #[error("this account is closed; open another one")]
    AccountClosed,
    #[error("this user was erased; nothing can be recorded about them")]
    UserErased,
    #[error("this user asked to be erased; cancel the erasure first")]
    ErasurePending,
    #[error("an account needs an e-mail address; send one")]
    EmailMissing,
    #[error("this is not an e-mail address; send one such as name@example.com")]
    EmailInvalid,
    #[error("this is not the account's e-mail address; verify the current one")]
    EmailNotCurrent,
    #[error("this is not a phone number; send it with its country code, such as +4930123456")]
    PhoneInvalid,
    #[error("this is not the account's phone number; verify the current one")]
    PhoneNotCurrent,
    #[error("a display name has 1 to 200 characters and no control characters")]
    DisplayNameInvalid,
    #[error(
        "a source has 1 to 64 letters, digits, dots, dashes or underscores; a reference has 1 to \
         200 characters and no @, because it is stored in clear"
    )]
    SourceInvalid,
    #[error("this check of the identity has lapsed; check again")]
    IdentityExpired,
    #[error("this is not a language; send a BCP 47 tag such as de or en-GB")]
    LanguageInvalid,
    #[error("a notice version has 1 to 64 characters and no @; send the one the person was shown")]
    NoticeVersionInvalid,
    #[error("this is not a jurisdiction; send an ISO 3166 code such as DE or US-CA")]
    JurisdictionInvalid,
    #[error("this consent would already have expired; send a later moment or none")]
    ConsentExpired,
    #[error("the user never agreed to this purpose; there is nothing to withdraw")]
    ConsentUnknown,
    #[error("a user keeps at most {max} listing preferences; clear one first")]
    ListingPreferenceLimit { max: u32 },
    #[error("a user keeps at most {max} saved searches; delete one first")]
    SavedSearchLimit { max: u32 },
    #[error("another search was saved under this identifier; choose a new one")]
    SearchAlreadySaved,
    #[error("the user keeps no search under this identifier; list the saved searches")]
    SearchUnknown,
    #[error("a search's name has 1 to 200 characters and no control characters")]
    SearchNameInvalid,
    #[error("a search's text has at least one word, and at most 500 characters")]
    SearchTextInvalid,
    #[error("the filter cannot be searched with: {}", listed(.faults))]
    SearchInvalid { faults: Vec<SearchFault> },
    #[error("a reason has 1 to 2000 characters")]
    ReasonInvalid,
    #[error("another legal hold stands under this identifier; choose a new one")]
    LegalHoldExists,
    #[error("no legal hold stands under this identifier; list the user's holds")]
    LegalHoldUnknown,
    #[error("this user cannot be erased now: {by}")]
    ErasureBlocked { by: ErasureBlock },
    #[error("nobody asked to erase this user; request the erasure first")]
    ErasureNotRequested,
    #[error("the account is still open; close it first, so that its e-mail address is released")]
    AccountNotClosed,
    #[error("the user's data key still exists; record that it was shredded first")]
    KeyNotShredded,
    #[error("a certificate's reference has 1 to 200 characters and no @")]
    CertificateInvalid,
    #[error("{}", joined(.faults))]
    Several { faults: Vec<UserRefused> },
}

/// Collects what is wrong with the fields of a command, so that a form can show all of it at once.
#[derive(Default)]
pub(super) struct Faults(Vec<UserRefused>);

impl Faults {
    /// Notes what is wrong with a field; read its value with `?` after [`finish`](Self::finish).
    pub(super) fn check<T>(&mut self, field: Result<T, UserRefused>) -> Result<T, UserRefused> {
        field.inspect_err(|fault| self.note(fault.clone()))
    }

    /// Notes that something is wrong.
    pub(super) fn note(&mut self, fault: UserRefused) {
        self.0.push(fault);
    }

    /// Ends the collection: nothing is wrong, or this is all that is.
    pub(super) fn finish(mut self) -> Result<(), UserRefused> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(UserRefused::Several { faults: self.0 }),
        }
    }
}

/// What stands in the way of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureBlock {
    /// A legal hold. Its reason stays with the account: refusals may be logged.
    LegalHold(LegalHoldId),
    /// A lease that has not ended.
    LiveLease(LeaseId),
}

impl fmt::Display for ErasureBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LegalHold(hold) => write!(f, "legal hold {hold} stands; ask again once released"),
            Self::LiveLease(lease) => write!(f, "lease {lease} is live; ask again once it ended"),
        }
    }
}

fn joined(faults: &[UserRefused]) -> String {
    faults.iter().map(UserRefused::to_string).collect::<Vec<_>>().join("; ")
}

fn listed(faults: &[SearchFault]) -> String {
    faults.iter().map(SearchFault::to_string).collect::<Vec<_>>().join("; ")
}

macro_rules! codes {
    ($($variant:pat => $code:literal, $field:expr;)+) => {
        impl UserRefused {
            /// Every code a refusal can have.
            pub const ALL_CODES: &[&str] = &[ $( $code ),+ ];

            fn code_and_field(&self) -> (&'static str, Option<&'static str>) {
                match self {
                    $( $variant => ($code, $field), )+
                    // Of several faults the first one speaks; there is none without any.
                    Self::Several { faults } => {
                        faults.first().map_or(("SEVERAL", None), Self::code_and_field)
                    }
                }
            }
        }
    };
}

codes! {
    Self::AlreadyRegistered => "ALREADY_REGISTERED", None;
    Self::NotRegistered => "NOT_REGISTERED", None;
    Self::UserSuspended => "USER_SUSPENDED", None;
    Self::AccountClosed => "ACCOUNT_CLOSED", None;
    Self::UserErased => "USER_ERASED", None;
    Self::ErasurePending => "ERASURE_PENDING", None;
    Self::EmailMissing => "EMAIL_MISSING", Some("email");
    Self::EmailInvalid => "EMAIL_INVALID", Some("email");
    Self::EmailNotCurrent => "EMAIL_NOT_CURRENT", Some("email");
    Self::PhoneInvalid => "PHONE_INVALID", Some("phone");
    Self::PhoneNotCurrent => "PHONE_NOT_CURRENT", Some("phone");
    Self::DisplayNameInvalid => "DISPLAY_NAME_INVALID", Some("display_name");
    Self::SourceInvalid => "SOURCE_INVALID", Some("origin");
    Self::IdentityExpired => "IDENTITY_EXPIRED", Some("outcome.expires_at");
    Self::LanguageInvalid => "LANGUAGE_INVALID", Some("language");
    Self::NoticeVersionInvalid => "NOTICE_VERSION_INVALID", Some("notice_version");
    Self::JurisdictionInvalid => "JURISDICTION_INVALID", Some("jurisdiction");
    Self::ConsentExpired => "CONSENT_EXPIRED", Some("expires_at");
    Self::ConsentUnknown => "CONSENT_UNKNOWN", Some("purpose");
    Self::ListingPreferenceLimit { .. } => "LISTING_PREFERENCE_LIMIT", None;
    Self::SavedSearchLimit { .. } => "SAVED_SEARCH_LIMIT", None;
    Self::SearchAlreadySaved => "SEARCH_ALREADY_SAVED", Some("search");
    Self::SearchUnknown => "SEARCH_UNKNOWN", Some("search");
    Self::SearchNameInvalid => "SEARCH_NAME_INVALID", Some("name");
    Self::SearchTextInvalid => "SEARCH_TEXT_INVALID", Some("text");
    Self::SearchInvalid { .. } => "SEARCH_INVALID", None;
    Self::ReasonInvalid => "REASON_INVALID", Some("reason");
    Self::LegalHoldExists => "LEGAL_HOLD_EXISTS", Some("hold");
    Self::LegalHoldUnknown => "LEGAL_HOLD_UNKNOWN", Some("hold");
    Self::ErasureBlocked { .. } => "ERASURE_BLOCKED", None;
    Self::ErasureNotRequested => "ERASURE_NOT_REQUESTED", None;
    Self::AccountNotClosed => "ACCOUNT_NOT_CLOSED", None;
    Self::KeyNotShredded => "KEY_NOT_SHREDDED", None;
    Self::CertificateInvalid => "CERTIFICATE_INVALID", Some("certificate");
}

impl Refusal for UserRefused {
    fn code(&self) -> &'static str {
        self.code_and_field().0
    }

    fn field(&self) -> Option<String> {
        match self {
            Self::SearchInvalid { faults } => {
                faults.first().map(|fault| format!("filter.{}", fault.field))
            }
            Self::Several { faults } => faults.first().and_then(Refusal::field),
            _ => self.code_and_field().1.map(str::to_owned),
        }
    }

    fn complaints(&self) -> Vec<Complaint> {
        match self {
            Self::Several { faults } => faults.iter().flat_map(Refusal::complaints).collect(),
            Self::SearchInvalid { faults } => {
                let complaint = |SearchFault { field, advice }: &SearchFault| Complaint {
                    code: self.code(),
                    field: Some(format!("filter.{field}")),
                    message: (*advice).to_owned(),
                };
                faults.iter().map(complaint).collect()
            }
            _ => {
                let message = self.to_string();
                vec![Complaint { code: self.code(), field: self.field(), message }]
            }
        }
    }
}
