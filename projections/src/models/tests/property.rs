use std::sync::Arc;

use freehold_domain::property::{
    AddressGeocoded, AddressVerificationFailed, AmenitiesSet, AvailabilityChanged,
    BackOnMarketCause, Changed, ClosingRecorded, Concession, ConcessionOffered,
    ConcessionWithdrawn, CoordinatePrecision, DuplicateSeparated, FactChange, LeaseTerms,
    LeaseTermsSet, ListingAgentReassigned, ListingApproved, ListingBackOnMarket, ListingCancelled,
    ListingChangesRequested, ListingDrafted, ListingExpired, ListingHeld, ListingRenewed,
    ListingReturnedToDraft, ListingScheduled, ListingStatus, ListingSubmitted, ListingVoided,
    ListingWithdrawn, LocationVisibility, MarkedDuplicateOf, MediaAttached, MediaRemoved,
    MediaReordered, MoveInCostsSet, OngoingFee, OngoingFeeKind, OngoingFeesSet, PreferredPhotoSet,
    PropertyArchived, PropertyEvent, PropertyFactsCorrected, RentChanged,
};
use freehold_domain::{Actor, ApplicationId, Coordinates, PropertyId, UserId};
use freehold_ports::{GlobalPosition, StreamVersion};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::property::{Properties, PropertyChangeRow, PropertyRow};
use super::listing::{back_on_market, drafted, leased, pending, published, under_application};
use super::{
    LISTING, Log, PROPERTY, RELIST, TENANT, day, euros, facts, noon, photo, recorded, registered,
    stopped_by,
};

/// The property after these events, and what the last of them changed.
fn after(
    events: impl IntoIterator<Item = PropertyEvent>,
) -> (PropertyRow, Vec<(String, Value, Value)>) {
    let log = Log::of_property(events);
    let properties = log.fold(Properties);
    let last = log.events.last().unwrap();
    let changes: Vec<PropertyChangeRow> = properties.rows();
    let changes = changes.into_iter().filter(|change| change.position == last.position);
    let changes = changes.zip(0..).map(|(change, ordinal)| {
        assert_eq!((change.property, change.ordinal), (PROPERTY, ordinal));
        assert_eq!((&change.event_type, &*change.actor), (&last.event_type, "agent"));
        assert_eq!((change.occurred_at, change.recorded_at), (last.occurred_at, last.recorded_at));
        let json = |value: Option<crate::Json<Value>>| value.map_or(Value::Null, |json| json.0);
        (change.field.to_string(), json(change.old), json(change.new))
    });
    (properties.row((PROPERTY,)), changes.collect())
}

/// What an event of a drafted listing changes.
fn changes_of_draft(event: impl Into<PropertyEvent>) -> Vec<(String, Value, Value)> {
    after([registered(), drafted(), event.into()]).1
}

/// What an event of a listing on the market changes.
fn changes_on_market(event: impl Into<PropertyEvent>) -> Vec<(String, Value, Value)> {
    after([registered(), drafted(), published(), event.into()]).1
}

fn changed(field: &str, old: Value, new: Value) -> (String, Value, Value) {
    (field.to_owned(), old, new)
}

const EUROS_900: i64 = 90_000;

fn price(minor: i64) -> Value {
    json!({"amount_minor": minor, "currency": "EUR", "frequency": "Monthly"})
}

#[test]
fn a_registered_property_says_all_that_is_known() {
    let (row, changes) = after([registered()]);

    assert_eq!((&*row.tenant, &*row.source, &*row.reference), (TENANT, "feed", "f-1"));
    assert_eq!(*row.facts.0, facts());
    assert_eq!(row.amenities.0.len(), 2);
    assert_eq!((row.registered_at, row.changed_at), (noon(0), recorded(noon(0))));
    assert_eq!((row.position, row.version), (GlobalPosition(1), StreamVersion(1)));
    assert_eq!((row.current_listing, row.duplicate_of, row.archived), (None, None, false));
    assert_eq!(
        changes,
        [
            changed("facts", Value::Null, json!(facts())),
            changed("amenities", Value::Null, json!(["balcony", "lift"])),
        ]
    );
}

