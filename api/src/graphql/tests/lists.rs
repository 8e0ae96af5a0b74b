//! Lists of listings: filters, orders, pages.

use freehold_domain::property::{Furnished, ListingStatus, PropertyType};
use freehold_domain::{AreaUnit, Currency, FeeFrequency, PropertyId};
use serde_json::{Value, json};

use super::world::*;

const ORDERS: [&str; 11] = [
    "NEWEST",
    "OLDEST",
    "PRICE_ASCENDING",
    "PRICE_DESCENDING",
    "AREA_ASCENDING",
    "AREA_DESCENDING",
    "BEDROOMS_ASCENDING",
    "BEDROOMS_DESCENDING",
    "AVAILABLE_FIRST",
    "RECENTLY_CLOSED",
    "RECENTLY_CHANGED",
];

/// Listings that differ, tie and lack facts.
async fn a_world_of_25() -> World {
    let world = World::new().await;
    let rows = (1..=25_u128).map(|number| {
        let mut row = listing(number);
        let step = i64::try_from(number % 4).unwrap();
        row.price_minor = (step != 0).then_some(100_000 + step);
        row.living_area_m2 = (step != 1).then_some(50.25 + step as f64);
        row.bedrooms = Some(step);
        row.published_at = (step != 2).then(|| noon() - chrono::Duration::days(step));
        row
    });
    world.put(rows).await;
    world
}

async fn page(world: &World, arguments: &str) -> Value {
    let fields = "edges { cursor node { title } } nodes { title }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }";
    let mut found = world.ask(&format!("{{ listings({arguments}) {{ {fields} }} }}")).await;
    found["listings"].take()
}

