//! Why a mutation is refused, as clients read it.

use async_graphql::resolver_utils::EnumType as _;
use async_graphql::{Enum, SimpleObject};

use crate::graphql::objects::enums::ListingStatus;
use crate::graphql::scalars::Long;

/// One thing that is wrong with an input, or that speaks against it.
#[derive(Clone, Debug, Default, SimpleObject)]
pub(crate) struct UserError {
    /// For programs.
    pub(crate) code: UserErrorCode,
    /// The path of the input field, such as `["input", "price", "currency"]`; null where no field
    /// of the input is wrong.
    pub(crate) field: Option<Vec<String>>,
    /// What is wrong and what to do next, for people.
    pub(crate) message: String,
    /// With `VERSION_CONFLICT`: the version that the stream has.
    pub(crate) current_version: Option<Long>,
    /// With `INVALID_TRANSITION`: where the listing stands.
    pub(crate) from: Option<ListingStatus>,
    /// With `INVALID_TRANSITION`: where it cannot go from there.
    pub(crate) to: Option<ListingStatus>,
}

/// Why a mutation is refused. The message of each error says what to do next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[allow(missing_docs, reason = "each error's message says what happened and what to do next")]
pub(crate) enum UserErrorCode {
    // Of any mutation.
    #[default]
    InvalidInput,
    CommandIdReused,
    Contended,
    DuplicateSourceRef,
    EmailTaken,
    InvalidId,
    NotPositive,
    TimestampInFuture,
    TimestampOutOfRange,
    UnknownCurrency,
    VersionConflict,

    // Of properties and listings.
    AddressMissing,
    AgentInactive,
    AlreadyDuplicate,
    AlreadyRegistered,
    ApplicationMismatch,
    AvailabilityMissing,
    Blank,
    ConcessionNotFound,
    CurrencyMismatch,
    DateInFuture,
    DateInPast,
    ExpiryTooEarly,
    FourEyes,
    IdTaken,
    InvalidTransition,
    LeaseStillCurrent,
    ListingAlreadyOpen,
    ListingClosed,
    ListingKeyUsed,
    ListingNotFound,
    ListingStillOpen,
    LocationMissing,
    Malformed,
    MediaNotFound,
    MediaOrderIncomplete,
    MediaOrderTaken,
    MergeBlocked,
    MinAboveMax,
    NotApproved,
    NotADuplicate,
    NotAPhoto,
    NotInReview,
    NotOneTime,
    NotRecurring,
    NotRegistered,
    NotYetExpired,
    OutOfRange,
    PaidTwice,
    PhotoMissing,
    PropertyArchived,
    PropertyTypeMissing,
    RentFixed,
    RentMissing,
    Repeated,
    SelfDuplicate,
    SetAndCleared,
    SurvivorIsDuplicate,
    TooLong,
    TooMany,

    // Of accounts and searches.
    AccountClosed,
    AccountNotClosed,
    CertificateInvalid,
    ConsentExpired,
    ConsentUnknown,
    DisplayNameInvalid,
    EmailInvalid,
    EmailMissing,
    EmailNotCurrent,
    ErasureBlocked,
    ErasureNotRequested,
    ErasurePending,
    IdentityExpired,
    JurisdictionInvalid,
    KeyNotShredded,
    LanguageInvalid,
    LegalHoldExists,
    LegalHoldUnknown,
    ListingPreferenceLimit,
    NoticeVersionInvalid,
    PhoneInvalid,
    PhoneNotCurrent,
    ReasonInvalid,
    SavedSearchLimit,
    SearchAlreadySaved,
    SearchInvalid,
    SearchNameInvalid,
    SearchTextInvalid,
    SearchUnknown,
    SourceInvalid,
    UserErased,
    UserSuspended,

    // Of dead letters.
    DeadLetterHeld,
    DeadLetterUnknown,
    EditInvalid,
    NothingSelected,
}

impl UserErrorCode {
    /// The code of that name.
    pub(crate) fn of(name: &'static str) -> Self {
        let named = Self::items().iter().find(|item| item.name == name);
        named.map_or_else(
            || {
                tracing::error!(code = name, "a refusal has a code that the schema lacks");
                Self::InvalidInput
            },
            |item| item.value,
        )
    }
}

#[cfg(test)]
mod code_tests {
    use async_graphql::resolver_utils::EnumType as _;
    use freehold_domain::property::PropertyRefused;
    use freehold_domain::user::UserRefused;

    use super::UserErrorCode;

    #[test]
    fn every_code_of_the_domain_is_a_code_of_the_schema() {
        let known: Vec<_> = UserErrorCode::items().iter().map(|item| item.name).collect();
        for code in PropertyRefused::ALL_CODES.iter().chain(UserRefused::ALL_CODES) {
            assert!(known.contains(code), "{code} is missing");
        }
    }
}
