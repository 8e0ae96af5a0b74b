//! The raw feed and the subscriptions.

use std::time::Duration;

use async_graphql::Response;
use freehold_domain::property::{
    AmenitiesSet, BackOnMarketCause, ListingBackOnMarket, ListingLeased, ListingPublished,
    ListingStatus, PropertyArchived, RentChanged,
};
use freehold_domain::user::{SearchFilter, UserRegistered};
use freehold_domain::{FeeFrequency, LeaseId, Personal, Price, UserId};
use freehold_ports::GlobalPosition;
use freehold_projections::Json;
use freehold_projections::models::account::SavedSearchRow;
use freehold_test_stores::on_postgres;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use super::world::*;
use crate::graphql::scalars::SavedSearchKey;

type Feed = BoxStream<'static, Response>;

impl World {
    fn follow(&self, document: &str) -> Feed {
        self.schema.execute_stream(self.request(document)).boxed()
    }
}

/// The next answer; there must be one soon.
async fn next(feed: &mut Feed) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(5), feed.next());
    let response = next.await.expect("nothing came").expect("the feed ended");
    assert!(response.errors.is_empty(), "{:?}", response.errors);
    response.data.into_json().unwrap()
}

/// There is nothing to be told at the moment. By then a new feed has seen where the log ends, for
/// which it may have to connect first.
async fn silence(feed: &mut Feed) {
    let long_enough = Duration::from_millis(if on_postgres() { 2_000 } else { 100 });
    let next = tokio::time::timeout(long_enough, feed.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test]
async fn events_page_by_position_in_a_log_and_in_a_stream() {
    let world = World::new().await;
    for number in 1..=40 {
        let (stream, event_type) = match number % 4 {
            0 => ("b-1", "Rare"),
            _ => ("a-1", "Common"),
        };
        world.append_named(stream, event_type).await;
    }
    world
        .append(
            "other",
            "a-1",
            &freehold_domain::property::PropertyEvent::from(PropertyArchived {}),
        )
        .await;
    let all: Vec<u64> = (1..=40).collect();
    let rare: Vec<u64> = (1..=10).map(|n| 4 * n).collect();
    let common: Vec<u64> = all.iter().copied().filter(|n| n % 4 != 0).collect();
    for (arguments, expected) in [
        ("", all.clone()),
        ("types: [\"Rare\"]", rare.clone()),
        ("stream: \"a-1\"", common),
        ("stream: \"b-1\", types: [\"Rare\"]", rare),
        ("stream: \"a-1\", types: [\"Rare\"]", vec![]),
        ("stream: \"c-1\"", vec![]),
        ("log: INTERACTIONS", vec![]),
    ] {
        let (mut positions, mut after): (Vec<u64>, Value) = (Vec::new(), json!("0"));
        loop {
            let document = format!(
                "{{ events({arguments} first: 7, after: {after}) {{
                    nodes {{ position }} pageInfo {{ hasNextPage endCursor }} }} }}"
            );
            let page = world.ask(&document).await["events"].take();
            let nodes = page["nodes"].as_array().unwrap().iter();
            positions.extend(
                nodes.map(|node| node["position"].as_str().unwrap().parse::<u64>().unwrap()),
            );
            if page["pageInfo"]["hasNextPage"] == json!(false) {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        assert_eq!(positions, expected, "{arguments}");
    }
}

#[tokio::test]
async fn an_event_shows_its_envelope_and_keeps_personal_values_sealed() {
    let world = World::new().await;
    let user = UserId(id(5));
    let registered = UserRegistered {
        user,
        display_name: Some(Personal::new(user.into(), "Ada Lovelace".to_owned())),
        email: None,
        phone: None,
        source: None,
        registered_at: noon(),
    };
    world.happened_to_user(user, registered).await;
    let found = world
        .ask(
            "{ events { nodes { log position stream version type schemaVersion correlationId
            causationId actor occurredAt recordedAt payload } } }",
        )
        .await;
    let mut event = found["events"]["nodes"][0].clone();
    let payload = event["payload"].take();
    let expected = json!({
        "log": "DOMAIN", "position": "1", "stream": format!("user-{user}"), "version": "1",
        "type": "UserRegistered", "schemaVersion": 1, "correlationId": id(1).to_string(),
        "causationId": null, "actor": "tester", "occurredAt": "2026-11-23T12:00:00+00:00",
        "recordedAt": "2026-11-23T12:00:00+00:00", "payload": null,
    });
    assert_eq!(event, expected);
    assert_eq!(payload["display_name"]["$subject"], json!(user.to_string()));
    assert!(payload["display_name"]["sealed"].is_string(), "{payload}");
    assert!(!payload.to_string().contains("Ada"), "{payload}");
}

