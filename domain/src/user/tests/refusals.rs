use std::collections::BTreeSet;

use super::*;
use crate::{LeaseId, Refusal as _};

/// One test a sentence, and one that says that every code has a sentence.
macro_rules! refused {
    ($($sentence:ident: $given:expr, $command:expr => $code:literal, $field:expr;)+) => {
        $(
            #[test]
            fn $sentence() {
                let refusal = $given.when($command).refusal();
                let field: Option<&str> = $field;
                assert_eq!((refusal.code(), refusal.field().as_deref()), ($code, field));
                assert!(!refusal.to_string().is_empty());
            }
        )+

        #[test]
        fn every_code_is_refused_by_some_command() {
            let seen = BTreeSet::from([ $( $code ),+ ]);
            assert_eq!(seen, UserRefused::ALL_CODES.iter().copied().collect());
            assert_eq!(seen.len(), UserRefused::ALL_CODES.len());
        }
    };
}

refused! {
    a_second_registration_is_refused:
        given_a_client(), register_client() => "ALREADY_REGISTERED", None;
    an_erased_user_is_not_registered_again:
        given_an_erased_user(), register_client() => "USER_ERASED", None;
    nothing_but_registering_reaches_an_unregistered_user:
        given_nobody(), RequestErasure { live_lease: None } => "NOT_REGISTERED", None;
    the_erasure_of_an_unregistered_user_is_not_completed:
        given_nobody(), complete_erasure("cert-1") => "NOT_REGISTERED", None;
    the_key_of_an_unregistered_user_is_not_recorded_as_shredded:
        given_nobody(), RecordKeyShredded {} => "NOT_REGISTERED", None;
    a_suspended_user_saves_no_search:
        given_a_suspended_client(), save_search(1) => "USER_SUSPENDED", None;
    a_suspended_user_grants_no_consent:
        given_a_suspended_client(), grant_consent() => "USER_SUSPENDED", None;
    a_closed_account_is_not_updated:
        given_a_closed_account(), UpdateProfile::default() => "ACCOUNT_CLOSED", None;
    a_closed_account_is_not_suspended:
        given_a_closed_account(), suspend("Chargebacks") => "ACCOUNT_CLOSED", None;
    a_closed_account_is_not_reinstated:
        given_a_closed_account(), ReinstateUser {} => "ACCOUNT_CLOSED", None;
    a_shredded_user_is_told_nothing_new:
        given_a_shredded_user(), CancelErasure {} => "USER_ERASED", None;
    an_erased_user_is_told_nothing_new:
        given_an_erased_user(), place_hold("Court order 7") => "USER_ERASED", None;
    a_user_to_be_erased_adds_nothing:
        given_a_pending_erasure(), save_search(1) => "ERASURE_PENDING", None;
    a_client_without_an_email_address_is_refused:
        given_nobody(), RegisterUser { email: None, ..register_client() }
        => "EMAIL_MISSING", Some("email");
    a_client_does_not_clear_the_email_address:
        given_a_client(), UpdateProfile { email: Change::Clear, ..UpdateProfile::default() }
        => "EMAIL_MISSING", Some("email");
    an_email_address_without_a_domain_is_refused:
        given_nobody(), RegisterUser { email: Some("ada@".to_owned()), ..register_client() }
        => "EMAIL_INVALID", Some("email");
    another_email_address_is_not_verified:
        given_a_client(), VerifyEmail { email: "bob@example.com".to_owned() }
        => "EMAIL_NOT_CURRENT", Some("email");
    an_erased_email_address_is_not_verified:
        given_nobody().and(UserRegistered { email: Some(erased()), ..registered_client() }),
        VerifyEmail { email: "ada@example.com".to_owned() } => "EMAIL_NOT_CURRENT", Some("email");
    a_phone_number_without_a_country_code_is_refused:
        given_nobody(), RegisterUser { phone: Some("030 123456".to_owned()), ..register_client() }
        => "PHONE_INVALID", Some("phone");
    another_phone_number_is_not_verified:
        given_a_client(), VerifyPhone { phone: "+4930123456".to_owned() }
        => "PHONE_NOT_CURRENT", Some("phone");
    a_blank_display_name_is_refused:
        given_nobody(), RegisterUser { display_name: Some(" ".to_owned()), ..register_client() }
        => "DISPLAY_NAME_INVALID", Some("display_name");
    a_reference_that_could_be_an_email_address_is_refused:
        given_nobody(), register_from_feed("crm", "ada@example.com")
        => "SOURCE_INVALID", Some("origin");
    a_source_that_could_be_taken_for_another_is_refused:
        given_nobody(), register_from_feed("crm/a", "b") => "SOURCE_INVALID", Some("origin");
    a_lapsed_identity_check_is_refused:
        given_a_client(), VerifyIdentity {
            method: IdentityMethod::Bank,
            outcome: IdentityOutcome::Verified { expires_at: Some(noon()) },
        } => "IDENTITY_EXPIRED", Some("outcome.expires_at");
    a_language_that_is_not_a_tag_is_refused:
        given_a_client(), ChangePreferences {
            language: Some("the Queen's English".to_owned()),
            ..ChangePreferences::default()
        } => "LANGUAGE_INVALID", Some("language");
    a_consent_without_a_notice_is_refused:
        given_a_client(), GrantConsent { notice_version: String::new(), ..grant_consent() }
        => "NOTICE_VERSION_INVALID", Some("notice_version");
    a_consent_under_no_known_law_is_refused:
        given_a_client(), GrantConsent { jurisdiction: "Europe".to_owned(), ..grant_consent() }
        => "JURISDICTION_INVALID", Some("jurisdiction");
    a_consent_that_would_already_have_expired_is_refused:
        given_a_client(), GrantConsent { expires_at: Some(noon()), ..grant_consent() }
        => "CONSENT_EXPIRED", Some("expires_at");
    a_consent_never_given_is_not_withdrawn:
        given_a_client(), WithdrawConsent { purpose: ConsentPurpose::Analytics }
        => "CONSENT_UNKNOWN", Some("purpose");
    a_preference_beyond_the_limit_is_refused:
        given_a_client().under(Policy { max_listing_preferences: 0, ..Policy::default() }),
        FavouriteListing { listing: listing(1) } => "LISTING_PREFERENCE_LIMIT", None;
    a_saved_search_beyond_the_limit_is_refused:
        given_a_client()
            .under(Policy { max_saved_searches: 1, ..Policy::default() })
            .and(search_saved(1)),
        save_search(2) => "SAVED_SEARCH_LIMIT", None;
    another_search_under_the_same_identifier_is_refused:
        given_a_client().and(search_saved(1)),
        SaveSearch { schedule: AlertSchedule::Monthly, ..save_search(1) }
        => "SEARCH_ALREADY_SAVED", Some("search");
    an_unknown_search_is_not_renamed:
        given_a_client(), RenameSearch { search: search_id(1), name: "Home".to_owned() }
        => "SEARCH_UNKNOWN", Some("search");
    an_unknown_search_gets_no_schedule:
        given_a_client(), ChangeSchedule { search: search_id(1), schedule: AlertSchedule::Daily }
        => "SEARCH_UNKNOWN", Some("search");
    an_unknown_search_is_not_paused:
        given_a_client(), PauseAlert { search: search_id(1), reason: AlertPauseReason::Ignored }
        => "SEARCH_UNKNOWN", Some("search");
    a_search_without_a_name_is_refused:
        given_a_client(), SaveSearch { name: "\t".to_owned(), ..save_search(1) }
        => "SEARCH_NAME_INVALID", Some("name");
    a_search_text_without_words_is_refused:
        given_a_client(), SaveSearch { text: Some("!?".to_owned()), ..save_search(1) }
        => "SEARCH_TEXT_INVALID", Some("text");
    a_filter_with_faults_is_refused:
        given_a_client(), SaveSearch {
            filter: SearchFilter {
                bedrooms_min: Some(3),
                bedrooms_max: Some(2),
                ..SearchFilter::default()
            },
            ..save_search(1)
        } => "SEARCH_INVALID", Some("filter.bedrooms_max");
    a_suspension_without_a_reason_is_refused:
        given_a_client(), suspend(" ") => "REASON_INVALID", Some("reason");
    another_hold_under_the_same_identifier_is_refused:
        given_a_client().and(held()), place_hold("Court order 8")
        => "LEGAL_HOLD_EXISTS", Some("hold");
    an_unknown_hold_is_not_released:
        given_a_client(), ReleaseLegalHold { hold: hold(1) } => "LEGAL_HOLD_UNKNOWN", Some("hold");
    a_legal_hold_blocks_a_request_for_erasure:
        given_a_client().and(held()), RequestErasure { live_lease: None }
        => "ERASURE_BLOCKED", None;
    a_legal_hold_placed_later_keeps_the_key_from_being_shredded:
        given_a_pending_erasure().and(account_closed()).and(held()), RecordKeyShredded {}
        => "ERASURE_BLOCKED", None;
    a_live_lease_blocks_a_request_for_erasure:
        given_a_client(), RequestErasure { live_lease: Some(LeaseId(Uuid::from_u128(9))) }
        => "ERASURE_BLOCKED", None;
    the_key_of_a_user_who_did_not_ask_is_not_shredded:
        given_a_closed_account(), RecordKeyShredded {} => "ERASURE_NOT_REQUESTED", None;
    the_key_of_an_open_account_is_not_shredded:
        given_a_pending_erasure(), RecordKeyShredded {} => "ACCOUNT_NOT_CLOSED", None;
    an_erasure_is_not_completed_while_the_key_exists:
        given_a_pending_erasure().and(account_closed()), complete_erasure("cert-1")
        => "KEY_NOT_SHREDDED", None;
    an_erasure_without_a_certificate_is_not_completed:
        given_a_shredded_user(), complete_erasure("") => "CERTIFICATE_INVALID", Some("certificate");
}

