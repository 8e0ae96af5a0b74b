use freehold_domain::property::{
    AddressGeocoded, Changed, ClosingRecorded, CoordinatePrecision, DuplicateSeparated, FactChange,
    ListingCancelled, ListingHeld, ListingPublished, LocationVisibility, MarkedDuplicateOf,
    PropertyEvent, PropertyFactsCorrected, RentChanged,
};
use freehold_domain::{Area, AreaUnit, Coordinates, FeeFrequency, ListingKey, Price, PropertyId};
use uuid::Uuid;

use super::super::market::{Market, MarketStatisticsRow, PriceBasis};
use super::listing::{back_on_market, drafted, leased, pending, published, under_application};
use super::{LISTING, Log, PROPERTY, TENANT, day, euros, noon, registered, stopped_by};

/// Every statistic after these events of one property: basis, month, resolution, count.
fn statistics(
    events: impl IntoIterator<Item = PropertyEvent>,
) -> Vec<(PriceBasis, chrono::NaiveDate, i64, i64)> {
    let rows: Vec<MarketStatisticsRow> = Log::of_property(events).fold(Market).rows();
    let mut found: Vec<_> =
        rows.iter().map(|row| (row.basis, row.month, row.resolution, row.count)).collect();
    found.sort_unstable();
    found
}

/// The statistics of the small cells.
fn small(log: &Log) -> Vec<MarketStatisticsRow> {
    let rows: Vec<MarketStatisticsRow> = log.fold(Market).rows();
    rows.into_iter().filter(|row| row.resolution == 8).collect()
}

fn small_after(events: impl IntoIterator<Item = PropertyEvent>) -> MarketStatisticsRow {
    let [row] = small(&Log::of_property(events)).try_into().unwrap();
    row
}

/// A closed sale of another property at the same place.
fn sale(log: &mut Log, number: u128, dollars: i64) {
    let price = Price::from_minor_units(dollars * 100, "USD", FeeFrequency::OneTime).unwrap();
    let listing = ListingKey(Uuid::from_u128(number));
    let closed = ClosingRecorded { listing, price, closed_on: day(20) };
    log.append("property", Uuid::from_u128(number), noon(0), registered());
    log.append("property", Uuid::from_u128(number), noon(0), PropertyEvent::from(closed));
}

#[test]
fn a_published_listing_counts_in_its_month_in_both_resolutions() {
    let events = [registered(), drafted(), published()];

    assert_eq!(
        statistics(events.clone()),
        [(PriceBasis::Asking, day(0), 6, 1), (PriceBasis::Asking, day(0), 8, 1)]
    );
    let row = small_after(events);
    assert_eq!((&*row.tenant, &*row.cell), (TENANT, "881f1d489bfffff"));
    assert!((row.latitude - 52.53).abs() < 0.02 && (row.longitude - 13.42).abs() < 0.02);
    assert_eq!((row.price_min, row.price_median, row.price_max), (90_000, 90_000, 90_000));
    assert_eq!((row.area_count, row.price_m2_median), (1, Some(1_800.0)));
    assert_eq!((row.days_count, row.days_on_market_median), (0, None));
}

#[test]
fn a_draft_counts_nowhere() {
    assert_eq!(statistics([registered(), drafted()]), []);
}

#[test]
fn a_property_without_coordinates_counts_once_it_has_them() {
    let changed = Changed { old: Some(Coordinates { latitude: 0.0, longitude: 0.0 }), new: None };
    let lost = PropertyFactsCorrected { changes: vec![FactChange::Coordinates(changed)] };
    let found = AddressGeocoded {
        coordinates: Coordinates { latitude: 1.0, longitude: 2.0 },
        precision: CoordinatePrecision::Rooftop,
        visibility: LocationVisibility::Exact,
    };
    let events = [registered(), drafted(), published(), lost.into()];
    assert_eq!(statistics(events.clone()), []);

    let row = small_after(events.into_iter().chain([found.into()]));
    assert!((row.latitude - 1.0).abs() < 0.02 && (row.longitude - 2.0).abs() < 0.02);
}

#[test]
fn a_new_rent_moves_the_observation() {
    let rent = |new| RentChanged { listing: LISTING, old: None, new, reason: None };
    let mut weekly = euros(200);
    weekly.frequency = FeeFrequency::Weekly;
    let events = [registered(), drafted(), published()];
    let row = small_after(events.clone().into_iter().chain([rent(euros(700)).into()]));
    assert_eq!((row.count, row.price_min, row.price_max), (1, 70_000, 70_000));

    let row = small_after(events.into_iter().chain([rent(weekly).into()]));
    assert_eq!((row.count, row.frequency, row.price_max), (1, FeeFrequency::Weekly, 20_000));
}

