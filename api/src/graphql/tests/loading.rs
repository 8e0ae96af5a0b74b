//! How often the read models are asked: as often for many as for few.

use freehold_domain::UserId;
use freehold_domain::user::SearchFilter;
use freehold_domain::{ListingKey, SavedSearchId};
use freehold_projections::Json;
use freehold_projections::models::account::ListingFavouritesRow;
use serde_json::json;

use super::world::*;

/// Everything that stands beside a listing.
const WIDE: &str = "{ listings(first: 50) { totalCount nodes {
    title favouriteCount
    agent { displayName preferences(first: 2) { totalCount nodes { listing { title } } }
            savedSearches(first: 2) { totalCount nodes { name user { email } } } }
    engagement { impressions byDay { day } }
    property { media { url } currentListing { title }
        listings(first: 2) { totalCount nodes { status } }
        history(first: 3) { totalCount nodes { field listing { title } } } } } } }";

async fn a_world_of(listings: u128) -> World {
    let world = World::new().await;
    let user = |number: u128| 5_000 + number;
    world
        .put((1..=listings).map(|number| {
            let mut row = listing(number);
            row.agent = Some(UserId(id(user(number))));
            row
        }))
        .await;
    world.put((1..=listings).map(property)).await;
    world
        .put((1..=listings).flat_map(|number| {
            [
                change(number, 2 * number as u64, "price"),
                change(number, 2 * number as u64 + 1, "price"),
            ]
        }))
        .await;
    world
        .put((1..=listings).map(|number| {
            let mut row = account(user(number));
            row.saved_searches = Json(vec![SavedSearchId(id(9))]);
            row
        }))
        .await;
    world
        .put((1..=listings).map(|number| saved_search(9, user(number), SearchFilter::default())))
        .await;
    world.put((1..=listings).map(|number| preference(user(number), number))).await;
    world.put((1..=listings).map(|number| engagement(number, "2026-11-20", 8))).await;
    world
        .put((1..=listings).map(|number| ListingFavouritesRow {
            listing: ListingKey(id(number)),
            favourites: 4,
            possibilities: 0,
            discards: 0,
        }))
        .await;
    world
}

#[tokio::test]
async fn many_listings_need_no_more_queries_than_one() {
    let mut counts = Vec::new();
    for (listings, late) in [(1, None), (40, None), (40, Some("property")), (40, Some("account"))] {
        let world = a_world_of(listings).await;
        if let Some(table) = late {
            world.models.answer_late(table);
        }
        let limits = crate::graphql::Limits { complexity: 100_000, ..Default::default() };
        let response = world.schema_with(limits).execute(world.request(WIDE)).await;
        assert!(response.errors.is_empty(), "{:?}", response.errors);
        let found = response.data.into_json().unwrap();
        let nodes = found["listings"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), usize::try_from(listings).unwrap());
        for node in nodes {
            assert_eq!(node["favouriteCount"], 4);
            assert_eq!(node["engagement"]["impressions"], 8);
            assert_eq!(node["agent"]["preferences"]["nodes"][0]["listing"]["title"], node["title"]);
            assert_eq!(node["agent"]["savedSearches"]["totalCount"], 1);
            assert_eq!(node["property"]["currentListing"]["title"], node["title"]);
            assert_eq!(node["property"]["listings"]["totalCount"], 1);
            assert_eq!(node["property"]["history"]["totalCount"], 2);
            let history = &node["property"]["history"]["nodes"];
            assert_eq!(
                history,
                &json!([{"field": "price", "listing": {"title": node["title"]}},
                {"field": "price", "listing": {"title": node["title"]}}])
            );
        }
        counts.push(world.models.take_reads());
    }
    assert_eq!(counts[0].len(), 11, "{:?}", counts[0]);
    for count in &counts[1..] {
        assert_eq!(counts[0], *count, "queries for one listing and for forty");
    }
}

#[tokio::test]
async fn rows_beyond_a_slice_do_not_hide_the_next_parents_rows() {
    let world = World::new().await;
    world.put((1..=3).map(listing)).await;
    world.put((1..=3).map(property)).await;
    world.put((1..=400).map(|position| change(2, position, "price"))).await;
    world.put([change(1, 1_001, "price"), change(3, 1_003, "price")]).await;
    let history = "history(first: 2) { totalCount pageInfo { hasNextPage } nodes { position } }";
    let document = format!(
        "{{ listings(orderBy: RECENTLY_CHANGED) {{ nodes {{ property {{ {history} }} }} }} }}"
    );
    let found = world.ask(&document).await;
    let of = |index: usize| &found["listings"]["nodes"][index]["property"]["history"];
    let one = |position: &str| json!({"totalCount": 1, "pageInfo": {"hasNextPage": false}, "nodes": [{"position": position}]});
    assert_eq!(of(0), &one("1003"));
    let newest = json!([{"position": "400"}, {"position": "399"}]);
    assert_eq!(
        of(1),
        &json!({"totalCount": 400, "pageInfo": {"hasNextPage": true}, "nodes": newest})
    );
    assert_eq!(of(2), &one("1001"));
}
