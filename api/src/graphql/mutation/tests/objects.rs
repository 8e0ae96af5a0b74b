//! The changed object in a payload.

use freehold_domain::UserId;
use freehold_domain::user::{PreferencesChanged, Standing};
use freehold_ports::{Commit, GlobalPosition, RowChange, StreamVersion, TableChanges};
use freehold_projections::models::account::{
    AccountRow, Erasure, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use freehold_projections::{Json, TypedRow};
use serde_json::{Value, json};

use super::world::*;
use crate::graphql::projections::ACCOUNTS;

/// Makes the accounts' read model, standing at `checkpoint` with one account.
async fn accounts(world: &World, user: &str, checkpoint: u64) {
    let tables = &[
        AccountRow::TABLE,
        ListingPreferenceRow::TABLE,
        ListingFavouritesRow::TABLE,
        SavedSearchRow::TABLE,
    ];
    let made = world.models.create_generation(ACCOUNTS, 1, tables).await.unwrap();
    world.models.activate(made.clone()).await.unwrap();
    let row = AccountRow {
        user: UserId(user.parse().unwrap()),
        tenant: "acme".into(),
        source: None,
        reference: None,
        display_name: None,
        email: None,
        email_verified: false,
        phone: None,
        phone_verified: false,
        identity_method: None,
        identity_verified_at: None,
        identity_expires_at: None,
        identity_failure: None,
        status: Standing::Active,
        preferences: Json(PreferencesChanged::default()),
        consents: Json(Vec::new()),
        saved_searches: Json(Vec::new()),
        legal_holds: 0,
        erasure: Erasure::NotRequested,
        erasure_requested_at: None,
        erasure_deadline: None,
        erasure_certificate: None,
        export_requested_at: None,
        registered_at: noon(),
        changed_at: noon(),
        position: GlobalPosition(1),
        version: StreamVersion(1),
    };
    let changes = vec![RowChange::Put(row.to_row())];
    let changes = vec![TableChanges { table: AccountRow::TABLE, changes }];
    let to = GlobalPosition(checkpoint);
    world.models.commit(Commit::moving(made, GlobalPosition(0), to, changes)).await.unwrap();
}

async fn answer(world: &World, input: Value) -> (Value, Vec<Value>) {
    let more = "user { id standing }";
    let response = world.request(OPERATOR, "userReinstate", input, more).await;
    let errors = response.errors.iter().map(|error| serde_json::to_value(error).unwrap());
    let errors = errors.collect();
    (response.data.into_json().unwrap()["answer"].clone(), errors)
}

#[tokio::test]
async fn it_is_read_once_the_read_model_shows_the_command() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    accounts(&world, &user, 1).await;

    let (payload, errors) = answer(&world, json!({ "user": user })).await;

    assert_eq!((errors, &payload["user"]["standing"]), (vec![], &json!("ACTIVE")));
}

#[tokio::test]
async fn a_read_model_that_stays_behind_is_told_beside_what_was_stored() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    world.property("berlin-1").await;
    accounts(&world, &user, 1).await;

    let (payload, errors) = answer(&world, json!({ "user": user })).await;

    assert_eq!((&payload["user"], &payload["position"]), (&Value::Null, &json!("2")));
    assert_eq!(payload["userErrors"], json!([]));
    assert_eq!(errors[0]["extensions"]["code"], "STALE");
    assert_eq!(errors[0]["path"], json!(["answer", "user"]));
}

#[tokio::test]
async fn there_is_none_where_nothing_was_stored() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    accounts(&world, &user, 1).await;

    let (dry, no_errors) = answer(&world, json!({ "user": user, "dryRun": true })).await;
    let (refused, none_either) = answer(&world, json!({ "user": "x" })).await;

    assert_eq!((&dry["user"], &dry["outcome"]), (&Value::Null, &json!("DRY_RUN")));
    assert_eq!((&refused["user"], &refused["outcome"]), (&Value::Null, &Value::Null));
    assert_eq!((no_errors, none_either), (vec![], vec![]));
}