#[tokio::test]
async fn a_follower_that_comes_back_misses_nothing_and_repeats_nothing() {
    let world = World::new().await;
    for _ in 0..250 {
        world.append_named("a-1", "Common").await;
    }
    let position = |seen: Value| seen["eventAppended"]["position"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    let mut after = "0".to_owned();
    for stop in [1, 130, 249, 250] {
        let document =
            format!("subscription {{ eventAppended(after: \"{after}\") {{ position }} }}");
        let mut feed = world.follow(&document);
        while seen.len() < stop {
            after = position(next(&mut feed).await);
            seen.push(after.parse::<u64>().unwrap());
        }
    }
    assert_eq!(seen, (1..=250).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_follower_is_told_as_soon_as_something_happens() {
    let world = World::new().await;
    world.append_named("a-1", "Old").await;
    let mut all = world.follow("subscription { eventAppended { position type } }");
    let mut rare = world.follow("subscription { eventAppended(types: [\"Rare\"]) { type } }");
    silence(&mut all).await;
    silence(&mut rare).await;
    world.append_named("a-1", "Common").await;
    let expected = json!({"eventAppended": {"position": "2", "type": "Common"}});
    assert_eq!(next(&mut all).await, expected);
    world
        .append(
            "other",
            "a-1",
            &freehold_domain::property::PropertyEvent::from(PropertyArchived {}),
        )
        .await;
    world.append_named("a-1", "Rare").await;
    assert_eq!(next(&mut rare).await, json!({"eventAppended": {"type": "Rare"}}));
    let expected = json!({"eventAppended": {"position": "4", "type": "Rare"}});
    assert_eq!(next(&mut all).await, expected, "another tenant's event is not told");
}

#[tokio::test]
async fn a_position_that_the_log_has_not_reached_is_refused() {
    let world = World::new().await;
    world.append_named("a-1", "Common").await;
    for feed in ["eventAppended(after: \"2\")", "listingChanged(after: \"2\")"] {
        let mut feed = world.follow(&format!("subscription {{ {feed} {{ position }} }}"));
        let told = feed.next().await.unwrap();
        let extensions = serde_json::to_value(&told.errors[0].extensions).unwrap();
        assert_eq!(
            (&extensions["code"], &extensions["field"]),
            (&json!("BAD_USER_INPUT"), &json!("after"))
        );
    }
    let beyond = world.ask("{ events(after: \"9223372036854775807\") { nodes { id } } }").await;
    assert_eq!(beyond["events"]["nodes"], json!([]));
}

fn price(amount: i64) -> Price {
    Price::from_minor_units(amount, "EUR", FeeFrequency::Monthly).unwrap()
}

/// What happens to listing 1, and once to its property, at positions 1 to 6; all seen by the
/// listings by now.
async fn a_world_of_changes() -> World {
    let world = World::new().await;
    let row = listing(1);
    let (property, listing_key) = (row.property, row.listing);
    let published = ListingPublished {
        listing: listing_key,
        price: price(110_000),
        available_from: day("2026-12-01"),
        expires_at: None,
        published_at: noon(),
    };
    world.happened(property, published).await;
    let new = price(100_000);
    let changed = RentChanged { listing: listing_key, old: None, new, reason: None };
    world.happened(property, changed).await;
    world.append_named(&format!("property-{property}"), "FromTheFuture").await; // unreadable
    let amenities = AmenitiesSet { old: Default::default(), new: ["sauna".to_owned()].into() };
    world.happened(property, amenities).await;
    let cause = BackOnMarketCause::Resumed;
    let back = ListingBackOnMarket { listing: listing_key, cause, application: None };
    world.happened(property, back).await;
    world.append_named("user-1", "UserSuspended").await;
    world.put_through([row], GlobalPosition(6)).await;
    let mut status = change(1, 5, "status");
    (status.old, status.new) = (Some(Json(json!("OnHold"))), Some(Json(json!("Active"))));
    world.put_through([status], GlobalPosition(6)).await;
    world
}

const CHANGE: &str = "{ position changeType previousStatus listing { title } }";

#[tokio::test]
async fn changes_of_listings_are_told_in_order_with_the_listing() {
    let world = a_world_of_changes().await;
    let mut feed =
        world.follow(&format!("subscription {{ listingChanged(after: \"0\") {CHANGE} }}"));
    for (position, change_type, previous) in [
        ("1", "NEW_LISTING", Value::Null),
        ("2", "PRICE_CHANGE", Value::Null),
        ("4", "UPDATED", Value::Null),
        ("5", "BACK_ON_MARKET", json!("ON_HOLD")),
    ] {
        let expected = json!({"listingChanged": {
            "position": position, "changeType": change_type, "previousStatus": previous,
            "listing": {"title": "Flat 1"},
        }});
        assert_eq!(next(&mut feed).await, expected);
    }
    silence(&mut feed).await;
    let mut again =
        world.follow(&format!("subscription {{ listingChanged(after: \"4\") {CHANGE} }}"));
    assert_eq!(next(&mut again).await["listingChanged"]["position"], "5");
}

#[tokio::test]
async fn a_change_waits_for_the_listing_it_shows() {
    let world = a_world_of_changes().await;
    let fields = "{ position changeType listing { status } }";
    let mut feed = world.follow(&format!("subscription {{ listingChanged {fields} }}"));
    silence(&mut feed).await;
    let mut row = listing(1);
    let leased = ListingLeased {
        listing: row.listing,
        lease: LeaseId(id(3)),
        rent_at_close: price(100_000),
        close_date: day("2026-11-23"),
    };
    let at = world.happened(row.property, leased).await;
    silence(&mut feed).await;
    row.status = ListingStatus::Leased;
    world.put_through([row], at).await;
    let expected = json!({"listingChanged":
        {"position": "7", "changeType": "LEASED", "listing": {"status": "LEASED"}}});
    assert_eq!(next(&mut feed).await, expected);
}

#[tokio::test]
async fn a_filter_chooses_which_changes_are_told() {
    let world = a_world_of_changes().await;
    for (filter, told) in [
        ("{cities: [\"Berlin\"]}", true),
        ("{cities: [\"Hamburg\"]}", false),
        ("{statuses: [ACTIVE]}", true),
        ("{statuses: [LEASED]}", false),
        ("{text: \"kastanien\"}", true),
    ] {
        let document = format!(
            "subscription {{ listingChanged(after: \"4\", filter: {filter}) {{ position }} }}"
        );
        let mut feed = world.follow(&document);
        if told {
            assert_eq!(next(&mut feed).await, json!({"listingChanged": {"position": "5"}}));
        }
        silence(&mut feed).await;
    }
}

#[tokio::test]
async fn a_saved_search_is_followed_until_it_is_deleted() {
    let world = a_world_of_changes().await;
    world.put([account(5)]).await;
    let matching = SearchFilter { bedrooms_min: Some(2), ..SearchFilter::default() };
    let larger = SearchFilter { bedrooms_min: Some(3), ..SearchFilter::default() };
    world.put([saved_search(8, 5, larger), saved_search(9, 5, matching)]).await;
    let key = |search: u128| SavedSearchKey {
        user: UserId(id(5)),
        search: saved_search(search, 5, SearchFilter::default()).search,
    };
    let follow = |search: u128| {
        let node = key(search).to_id();
        let node = node.as_str();
        world.follow(&format!(
            "subscription {{ savedSearchMatched(search: \"{node}\", after: \"4\") {{ position }} }}"
        ))
    };
    let mut feed = follow(9);
    assert_eq!(next(&mut feed).await, json!({"savedSearchMatched": {"position": "5"}}));
    let mut other = follow(8);
    silence(&mut other).await;
    let unknown = follow(404).next().await.unwrap();
    let extensions = serde_json::to_value(&unknown.errors[0].extensions).unwrap();
    assert_eq!(extensions, json!({"code": "NOT_FOUND", "field": "search"}));
    world.delete::<SavedSearchRow>(&(key(9).search, key(9).user)).await;
    let row = listing(1);
    let at = world.happened(row.property, PropertyArchived {}).await;
    world.put_through([row], at).await;
    let end = tokio::time::timeout(Duration::from_secs(5), feed.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn a_read_model_that_breaks_ends_the_feed_with_an_error() {
    let world = a_world_of_changes().await;
    let mut feed = world.follow("subscription { listingChanged(after: \"0\") { position } }");
    world.models.break_table("listing");
    let told = feed.next().await.unwrap();
    let extensions = serde_json::to_value(&told.errors[0].extensions).unwrap();
    assert_eq!(extensions["code"], "UNAVAILABLE");
    assert!(feed.next().await.is_none());
}