#[test]
fn a_correction_is_kept_fact_by_fact() {
    let bedrooms = FactChange::Bedrooms(Changed { old: Some(1), new: Some(2) });
    let title = FactChange::Title(Changed { old: Some("Quiet flat".to_owned()), new: None });
    let event = PropertyFactsCorrected { changes: vec![bedrooms, title] };
    let (row, changes) = after([registered(), event.into()]);

    assert_eq!((row.facts.0.bedrooms, &row.facts.0.title), (Some(2), &None));
    assert_eq!(row.version, StreamVersion(2));
    let title = changed("title", json!("Quiet flat"), Value::Null);
    assert_eq!(changes, [changed("bedrooms", json!(1), json!(2)), title]);
}

#[test]
fn amenities_change_as_a_whole() {
    let old = ["lift".to_owned()].into();
    let event = AmenitiesSet { old, new: ["parking".to_owned()].into() };
    let (row, changes) = after([registered(), event.into()]);

    assert_eq!(*row.amenities.0, ["parking".to_owned()].into());
    assert_eq!(changes, [changed("amenities", json!(["lift"]), json!(["parking"]))]);
}

#[test]
fn a_geocoder_finds_an_address_that_it_did_not_find_before() {
    let failed = AddressVerificationFailed { reason: "unknown street".into() };
    let (row, changes) = after([registered(), failed.clone().into()]);
    assert_eq!(row.verification_failure, Some(Arc::from("unknown street")));
    assert_eq!(changes, [changed("verification_failure", Value::Null, json!("unknown street"))]);

    let found = AddressGeocoded {
        coordinates: Coordinates { latitude: 1.5, longitude: 2.5 },
        precision: CoordinatePrecision::Rooftop,
        visibility: LocationVisibility::Exact,
    };
    let (row, changes) = after([registered(), failed.into(), found.into()]);
    assert_eq!(row.verification_failure, None);
    assert_eq!(row.location_precision, Some(CoordinatePrecision::Rooftop));
    assert_eq!(row.location_visibility, Some(LocationVisibility::Exact));
    let old = json!({"latitude": 52.5347, "longitude": 13.4197});
    assert_eq!(
        changes,
        [
            changed("coordinates", old, json!({"latitude": 1.5, "longitude": 2.5})),
            changed("precision", Value::Null, json!("Rooftop")),
            changed("visibility", Value::Null, json!("Exact")),
            changed("verification_failure", json!("unknown street"), Value::Null),
        ]
    );
}

