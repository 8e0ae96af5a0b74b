//! Inputs that are sent again, or only tried.

use serde_json::{Value, json};

use super::world::*;

const ID: &str = "018f0000-0000-7000-8000-000000000001";

fn registration_under(id: &str) -> Value {
    let mut input = registration("berlin-1");
    input["commandId"] = json!(id);
    input
}

#[tokio::test]
async fn a_repeated_input_gets_the_first_answer_and_creates_nothing_twice() {
    let world = World::new().await;
    let first = world.send("propertyRegister", registration_under(ID)).await;
    let property = json!({ "id": world.last_id().await });
    let other = json!({ "property": property, "amenities": ["lift"] });
    world.accepted("propertyAmenitiesSet", other).await;

    let again = world.send("propertyRegister", registration_under(ID)).await;

    assert_eq!((first.outcome(), again.outcome()), ("STORED", "REPEATED"));
    for said in ["events", "streamVersion", "position", "userErrors"] {
        assert_eq!(first.0[said], again.0[said], "{said}");
    }
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn what_a_repeated_input_created_is_what_the_first_one_did() {
    let world = World::new().await;
    let (_, listing) = world.draft("berlin-1").await;
    let concession = json!({
        "listing": listing, "commandId": ID, "concession": { "description": "A month free" },
    });
    world.accepted("listingConcessionOffer", concession.clone()).await;
    let id = world.last_payload().await["concession"]["id"].clone();
    let withdrawal = json!({ "listing": listing, "concession": id });
    world.accepted("listingConcessionWithdraw", withdrawal).await;

    let again = world.send("listingConcessionOffer", concession).await;

    assert_eq!(again.outcome(), "REPEATED");
    let last = world.log().await.pop().unwrap();
    assert_eq!(&*last.event_type, "ConcessionWithdrawn", "it is not offered again");
}

#[tokio::test]
async fn an_id_that_was_used_for_another_input_is_refused() {
    let world = World::new().await;
    world.send("propertyRegister", registration_under(ID)).await;
    let mut other = registration_under(ID);
    other["facts"]["bedrooms"] = json!(3);

    let refused = world.send("propertyRegister", other).await;
    let email = json!({ "email": "ada@example.com", "commandId": ID });
    let elsewhere = world.send("userRegister", email).await;

    for refused in [refused, elsewhere] {
        assert_eq!(refused.errors(), ["COMMAND_ID_REUSED input.commandId"]);
    }
    assert_eq!(world.log().await.len(), 1);
}

#[tokio::test]
async fn a_dry_run_decides_and_stores_nothing() {
    let world = World::new().await;
    let mut input = registration_under(ID);
    input["dryRun"] = json!(true);

    let accepted = world.send("propertyRegister", input.clone()).await;
    input["facts"]["title"] = json!("");
    let refused = world.send("propertyRegister", input).await;

    assert_eq!(accepted.outcome(), "DRY_RUN");
    assert_eq!(accepted.event_types(), ["PropertyRegistered"]);
    assert_eq!(accepted.0["events"][0]["position"], Value::Null);
    assert_eq!((&accepted.0["position"], accepted.version()), (&Value::Null, "1"));
    assert_eq!(refused.errors(), ["BLANK input.facts.title"]);
    assert_eq!(world.log().await.len(), 0);
    let real = world.send("propertyRegister", registration_under(ID)).await;
    assert_eq!(real.outcome(), "STORED", "a dry run leaves its id free");
}

#[tokio::test]
async fn a_command_that_changes_nothing_says_so_and_where_the_log_stands() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    world.property("berlin-1").await;

    let unchanged = world.send("userReinstate", json!({ "user": user })).await;

    assert_eq!((unchanged.outcome(), unchanged.event_types().len()), ("UNCHANGED", 0));
    assert_eq!((unchanged.position(), unchanged.version()), ("2", "1"));
}

#[tokio::test]
async fn when_it_happened_and_who_asked_stand_in_the_envelope() {
    let world = World::new().await;
    let mut input = registration_under(ID);
    input["occurredAt"] = json!("2026-11-20T08:30:00+01:00");
    world.send_as(WRITER, "propertyRegister", input).await;

    let event = world.log().await.pop().unwrap();

    assert_eq!(event.occurred_at.to_rfc3339(), "2026-11-20T07:30:00+00:00");
    assert_eq!(event.recorded_at, noon());
    assert_eq!((&*event.provenance.actor, &*event.provenance.tenant), ("mara", "acme"));
    assert_eq!(event.provenance.correlation_id, Some(uuid::Uuid::from_u128(1)));
    assert_eq!(event.command_id.to_string(), ID);
}
