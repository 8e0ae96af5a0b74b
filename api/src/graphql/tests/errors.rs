//! What clients get instead of an answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use freehold_domain::property::PropertyArchived;
use freehold_ports::GlobalPosition;
use serde_json::json;

use super::world::*;
use crate::graphql::Limits;
use crate::graphql::connection::Projected;
use freehold_projections::models::listing::ListingRow;

#[tokio::test]
async fn a_position_not_yet_reached_is_waited_for_and_then_refused() {
    let world = World::new().await;
    world.put_through([listing(1)], GlobalPosition(7)).await;
    let seen = world.ask("{ listings(minPosition: \"7\") { nodes { title } } }").await;
    assert_eq!(seen["listings"]["nodes"], json!([{"title": "Flat 1"}]));
    let expected = json!({"code": "STALE", "projection": "listings", "at": "7", "asked": "8"});
    for field in [
        "listings(minPosition: \"8\") { totalCount }".to_owned(),
        format!("listing(id: \"{}\", minPosition: \"8\") {{ id }}", id(1)),
    ] {
        assert_eq!(world.refusal(&format!("{{ {field} }}")).await, expected, "{field}");
    }
    for (field, projection) in [
        (format!("user(id: \"{}\", minPosition: \"8\") {{ id }}", id(1)), "accounts"),
        (format!("property(by: {{id: \"{}\"}}, minPosition: \"8\") {{ id }}", id(1)), "properties"),
        ("marketStatistics(filter: {}, minPosition: \"8\") { totalCount }".to_owned(), "market"),
    ] {
        let refused = world.refusal(&format!("{{ {field} }}")).await;
        assert_eq!(
            (&refused["code"], &refused["projection"]),
            (&json!("STALE"), &json!(projection))
        );
    }
}

#[tokio::test]
async fn a_position_reached_in_time_is_answered() {
    let world = World::new().await;
    let ask = world.ask("{ listings(minPosition: \"3\") { nodes { title } } }");
    let write = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        world.put_through([listing(1)], GlobalPosition(3)).await;
    };
    let (seen, ()) = tokio::join!(ask, write);
    assert_eq!(seen["listings"]["nodes"], json!([{"title": "Flat 1"}]));
}

#[tokio::test]
async fn a_read_model_that_was_never_built_says_so() {
    let world = World::unbuilt(Limits::default());
    let expected = json!({"code": "NOT_BUILT", "projection": "listings"});
    for document in [
        "{ listings { totalCount } }",
        "{ listings { nodes { id } } }",
        "{ listings(minPosition: \"1\") { nodes { id } } }",
    ] {
        assert_eq!(world.refusal(document).await, expected, "{document}");
    }
    let shown = world.ask("{ projections { name state position lagSeconds } }").await;
    assert_eq!(shown["projections"].as_array().unwrap().len(), 5);
    assert_eq!(
        shown["projections"][0],
        json!({"name": "properties", "state": "MISSING", "position": "0", "lagSeconds": 0.0})
    );
}

#[tokio::test]
async fn what_a_store_says_stays_inside() {
    let world = World::new().await;
    world.models.broken.store(true, Ordering::Relaxed);
    let key = id(1);
    for document in [
        "{ listings { nodes { id } } }".to_owned(),
        format!("{{ listing(id: \"{key}\") {{ id }} }}"),
        "{ listings { totalCount } }".to_owned(),
    ] {
        let response = world.execute(&document).await;
        let shown = serde_json::to_string(&response).unwrap();
        assert!(shown.contains("\"UNAVAILABLE\""), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

#[tokio::test]
async fn projections_tell_how_far_they_are() {
    let world = World::new().await;
    world.happened(property(1).property, PropertyArchived {}).await;
    world.put_through::<ListingRow>([], GlobalPosition(1)).await;
    let shown = world
        .ask("{ projections { name version generation state log position headPosition lagSeconds } }")
        .await;
    let all = shown["projections"].as_array().unwrap();
    let of = |name: &str| all.iter().find(|shown| shown["name"] == name).unwrap();
    let expected = json!({
        "name": ListingRow::PROJECTION, "version": 1, "generation": 1, "state": "ACTIVE",
        "log": "DOMAIN", "position": "1", "headPosition": "1", "lagSeconds": 0.0,
    });
    assert_eq!(of("listings"), &expected);
    assert_eq!(of("accounts")["position"], "0");
    assert_eq!(of("engagement")["log"], "INTERACTIONS");
}

#[tokio::test]
async fn errors_of_the_library_have_codes_too() {
    let world = World::new().await;
    for (document, code) in [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ listings(minPosition: \"x\") { totalCount } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ listings(filter: {availableBy: \"soon\"}) { totalCount } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "{ listings(first: 200) { nodes { property { listings(first: 200) { nodes { id } } } } } }",
            "OPERATION_TOO_LARGE",
        ),
    ] {
        assert_eq!(world.refusal(document).await["code"], code, "{document}");
    }
    let variable = world
        .request("query($at: Position) { listings(minPosition: $at) { totalCount } }")
        .variables(async_graphql::Variables::from_json(json!({"at": "x"})));
    let response = world.schema.execute(variable).await;
    let shown = serde_json::to_value(&response.errors[0]).unwrap();
    let code = &shown["extensions"]["code"];
    assert!(code == "BAD_INPUT" || code == "GRAPHQL_VALIDATION_FAILED", "{shown}");
}

#[tokio::test]
async fn strangers_learn_nothing_about_the_schema() {
    let world = World::new().await;
    let closed = world.schema_with(Limits { introspection: false, ..Limits::default() });
    let asked = closed.execute(world.request("{ __schema { queryType { name } } }")).await;
    assert_eq!(asked.data.into_json().unwrap(), json!({}));
    let guessed = closed.execute(world.request("{ listing }")).await;
    let misspelt = closed.execute(world.request("{ listingz { totalCount } }")).await;
    for response in [guessed, misspelt] {
        assert!(!response.errors[0].message.contains("mean"), "{:?}", response.errors);
    }
    let open = world.ask("{ __schema { queryType { name } } }").await;
    assert_eq!(open["__schema"]["queryType"]["name"], "Query");
}

#[tokio::test]
async fn a_request_without_a_caller_gets_nothing() {
    let world = World::new().await;
    world.put([listing(1)]).await;
    let response = world.schema.execute("{ listings { nodes { id } } }").await;
    let shown = serde_json::to_value(&response.errors[0].extensions).unwrap();
    assert_eq!(shown["code"], "INTERNAL");
}
