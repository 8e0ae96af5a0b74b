use std::sync::Arc;

use chrono::TimeDelta;
use freehold_domain::property::{
    AddressGeocoded, AddressVerificationFailed, AmenitiesSet, AvailabilityChanged,
    BackOnMarketCause, Changed, ClosingRecorded, Concession, ConcessionOffered,
    ConcessionWithdrawn, CoordinatePrecision, DuplicateSeparated, FactChange, Furnished,
    LeaseTerms, LeaseTermsSet, ListingAgentReassigned, ListingApproved, ListingBackOnMarket,
    ListingCancelled, ListingChangesRequested, ListingDrafted, ListingExpired, ListingHeld,
    ListingLeased, ListingPending, ListingPublished, ListingRenewed, ListingReturnedToDraft,
    ListingScheduled, ListingStatus, ListingSubmitted, ListingUnderApplication, ListingVoided,
    ListingWithdrawn, LocationVisibility, MarkedDuplicateOf, MediaAttached, MediaCategory,
    MediaRemoved, MediaReordered, MoveInCost, MoveInCostKind, MoveInCostsSet, OngoingFee,
    OngoingFeeKind, OngoingFeesSet, PetsAllowed, PreferredPhotoSet, PropertyArchived,
    PropertyEvent, PropertyFactsCorrected, PropertyType, RentChanged,
};
use freehold_domain::{
    Actor, ApplicationId, Area, AreaUnit, Coordinates, FeeFrequency, LeaseId, ListingKey, Price,
    PropertyId, UserId,
};
use freehold_ports::{GlobalPosition, StreamVersion};
use uuid::Uuid;

use super::super::listing::{
    ListingPropertyRow, ListingRow, Listings, cumulative_days_on_market, days_on_market,
};
use super::{
    LISTING, Log, PROPERTY, RELIST, TENANT, day, euros, noon, photo, recorded, registered,
    stopped_by,
};

pub(super) fn drafted() -> PropertyEvent {
    let (price, available_from) = (Some(euros(900)), Some(day(60)));
    ListingDrafted { listing: LISTING, price, available_from, agent: None }.into()
}

pub(super) fn published() -> PropertyEvent {
    ListingPublished {
        listing: LISTING,
        price: euros(900),
        available_from: day(60),
        expires_at: Some(noon(90)),
        published_at: noon(3),
    }
    .into()
}

pub(super) fn back_on_market() -> PropertyEvent {
    let cause = BackOnMarketCause::Resumed;
    ListingBackOnMarket { listing: LISTING, cause, application: None }.into()
}

pub(super) fn under_application() -> PropertyEvent {
    let application = ApplicationId(Uuid::from_u128(7));
    ListingUnderApplication { listing: LISTING, application }.into()
}

pub(super) fn pending() -> PropertyEvent {
    ListingPending { listing: LISTING, application: None }.into()
}

pub(super) fn leased() -> PropertyEvent {
    let lease = LeaseId(Uuid::from_u128(8));
    ListingLeased { listing: LISTING, lease, rent_at_close: euros(880), close_date: day(40) }.into()
}

fn rent_changed(old: i64, new: i64) -> PropertyEvent {
    let (old, new) = (Some(euros(old)), euros(new));
    RentChanged { listing: LISTING, old, new, reason: None }.into()
}

/// [`LISTING`] after these events of its property.
fn after<const N: usize>(events: [PropertyEvent; N]) -> ListingRow {
    Log::of_property(events).fold(Listings).row((LISTING,))
}

/// [`LISTING`] after it was drafted and then this.
fn draft_after<const N: usize>(events: [PropertyEvent; N]) -> ListingRow {
    let events = [registered(), drafted()].into_iter().chain(events);
    Log::of_property(events).fold(Listings).row((LISTING,))
}

/// [`LISTING`] after it was published and then this.
fn on_market_after<const N: usize>(events: [PropertyEvent; N]) -> ListingRow {
    let events = [registered(), drafted(), published()].into_iter().chain(events);
    Log::of_property(events).fold(Listings).row((LISTING,))
}

