use freehold_domain::user::{
    AccountClosed, AlertPauseReason, AlertPaused, AlertSchedule, AlertScheduleChanged, Change,
    ConsentGranted, ConsentMethod, ConsentPurpose, ConsentWithdrawn, DataExportRequested,
    EmailVerified, ErasureCancelled, ErasureRequested, ExportFormat, IdentityFailure,
    IdentityMethod, IdentityVerificationFailed, IdentityVerified, LegalHoldPlaced,
    LegalHoldReleased, ListingPreference, ListingPreferenceCleared, ListingPreferenceSet,
    PhoneVerified, PreferencesChanged, ProfileUpdated, SearchDeleted, SearchFilter, SearchRenamed,
    SearchSaved, Standing, SubjectKeyShredded, Units, UserErased, UserEvent, UserRegistered,
    UserReinstated, UserSource, UserSuspended,
};
use freehold_domain::{LegalHoldId, Personal, SavedSearchId, SubjectId, UserId};
use freehold_ports::{GlobalPosition, StreamVersion};
use uuid::Uuid;

use super::super::account::{
    AccountRow, Accounts, Erasure, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use super::{LISTING, Log, TENANT, USER, noon, recorded, stopped_by};

const SEARCH: SavedSearchId = SavedSearchId(Uuid::from_u128(5));
const SUBJECT: SubjectId = SubjectId(USER.0);

fn personal(value: &str) -> Personal<String> {
    Personal::new(SUBJECT, value.to_owned())
}

fn registered() -> UserEvent {
    UserRegistered {
        user: USER,
        display_name: Some(personal("Ada")),
        email: Some(personal("ada@example.com")),
        phone: Some(personal("+4930123456")),
        source: Some(UserSource { source: "crm".into(), reference: "u-1".into() }),
        registered_at: noon(0),
    }
    .into()
}

fn saved() -> UserEvent {
    SearchSaved {
        search: SEARCH,
        name: personal("By the park"),
        text: Some(personal("balcony")),
        filter: SearchFilter { bedrooms_min: Some(2), ..SearchFilter::default() },
        schedule: AlertSchedule::Daily,
    }
    .into()
}

fn prefers(preference: ListingPreference) -> UserEvent {
    ListingPreferenceSet { listing: LISTING, preference }.into()
}

/// The account after it was registered and then this.
fn after<const N: usize>(events: [UserEvent; N]) -> AccountRow {
    Log::of_user([registered()].into_iter().chain(events)).fold(Accounts).row((USER,))
}

/// The name, e-mail address and phone number of that account, opened.
fn contact_after<const N: usize>(events: [UserEvent; N]) -> [Option<String>; 3] {
    let log = Log::of_user([registered()].into_iter().chain(events));
    let row: AccountRow = log.fold(Accounts).row((USER,));
    [row.display_name, row.email, row.phone].map(|text| log.opened(text))
}

/// The name and the words of [`SEARCH`] after it was saved and then this, opened.
fn words_after<const N: usize>(events: [UserEvent; N]) -> [Option<String>; 2] {
    let log = Log::of_user([registered(), saved()].into_iter().chain(events));
    let row: SavedSearchRow = log.fold(Accounts).row((SEARCH, USER));
    [row.name, row.text].map(|text| log.opened(text))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// [`SEARCH`] after it was saved and then this.
fn search_after<const N: usize>(events: [UserEvent; N]) -> Option<SavedSearchRow> {
    let events = [registered(), saved()].into_iter().chain(events);
    Log::of_user(events).fold(Accounts).find(&(SEARCH, USER))
}

#[test]
fn a_registered_user_has_an_account() {
    let row = after([]);

    assert_eq!(&*row.tenant, TENANT);
    assert_eq!((row.source.as_deref(), row.reference.as_deref()), (Some("crm"), Some("u-1")));
    assert_eq!((row.email_verified, row.phone_verified), (false, false));
    assert_eq!((row.status, row.erasure), (Standing::Active, Erasure::NotRequested));
    assert_eq!((row.registered_at, row.changed_at), (noon(0), recorded(noon(0))));
    assert_eq!((row.position, row.version), (GlobalPosition(1), StreamVersion(1)));
    assert_eq!(contact_after([]), ["Ada", "ada@example.com", "+4930123456"].map(some));
}

#[test]
fn addresses_are_verified_until_they_change() {
    let verified = [EmailVerified {}.into(), PhoneVerified {}.into()];
    let row = after(verified.clone());
    assert_eq!((row.email_verified, row.phone_verified), (true, true));

    let [email, phone] = verified;
    let updated = ProfileUpdated {
        display_name: Change::Set(personal("Ada L.")),
        email: Change::Set(personal("ada@example.org")),
        released_email: Some(personal("ada@example.com")),
        phone: Change::Keep,
    };
    let events = [email, phone, updated.into()];
    let contact = ["Ada L.", "ada@example.org", "+4930123456"].map(some);
    assert_eq!(contact_after(events.clone()), contact);
    let row = after(events);
    assert_eq!((row.email_verified, row.phone_verified), (false, true));
    assert_eq!(row.version, StreamVersion(4));
}

#[test]
fn a_cleared_phone_number_is_gone() {
    let cleared = ProfileUpdated {
        display_name: Change::Keep,
        email: Change::Keep,
        released_email: None,
        phone: Change::Clear,
    };
    let row = after([PhoneVerified {}.into(), cleared.into()]);

    assert_eq!((row.phone, row.phone_verified), (None, false));
}

#[test]
fn the_last_check_of_an_identity_is_kept() {
    let method = IdentityMethod::Document;
    let reason = IdentityFailure::DocumentExpired;
    let failed = UserEvent::from(IdentityVerificationFailed { method, reason });
    let verified = IdentityVerified { method, expires_at: Some(noon(99)) };
    assert_eq!(after([failed.clone()]).identity_failure, Some(reason));

    let row = after([failed, verified.into()]);
    assert_eq!((row.identity_failure, row.identity_method), (None, Some(method)));
    assert_eq!(
        (row.identity_verified_at, row.identity_expires_at),
        (Some(noon(2)), Some(noon(99)))
    );
}

#[test]
fn preferences_add_up() {
    let language = PreferencesChanged { language: Some("de".into()), ..Default::default() };
    let units = PreferencesChanged { units: Some(Units::Metric), ..Default::default() };
    let row = after([language.into(), units.into()]);

    let (language, units) = (Some("de".to_owned()), Some(Units::Metric));
    let both = PreferencesChanged { language, units, ..Default::default() };
    assert_eq!(row.preferences.0, both);
}

#[test]
fn a_consent_stays_on_record_when_it_is_withdrawn() {
    let granted = |purpose, notice_version: &str| {
        UserEvent::from(ConsentGranted {
            purpose,
            notice_version: notice_version.into(),
            method: ConsentMethod::WebForm,
            jurisdiction: "DE".into(),
            granted_at: noon(1),
            expires_at: None,
        })
    };
    let alerts = ConsentPurpose::Alerts;
    let withdrawn = ConsentWithdrawn { purpose: alerts, withdrawn_at: noon(3) };
    let events = [granted(alerts, "1"), granted(ConsentPurpose::Marketing, "1"), withdrawn.into()];
    let [marketing, alert] = after(events.clone()).consents.0.try_into().unwrap();
    assert_eq!((marketing.purpose, marketing.withdrawn_at), (ConsentPurpose::Marketing, None));
    assert_eq!((alert.purpose, alert.withdrawn_at), (alerts, Some(noon(3))));

    let [first, second, third] = events;
    let [_, alert] =
        after([first, second, third, granted(alerts, "2")]).consents.0.try_into().unwrap();
    assert_eq!((&*alert.notice_version, alert.withdrawn_at), ("2", None));
}

#[test]
fn the_standing_follows_its_events() {
    let suspended = UserEvent::from(UserSuspended { reason: personal("spam") });
    let closed = AccountClosed { reason: None, released_email: None };

    assert_eq!(after([suspended.clone()]).status, Standing::Suspended);
    assert_eq!(after([suspended, UserReinstated {}.into()]).status, Standing::Active);
    assert_eq!(after([closed.into()]).status, Standing::Closed);
}

#[test]
fn rights_to_data_follow_their_events() {
    let hold = LegalHoldId(Uuid::from_u128(1));
    let placed = UserEvent::from(LegalHoldPlaced { hold, reason: personal("lawsuit") });
    let asked = UserEvent::from(ErasureRequested { requested_at: noon(1), deadline: noon(31) });
    let export = DataExportRequested { format: ExportFormat::Json };

    assert_eq!(after([placed.clone()]).legal_holds, 1);
    assert_eq!(after([placed, LegalHoldReleased { hold }.into()]).legal_holds, 0);
    assert_eq!(after([export.into()]).export_requested_at, Some(noon(1)));
    let row = after([asked.clone()]);
    assert_eq!(row.erasure, Erasure::Requested);
    assert_eq!((row.erasure_requested_at, row.erasure_deadline), (Some(noon(1)), Some(noon(31))));
    let row = after([asked, ErasureCancelled {}.into()]);
    assert_eq!((row.erasure, row.erasure_requested_at), (Erasure::NotRequested, None));
    assert_eq!(row.erasure_deadline, None);
}

#[test]
fn preferences_for_listings_are_counted_once_a_user() {
    let mut log = Log::of_user([registered(), prefers(ListingPreference::Favorite)]);
    let other = UserId(Uuid::from_u128(0xe));
    let registered = UserRegistered {
        user: other,
        display_name: None,
        email: None,
        phone: None,
        source: None,
        registered_at: noon(2),
    };
    log.append("user", other.0, noon(2), UserEvent::from(registered));
    log.append("user", other.0, noon(3), prefers(ListingPreference::Favorite));
    log.append("user", other.0, noon(4), prefers(ListingPreference::Possibility));
    let accounts = log.fold(Accounts);
    let favourites: ListingFavouritesRow = accounts.row((LISTING,));
    assert_eq!((favourites.favourites, favourites.possibilities, favourites.discards), (1, 1, 0));
    let mine: ListingPreferenceRow = accounts.row((other, LISTING));
    assert_eq!((mine.preference, mine.since), (ListingPreference::Possibility, noon(4)));

    log.append("user", other.0, noon(5), prefers(ListingPreference::Discard));
    let cleared = ListingPreferenceCleared { listing: LISTING };
    log.append("user", USER.0, noon(6), UserEvent::from(cleared));
    let accounts = log.fold(Accounts);
    let favourites: ListingFavouritesRow = accounts.row((LISTING,));
    assert_eq!((favourites.favourites, favourites.possibilities, favourites.discards), (0, 0, 1));
    assert_eq!(accounts.find::<ListingPreferenceRow>(&(USER, LISTING)), None);
    assert_eq!(accounts.row::<AccountRow>((USER,)).version, StreamVersion(3));
}

#[test]
fn a_saved_search_is_kept_until_it_is_deleted() {
    let row = search_after([]).unwrap();
    assert_eq!(words_after([]), ["By the park", "balcony"].map(some));
    assert_eq!((row.filter.0.bedrooms_min, row.schedule), (Some(2), AlertSchedule::Daily));
    assert_eq!((row.paused, row.created_at), (None, noon(1)));
    assert_eq!(after([saved()]).saved_searches.0, [SEARCH]);

    let deleted = UserEvent::from(SearchDeleted { search: SEARCH });
    assert_eq!(search_after([deleted.clone()]), None);
    assert_eq!(after([saved(), deleted]).saved_searches.0, []);
}

#[test]
fn a_saved_search_is_renamed_paused_and_resumed() {
    let renamed = SearchRenamed { search: SEARCH, name: personal("Near work") };
    assert_eq!(words_after([renamed.clone().into()])[0], some("Near work"));
    assert_eq!(search_after([renamed.into()]).unwrap().position, GlobalPosition(3));

    let reason = AlertPauseReason::Ignored;
    let paused = UserEvent::from(AlertPaused { search: SEARCH, reason });
    assert_eq!(search_after([paused.clone()]).unwrap().paused, Some(reason));

    let schedule = AlertSchedule::Asap;
    let resumed = AlertScheduleChanged { search: SEARCH, schedule };
    let row = search_after([paused, resumed.into()]).unwrap();
    assert_eq!((row.paused, row.schedule), (None, schedule));
}

#[test]
fn an_erased_user_leaves_nothing_personal() {
    let shredded = UserEvent::from(SubjectKeyShredded { subject: SUBJECT });
    let row = after([shredded.clone()]);
    assert_eq!((&row.display_name, &row.email, &row.phone), (&None, &None, &None));
    assert_eq!(row.erasure, Erasure::KeyShredded);

    let search = search_after([shredded.clone()]).unwrap();
    assert_eq!((search.name, search.text), (None, None));
    assert_eq!((search.filter.0.bedrooms_min, search.position), (Some(2), GlobalPosition(3)));

    let erased = UserErased { certificate: "c-1".into() };
    let row = after([shredded, erased.into()]);
    assert_eq!(row.erasure, Erasure::Completed);
    assert_eq!(row.erasure_certificate.as_deref(), Some("c-1"));
}

/// Also in a generation that is not filled any more, where nobody folds the event that says so.
#[test]
fn what_stands_in_a_row_is_unreadable_without_the_key() {
    let renamed = SearchRenamed { search: SEARCH, name: personal("Near work") };
    let log = Log::of_user([registered(), saved(), renamed.into()]);
    let accounts = log.fold(Accounts);
    let held = format!("{:?}", accounts.everything());
    for text in ["Ada", "example.com", "4930123456", "By the park", "balcony", "Near work"] {
        assert!(!held.contains(text), "{text} stands in clear in {held}");
    }

    log.destroy_key(SUBJECT);

    let AccountRow { display_name, email, phone, .. } = accounts.row((USER,));
    let SavedSearchRow { name, text, .. } = accounts.row((SEARCH, USER));
    for text in [display_name, email, phone, name, text] {
        assert!(text.is_some());
        assert_eq!(log.opened(text), None);
    }
}

#[test]
fn an_event_of_an_unknown_user_stops_the_projection() {
    assert!(stopped_by(&Log::of_user([saved()]), Accounts).contains("user 0000"));
    let renamed = SearchRenamed { search: SEARCH, name: personal("Near work") };
    let log = Log::of_user([registered(), renamed.into()]);
    assert!(stopped_by(&log, Accounts).contains("saved search 0000"));
}
