//! A marketplace account: who someone is, what they agreed to, what they look for.
//!
//! [`User::decide`] answers a [`UserCommand`] with events or a [`UserRefused`]; [`User`] is the
//! state that the events leave. Absent on purpose: passwords and sessions (an identity provider's
//! work), and what a user looked at (see [`interaction`](crate::interaction)).

mod command;
mod decide;
mod event;
mod interest;
mod privacy;
mod profile;
mod refusal;
mod search;
mod state;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use command::{
    CancelErasure, ChangePreferences, ChangeSchedule, ClearPreference, CloseAccount,
    CompleteErasure, DeleteSearch, DiscardListing, FavouriteListing, GrantConsent, IdentityOutcome,
    Origin, PauseAlert, PlaceLegalHold, PossibleListing, RecordKeyShredded, RegisterUser,
    ReinstateUser, ReleaseLegalHold, RenameSearch, RequestDataExport, RequestErasure, SaveSearch,
    SuspendUser, UpdateProfile, UserCommand, VerifyEmail, VerifyIdentity, VerifyPhone,
    WithdrawConsent,
};

pub use event::{
    AccountClosed, AlertPaused, AlertScheduleChanged, ConsentGranted, ConsentWithdrawn,
    DataExportRequested, EmailVerified, ErasureCancelled, ErasureRequested,
    IdentityVerificationFailed, IdentityVerified, LegalHoldPlaced, LegalHoldReleased,
    ListingPreferenceCleared, ListingPreferenceSet, PhoneVerified, PreferencesChanged,
    ProfileUpdated, SearchDeleted, SearchRenamed, SearchSaved, SubjectKeyShredded, UserErased,
    UserEvent, UserRegistered, UserReinstated, UserSuspended,
};
pub use refusal::{ErasureBlock, UserRefused};
pub use search::{ListingFacts, PriceRange, SearchArea, SearchFault, SearchFilter, words_match};
pub use state::{Account, Consent, Contact, SavedSearch, Standing, User};
pub use text::{normalize_email, normalize_phone};
pub use value::{
    AlertPauseReason, AlertSchedule, Change, ConsentMethod, ConsentPurpose, ExportFormat,
    IdentityFailure, IdentityMethod, ListingPreference, NotificationChannel, Units, UserSource,
};