#[test]
fn a_blocked_erasure_says_what_blocks_it_without_repeating_the_reason() {
    let lease = LeaseId(Uuid::from_u128(9));
    let leased = given_a_client().when(RequestErasure { live_lease: Some(lease) }).refusal();
    assert_eq!(leased, UserRefused::ErasureBlocked { by: ErasureBlock::LiveLease(lease) });

    let on_hold = given_a_client().and(held()).when(RequestErasure { live_lease: None }).refusal();
    assert_eq!(on_hold, UserRefused::ErasureBlocked { by: ErasureBlock::LegalHold(hold(1)) });
    assert!(!on_hold.to_string().contains("Court order"));
}

#[test]
fn a_refused_filter_lists_all_its_faults() {
    let filter = SearchFilter {
        bathrooms_min: Some(-1.0),
        floor_area_min_m2: Some(0.0),
        ..SearchFilter::default()
    };
    let refusal = given_a_client().when(SaveSearch { filter, ..save_search(1) }).refusal();
    assert_eq!(
        refusal.to_string(),
        "the filter cannot be searched with: bathrooms_min: must be zero or more; \
         floor_area_min_m2: must be greater than zero, in square metres"
    );
}

fn erased() -> Personal<String> {
    Personal::Erased { subject: ada().into() }
}

