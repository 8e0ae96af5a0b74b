//! What clients get instead of an answer.

use std::time::Duration;

use freehold_domain::SubjectId;
use freehold_domain::property::PropertyArchived;
use freehold_ports::{CodecError, GlobalPosition, ReadModels as _, VaultError};
use freehold_projections::TypedRow as _;
use freehold_projections::models::listing::ListingRow;
use serde_json::{Value, json};

use super::world::*;
use crate::graphql::connection::Projected;
use crate::graphql::{Fault, Limits};

#[tokio::test]
async fn a_position_not_yet_reached_is_waited_for_and_then_refused() {
    let world = World::new().await;
    world.log_through(8).await;
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
    world.log_through(3).await;
    let patient = world.patient();
    let document = "{ listings(minPosition: \"3\") { nodes { title } } }";
    let ask = patient.execute(world.request(document));
    let write = async {
        tokio::time::sleep(Duration::from_millis(15)).await;
        world.put_through([listing(1)], GlobalPosition(3)).await;
    };
    let (seen, ()) = tokio::join!(ask, write);
    assert_eq!(seen.errors, []);
    let seen = seen.data.into_json().unwrap();
    assert_eq!(seen["listings"]["nodes"], json!([{"title": "Flat 1"}]));
}

#[tokio::test]
async fn a_position_beyond_the_log_is_refused_with_its_end() {
    let world = World::new().await;
    world.log_through(2).await;

    let response = world.execute("{ listings(minPosition: \"3\") { totalCount } }").await;

    let [error] = &response.errors[..] else { panic!("{response:?}") };
    assert_eq!(error.message, "minPosition: is beyond the end of this log, which is at 2");
    let extensions = serde_json::to_value(&error.extensions).unwrap();
    assert_eq!(
        (&extensions["code"], &extensions["field"]),
        (&json!("BAD_USER_INPUT"), &json!("minPosition"))
    );
}

#[tokio::test]
async fn a_read_model_that_was_never_built_says_so() {
    let world = World::unbuilt(Limits::default()).await;
    world.log_through(1).await;
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
    for table in ["listing", "property"] {
        world.models.break_table(table);
    }
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
async fn a_retired_generation_has_no_lag() {
    let world = World::new().await;
    let next = world.models.create_generation(ListingRow::PROJECTION, 1, &[ListingRow::TABLE]);
    world.models.activate(next.await.unwrap()).await.unwrap();
    world.happened(property(1).property, PropertyArchived {}).await;
    let shown = world.ask("{ projections { name generation state lagSeconds } }").await;
    let all = shown["projections"].as_array().unwrap();
    let listings: Vec<_> = all.iter().filter(|shown| shown["name"] == "listings").collect();
    assert_eq!(
        listings,
        [
            &json!({"name": "listings", "generation": 1, "state": "RETIRED", "lagSeconds": null}),
            &json!({"name": "listings", "generation": 2, "state": "ACTIVE", "lagSeconds": 0.0}),
        ]
    );
}

#[tokio::test]
async fn errors_of_the_library_have_codes_too() {
    let world = World::new().await;
    let too_large = "{ listings(first: 200) { nodes { property { listings(first: 200) { nodes
        { id } } } } } }";
    for (document, code, field) in [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED", Value::Null),
        (too_large, "OPERATION_TOO_LARGE", Value::Null),
        ("{ listings(minPosition: \"x\") { totalCount } }", "BAD_USER_INPUT", json!("minPosition")),
        (
            "{ listings(filter: {closedOn: {from: \"soon\"}}) { totalCount } }",
            "BAD_USER_INPUT",
            json!("filter.closedOn.from"),
        ),
        (
            "{ listings(filter: {price: {minMinor: 1.5}}) { totalCount } }",
            "BAD_USER_INPUT",
            json!("filter.price.minMinor"),
        ),
    ] {
        let refused = world.refusal(document).await;
        assert_eq!((&refused["code"], &refused["field"]), (&json!(code), &field), "{document}");
    }
    let variable = world
        .request("query($at: Position) { listings(minPosition: $at) { totalCount } }")
        .variables(async_graphql::Variables::from_json(json!({"at": "x"})));
    let response = world.schema.execute(variable).await;
    let refused = serde_json::to_value(&response.errors[0].extensions).unwrap();
    assert_eq!(refused, json!({"code": "BAD_USER_INPUT", "field": "minPosition"}));
}

#[tokio::test]
async fn what_fails_is_null_and_so_is_what_cannot_do_without_it() {
    let world = World::new().await;
    world.put([listing(1), listing(2)]).await;
    world.put([property(1)]).await;
    let one = id(1);
    let shown = async |document: &str, failures: usize| {
        let response = world.execute(document).await;
        assert_eq!(response.errors.len(), failures, "{:?}", response.errors);
        response.data.into_json().unwrap()
    };
    world.models.break_table("engagement");
    let fields = "title engagement { impressions } favouriteCount";
    let nodes = |numbers: [u32; 2]| {
        let node =
            |n| json!({"title": format!("Flat {n}"), "engagement": null, "favouriteCount": 0});
        json!({"listings": {"nodes": numbers.map(node)}})
    };
    let document = format!("{{ listings(orderBy: OLDEST) {{ nodes {{ {fields} }} }} }}");
    assert_eq!(shown(&document, 2).await, nodes([1, 2]));

    world.models.break_table("property_change");
    let fields = "reference history { totalCount }";
    let document =
        format!("{{ listings(orderBy: OLDEST) {{ nodes {{ title property {{ {fields} }} }} }} }}");
    let expected = json!({"listings": {"nodes": [
        {"title": "Flat 1", "property": null},
        {"title": "Flat 2", "property": null},
    ]}});
    assert_eq!(shown(&document, 1).await, expected);
    let global = world.ask(&format!("{{ property(by: {{id: \"{one}\"}}) {{ id }} }}")).await;
    assert_eq!(global["property"], Value::Null);

    let ids = world
        .ask("{ listings(orderBy: OLDEST) { nodes { id property { id } } } }")
        .await["listings"]["nodes"]
        .take();
    let document = format!(
        "{{ nodes(ids: [{}, {}]) {{ ... on Property {{ {fields} }} ... on Listing {{ title }} }} }}",
        ids[0]["property"]["id"], ids[1]["id"]
    );
    assert_eq!(shown(&document, 1).await, json!({"nodes": [null, {"title": "Flat 2"}]}));

    world.models.break_table("listing");
    assert_eq!(shown("{ listings { nodes { title } } }", 1).await, Value::Null);
}

#[tokio::test]
async fn strangers_learn_nothing_about_the_schema() {
    let world = World::new().await;
    let closed = world.schema_with(Limits { introspection: false, ..Limits::default() });
    let asked = closed.execute(world.request("{ __schema { queryType { name } } }")).await;
    assert_eq!(asked.data.into_json().unwrap(), json!({"__schema": null}));
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

#[test]
fn a_vault_that_does_not_answer_is_unavailable_and_no_mistake_of_ours() {
    let gone = VaultError::Unavailable { source: "connection refused".into() };
    assert_eq!(Fault::from(CodecError::Vault(gone)), Fault::Unavailable);
    let subject = SubjectId(id(1));
    assert_eq!(Fault::from(CodecError::Tampered { subject }), Fault::Internal);
}