#[test]
fn a_draft_shows_what_is_known_about_its_property() {
    let row = after([registered(), drafted()]);

    assert_eq!(row.property, PROPERTY);
    assert_eq!((&*row.tenant, &*row.source, &*row.reference), (TENANT, "feed", "f-1"));
    assert_eq!((row.status, row.status_changed_at), (ListingStatus::Draft, noon(1)));
    assert_eq!(row.property_type, PropertyType::Apartment);
    assert_eq!(row.title.as_deref(), Some("Quiet flat"));
    assert_eq!(row.description.as_deref(), Some("Two rooms to the garden"));
    assert_eq!(row.street.as_deref(), Some("Hauptstr. 5"));
    assert_eq!(row.city.as_deref(), Some("Berlin"));
    assert_eq!(row.region.as_deref(), Some("Berlin"));
    assert_eq!(row.postal_code.as_deref(), Some("10405"));
    assert_eq!(row.country.as_deref(), Some("DE"));
    assert_eq!((row.latitude, row.longitude), (Some(52.5347), Some(13.4197)));
    assert_eq!((row.year_built, row.stories), (Some(1906), Some(1.5)));
    assert_eq!((row.bedrooms, row.bathrooms), (Some(1), Some(1.5)));
    assert_eq!((row.rooms, row.max_occupancy), (Some(2), Some(3)));
    assert_eq!((row.living_area_m2, row.living_area), (Some(50.0), Some(50.0)));
    assert_eq!(row.living_area_unit, Some(AreaUnit::SquareMeters));
    assert_eq!((row.lot_area, row.lot_area_unit), (Some(1_000.0), Some(AreaUnit::SquareFeet)));
    assert_eq!(row.lot_area_m2, Some(1_000.0 * 0.092_903_04));
    assert_eq!(row.garage_area_m2, Some(20.0));
    assert_eq!(*row.amenities.0, ["balcony", "lift"].map(String::from).into());
    assert_eq!((row.price_minor, row.original_price_minor), (Some(90_000), Some(90_000)));
    assert_eq!(row.currency.map(|currency| currency.code().to_owned()), Some("EUR".into()));
    assert_eq!(row.frequency, Some(FeeFrequency::Monthly));
    assert_eq!(row.available_from, Some(day(60)));
    assert_eq!(row.drafted_at, Some(noon(1)));
    assert_eq!((row.on_market_at, days_on_market(&row, noon(9))), (None, None));
    assert_eq!(row.changed_at, recorded(noon(1)));
    assert_eq!((row.position, row.version), (GlobalPosition(2), StreamVersion(2)));
}

#[test]
fn a_corrected_fact_reaches_every_period_of_the_property() {
    let area = Area { value: 60.0, unit: AreaUnit::SquareMeters };
    let bedrooms = Changed { old: Some(1), new: Some(2) };
    let title = Changed { old: Some("Quiet flat".to_owned()), new: None };
    let living_area = Changed { old: None, new: Some(area) };
    let changes = vec![
        FactChange::Bedrooms(bedrooms),
        FactChange::Title(title),
        FactChange::LivingArea(living_area),
    ];
    let relisted =
        ListingDrafted { listing: RELIST, price: None, available_from: None, agent: None };
    let log = Log::of_property([
        registered(),
        drafted(),
        ListingVoided { listing: LISTING }.into(),
        relisted.into(),
        PropertyFactsCorrected { changes }.into(),
    ]);
    let listings = log.fold(Listings);

    for listing in [LISTING, RELIST] {
        let row: ListingRow = listings.row((listing,));
        assert_eq!((row.bedrooms, row.living_area_m2, row.title), (Some(2), Some(60.0), None));
        assert_eq!((row.position, row.version), (GlobalPosition(5), StreamVersion(5)));
    }
    let unit: ListingPropertyRow = listings.row((PROPERTY,));
    assert_eq!((unit.listings.0, unit.drafted_last), (vec![LISTING, RELIST], Some(RELIST)));
}