fn held() -> LegalHoldPlaced {
    LegalHoldPlaced { hold: hold(1), reason: personal("Court order 7") }
}

fn suspend(reason: &str) -> SuspendUser {
    SuspendUser { reason: reason.to_owned() }
}

fn place_hold(reason: &str) -> PlaceLegalHold {
    PlaceLegalHold { hold: hold(1), reason: reason.to_owned() }
}

fn complete_erasure(certificate: &str) -> CompleteErasure {
    CompleteErasure { certificate: certificate.to_owned() }
}

/// What a command needs of the account it is sent to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// An active account of a user who is not about to be erased.
    Acting,
    /// An account that is not closed.
    Open,
    /// A registered user.
    Registered,
}

fn commands_and_needs() -> Vec<(UserCommand, Needs)> {
    let (listing, search, hold) = (listing(1), search_id(1), hold(1));
    let (method, purpose) = (IdentityMethod::Bank, ConsentPurpose::Marketing);
    let reason = IdentityFailure::NameMismatch;
    vec![
        (VerifyEmail { email: "ada@example.com".to_owned() }.into(), Needs::Acting),
        (VerifyPhone { phone: "+4930123456".to_owned() }.into(), Needs::Acting),
        (
            VerifyIdentity { method, outcome: IdentityOutcome::Failed { reason } }.into(),
            Needs::Acting,
        ),
        (UpdateProfile::default().into(), Needs::Acting),
        (ChangePreferences::default().into(), Needs::Acting),
        (grant_consent().into(), Needs::Acting),
        (WithdrawConsent { purpose }.into(), Needs::Registered),
        (FavouriteListing { listing }.into(), Needs::Acting),
        (PossibleListing { listing }.into(), Needs::Acting),
        (DiscardListing { listing }.into(), Needs::Acting),
        (ClearPreference { listing }.into(), Needs::Acting),
        (save_search(1).into(), Needs::Acting),
        (RenameSearch { search, name: "Home".to_owned() }.into(), Needs::Acting),
        (ChangeSchedule { search, schedule: AlertSchedule::Daily }.into(), Needs::Acting),
        (PauseAlert { search, reason: AlertPauseReason::Ignored }.into(), Needs::Open),
        (DeleteSearch { search }.into(), Needs::Acting),
        (suspend("Chargebacks").into(), Needs::Open),
        (ReinstateUser {}.into(), Needs::Open),
        (CloseAccount { reason: None }.into(), Needs::Registered),
        (RequestDataExport { format: ExportFormat::Json }.into(), Needs::Registered),
        (RequestErasure { live_lease: None }.into(), Needs::Registered),
        (CancelErasure {}.into(), Needs::Registered),
        (place_hold("Court order 7").into(), Needs::Registered),
        (ReleaseLegalHold { hold }.into(), Needs::Registered),
    ]
}

