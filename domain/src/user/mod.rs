//! A marketplace account: who someone is, what they agreed to, what they look for.
//!
//! [`UserEvent`] lists what can happen to an account. Absent on purpose: passwords and sessions
//! (an identity provider's work), and what a user looked at (see
//! [`interaction`](crate::interaction)).

mod event;
mod search;
mod value;

pub use event::{
    AccountClosed, AlertPaused, AlertScheduleChanged, ConsentGranted, ConsentWithdrawn,
    DataExportRequested, EmailVerified, ErasureCancelled, ErasureRequested,
    IdentityVerificationFailed, IdentityVerified, LegalHoldPlaced, LegalHoldReleased,
    ListingPreferenceCleared, ListingPreferenceSet, PhoneVerified, PreferencesChanged,
    ProfileUpdated, SearchDeleted, SearchRenamed, SearchSaved, SubjectKeyShredded, UserErased,
    UserEvent, UserRegistered, UserReinstated, UserSuspended,
};
pub use search::{ListingFacts, PriceRange, SearchArea, SearchFault, SearchFilter, words_match};
pub use value::{
    AlertPauseReason, AlertSchedule, Change, ConsentMethod, ConsentPurpose, ExportFormat,
    IdentityFailure, IdentityMethod, ListingPreference, NotificationChannel, Units, UserSource,
};