#[test]
fn amenities_are_replaced() {
    let new = ["parking".to_owned()].into();
    let row = draft_after([AmenitiesSet { old: Default::default(), new }.into()]);

    assert_eq!(*row.amenities.0, ["parking".to_owned()].into());
}

#[test]
fn a_geocoder_moves_the_point_and_says_how_good_it_is() {
    let coordinates = Coordinates { latitude: 1.0, longitude: 2.0 };
    let geocoded = AddressGeocoded {
        coordinates,
        precision: CoordinatePrecision::Street,
        visibility: LocationVisibility::Approximate,
    };
    let row = draft_after([geocoded.into()]);

    assert_eq!((row.latitude, row.longitude), (Some(1.0), Some(2.0)));
    assert_eq!(row.location_precision, Some(CoordinatePrecision::Street));
    assert_eq!(row.location_visibility, Some(LocationVisibility::Approximate));
}

#[test]
fn what_says_nothing_about_a_listing_leaves_it_as_it_is() {
    let row = draft_after([
        AddressVerificationFailed { reason: "unknown street".into() }.into(),
        ListingApproved { listing: LISTING, approved_by: Actor("someone".into()) }.into(),
        PropertyArchived {}.into(),
    ]);

    assert_eq!(row, after([registered(), drafted()]));
}

#[test]
fn the_first_photo_is_shown_until_one_is_preferred() {
    let attached = |media| PropertyEvent::from(MediaAttached { media });
    let mut plan = photo(1);
    plan.category = MediaCategory::FloorPlan;
    let [first, second] = [photo(2), photo(3)];
    let (first_id, second_id) = (first.id, second.id);
    let all = [attached(second), attached(first), attached(plan.clone())];
    let shown = |events: Vec<PropertyEvent>| {
        let events = [registered(), drafted()].into_iter().chain(all.clone()).chain(events);
        let row: ListingRow = Log::of_property(events).fold(Listings).row((LISTING,));
        (row.photo_url.unwrap().to_string(), row.photos)
    };
    let preferred = PropertyEvent::from(PreferredPhotoSet { media: second_id });
    let removed = |media| PropertyEvent::from(MediaRemoved { media });
    let order = vec![second_id, plan.id, first_id];

    assert_eq!(shown(vec![]), (photo(2).url, 2));
    assert_eq!(shown(vec![preferred.clone()]), (photo(3).url, 2));
    let without = vec![preferred.clone(), removed(second_id)];
    assert_eq!(shown(without.clone()), (photo(2).url, 1));
    let again = without.into_iter().chain([attached(photo(3))]).collect();
    assert_eq!(shown(again), (photo(2).url, 2), "a photo that comes back is no longer preferred");
    assert_eq!(shown(vec![MediaReordered { order }.into()]), (photo(3).url, 2));
}

#[test]
fn photos_of_before_the_draft_are_shown_too() {
    let row = after([registered(), MediaAttached { media: photo(1) }.into(), drafted()]);

    assert_eq!((row.photo_url, row.photos), (Some(Arc::from(photo(1).url)), 1));
}

#[test]
fn a_duplicate_says_who_survives_until_it_is_separated() {
    let survivor = PropertyId(Uuid::from_u128(0xb));
    let marked = PropertyEvent::from(MarkedDuplicateOf { survivor });
    let separated = DuplicateSeparated { survivor }.into();

    assert_eq!(draft_after([marked.clone()]).duplicate_of, Some(survivor));
    assert_eq!(draft_after([marked, separated]).duplicate_of, None);
}