fn titles(page: &Value) -> Vec<String> {
    let nodes = page["nodes"].as_array().unwrap().iter();
    nodes.map(|node| node["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_forward_and_backward_are_the_whole_list() {
    let world = a_world_of_25().await;
    for order in ORDERS {
        let whole = titles(&page(&world, &format!("first: 100, orderBy: {order}")).await);
        assert_eq!(whole.len(), 25, "{order}");
        let (mut forward, mut after) = (Vec::new(), String::new());
        loop {
            let read = page(&world, &format!("first: 7, orderBy: {order} {after}")).await;
            forward.extend(titles(&read));
            if read["pageInfo"]["hasNextPage"] == json!(false) {
                break;
            }
            after = format!(", after: {}", read["pageInfo"]["endCursor"]);
        }
        assert_eq!(forward, whole, "{order}");
        let (mut backward, mut before) = (Vec::new(), String::new());
        loop {
            let read = page(&world, &format!("last: 7, orderBy: {order} {before}")).await;
            backward.splice(0..0, titles(&read));
            if read["pageInfo"]["hasPreviousPage"] == json!(false) {
                break;
            }
            before = format!(", before: {}", read["pageInfo"]["startCursor"]);
        }
        assert_eq!(backward, whole, "{order}");
    }
}

#[tokio::test]
async fn a_page_goes_on_where_its_cursor_was_even_when_that_row_is_gone() {
    let world = a_world_of_25().await;
    let whole = titles(&page(&world, "first: 100, orderBy: PRICE_ASCENDING").await);
    let first = page(&world, "first: 5, orderBy: PRICE_ASCENDING").await;
    let last = titles(&first).pop().unwrap();
    let number = last.trim_start_matches("Flat ").parse().unwrap();
    world
        .delete::<freehold_projections::models::listing::ListingRow>(&(listing(number).listing,))
        .await;
    let after = &first["pageInfo"]["endCursor"];
    let rest = page(&world, &format!("first: 100, orderBy: PRICE_ASCENDING, after: {after}")).await;
    assert_eq!(titles(&rest), whole[5..]);
}

#[tokio::test]
async fn cursors_and_sizes_that_cannot_be_meant_are_refused() {
    let world = a_world_of_25().await;
    let newest = page(&world, "first: 1").await["pageInfo"]["endCursor"].clone();
    let ask = async |arguments: &str| {
        let document = format!("{{ listings({arguments}) {{ nodes {{ id }} }} }}");
        let refused = world.refusal(&document).await;
        assert_eq!(refused["code"], "BAD_USER_INPUT", "{arguments}");
        refused["field"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask("after: \"no cursor\"").await, "after");
    assert_eq!(ask(&format!("orderBy: PRICE_ASCENDING, after: {newest}")).await, "after");
    assert_eq!(ask(&format!("orderBy: OLDEST, last: 2, before: {newest}")).await, "before");
    assert_eq!(ask("first: 1, last: 1").await, "last");
    assert_eq!(ask("first: -1").await, "first");
    assert_eq!(ask("last: 201").await, "last");
}

#[tokio::test]
async fn an_empty_page_tells_whether_there_is_more() {
    let world = a_world_of_25().await;
    let fields = "nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount";
    let document = format!(
        "{{ some: listings(first: 0) {{ {fields} }} backwards: listings(last: 0) {{ {fields} }}
            none: listings(first: 0, filter: {{source: \"nobody\"}}) {{ {fields} }}
            events(first: 0) {{ nodes {{ id }} pageInfo {{ hasNextPage }} }} }}"
    );
    let found = world.ask(&document).await;
    let page = |next: bool, previous: bool, total: u32| {
        let info = json!({"hasNextPage": next, "hasPreviousPage": previous});
        json!({"nodes": [], "pageInfo": info, "totalCount": total})
    };
    assert_eq!(found["some"], page(true, false, 25));
    assert_eq!(found["backwards"], page(false, true, 25));
    assert_eq!(found["none"], page(false, false, 0));
    assert_eq!(found["events"], json!({"nodes": [], "pageInfo": {"hasNextPage": false}}));
}

#[tokio::test]
async fn a_page_above_the_cap_is_refused_by_its_argument_however_it_is_asked_for() {
    let world = a_world_of_25().await;
    let wide = "nodes { property { listings { nodes { title } } } }";
    for (document, size) in [
        (format!("{{ listings(first: 100000) {{ {wide} }} }}"), json!({})),
        (format!("query($n: Int) {{ listings(first: $n) {{ {wide} }} }}"), json!({"n": 100_000})),
        (format!("query($n: Int = 100000) {{ listings(first: $n) {{ {wide} }} }}"), json!({})),
        (
            format!("{{ ...f }} fragment f on Query {{ listings(first: 201) {{ {wide} }} }}"),
            json!({}),
        ),
        (format!("{{ ... on Query {{ listings(first: 201) {{ {wide} }} }} }}"), json!({})),
    ] {
        let variables = async_graphql::Variables::from_json(size);
        let response = world.schema.execute(world.request(&document).variables(variables)).await;
        assert_eq!(response.errors.len(), 1, "{document}: {response:?}");
        let refused = &response.errors[0];
        let expected =
            "first: must be between 0 and 200, the most nodes of a page; page on by cursor";
        assert_eq!(refused.message, expected, "{document}");
        let extensions = serde_json::to_value(&refused.extensions).unwrap();
        assert_eq!(extensions["code"], "BAD_USER_INPUT");
        assert_eq!(extensions["field"], "first");
    }
}

#[tokio::test]
async fn text_without_words_is_refused_and_letters_are_found_as_people_type_them() {
    let world = World::new().await;
    let mut rows: Vec<_> = (1..=3).map(listing).collect();
    rows[1].city = Some("Łódź".into());
    rows[2].street = Some("Ærøgade 3".into());
    world.put(rows).await;
    for text in ["!!!", "–", " * "] {
        let document = format!("{{ listings(filter: {{text: \"{text}\"}}) {{ totalCount }} }}");
        let refused = world.refusal(&document).await;
        let told = (&refused["code"], &refused["field"]);
        assert_eq!(told, (&json!("BAD_USER_INPUT"), &json!("filter.text")), "{text}");
    }
    for (text, expected) in [("lodz", vec![2]), ("ŁÓDŹ", vec![2]), ("aerogade", vec![3])] {
        assert_eq!(found(&world, &format!("{{text: \"{text}\"}}")).await, expected, "{text}");
    }
    assert_eq!(found(&world, "{text: \"\"}").await, [1, 2, 3], "nothing typed yet");
}

#[tokio::test]
async fn figures_and_changes_of_what_is_not_are_refused_by_field() {
    let world = World::new().await;
    world.put([property(1)]).await;
    let statistics =
        |filter: &str| format!("{{ marketStatistics(filter: {{{filter}}}) {{ totalCount }} }}");
    let by = "property(by: {source: {source: \"feed\", reference: \"ref-1\"}})";
    for (document, field) in [
        (statistics("cells: [\"861f1d48fffffff\", \"nonsense\"]"), "filter.cells[1]"),
        (statistics("cells: [\"881f1d4887fffff\"]"), "filter.cells[0]"),
        (statistics("from: \"2026-13\""), "filter.from"),
        (statistics("from: \"2026-11-01\", to: \"2026-01-01\""), "filter.to"),
        (statistics("currency: \"XYZ\""), "filter.currency"),
        (statistics("resolution: 7"), "filter.resolution"),
        (
            format!("{{ {by} {{ history(fields: [\"price\", \"colour\"]) {{ totalCount }} }} }}"),
            "fields[1]",
        ),
    ] {
        let refused = world.refusal(&document).await;
        let told = (&refused["code"], &refused["field"]);
        assert_eq!(told, (&json!("BAD_USER_INPUT"), &json!(field)), "{document}");
    }
    let known = "cells: [\"861F1D48FFFFFFF\"], from: \"2026-11-23\", currency: \"EUR\"";
    assert_eq!(world.ask(&statistics(known)).await["marketStatistics"]["totalCount"], 0);
}

#[tokio::test]
async fn only_what_is_asked_for_is_read() {
    let world = a_world_of_25().await;
    for (fields, reads) in [
        ("totalCount", vec!["listing (count)"]),
        ("nodes { title }", vec!["listing"]),
        ("pageInfo { endCursor }", vec!["listing"]),
        ("nodes { title } totalCount", vec!["listing", "listing (count)"]),
    ] {
        world.models.take_reads();
        let found = world.ask(&format!("{{ listings(first: 3) {{ {fields} }} }}")).await;
        assert_eq!(world.models.take_reads(), reads, "{fields}");
        if fields.contains("totalCount") {
            assert_eq!(found["listings"]["totalCount"], 25);
        }
    }
    let found = world.ask("{ listings(first: 100) { nodes { title } totalCount } }").await;
    assert_eq!(found["listings"]["totalCount"], 25);
    assert_eq!(world.models.take_reads(), ["listing"], "a page that shows all needs no counting");
}

/// Numbers of the listings that a filter finds.
async fn found(world: &World, filter: &str) -> Vec<u32> {
    let page = page(world, &format!("orderBy: RECENTLY_CHANGED, last: 50, filter: {filter}")).await;
    let number = |title: String| title.trim_start_matches("Flat ").parse().unwrap();
    let mut numbers: Vec<u32> = titles(&page).into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn each_filter_finds_what_it_says() {
    let world = World::new().await;
    let mut rows: Vec<_> = (1..=16).map(listing).collect();
    rows[1].latitude = Some(48.1); // 2: Munich
    rows[1].longitude = Some(11.6);
    rows[1].city = Some("München".into());
    rows[2].price_minor = Some(250_000); // 3: dear
    rows[3].currency = Currency::from_code("USD"); // 4: dollars
    rows[4].frequency = Some(FeeFrequency::Weekly); // 5: by the week
    rows[5].bedrooms = Some(0); // 6: a studio of its own kind
    rows[5].bathrooms = Some(0.5);
    rows[5].rooms = Some(1);
    rows[5].property_type = PropertyType::Studio;
    rows[6].living_area_m2 = Some(92.903_04); // 7: 1,000 square feet
    rows[6].living_area = Some(1_000.0);
    rows[6].living_area_unit = Some(AreaUnit::SquareFeet);
    rows[7].lot_area_m2 = Some(4_046.856_422_4); // 8: an acre
    rows[7].lot_area = Some(1.0);
    rows[7].lot_area_unit = Some(AreaUnit::Acres);
    rows[8].year_built = Some(2_020); // 9: new
    rows[8].max_occupancy = Some(9);
    rows[9].status = ListingStatus::UnderApplication; // 10: still on the market
    rows[10].status = ListingStatus::ComingSoon; // 11: announced
    rows[11].status = ListingStatus::Leased; // 12: gone
    rows[11].closed_on = Some(day("2026-06-15"));
    rows[12].available_from = Some(day("2027-03-01")); // 13: later
    rows[13].description = Some("Sunny, with a piano".into()); // 14
    rows[13].furnished = Some(Furnished::Furnished);
    rows[14].source = "other".into(); // 15
    rows[14].changed_at = noon() + chrono::Duration::hours(1);
    rows[15].duplicate_of = Some(PropertyId(id(1))); // 16
    world.put(rows).await;

    let on_market: Vec<u32> = (1..=15).filter(|n| ![11, 12].contains(n)).collect();
    let without =
        |gone: &[u32]| on_market.iter().copied().filter(|n| !gone.contains(n)).collect::<Vec<_>>();
    let munich_box = "{south: 48, west: 11, north: 49, east: 12}";
    let berlin = "{latitude: 52.54, longitude: 13.41, meters: 1000}";
    for (filter, expected) in [
        ("{}".to_owned(), on_market.clone()),
        (format!("{{area: {{box: {munich_box}}}}}"), vec![2]),
        (format!("{{area: {{radius: {berlin}}}}}"), without(&[2])),
        (
            "{price: {minMinor: \"200000\", currency: \"EUR\", frequency: MONTHLY}}".to_owned(),
            vec![3],
        ),
        (
            "{price: {maxMinor: 200000, currency: \"EUR\", frequency: MONTHLY}}".to_owned(),
            without(&[3, 4, 5]),
        ),
        ("{price: {currency: \"USD\", frequency: MONTHLY}}".to_owned(), vec![4]),
        ("{bedrooms: {max: 0}}".to_owned(), vec![6]),
        ("{bedrooms: {min: 1}}".to_owned(), without(&[6])),
        ("{bathrooms: {max: 0.5}}".to_owned(), vec![6]),
        ("{rooms: {min: 1, max: 2}}".to_owned(), vec![6]),
        ("{propertyTypes: [STUDIO]}".to_owned(), vec![6]),
        ("{propertyTypes: []}".to_owned(), vec![]),
        ("{floorArea: {min: 900, max: 1100, unit: SQUARE_FEET}}".to_owned(), vec![7]),
        ("{floorArea: {max: 75, unit: SQUARE_METERS}}".to_owned(), without(&[7])),
        ("{lotArea: {min: 0.4, max: 0.41, unit: HECTARES}}".to_owned(), vec![8]),
        ("{yearBuilt: {min: 2000}}".to_owned(), vec![9]),
        ("{occupancy: {min: 6}}".to_owned(), vec![9]),
        ("{statuses: [UNDER_APPLICATION]}".to_owned(), vec![10]),
        ("{statuses: [COMING_SOON, LEASED]}".to_owned(), vec![11, 12]),
        ("{closedOn: {from: \"2026-06-01\", to: \"2026-06-30\"}}".to_owned(), vec![12]),
        ("{closedOn: {from: \"2026-07-01\"}}".to_owned(), vec![]),
        ("{availableBy: \"2026-12-31\"}".to_owned(), without(&[13])),
        ("{text: \"pian sunny\"}".to_owned(), vec![14]),
        ("{text: \"munchen\"}".to_owned(), vec![2]),
        ("{furnished: [FURNISHED]}".to_owned(), vec![14]),
        ("{source: \"other\"}".to_owned(), vec![15]),
        ("{updatedSince: \"2026-11-23T12:30:00Z\"}".to_owned(), vec![15]),
        ("{cities: [\"München\", \"Hamburg\"]}".to_owned(), vec![2]),
        ("{includeDuplicates: true}".to_owned(), {
            let mut all = on_market.clone();
            all.push(16);
            all
        }),
    ] {
        assert_eq!(found(&world, &filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_meant_is_told_all_its_faults_at_once() {
    let world = World::new().await;
    let filter = "{price: {minMinor: 1}, bedrooms: {min: 3, max: 2}, floorArea: {min: 5},
        area: {box: {south: 5, west: -200, north: 4, east: 1}}}";
    let refused =
        world.refusal(&format!("{{ listings(filter: {filter}) {{ totalCount }} }}")).await;
    assert_eq!(refused["code"], "BAD_USER_INPUT");
    let faults = refused["faults"].as_array().unwrap().iter();
    let fields: Vec<&str> = faults.map(|fault| fault["field"].as_str().unwrap()).collect();
    let expected = [
        "filter.area.box.west",
        "filter.area.box.north",
        "filter.price.currency",
        "filter.price.frequency",
        "filter.bedrooms.max",
        "filter.floorArea.unit",
    ];
    assert_eq!(fields, expected);
    let filter = "{price: {currency: \"XYZ\", frequency: MONTHLY}}";
    let refused =
        world.refusal(&format!("{{ listings(filter: {filter}) {{ totalCount }} }}")).await;
    assert_eq!(refused["field"], "filter.price.currency");
}

#[tokio::test]
async fn alternatives_are_exactly_one() {
    let world = World::new().await;
    let box_and_radius = "{box: {south: 1, west: 1, north: 2, east: 2},
        radius: {latitude: 1, longitude: 1, meters: 1}}";
    for document in [
        format!("{{ listings(filter: {{area: {box_and_radius}}}) {{ totalCount }} }}"),
        "{ listings(filter: {area: {}}) { totalCount } }".to_owned(),
        "{ property(by: {}) { id } }".to_owned(),
        "{ property(by: {id: \"x\", source: {source: \"a\", reference: \"b\"}}) { id } }"
            .to_owned(),
    ] {
        let code = world.refusal(&document).await["code"].clone();
        assert!(
            code == "GRAPHQL_VALIDATION_FAILED" || code == "BAD_USER_INPUT",
            "{document}: {code}"
        );
    }
}

#[tokio::test]
async fn lists_of_one_property_page_like_any_other() {
    let world = World::new().await;
    let mut row = property(1);
    row.listings = freehold_projections::Json((1..=5).map(|n| listing(n).listing).collect());
    row.current_listing = Some(listing(5).listing);
    world.put([row]).await;
    let mut periods: Vec<_> = (1..=5).map(listing).collect();
    periods.iter_mut().for_each(|period| period.property = property(1).property);
    world.put(periods).await;
    world.put((1..=9).map(|position| change(1, position, "price"))).await;
    world.put([change(1, 10, "bedrooms")]).await;
    let by = "property(by: {source: {source: \"feed\", reference: \"ref-1\"}})";
    for (list, field, newest_first) in
        [("listings", "value: title", 5), ("history(fields: [\"price\"]", "value: position", 9)]
    {
        let (list, arguments) = list.split_once('(').unwrap_or((list, ""));
        let read = async |page: &str| {
            let fields =
                "pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount";
            let document = format!(
                "{{ {by} {{ {list}({arguments} {page}) {{ nodes {{ {field} }} {fields} }} }} }}"
            );
            world.ask(&document).await["property"][list].take()
        };
        let whole = read("first: 100").await;
        assert_eq!(whole["nodes"].as_array().unwrap().len(), newest_first);
        let first = whole["nodes"][0]["value"].as_str().unwrap();
        assert!(first.ends_with(&newest_first.to_string()), "{first}");
        let head = read("first: 2").await;
        assert_eq!(head["totalCount"], newest_first);
        assert_eq!(head["pageInfo"]["hasNextPage"], true);
        let rest = read(&format!("first: 100, after: {}", head["pageInfo"]["endCursor"])).await;
        assert_eq!(rest["totalCount"], newest_first);
        let both =
            [head["nodes"].as_array().unwrap().clone(), rest["nodes"].as_array().unwrap().clone()];
        assert_eq!(json!(both.concat()), whole["nodes"]);
        let tail = read("last: 2").await;
        assert_eq!(tail["pageInfo"]["hasPreviousPage"], true);
        let start = format!("last: 100, before: {}", tail["pageInfo"]["startCursor"]);
        let beginning = read(&start).await;
        let both = [
            beginning["nodes"].as_array().unwrap().clone(),
            tail["nodes"].as_array().unwrap().clone(),
        ];
        assert_eq!(json!(both.concat()), whole["nodes"]);
    }
}
