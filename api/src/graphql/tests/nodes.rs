//! Every node by its global id, and what nobody gets.

use freehold_domain::property::PropertyArchived;
use freehold_domain::user::SearchFilter;
use freehold_domain::{Currency, FeeFrequency, SavedSearchId};
use freehold_projections::Json;
use freehold_projections::models::engagement::PropertyEngagementRow;
use freehold_projections::models::market::{MarketStatisticsRow, Observations, PriceBasis};
use serde_json::{Value, json};

use super::world::*;

fn statistics() -> MarketStatisticsRow {
    MarketStatisticsRow {
        tenant: TENANT.into(),
        cell: "861f1d48fffffff".into(),
        month: day("2026-10-01"),
        basis: PriceBasis::Asking,
        currency: Currency::from_code("EUR").unwrap(),
        frequency: FeeFrequency::Monthly,
        resolution: 6,
        latitude: 52.5,
        longitude: 13.4,
        count: 3,
        price_min: 90_000,
        price_q1: 95_000,
        price_median: 100_000,
        price_q3: 105_000,
        price_max: 110_000,
        area_count: 0,
        price_m2_min: None,
        price_m2_q1: None,
        price_m2_median: None,
        price_m2_q3: None,
        price_m2_max: None,
        days_count: 0,
        days_on_market_q1: None,
        days_on_market_median: None,
        days_on_market_q3: None,
        observations: Json(Observations::default()),
    }
}

async fn a_world_of_one_each() -> World {
    let world = World::new().await;
    world.put([listing(1)]).await;
    world.put([property(1)]).await;
    let mut user = account(5);
    user.saved_searches = Json(vec![SavedSearchId(id(9))]);
    world.put([user]).await;
    world.put([saved_search(9, 5, SearchFilter::default())]).await;
    world.put([statistics()]).await;
    world.happened(property(1).property, PropertyArchived {}).await;
    world
}

#[tokio::test]
async fn every_type_comes_back_by_its_own_id() {
    let world = a_world_of_one_each().await;
    let user = id(5);
    let found = world
        .ask(&format!(
            "{{ property(by: {{source: {{source: \"feed\", reference: \"ref-1\"}}}}) {{ id }}
                listings {{ nodes {{ id }} }}
                user(id: \"{user}\") {{ id savedSearches {{ nodes {{ id }} }} }}
                marketStatistics(filter: {{}}) {{ nodes {{ id }} }}
                events {{ nodes {{ id }} }}
                projections {{ id }} }}"
        ))
        .await;
    let ids = [
        ("Property", &found["property"]["id"]),
        ("Listing", &found["listings"]["nodes"][0]["id"]),
        ("User", &found["user"]["id"]),
        ("SavedSearch", &found["user"]["savedSearches"]["nodes"][0]["id"]),
        ("MarketStatistics", &found["marketStatistics"]["nodes"][0]["id"]),
        ("Event", &found["events"]["nodes"][0]["id"]),
        ("Projection", &found["projections"][0]["id"]),
    ];
    for (kind, node_id) in ids {
        let again = world.ask(&format!("{{ node(id: {node_id}) {{ __typename id }} }}")).await;
        assert_eq!(again["node"], json!({"__typename": kind, "id": node_id}));
    }
    let all = ids.map(|(_, node_id)| node_id.to_string()).join(",");
    let nodes = world.ask(&format!("{{ nodes(ids: [{all}]) {{ id }} }}")).await;
    let expected: Vec<Value> = ids.iter().map(|(_, node_id)| json!({"id": node_id})).collect();
    assert_eq!(nodes["nodes"], json!(expected));
}

#[tokio::test]
async fn an_unknown_id_is_null_and_a_malformed_one_is_refused() {
    let world = a_world_of_one_each().await;
    let unknown = id(404);
    for field in [
        format!("property(by: {{id: \"{unknown}\"}}) {{ id }}"),
        format!("listing(id: \"{unknown}\") {{ id }}"),
        format!("user(id: \"{unknown}\") {{ id }}"),
        "property(by: {source: {source: \"feed\", reference: \"?\"}}) { id }".to_owned(),
    ] {
        let found = world.ask(&format!("{{ found: {field} }}")).await;
        assert_eq!(found["found"], Value::Null, "{field}");
    }
    use crate::graphql::scalars::{GlobalId, NodeKind};
    for (kind, key) in [
        (NodeKind::Property, unknown.to_string()),
        (NodeKind::Listing, unknown.to_string()),
        (NodeKind::User, unknown.to_string()),
        (NodeKind::SavedSearch, format!("{unknown}:{unknown}")),
        (NodeKind::Event, "domain:404".to_owned()),
        (NodeKind::Projection, "nothing:1".to_owned()),
        (NodeKind::MarketStatistics, "x:2026-10-01:Asking:EUR:Monthly".to_owned()),
    ] {
        let node = GlobalId::new(kind, key).to_id();
        let found = world.ask(&format!("{{ node(id: \"{}\") {{ id }} }}", node.as_str())).await;
        assert_eq!(found["node"], Value::Null, "{kind:?}");
    }
    let refused = world.refusal("{ nodes(ids: [\"?\"]) { id } }").await;
    assert_eq!((&refused["code"], &refused["field"]), (&json!("BAD_USER_INPUT"), &json!("ids[0]")));
}