#[test]
fn every_step_of_a_period_shows_as_its_status() {
    let submitted_by = Actor("writer".into());
    let submitted = PropertyEvent::from(ListingSubmitted { listing: LISTING, submitted_by });
    let changes = ListingChangesRequested { listing: LISTING, reasons: vec!["photo".into()] };
    let returned = ListingReturnedToDraft { listing: LISTING };
    let withdrawn = ListingWithdrawn { listing: LISTING, reason: "sold".into() };
    let after_draft = |event: PropertyEvent| draft_after([event]).status;
    let on_market = |event: PropertyEvent| {
        let row = on_market_after([event]);
        assert_eq!(row.status_changed_at, noon(3));
        row.status
    };

    assert_eq!(after_draft(submitted.clone()), ListingStatus::InReview);
    assert_eq!(after_draft(changes.into()), ListingStatus::ChangesRequested);
    assert_eq!(draft_after([submitted, returned.into()]).status, ListingStatus::Draft);
    assert_eq!(after_draft(ListingVoided { listing: LISTING }.into()), ListingStatus::Voided);
    assert_eq!(on_market(under_application()), ListingStatus::UnderApplication);
    assert_eq!(on_market(pending()), ListingStatus::Pending);
    assert_eq!(on_market(ListingHeld { listing: LISTING }.into()), ListingStatus::OnHold);
    assert_eq!(on_market(withdrawn.into()), ListingStatus::Withdrawn);
    assert_eq!(on_market(ListingCancelled { listing: LISTING }.into()), ListingStatus::Cancelled);
    assert_eq!(on_market(ListingExpired { listing: LISTING }.into()), ListingStatus::Expired);
    assert_eq!(on_market(back_on_market()), ListingStatus::Active);
}

#[test]
fn an_announced_listing_says_when_it_comes() {
    let row = draft_after([ListingScheduled {
        listing: LISTING,
        price: euros(950),
        available_from: day(70),
        on_market_date: day(10),
        expires_at: Some(noon(80)),
    }
    .into()]);

    assert_eq!(row.status, ListingStatus::ComingSoon);
    assert_eq!((row.price_minor, row.original_price_minor), (Some(95_000), Some(95_000)));
    assert_eq!((row.available_from, row.on_market_date), (Some(day(70)), Some(day(10))));
    assert_eq!((row.expires_at, row.on_market_at), (Some(noon(80)), None));
}

#[test]
fn a_published_listing_is_on_the_market() {
    let row = on_market_after([]);

    assert_eq!(row.status, ListingStatus::Active);
    assert_eq!((row.on_market_at, row.published_at), (Some(noon(2)), Some(noon(3))));
    assert_eq!((row.expires_at, row.available_from), (Some(noon(90)), Some(day(60))));
    assert_eq!((row.market_since, row.on_market_date), (Some(noon(2)), Some(day(2))));
    let returned = on_market_after([ListingHeld { listing: LISTING }.into(), back_on_market()]);
    assert_eq!(returned.on_market_date, Some(day(2)), "the day it came first");
}

#[test]
fn the_day_on_the_market_is_not_the_day_it_was_announced_for() {
    let scheduled = ListingScheduled {
        listing: LISTING,
        price: euros(950),
        available_from: day(70),
        on_market_date: day(10),
        expires_at: None,
    };
    let published = ListingPublished {
        listing: LISTING,
        price: euros(950),
        available_from: day(70),
        published_at: noon(3),
        expires_at: None,
    };
    let row = draft_after([scheduled.into(), published.into()]);

    assert_eq!(row.on_market_date, Some(row.on_market_at.unwrap().date_naive()));
    assert_ne!(row.on_market_date, Some(day(10)));
}

#[test]
fn a_price_that_nobody_saw_leaves_no_trace() {
    let row = draft_after([rent_changed(900, 950), rent_changed(950, 1_000)]);

    assert_eq!((row.price_minor, row.original_price_minor), (Some(100_000), Some(100_000)));
    assert_eq!((row.previous_price_minor, row.price_changed_at), (None, None));
}

#[test]
fn a_public_price_is_remembered_when_it_changes() {
    let row = on_market_after([rent_changed(900, 850), rent_changed(850, 800)]);

    assert_eq!((row.price_minor, row.original_price_minor), (Some(80_000), Some(90_000)));
    assert_eq!((row.previous_price_minor, row.price_changed_at), (Some(85_000), Some(noon(4))));
}