#[test]
fn each_command_is_refused_in_just_the_standings_that_lack_what_it_needs() {
    let standing_codes =
        ["NOT_REGISTERED", "USER_SUSPENDED", "ACCOUNT_CLOSED", "ERASURE_PENDING", "USER_ERASED"];
    for (command, needs) in commands_and_needs() {
        let refused_unless = |needed: &[Needs], code| (!needed.contains(&needs)).then_some(code);
        for (given, code) in [
            (given_nobody(), Some("NOT_REGISTERED")),
            (given_a_client(), None),
            (
                given_a_suspended_client(),
                refused_unless(&[Needs::Open, Needs::Registered], "USER_SUSPENDED"),
            ),
            (
                given_a_pending_erasure(),
                refused_unless(&[Needs::Open, Needs::Registered], "ERASURE_PENDING"),
            ),
            (given_a_closed_account(), refused_unless(&[Needs::Registered], "ACCOUNT_CLOSED")),
            (given_a_shredded_user(), Some("USER_ERASED")),
            (given_an_erased_user(), Some("USER_ERASED")),
        ] {
            let decided = given.when(command.clone()).0;
            let refusal = decided.as_ref().err().map(|refusal| refusal.code());
            let about_standing = refusal.filter(|code| standing_codes.contains(code));
            assert_eq!(about_standing, code, "{command:?}");
        }
    }
}

#[test]
fn everything_that_is_wrong_with_a_command_is_told_at_once() {
    let told = |refusal: UserRefused| {
        let complaints = refusal.complaints().into_iter();
        complaints.map(|c| (c.code, c.field.unwrap_or_default())).collect::<Vec<_>>()
    };
    let owned = |text: &str| Some(text.to_owned());
    let registration = RegisterUser {
        display_name: owned("\u{7}"),
        email: owned("ada"),
        phone: owned("12"),
        ..register_from_feed("a/b", "1")
    };
    let refusal = given_nobody().when(registration).refusal();
    assert_eq!((refusal.code(), refusal.field().as_deref()), ("SOURCE_INVALID", Some("origin")));
    let fields = [
        ("SOURCE_INVALID", "origin"),
        ("DISPLAY_NAME_INVALID", "display_name"),
        ("EMAIL_INVALID", "email"),
        ("PHONE_INVALID", "phone"),
    ];
    assert_eq!(told(refusal), fields.map(|(code, field)| (code, field.to_owned())));

    let filter = SearchFilter {
        bedrooms_min: Some(3),
        bedrooms_max: Some(2),
        bathrooms_min: Some(-1.0),
        ..SearchFilter::default()
    };
    let search = SaveSearch { name: String::new(), filter, ..save_search(1) };
    let fields = [
        ("SEARCH_NAME_INVALID", "name"),
        ("SEARCH_INVALID", "filter.bedrooms_max"),
        ("SEARCH_INVALID", "filter.bathrooms_min"),
    ];
    let refusal = given_a_client().when(search).refusal();
    assert_eq!(told(refusal), fields.map(|(code, field)| (code, field.to_owned())));

    let profile = UpdateProfile {
        display_name: Change::Set(String::new()),
        email: Change::Clear,
        phone: Change::Set("1".to_owned()),
    };
    let codes = |refusal: UserRefused| told(refusal).into_iter().map(|(code, _)| code);
    let refusal = given_a_client().when(profile).refusal();
    let expected = ["DISPLAY_NAME_INVALID", "PHONE_INVALID", "EMAIL_MISSING"];
    assert_eq!(codes(refusal).collect::<Vec<_>>(), expected);

    let consent = GrantConsent {
        notice_version: "a@b".to_owned(),
        jurisdiction: "Germany".to_owned(),
        expires_at: Some(noon()),
        ..grant_consent()
    };
    let refusal = given_a_client().when(consent).refusal();
    let expected = ["NOTICE_VERSION_INVALID", "JURISDICTION_INVALID", "CONSENT_EXPIRED"];
    assert_eq!(codes(refusal).collect::<Vec<_>>(), expected);
}