#[test]
fn a_corrected_area_moves_the_price_of_a_square_metre() {
    let area = |area: Option<Area>| {
        let changed = Changed { old: None, new: area };
        PropertyEvent::from(PropertyFactsCorrected {
            changes: vec![FactChange::LivingArea(changed)],
        })
    };
    let events = [registered(), drafted(), published()];
    let larger = area(Some(Area { value: 70.0, unit: AreaUnit::SquareMeters }));
    let row = small_after(events.clone().into_iter().chain([larger]));
    assert_eq!((row.count, row.area_count, row.price_m2_median), (1, 1, Some(1_285.714)));

    let row = small_after(events.into_iter().chain([area(None)]));
    assert_eq!((row.count, row.area_count, row.price_m2_median), (1, 0, None));
}

#[test]
fn a_lease_counts_what_was_agreed_and_how_long_it_took() {
    let mut log = Log::of_property([registered(), drafted(), published()]);
    let steps = [
        (10, under_application()),
        (12, pending()),
        (14, back_on_market()),
        (15, PropertyEvent::from(ListingHeld { listing: LISTING })),
        (18, back_on_market()),
        (20, pending()),
        (30, leased()),
    ];
    for (number, event) in steps {
        log.append("property", PROPERTY.0, noon(number), event);
    }
    let rows = small(&log);
    let [asking, closed] = rows.as_slice() else { panic!("{rows:?}") };

    assert_eq!((asking.basis, asking.price_median), (PriceBasis::Asking, 90_000));
    assert_eq!((closed.basis, closed.price_median), (PriceBasis::Closed, 88_000));
    // Closed on day 40, which is the tenth of April.
    assert_eq!((asking.month, closed.month), (day(0), day(31)));
    assert_eq!((closed.days_count, closed.days_on_market_median), (1, Some(10.0 + 1.0 + 2.0)));
}

#[test]
fn what_was_asked_stays_asked_when_a_listing_leaves_the_market() {
    let cancelled = ListingCancelled { listing: LISTING };

    assert_eq!(statistics([registered(), drafted(), published(), cancelled.into()]).len(), 2);
}

#[test]
fn a_duplicate_is_not_counted_twice() {
    let survivor = PropertyId(Uuid::from_u128(0xb));
    let marked = PropertyEvent::from(MarkedDuplicateOf { survivor });
    let events = [registered(), drafted(), published(), marked];
    assert_eq!(statistics(events.clone()), []);

    let separated = PropertyEvent::from(DuplicateSeparated { survivor });
    assert_eq!(statistics(events.into_iter().chain([separated])).len(), 2);
}

#[test]
fn quartiles_lie_between_the_observations() {
    let mut log = Log::new();
    for (number, dollars) in [(1, 400), (2, 100), (3, 300), (4, 200)] {
        sale(&mut log, number, dollars);
    }
    let [row] = small(&log).try_into().unwrap();

    assert_eq!((row.basis, row.month, row.count), (PriceBasis::Closed, day(0), 4));
    assert_eq!(
        [row.price_min, row.price_q1, row.price_median, row.price_q3, row.price_max],
        [10_000, 17_500, 25_000, 32_500, 40_000]
    );
    assert_eq!(row.price_m2_q1, Some(350.0));
    assert_eq!(row.days_count, 0, "nobody knows how long a sale of before took");
    assert_eq!(row.observations.0.prices, [10_000, 20_000, 30_000, 40_000]);
}

#[test]
fn currencies_are_not_mixed() {
    let mut log = Log::new();
    sale(&mut log, 9, 100);
    let closed = ClosingRecorded { listing: LISTING, price: euros(100), closed_on: day(20) };
    log.append("property", PROPERTY.0, noon(0), registered());
    log.append("property", PROPERTY.0, noon(0), PropertyEvent::from(closed));

    let counts: Vec<_> =
        small(&log).iter().map(|row| (row.currency.code().to_owned(), row.count)).collect();
    assert_eq!(counts, [("EUR".to_owned(), 1), ("USD".to_owned(), 1)]);
}

#[test]
fn an_event_of_an_unknown_property_stops_the_projection() {
    let published = ListingPublished {
        listing: LISTING,
        price: euros(1),
        available_from: day(1),
        expires_at: None,
        published_at: noon(1),
    };

    assert!(stopped_by(&Log::of_property([published.into()]), Market).contains("property 0000"));
}
