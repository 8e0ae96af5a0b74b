use std::num::NonZeroU32;

use freehold_domain::property::{ListingStatus, PropertyType};
use freehold_domain::user::{PriceRange, SearchArea, SearchFilter};
use freehold_domain::{Coordinates, Currency, FeeFrequency, ListingKey};
use freehold_ports::{Commit, Filter, GlobalPosition, Query, RowChange, TableChanges, Value};
use freehold_test_stores::cases;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::listing::{ListingOrder, ListingRow, Listings, filters_for, search_facts};
use super::listing::drafted;
use super::{LISTING, Log, ReadModel, day, registered};
use crate::TypedRow;

/// The columns that a search can ask for.
type Searched = (
    Option<(i64, usize, usize)>,
    Option<(usize, usize)>,
    (Option<i64>, Option<u8>, Option<i64>),
    (usize, usize, Option<i64>),
);

fn searched() -> impl Strategy<Value = Searched> {
    (
        option::of((1..6_i64, 0..2_usize, 0..2_usize)),
        option::of((0..LATITUDES.len(), 0..LONGITUDES.len())),
        (option::of(0..5_i64), option::of(0..7_u8), option::of(1..6_i64)),
        (0..ListingStatus::ALL.len(), 0..PropertyType::ALL.len(), option::of(0..5_i64)),
    )
}

const LATITUDES: [f64; 5] = [-90.0, -1.0, 0.0, 0.004, 89.9];
const LONGITUDES: [f64; 5] = [-180.0, -179.995, 0.0, 0.005, 179.999];
const FREQUENCIES: [FeeFrequency; 2] = [FeeFrequency::Monthly, FeeFrequency::Weekly];

fn currency(number: usize) -> Currency {
    Currency::from_code(["EUR", "USD"][number]).unwrap()
}

fn with(row: &ListingRow, number: usize, searched: &Searched) -> ListingRow {
    let (price, place, (bedrooms, half_bathrooms, area), (status, kind, available)) = *searched;
    ListingRow {
        listing: ListingKey(Uuid::from_u128(number as u128)),
        price_minor: price.map(|(amount, _, _)| amount),
        currency: price.map(|(_, code, _)| currency(code)),
        frequency: price.map(|(_, _, frequency)| FREQUENCIES[frequency]),
        latitude: place.map(|(latitude, _)| LATITUDES[latitude]),
        longitude: place.map(|(_, longitude)| LONGITUDES[longitude]),
        bedrooms,
        bathrooms: half_bathrooms.map(|halves| f64::from(halves) / 2.0),
        living_area_m2: area.map(|area| area as f64 * 10.5),
        status: ListingStatus::ALL[status],
        property_type: PropertyType::ALL[kind],
        available_from: available.map(day),
        ..row.clone()
    }
}

fn area() -> impl Strategy<Value = SearchArea> {
    let latitude = || (0..LATITUDES.len()).prop_map(|number| LATITUDES[number]);
    let longitude = || (0..LONGITUDES.len()).prop_map(|number| LONGITUDES[number]);
    let around = (latitude(), longitude(), 1..2_000_u32);
    prop_oneof![
        (latitude(), longitude(), latitude(), longitude()).prop_map(|(a, west, b, east)| {
            SearchArea::BoundingBox { south: a.min(b), west, north: a.max(b), east }
        }),
        around.prop_map(|(latitude, longitude, radius_m)| {
            SearchArea::Circle { center: Coordinates { latitude, longitude }, radius_m }
        }),
    ]
}

fn filter() -> impl Strategy<Value = SearchFilter> {
    let price = (option::of(1..6_u64), option::of(1..6_u64), 0..2_usize, 0..2_usize);
    let price = price.prop_map(|(min_minor, max_minor, code, frequency)| PriceRange {
        min_minor,
        max_minor,
        currency: currency(code),
        frequency: FREQUENCIES[frequency],
    });
    let statuses = vec((0..ListingStatus::ALL.len()).prop_map(|n| ListingStatus::ALL[n]), 0..4);
    let kinds = vec((0..PropertyType::ALL.len()).prop_map(|n| PropertyType::ALL[n]), 0..4);
    let rooms = (option::of(0..5_u32), option::of(0..5_u32), option::of(0..7_u8));
    let areas = (option::of(1..6_u8), option::of(1..6_u8), option::of(0..5_i64));
    (option::of(area()), option::of(price), rooms, areas, statuses, kinds)
        .prop_map(|(area, price, rooms, areas, statuses, kinds)| SearchFilter {
            area,
            price,
            bedrooms_min: rooms.0,
            bedrooms_max: rooms.1,
            bathrooms_min: rooms.2.map(|halves| f64::from(halves) / 2.0),
            floor_area_min_m2: areas.0.map(|area| f64::from(area) * 10.5),
            floor_area_max_m2: areas.1.map(|area| f64::from(area) * 10.5),
            statuses: statuses.iter().map(|status| status.name().to_lowercase()).collect(),
            property_types: kinds.iter().map(|kind| kind.name().to_uppercase()).collect(),
            available_by: areas.2.map(day),
        })
        .prop_filter("a search must be valid to be saved", |filter| filter.validate().is_ok())
}