#[test]
fn prices_of_different_kinds_are_not_compared() {
    let new = Price::from_minor_units(20_000, "EUR", FeeFrequency::Weekly).unwrap();
    let changed = RentChanged { listing: LISTING, old: Some(euros(900)), new, reason: None };
    let row = on_market_after([changed.into()]);

    assert_eq!((row.price_minor, row.frequency), (Some(20_000), Some(FeeFrequency::Weekly)));
    assert_eq!((row.original_price_minor, row.previous_price_minor), (Some(20_000), None));
    assert_eq!(row.price_changed_at, Some(noon(3)));
}

#[test]
fn mandatory_fees_belong_to_the_monthly_total() {
    let fee = |kind, amount, mandatory| OngoingFee { kind, price: euros(amount), mandatory };
    let fees = vec![
        fee(OngoingFeeKind::HoaFee, 100, true),
        fee(OngoingFeeKind::ParkingFee, 50, false),
        fee(OngoingFeeKind::PetFee, 10, true),
    ];
    let set = |fees| PropertyEvent::from(OngoingFeesSet { listing: LISTING, fees });
    let mut yearly = fees.clone();
    yearly[0].price.frequency = FeeFrequency::Yearly;

    assert_eq!(draft_after([]).total_monthly_minor, Some(90_000));
    assert_eq!(draft_after([set(fees.clone())]).total_monthly_minor, Some(101_000));
    let after_both = draft_after([set(fees.clone()), rent_changed(900, 1_000)]);
    assert_eq!(after_both.total_monthly_minor, Some(111_000));
    assert_eq!(after_both.terms.unwrap().0.ongoing_fees, fees);
    assert_eq!(draft_after([set(yearly)]).total_monthly_minor, None);
}

#[test]
fn costs_and_terms_are_shown() {
    let mut price = euros(1_800);
    price.frequency = FeeFrequency::OneTime;
    let costs = vec![MoveInCost { kind: MoveInCostKind::SecurityDeposit, price }];
    let concession = |id| Concession {
        id: Uuid::from_u128(id),
        description: "A month free".into(),
        ends_on: None,
    };
    let offered = |id| ConcessionOffered { listing: LISTING, concession: concession(id) };
    let ended = ConcessionWithdrawn { listing: LISTING, concession: Uuid::from_u128(1) };
    let terms = LeaseTerms {
        min_months: Some(6),
        max_months: Some(24),
        furnished: Some(Furnished::Partially),
        pets: Some(PetsAllowed::CatsOnly),
        ..LeaseTerms::default()
    };
    let row = draft_after([
        MoveInCostsSet { listing: LISTING, costs: costs.clone() }.into(),
        offered(1).into(),
        offered(2).into(),
        ended.into(),
        LeaseTermsSet { listing: LISTING, terms: terms.clone() }.into(),
    ]);

    let shown = row.terms.unwrap().0;
    assert_eq!((&shown.move_in_costs, &shown.lease_terms), (&costs, &terms));
    assert_eq!(shown.concessions, [concession(2)]);
    assert_eq!((row.min_lease_months, row.max_lease_months), (Some(6), Some(24)));
    assert_eq!(
        (row.furnished, row.pets),
        (Some(Furnished::Partially), Some(PetsAllowed::CatsOnly))
    );
}

#[test]
fn availability_end_and_agent_follow_their_events() {
    let agent = UserId(Uuid::from_u128(3));
    let row = on_market_after([
        AvailabilityChanged { listing: LISTING, old: None, new: day(99) }.into(),
        ListingRenewed { listing: LISTING, old: None, new: noon(120) }.into(),
        ListingAgentReassigned { listing: LISTING, old: None, new: agent }.into(),
    ]);

    assert_eq!((row.available_from, row.expires_at), (Some(day(99)), Some(noon(120))));
    assert_eq!(row.agent, Some(agent));
}

#[test]
fn a_lease_closes_the_period_at_its_own_price() {
    let row = on_market_after([pending(), leased()]);

    assert_eq!(row.status, ListingStatus::Leased);
    assert_eq!((row.closed_on, row.close_price_minor), (Some(day(40)), Some(88_000)));
    assert_eq!((row.close_currency, row.close_frequency), (row.currency, row.frequency));
    assert_eq!(row.price_minor, Some(90_000));
    assert_eq!(days_on_market(&row, noon(99)), Some(1));
}

