//! What the events of an account look like in storage.

mod golden;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeZone, Utc};
use freehold_domain::user::*;
use freehold_domain::{
    Coordinates, Currency, FeeFrequency, LegalHoldId, ListingKey, Personal, SavedSearchId,
    SubjectId, UserId,
};
use uuid::Uuid;

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).single().expect("a moment in UTC")
}

fn next_year() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2027, 11, 23, 12, 0, 0).single().expect("a moment in UTC")
}

fn ada() -> UserId {
    UserId(Uuid::from_u128(0xada))
}

fn subject() -> SubjectId {
    ada().into()
}

fn personal(value: &str) -> Personal<String> {
    Personal::new(subject(), value.to_owned())
}

fn erased() -> Personal<String> {
    Personal::Erased { subject: subject() }
}

fn filter() -> SearchFilter {
    SearchFilter {
        area: Some(SearchArea::Circle {
            center: Coordinates { latitude: 52.5, longitude: 13.4 },
            radius_m: 2_500,
        }),
        price: Some(PriceRange {
            min_minor: Some(80_000),
            max_minor: Some(150_000),
            currency: Currency::from_code("EUR").expect("the euro is known"),
            frequency: FeeFrequency::Monthly,
        }),
        bedrooms_min: Some(1),
        bedrooms_max: Some(3),
        bathrooms_min: Some(1.5),
        floor_area_min_m2: Some(45.0),
        floor_area_max_m2: Some(110.0),
        statuses: vec!["Active".to_owned()],
        property_types: vec!["Apartment".to_owned(), "House".to_owned()],
        available_by: Some(next_year().date_naive()),
    }
}

fn box_filter() -> SearchFilter {
    let (south, west, north, east) = (-20.0, 177.0, -16.0, -178.0);
    let area = Some(SearchArea::BoundingBox { south, west, north, east });
    SearchFilter { area, ..SearchFilter::default() }
}

#[test]
fn every_event_is_stored_as_its_golden_file_says() {
    let (user, subject) = (ada(), subject());
    let listing = ListingKey(Uuid::from_u128(1));
    let search = SavedSearchId(Uuid::from_u128(2));
    let hold = LegalHoldId(Uuid::from_u128(3));
    let purpose = ConsentPurpose::Marketing;
    let method = IdentityMethod::Document;
    let client = UserRegistered {
        user,
        display_name: Some(personal("Ada L.")),
        email: Some(personal("ada@example.com")),
        phone: Some(personal("+4930123456")),
        source: None,
        registered_at: noon(),
    };
    let source = UserSource { source: "crm".to_owned(), reference: "user-456".to_owned() };
    let from_feed = UserRegistered {
        display_name: None,
        email: None,
        phone: None,
        source: Some(source),
        ..client.clone()
    };
    let updated = ProfileUpdated {
        display_name: Change::Keep,
        email: Change::Set(personal("new@example.com")),
        released_email: Some(personal("ada@example.com")),
        phone: Change::Clear,
    };
    let saved = SearchSaved {
        search,
        name: personal("Near work"),
        text: Some(personal("quiet balcony")),
        filter: filter(),
        schedule: AlertSchedule::Asap,
    };
    let preferences = PreferencesChanged {
        language: Some("de".to_owned()),
        currency: Currency::from_code("EUR"),
        units: Some(Units::Metric),
        channels: Some(BTreeSet::from([NotificationChannel::Push, NotificationChannel::Email])),
    };
    let consent = ConsentGranted {
        purpose,
        notice_version: "2026-10".to_owned(),
        method: ConsentMethod::WebForm,
        jurisdiction: "US-CA".to_owned(),
        granted_at: noon(),
        expires_at: Some(next_year()),
    };
    let closed = AccountClosed {
        reason: Some(personal("Moved in")),
        released_email: Some(personal("ada@example.com")),
    };
    let cases: Vec<(&str, UserEvent)> = vec![
        ("", client.clone().into()),
        ("-feed", from_feed.into()),
        (
            "-erased",
            UserRegistered {
                display_name: Some(erased()),
                email: Some(erased()),
                phone: Some(erased()),
                ..client
            }
            .into(),
        ),
        ("", EmailVerified {}.into()),
        ("", PhoneVerified {}.into()),
        ("", IdentityVerified { method, expires_at: Some(next_year()) }.into()),
        (
            "",
            IdentityVerificationFailed { method, reason: IdentityFailure::DocumentExpired }.into(),
        ),
        ("", updated.into()),
        ("", preferences.into()),
        ("-nothing", PreferencesChanged::default().into()),
        ("", consent.into()),
        ("", ConsentWithdrawn { purpose, withdrawn_at: noon() }.into()),
        ("", ListingPreferenceSet { listing, preference: ListingPreference::Favorite }.into()),
        ("", ListingPreferenceCleared { listing }.into()),
        ("", saved.clone().into()),
        ("-box", SearchSaved { text: None, filter: box_filter(), ..saved }.into()),
        ("", SearchRenamed { search, name: personal("Near school") }.into()),
        ("", AlertScheduleChanged { search, schedule: AlertSchedule::Monthly }.into()),
        ("", AlertPaused { search, reason: AlertPauseReason::OverLimit }.into()),
        ("", SearchDeleted { search }.into()),
        ("", UserSuspended { reason: personal("Chargebacks") }.into()),
        ("", UserReinstated {}.into()),
        ("", closed.into()),
        ("", DataExportRequested { format: ExportFormat::Json }.into()),
        ("", ErasureRequested { requested_at: noon(), deadline: next_year() }.into()),
        ("", ErasureCancelled {}.into()),
        ("", LegalHoldPlaced { hold, reason: personal("Court order 7") }.into()),
        ("", LegalHoldReleased { hold }.into()),
        ("", SubjectKeyShredded { subject }.into()),
        ("", UserErased { certificate: "cert-1".to_owned() }.into()),
    ];
    golden::assert_golden("user", &cases);
}
