use chrono::{Days, NaiveDate};
use proptest::prelude::*;

use super::super::search::words;
use super::*;
use crate::{Coordinates, Currency, FeeFrequency, Price};

fn price(amount_minor: i64, currency: &str, frequency: FeeFrequency) -> Price {
    Price::from_minor_units(amount_minor, currency, frequency).unwrap()
}

fn euros_a_month(min_minor: Option<u64>, max_minor: Option<u64>) -> PriceRange {
    let currency = Currency::from_code("EUR").unwrap();
    PriceRange { min_minor, max_minor, currency, frequency: FeeFrequency::Monthly }
}

fn day(offset: u64) -> NaiveDate {
    noon().date_naive() + Days::new(offset)
}

fn berlin() -> Coordinates {
    Coordinates::new(52.52, 13.405).unwrap()
}

fn a_flat() -> ListingFacts {
    ListingFacts {
        price: Some(price(120_000, "EUR", FeeFrequency::Monthly)),
        coordinates: Some(berlin()),
        bedrooms: Some(2),
        bathrooms: Some(1.5),
        floor_area_m2: Some(70.0),
        status: "Active".to_owned(),
        property_type: "Apartment".to_owned(),
        available_from: Some(day(10)),
    }
}

fn a_box(south: f64, west: f64, north: f64, east: f64) -> SearchArea {
    SearchArea::BoundingBox { south, west, north, east }
}

#[test]
fn an_empty_filter_matches_every_listing() {
    assert!(SearchFilter::default().matches(&a_flat()));
    assert!(SearchFilter::default().matches(&ListingFacts::default()));
}

#[test]
fn borders_belong_to_a_range_and_absent_facts_to_none() {
    let exact = SearchFilter {
        area: Some(a_box(52.52, 13.405, 52.52, 13.405)),
        price: Some(euros_a_month(Some(120_000), Some(120_000))),
        bedrooms_min: Some(2),
        bedrooms_max: Some(2),
        bathrooms_min: Some(1.5),
        floor_area_min_m2: Some(70.0),
        floor_area_max_m2: Some(70.0),
        statuses: vec!["Pending".to_owned(), "active".to_owned()],
        property_types: vec!["apartment".to_owned()],
        available_by: Some(day(10)),
    };
    assert!(exact.matches(&a_flat()));
    for missing in [
        ListingFacts { price: None, ..a_flat() },
        ListingFacts { coordinates: None, ..a_flat() },
        ListingFacts { bedrooms: None, ..a_flat() },
        ListingFacts { bathrooms: None, ..a_flat() },
        ListingFacts { floor_area_m2: None, ..a_flat() },
        ListingFacts { status: String::new(), ..a_flat() },
        ListingFacts { property_type: String::new(), ..a_flat() },
        ListingFacts { available_from: None, ..a_flat() },
    ] {
        assert!(!exact.matches(&missing), "{missing:?}");
    }
}

#[test]
fn a_price_in_another_currency_or_frequency_does_not_match() {
    let range = euros_a_month(None, None);
    assert!(range.contains(price(1, "EUR", FeeFrequency::Monthly)));
    assert!(!range.contains(price(1, "GBP", FeeFrequency::Monthly)));
    assert!(!range.contains(price(1, "EUR", FeeFrequency::Weekly)));
}

#[test]
fn a_box_may_cross_the_date_line() {
    let fiji = a_box(-20.0, 177.0, -16.0, -178.0);
    assert!(fiji.contains(Coordinates::new(-18.0, 179.9).unwrap()));
    assert!(fiji.contains(Coordinates::new(-18.0, -179.9).unwrap()));
    assert!(!fiji.contains(Coordinates::new(-18.0, 0.0).unwrap()));
    let a_line = a_box(52.0, 13.405, 53.0, 13.405);
    assert!(a_line.contains(berlin()));
    assert!(!a_line.contains(Coordinates::new(52.52, 14.0).unwrap()));
}

#[test]
fn a_circle_is_measured_along_the_ground() {
    // Berlin to Paris is 877.5 km along a great circle.
    let paris = Coordinates::new(48.8566, 2.3522).unwrap();
    let within = |radius_m| SearchArea::Circle { center: berlin(), radius_m }.contains(paris);
    assert!(!within(876_000));
    assert!(within(879_000));
}