#[test]
fn a_closing_of_before_is_a_closed_period_of_its_own() {
    let price = Price::from_minor_units(8_950_000, "USD", FeeFrequency::OneTime).unwrap();
    let closed_on = day(-10_000);
    let log = Log::of_property([
        registered(),
        ClosingRecorded { listing: RELIST, price, closed_on }.into(),
        drafted(),
    ]);
    let listings = log.fold(Listings);
    let row: ListingRow = listings.row((RELIST,));

    assert_eq!((row.status, row.closed_on), (ListingStatus::Leased, Some(closed_on)));
    assert_eq!(row.status_changed_at, noon(-10_000) - TimeDelta::hours(12));
    assert_eq!((row.price_minor, row.close_price_minor), (Some(8_950_000), Some(8_950_000)));
    assert_eq!((row.drafted_at, row.price_changed_at), (None, None));
    assert_eq!((row.bedrooms, days_on_market(&row, noon(9))), (Some(1), None));
    let unit: ListingPropertyRow = listings.row((PROPERTY,));
    assert_eq!((unit.listings.0, unit.drafted_last), (vec![RELIST, LISTING], Some(LISTING)));
}

#[test]
fn only_days_in_active_and_under_application_count() {
    // Published on day 2; held from 5 to 8; pending from 10 to 12.
    let mut log = Log::of_property([registered(), drafted(), published()]);
    let held = PropertyEvent::from(ListingHeld { listing: LISTING });
    let steps = [
        (5, held),
        (8, back_on_market()),
        (9, under_application()),
        (10, pending()),
        (12, back_on_market()),
    ];
    for (number, event) in steps {
        log.append("property", PROPERTY.0, noon(number), event);
    }
    let row: ListingRow = log.fold(Listings).row((LISTING,));

    assert_eq!(days_on_market(&row, noon(15)), Some(3 + 2 + 3));
    assert_eq!(days_on_market(&row, noon(15) - TimeDelta::seconds(1)), Some(7));
    assert_eq!(days_on_market(&row, noon(3)), Some(5), "a clock behind the events takes none away");
}

#[test]
fn a_relist_starts_at_zero_but_the_property_does_not() {
    let mut log = Log::of_property([registered(), drafted(), published()]);
    let relisted =
        ListingDrafted { listing: RELIST, price: None, available_from: None, agent: None };
    let again = ListingPublished {
        listing: RELIST,
        price: euros(800),
        available_from: day(60),
        expires_at: None,
        published_at: noon(13),
    };
    let third = ListingKey(Uuid::from_u128(3));
    let drafted = ListingDrafted { listing: third, price: None, available_from: None, agent: None };
    let steps: [(i64, PropertyEvent); 5] = [
        (12, ListingCancelled { listing: LISTING }.into()),
        (12, relisted.into()),
        (13, again.into()),
        (16, ListingCancelled { listing: RELIST }.into()),
        (17, drafted.into()),
    ];
    for (number, event) in steps {
        log.append("property", PROPERTY.0, noon(number), event);
    }
    let listings = log.fold(Listings);
    let row: ListingRow = listings.row((RELIST,));
    assert_eq!(days_on_market(&row, noon(99)), Some(3));
    assert_eq!(cumulative_days_on_market(&row, noon(99)), Some(10 + 3));
    let row: ListingRow = listings.row((third,));
    assert_eq!((row.earlier_market_seconds, row.on_market_at), (13 * 86_400, None));
    assert_eq!(cumulative_days_on_market(&row, noon(99)), None);
}

#[test]
fn an_event_of_an_unknown_property_stops_the_projection() {
    let log = Log::of_property([drafted()]);

    assert!(stopped_by(&log, Listings).contains("property 00000000-0000-0000-0000-00000000000a"));
}

#[test]
fn an_event_of_an_unknown_listing_stops_the_projection() {
    let log = Log::of_property([registered(), pending()]);

    assert!(stopped_by(&log, Listings).contains("listing 00000000-0000-0000-0000-000000000001"));
}