#[tokio::test]
async fn another_tenant_sees_none_of_it() {
    let world = a_world_of_one_each().await;
    let ids =
        world.ask("{ listings { nodes { id property { id } } } events { nodes { id } } }").await;
    let listing = &ids["listings"]["nodes"][0]["id"];
    let property = &ids["listings"]["nodes"][0]["property"]["id"];
    let event = &ids["events"]["nodes"][0]["id"];
    let user = id(5);
    let document = format!(
        "{{ nodes(ids: [{listing}, {property}, {event}]) {{ id }} user(id: \"{user}\") {{ id }}
            listings {{ totalCount }} events {{ nodes {{ id }} }}
            property(by: {{source: {{source: \"feed\", reference: \"ref-1\"}}}}) {{ id }}
            marketStatistics(filter: {{}}) {{ totalCount }} }}"
    );
    let response = world.schema.execute(world.request_of("other", &document)).await;
    let expected = json!({
        "nodes": [null, null, null],
        "user": null,
        "listings": {"totalCount": 0},
        "events": {"nodes": []},
        "property": null,
        "marketStatistics": {"totalCount": 0},
    });
    assert_eq!(response.data.into_json().unwrap(), expected, "{:?}", response.errors);
}

#[tokio::test]
async fn a_listing_shows_its_place_only_as_far_as_the_public_may_see_it() {
    use freehold_domain::property::LocationVisibility::{Approximate, Exact, Hidden};
    let world = World::new().await;
    let seen = [None, Some(Exact), Some(Approximate), Some(Hidden)];
    for (number, visibility) in (1..).zip(seen) {
        let mut row = listing(number);
        row.location_visibility = visibility;
        world.put([row]).await;
    }
    let fields = "coordinates { latitude longitude } address { street city postalCode }";
    let found = world.ask(&format!("{{ listings {{ nodes {{ {fields} }} }} }}")).await;
    let mut places: Vec<&Value> = found["listings"]["nodes"].as_array().unwrap().iter().collect();
    places.reverse(); // equals come by their key, in the direction of the order
    let exact = json!({
        "coordinates": {"latitude": 52.539_123, "longitude": 13.412_345},
        "address": {"street": "Kastanienallee 1", "city": "Berlin", "postalCode": "10435"},
    });
    let city = json!({"street": null, "city": "Berlin", "postalCode": null});
    assert_eq!(places[0], &exact);
    assert_eq!(places[1], &exact);
    let approximate = json!({"latitude": 52.54, "longitude": 13.41});
    assert_eq!(places[2], &json!({"coordinates": approximate, "address": city}));
    assert_eq!(places[3], &json!({"coordinates": null, "address": city}));
}

#[tokio::test]
async fn a_listing_shows_its_figures() {
    let world = World::new().await;
    world.put([listing(1)]).await;
    world.put([engagement(1, "2026-11-01", 100), engagement(1, "2026-11-02", 60)]).await;
    world.put([engagement(1, "2026-01-01", 1_000)]).await;
    let key = id(1);
    let found = world
        .ask(&format!(
            "{{ listing(id: \"{key}\") {{
                price {{ amountMinor currency frequency }} originalPrice {{ amountMinor }}
                previousPrice {{ amountMinor }} livingArea {{ value unit squareMeters }}
                daysOnMarket cumulativeDaysOnMarket availableFrom availableNow status
                version position photo {{ url }} favouriteCount
                engagement {{ impressions detailedViews clickThroughRate botEvents
                    byDay {{ day impressions }} }} }} }}"
        ))
        .await;
    let expected = json!({
        "price": {"amountMinor": "100000", "currency": "EUR", "frequency": "MONTHLY"},
        "originalPrice": {"amountMinor": "110000"},
        "previousPrice": null,
        "livingArea": {"value": 70.0, "unit": "SQUARE_METERS", "squareMeters": 70.0},
        "daysOnMarket": 10,
        "cumulativeDaysOnMarket": 15,
        "availableFrom": "2026-12-01",
        "availableNow": false,
        "status": "ACTIVE",
        "version": "3",
        "position": "1",
        "photo": {"url": "https://photos.example/1.jpg"},
        "favouriteCount": 0,
        "engagement": {
            "impressions": 160,
            "detailedViews": 40,
            "clickThroughRate": 0.25,
            "botEvents": 18,
            "byDay": [
                {"day": "2026-11-01", "impressions": 100},
                {"day": "2026-11-02", "impressions": 60},
            ],
        },
    });
    assert_eq!(found["listing"], expected);
}

#[tokio::test]
async fn a_property_shows_what_visitors_did_with_it_and_its_listings() {
    let world = World::new().await;
    let mut row = property(1);
    row.listings = freehold_projections::Json(vec![listing(1).listing, listing(2).listing]);
    let of_property = PropertyEngagementRow {
        property: row.property,
        day: day("2026-11-02"),
        impressions: 4,
        detailed_views: 1,
        shares: 0,
        inquiries: 7,
        favourites: 0,
        other: 0,
        bot_events: 1,
    };
    world.put([row]).await;
    world.put([of_property]).await;
    let of_listings = [(1, "2026-11-02", 12), (2, "2026-11-01", 4), (3, "2026-11-01", 1_000)];
    world.put(of_listings.map(|(number, on, count)| engagement(number, on, count))).await;

    let found = world
        .ask(
            "{ property(by: {source: {source: \"feed\", reference: \"ref-1\"}}) {
                engagement { impressions inquiries clickThroughRate
                    byDay { day impressions botEvents clickThroughRate } } } }",
        )
        .await;

    let by_day = json!([
        {"day": "2026-11-01", "impressions": 4, "botEvents": 9, "clickThroughRate": 0.25},
        {"day": "2026-11-02", "impressions": 16, "botEvents": 10, "clickThroughRate": 0.25},
    ]);
    let expected =
        json!({"impressions": 20, "inquiries": 11, "clickThroughRate": 0.25, "byDay": by_day});
    assert_eq!(found["property"]["engagement"], expected);
}