fn ask(model: &ReadModel<'_>, filters: Vec<Filter>, order: ListingOrder) -> Vec<ListingRow> {
    let query = Query {
        table: ListingRow::TABLE,
        filters,
        order: order.order(),
        after: None,
        before: None,
        backwards: false,
        limit: NonZeroU32::new(1_000).unwrap(),
    };
    let asked = crate::query(&*model.models, "listings", query);
    model.runtime.block_on(asked).unwrap().rows
}

fn filled<'a>(log: &'a Log, columns: &[Searched]) -> (ReadModel<'a>, Vec<ListingRow>) {
    let model = log.fold(Listings);
    let some: ListingRow = model.row((LISTING,));
    let rows: Vec<_> =
        columns.iter().zip(1..).map(|(row, number)| with(&some, number, row)).collect();
    let changes = rows.iter().map(|row| RowChange::Put(row.to_row())).collect();
    let changes = vec![TableChanges { table: ListingRow::TABLE, changes }];
    let to = GlobalPosition(model.checkpoint.0 + 1);
    let commit = model.models.commit(Commit::moving(
        model.generation.clone(),
        model.checkpoint,
        to,
        changes,
    ));
    model.runtime.block_on(commit).unwrap();
    let rows = model.rows();
    (model, rows)
}

fn two_events() -> Log {
    Log::of_property([registered(), drafted()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(200)))]

    #[test]
    fn a_saved_search_and_a_listing_search_find_the_same(
        columns in vec(searched(), 1..40),
        filters in vec(filter(), 1..10),
    ) {
        let log = two_events();
        let (model, rows) = filled(&log, &columns);
        for filter in filters {
            let found = ask(&model, filters_for(&filter), ListingOrder::ChangedLast);
            let mut found: Vec<_> = found.into_iter().map(|row| row.listing).collect();
            found.sort_unstable();
            let matching = rows.iter().filter(|row| filter.matches(&search_facts(row)));
            let matching: Vec<_> = matching.map(|row| row.listing).collect();
            prop_assert_eq!(found, matching, "{:?}", filter);
        }
    }

    #[test]
    fn every_order_shows_every_listing_and_the_unknown_last(
        columns in vec(searched(), 1..40),
    ) {
        let log = two_events();
        let (model, rows) = filled(&log, &columns);
        for order in ListingOrder::ALL {
            let found = ask(&model, Vec::new(), *order);
            prop_assert_eq!(found.len(), rows.len());
            let [sorted] = order.order().try_into().unwrap();
            let place = ListingRow::TABLE.column(sorted.column).unwrap();
            let values: Vec<Value> = found.iter().map(|row| row.to_row().0[place].clone()).collect();
            for pair in values.windows(2) {
                prop_assert!(in_order(&pair[0], &pair[1], sorted.descending), "{:?}", pair);
            }
        }
    }
}

fn in_order(first: &Value, second: &Value, descending: bool) -> bool {
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        Value::Timestamp(at) => at.timestamp_micros() as f64,
        other => panic!("{other:?}"),
    };
    match (first, second) {
        (_, Value::Null) => true,
        (Value::Null, _) => false,
        (first, second) if descending => number(first) >= number(second),
        (first, second) => number(first) <= number(second),
    }
}

#[test]
fn a_search_for_a_status_that_does_not_exist_finds_nothing() {
    let log = two_events();
    let (model, _) = filled(&log, &[]);
    let filter = SearchFilter { statuses: vec!["Sold".into()], ..SearchFilter::default() };

    assert_eq!(ask(&model, filters_for(&filter), ListingOrder::Newest), []);
    assert_eq!(ask(&model, Vec::new(), ListingOrder::Newest).len(), 1);
}