#[test]
fn media_come_move_and_go() {
    let attached = |media| PropertyEvent::from(MediaAttached { media });
    let ids = [photo(1).id, photo(2).id];
    let before = [registered(), attached(photo(2)), attached(photo(1))];
    let (row, changes) = after(before.clone());
    assert_eq!(*row.media.0, [photo(1), photo(2)]);
    let (field, old, new) = &changes[0];
    assert_eq!((&**field, old, &new["id"]), ("media", &Value::Null, &json!(ids[0])));

    let reordered = MediaReordered { order: vec![ids[1], ids[0]] };
    let (row, changes) = after(before.clone().into_iter().chain([reordered.into()]));
    assert_eq!(row.media.0.iter().map(|media| media.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    assert_eq!(changes, [changed("media_order", json!(ids), json!([ids[1], ids[0]]))]);

    let preferred = PropertyEvent::from(PreferredPhotoSet { media: ids[1] });
    let (row, changes) = after(before.clone().into_iter().chain([preferred.clone()]));
    assert_eq!(row.preferred_photo, Some(ids[1]));
    assert_eq!(changes, [changed("preferred_photo", Value::Null, json!(ids[1]))]);

    let removed = MediaRemoved { media: ids[1] };
    let (row, changes) = after(before.into_iter().chain([preferred, removed.into()]));
    assert_eq!((row.preferred_photo, &*row.media.0), (None, &vec![photo(1)]));
    assert_eq!((&*changes[0].0, &changes[0].2), ("media", &Value::Null));
    assert_eq!(changes[1..], [changed("preferred_photo", json!(ids[1]), Value::Null)]);
}

#[test]
fn a_draft_opens_a_period() {
    let (row, changes) = after([registered(), drafted()]);

    let period = row.last_period.unwrap().0;
    assert_eq!((period.listing, period.status), (LISTING, ListingStatus::Draft));
    assert_eq!((row.current_listing, row.listings.0), (Some(LISTING), vec![LISTING]));
    assert_eq!(
        changes,
        [
            changed("status", Value::Null, json!("Draft")),
            changed("price", Value::Null, price(EUROS_900)),
            changed("available_from", Value::Null, json!(day(60))),
        ]
    );
}

#[test]
fn every_step_of_a_period_changes_its_status() {
    let status = |old: &str, new: &str| changed("status", json!(old), json!(new));
    let (actor, listing) = (Actor("reviewer".into()), LISTING);
    let submitted = ListingSubmitted { listing, submitted_by: actor.clone() };
    assert_eq!(
        changes_of_draft(submitted),
        [status("Draft", "InReview"), changed("submitted_by", Value::Null, json!("reviewer"))]
    );
    assert_eq!(
        changes_of_draft(ListingApproved { listing, approved_by: actor }),
        [changed("approved_by", Value::Null, json!("reviewer"))]
    );
    assert_eq!(
        changes_of_draft(ListingChangesRequested { listing, reasons: vec!["photo".into()] }),
        [status("Draft", "ChangesRequested"), changed("reasons", Value::Null, json!(["photo"])),]
    );
    assert_eq!(
        changes_of_draft(ListingReturnedToDraft { listing }),
        [status("Draft", "Draft")],
        "an event that changes nothing still shows"
    );
    assert_eq!(
        changes_of_draft(ListingScheduled {
            listing,
            price: euros(900),
            available_from: day(61),
            on_market_date: day(9),
            expires_at: None,
        }),
        [
            status("Draft", "ComingSoon"),
            changed("available_from", json!(day(60)), json!(day(61))),
            changed("on_market_date", Value::Null, json!(day(9))),
        ]
    );
    assert_eq!(
        changes_of_draft(published()),
        [
            status("Draft", "Active"),
            changed("expires_at", Value::Null, json!(noon(90))),
            changed("published_at", Value::Null, json!(noon(2))),
        ]
    );
    let application = ApplicationId(Uuid::from_u128(7));
    assert_eq!(
        changes_on_market(under_application()),
        [
            status("Active", "UnderApplication"),
            changed("application", Value::Null, json!(application)),
        ]
    );
    let cause = BackOnMarketCause::ApplicationDeclined;
    let declined = ListingBackOnMarket { listing, cause, application: Some(application) };
    let events = [registered(), drafted(), published(), under_application(), declined.into()];
    assert_eq!(
        after(events).1,
        [
            status("UnderApplication", "Active"),
            changed("cause", Value::Null, json!("ApplicationDeclined")),
            changed("application", json!(application), Value::Null),
        ]
    );
    assert_eq!(
        changes_on_market(back_on_market()),
        [status("Active", "Active"), changed("cause", Value::Null, json!("Resumed"))]
    );
    assert_eq!(changes_on_market(pending()), [status("Active", "Pending")]);
    assert_eq!(
        changes_on_market(leased()),
        [
            status("Active", "Leased"),
            changed("lease", Value::Null, json!(Uuid::from_u128(8))),
            changed("rent_at_close", Value::Null, price(88_000)),
            changed("close_date", Value::Null, json!(day(40))),
        ]
    );
    assert_eq!(changes_on_market(ListingHeld { listing }), [status("Active", "OnHold")]);
    assert_eq!(
        changes_on_market(ListingWithdrawn { listing, reason: "sold".into() }),
        [status("Active", "Withdrawn"), changed("reason", Value::Null, json!("sold"))]
    );
    assert_eq!(changes_on_market(ListingCancelled { listing }), [status("Active", "Cancelled")]);
    assert_eq!(changes_on_market(ListingExpired { listing }), [status("Active", "Expired")]);
    assert_eq!(changes_of_draft(ListingVoided { listing }), [status("Draft", "Voided")]);
}

#[test]
fn a_period_that_is_over_is_no_longer_current() {
    let (row, _) = after([registered(), drafted(), published(), leased()]);
    assert_eq!((row.current_listing, row.listings.0), (None, vec![LISTING]));
    assert_eq!(row.last_period.unwrap().0.status, ListingStatus::Leased);

    let relisted =
        ListingDrafted { listing: RELIST, price: None, available_from: None, agent: None };
    let (row, _) = after([registered(), drafted(), published(), leased(), relisted.into()]);
    assert_eq!((row.current_listing, row.listings.0), (Some(RELIST), vec![LISTING, RELIST]));
}

#[test]
fn costs_and_terms_are_kept_with_what_they_were() {
    let listing = LISTING;
    let rent = RentChanged {
        listing,
        old: Some(euros(900)),
        new: euros(800),
        reason: Some("winter".into()),
    };
    assert_eq!(
        changes_on_market(rent),
        [
            changed("price", price(EUROS_900), price(80_000)),
            changed("reason", Value::Null, json!("winter")),
        ]
    );
    let fees = vec![OngoingFee { kind: OngoingFeeKind::HoaFee, price: euros(10), mandatory: true }];
    assert_eq!(
        changes_of_draft(OngoingFeesSet { listing, fees: fees.clone() }),
        [changed("ongoing_fees", json!([]), json!(fees))]
    );
    assert_eq!(
        changes_of_draft(MoveInCostsSet { listing, costs: Vec::new() }),
        [changed("move_in_costs", json!([]), json!([]))]
    );
    let concession =
        Concession { id: Uuid::from_u128(1), description: "A month free".into(), ends_on: None };
    let offered = ConcessionOffered { listing, concession: concession.clone() };
    assert_eq!(
        changes_of_draft(offered.clone()),
        [changed("concession", Value::Null, json!(concession))]
    );
    let ended = ConcessionWithdrawn { listing, concession: concession.id };
    let (row, changes) = after([registered(), drafted(), offered.into(), ended.into()]);
    assert_eq!(changes, [changed("concession", json!(concession), Value::Null)]);
    assert_eq!(row.last_period.unwrap().0.concessions, []);
    let terms = LeaseTerms { min_months: Some(6), ..LeaseTerms::default() };
    assert_eq!(
        changes_of_draft(LeaseTermsSet { listing, terms }),
        [changed("lease_terms", json!({}), json!({"min_months": 6}))]
    );
    assert_eq!(
        changes_of_draft(AvailabilityChanged { listing, old: Some(day(60)), new: day(61) }),
        [changed("available_from", json!(day(60)), json!(day(61)))]
    );
    assert_eq!(
        changes_on_market(ListingRenewed { listing, old: Some(noon(90)), new: noon(99) }),
        [changed("expires_at", json!(noon(90)), json!(noon(99)))]
    );
    let agent = UserId(Uuid::from_u128(3));
    assert_eq!(
        changes_of_draft(ListingAgentReassigned { listing, old: None, new: agent }),
        [changed("agent", Value::Null, json!(agent))]
    );
}

#[test]
fn a_closing_of_before_is_among_the_periods() {
    let closing = ClosingRecorded { listing: RELIST, price: euros(700), closed_on: day(-9) };
    let (row, changes) = after([registered(), drafted(), closing.into()]);

    assert_eq!((row.current_listing, row.listings.0), (Some(LISTING), vec![LISTING, RELIST]));
    assert_eq!(
        changes,
        [
            changed("status", Value::Null, json!("Leased")),
            changed("price", Value::Null, price(70_000)),
            changed("closed_on", Value::Null, json!(day(-9))),
        ]
    );
}

#[test]
fn a_property_may_turn_out_to_be_another_one_or_history() {
    let survivor = PropertyId(Uuid::from_u128(0xb));
    let marked = PropertyEvent::from(MarkedDuplicateOf { survivor });
    let (row, changes) = after([registered(), marked.clone()]);
    assert_eq!(row.duplicate_of, Some(survivor));
    assert_eq!(changes, [changed("duplicate_of", Value::Null, json!(survivor))]);

    let separated = DuplicateSeparated { survivor }.into();
    let (row, changes) = after([registered(), marked, separated]);
    assert_eq!(row.duplicate_of, None);
    assert_eq!(changes, [changed("duplicate_of", json!(survivor), Value::Null)]);

    let (row, changes) = after([registered(), PropertyArchived {}.into()]);
    assert!(row.archived);
    assert_eq!(changes, [changed("archived", json!(false), json!(true))]);
}

#[test]
fn a_change_of_a_listing_names_it() {
    let log = Log::of_property([registered(), drafted()]);
    let changes: Vec<PropertyChangeRow> = log.fold(Properties).rows();

    for change in changes {
        let about = (change.position == GlobalPosition(2)).then_some(LISTING);
        assert_eq!(change.listing, about);
    }
}

#[test]
fn an_event_of_an_unknown_property_stops_the_projection() {
    assert!(stopped_by(&Log::of_property([drafted()]), Properties).contains("property 0000"));
    let log = Log::of_property([registered(), pending()]);
    assert!(stopped_by(&log, Properties).contains("listing 0000"));
}