#[test]
fn every_fault_of_a_filter_is_found_at_once() {
    let faulty = SearchFilter {
        area: Some(a_box(91.0, f64::NAN, -91.0, 181.0)),
        price: Some(euros_a_month(Some(u64::MAX), Some(1))),
        bedrooms_min: Some(3),
        bedrooms_max: Some(2),
        bathrooms_min: Some(f64::INFINITY),
        floor_area_min_m2: Some(80.0),
        floor_area_max_m2: Some(-1.0),
        statuses: vec!["Active".to_owned(); SearchFilter::MAX_NAMES + 1],
        property_types: vec!["Apartment".to_owned(), " ".to_owned(), "x".repeat(65)],
        available_by: None,
    };
    let faults = faulty.validate().unwrap_err();
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "area.south",
            "area.north",
            "area.west",
            "area.east",
            "area.north",
            "price.min_minor",
            "price.max_minor",
            "bedrooms_max",
            "bathrooms_min",
            "floor_area_max_m2",
            "floor_area_max_m2",
            "statuses",
            "property_types[1]",
            "property_types[2]",
        ]
    );
}

#[test]
fn a_circle_has_a_center_on_earth_and_a_bounded_radius() {
    let fields = |area| {
        let filter = SearchFilter { area: Some(area), ..SearchFilter::default() };
        let faults = filter.validate().err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    let nowhere = Coordinates { latitude: 100.0, longitude: 0.0 };
    let none: [&str; 0] = [];
    let circle = |center, radius_m| SearchArea::Circle { center, radius_m };
    assert_eq!(fields(circle(berlin(), SearchFilter::MAX_RADIUS_M)), none);
    assert_eq!(fields(circle(berlin(), SearchFilter::MAX_RADIUS_M + 1)), ["area.radius_m"]);
    assert_eq!(fields(circle(nowhere, 0)), ["area.center", "area.radius_m"]);
}

#[test]
fn every_word_of_a_text_must_occur_in_title_or_description() {
    let (title, description) = ("Sunny loft", "Quiet, with a balcony. Köln-Süd");
    assert!(words_match("BALCONY loft", title, description));
    assert!(words_match("köln süd", title, description));
    assert!(words_match("", title, description));
    assert!(!words_match("loft garage", title, description));
    assert!(!words_match("balc", title, description));
}

/// Facts on a coarse grid, so that filters on the same grid match often.
fn some_facts() -> impl Strategy<Value = ListingFacts> {
    let currency = prop_oneof![Just("EUR"), Just("GBP")];
    let price = (1..6_i64, currency).prop_map(|(thousands, currency)| {
        price(thousands * 1_000, currency, FeeFrequency::Monthly)
    });
    let place = (-2..=2_i32, -2..=2_i32).prop_map(|(latitude, longitude)| {
        Coordinates::new(f64::from(latitude), f64::from(longitude)).unwrap()
    });
    let status = prop_oneof![Just("Active"), Just("Pending")];
    let kind = prop_oneof![Just("Apartment"), Just("House")];
    (
        proptest::option::weighted(0.9, price),
        proptest::option::weighted(0.9, place),
        proptest::option::weighted(0.9, 0..5_u32),
        proptest::option::weighted(0.9, 0..8_u32),
        proptest::option::weighted(0.9, 1..8_u32),
        status,
        kind,
        proptest::option::weighted(0.9, 0..20_u64),
    )
        .prop_map(|(price, coordinates, bedrooms, halves, tens, status, kind, from)| {
            ListingFacts {
                price,
                coordinates,
                bedrooms,
                bathrooms: halves.map(|halves| f64::from(halves) / 2.0),
                floor_area_m2: tens.map(|tens| f64::from(tens) * 10.0),
                status: status.to_owned(),
                property_type: kind.to_owned(),
                available_from: from.map(day),
            }
        })
}

/// The tightest filter that still asks for each known fact that `asked` selects.
fn tight_filter(facts: &ListingFacts, asked: [bool; 7], circle: bool) -> SearchFilter {
    let [area, price, bedrooms, bathrooms, floor_area, names, available] = asked;
    let at = facts.coordinates.filter(|_| area);
    let area = at.map(|center| {
        let Coordinates { latitude, longitude } = center;
        match circle {
            true => SearchArea::Circle { center, radius_m: 1 },
            false => a_box(latitude, longitude, latitude, longitude),
        }
    });
    let price = facts.price.filter(|_| price).map(|price| PriceRange {
        min_minor: Some(price.amount_minor.get()),
        max_minor: Some(price.amount_minor.get()),
        currency: price.currency,
        frequency: price.frequency,
    });
    let name = |name: &str| if names { vec![name.to_owned()] } else { Vec::new() };
    SearchFilter {
        area,
        price,
        bedrooms_min: facts.bedrooms.filter(|_| bedrooms),
        bedrooms_max: facts.bedrooms.filter(|_| bedrooms),
        bathrooms_min: facts.bathrooms.filter(|_| bathrooms),
        floor_area_min_m2: facts.floor_area_m2.filter(|_| floor_area),
        floor_area_max_m2: facts.floor_area_m2.filter(|_| floor_area),
        statuses: name(&facts.status),
        property_types: name(&facts.property_type),
        available_by: facts.available_from.filter(|_| available),
    }
}

/// One way to ask for less: each number is how far that border moves, 4 or more removes it.
type Slack = [u8; 8];

fn widened(filter: &SearchFilter, slack: Slack) -> SearchFilter {
    let [area, min_price, max_price, bedrooms, bathrooms, floor_area, names, available] = slack;
    let kept = |slack: u8| slack < 4;
    let degrees = f64::from(area);
    let list = |list: &[String]| match names {
        _ if list.is_empty() => Vec::new(),
        0..4 => list.iter().cloned().chain(["Other".to_owned()]).collect(),
        _ => Vec::new(),
    };
    SearchFilter {
        area: filter.area.filter(|_| kept(area)).map(|area| match area {
            SearchArea::BoundingBox { south, west, north, east } => {
                a_box(south - degrees, west - degrees, north + degrees, east + degrees)
            }
            SearchArea::Circle { center, radius_m } => {
                SearchArea::Circle { center, radius_m: radius_m + 100_000 * degrees as u32 }
            }
        }),
        price: filter.price.map(|range| PriceRange {
            min_minor: range
                .min_minor
                .filter(|_| kept(min_price))
                .map(|min| min.saturating_sub(u64::from(min_price) * 1_000)),
            max_minor: range
                .max_minor
                .filter(|_| kept(max_price))
                .map(|max| max + u64::from(max_price) * 1_000),
            ..range
        }),
        bedrooms_min: filter
            .bedrooms_min
            .filter(|_| kept(bedrooms))
            .map(|min| min.saturating_sub(bedrooms.into())),
        bedrooms_max: filter
            .bedrooms_max
            .filter(|_| kept(bedrooms))
            .map(|max| max + u32::from(bedrooms)),
        bathrooms_min: filter
            .bathrooms_min
            .filter(|_| kept(bathrooms))
            .map(|min| min - f64::from(bathrooms)),
        floor_area_min_m2: filter
            .floor_area_min_m2
            .filter(|_| kept(floor_area))
            .map(|min| min - f64::from(floor_area)),
        floor_area_max_m2: filter
            .floor_area_max_m2
            .filter(|_| kept(floor_area))
            .map(|max| max + f64::from(floor_area)),
        statuses: list(&filter.statuses),
        property_types: list(&filter.property_types),
        available_by: filter
            .available_by
            .filter(|_| kept(available))
            .map(|by| by + Days::new(available.into())),
    }
}

proptest! {
    #[test]
    fn a_listing_matches_the_filter_drawn_around_it(
        facts in some_facts(),
        asked: [bool; 7],
        circle: bool,
    ) {
        let filter = tight_filter(&facts, asked, circle);
        prop_assert_eq!(filter.validate(), Ok(()));
        prop_assert!(filter.matches(&facts));
    }

    #[test]
    fn widening_a_filter_never_loses_a_match(
        facts in some_facts(),
        other in some_facts(),
        asked: [bool; 7],
        circle: bool,
        slack in proptest::array::uniform8(0..6_u8),
        more in proptest::array::uniform8(0..6_u8),
    ) {
        let wide = widened(&tight_filter(&facts, asked, circle), slack);
        let wider = widened(&wide, more);
        prop_assert!(wide.matches(&facts));
        prop_assert!(!wide.matches(&other) || wider.matches(&other));
    }

    #[test]
    fn matching_and_validating_never_panic(
        latitude: f64, longitude: f64, radius_m: u32, number: f64, count: u32, name: String,
    ) {
        let center = Coordinates { latitude, longitude };
        let circle = SearchArea::Circle { center, radius_m };
        for area in [a_box(latitude, longitude, number, number), circle] {
            let filter = SearchFilter {
                area: Some(area),
                bedrooms_min: Some(count),
                bathrooms_min: Some(number),
                floor_area_max_m2: Some(number),
                statuses: vec![name.clone()],
                ..SearchFilter::default()
            };
            let _ = (filter.validate(), filter.matches(&a_flat()));
        }
    }

    #[test]
    fn a_text_matches_itself_and_every_part_of_it(text: String, rest: String) {
        prop_assert!(words_match(&text, &text, ""));
        prop_assert!(words_match(&text, &rest, &text));
        for word in words(&text) {
            prop_assert!(words_match(&word, &text, &rest), "{word:?}");
        }
    }
}
