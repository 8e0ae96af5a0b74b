//! Who sees personal values, and for how long.

use async_graphql::Request;
use freehold_domain::SavedSearchId;
use freehold_domain::user::SearchFilter;
use freehold_projections::Json;
use freehold_projections::models::account::Erasure;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::world::*;
use crate::graphql::scalars::{NodeKey, SavedSearchKey};
use crate::http::Role;
use crate::platform::Caller;

/// One user with everything personal, who is the agent of a listing and keeps a search.
async fn a_world_of_ada() -> World {
    let world = World::new().await;
    let mut ada = account(5);
    ada.display_name = Some(world.sealed(5, "Ada").await);
    ada.email = Some(world.sealed(5, "ada@example.org").await);
    ada.phone = Some(world.sealed(5, "+4930123456").await);
    ada.saved_searches = Json(vec![SavedSearchId(id(9))]);
    let mut search = saved_search(9, 5, SearchFilter::default());
    search.name = Some(world.sealed(5, "By the park").await);
    search.text = Some(world.sealed(5, "kastanien").await);
    let mut listing = listing(1);
    listing.agent = Some(ada.user);
    world.put([listing]).await;
    world.put([ada]).await;
    world.put([search]).await;
    world
}

fn user_id(number: u128) -> String {
    NodeKey::to_id(account(number).user).to_string()
}

fn search_id() -> String {
    SavedSearchKey { user: account(5).user, search: SavedSearchId(id(9)) }.to_id().to_string()
}

/// Every query that leads to a user or a saved search, with the path to what it leads to.
fn ways() -> Vec<(String, &'static str)> {
    let user = user_id(5);
    let search = search_id();
    let contact = "displayName email phone standing";
    let words = "name text matches { totalCount } schedule";
    vec![
        (format!("{{ user(id: \"{user}\") {{ {contact} }} }}"), "/user"),
        (format!("{{ node(id: \"{user}\") {{ ... on User {{ {contact} }} }} }}"), "/node"),
        (format!("{{ nodes(ids: [\"{user}\"]) {{ ... on User {{ {contact} }} }} }}"), "/nodes/0"),
        (
            format!("{{ listings {{ nodes {{ agent {{ {contact} }} }} }} }}"),
            "/listings/nodes/0/agent",
        ),
        (
            format!(
                "{{ node(id: \"{search}\") {{ ... on SavedSearch {{ user {{ {contact} }} }} }} }}"
            ),
            "/node/user",
        ),
        (format!("{{ node(id: \"{search}\") {{ ... on SavedSearch {{ {words} }} }} }}"), "/node"),
        (
            format!("{{ nodes(ids: [\"{search}\"]) {{ ... on SavedSearch {{ {words} }} }} }}"),
            "/nodes/0",
        ),
        (
            format!("{{ user(id: \"{user}\") {{ savedSearches {{ nodes {{ {words} }} }} }} }}"),
            "/user/savedSearches/nodes/0",
        ),
    ]
}

#[tokio::test]
async fn personal_values_are_shown_to_writers_and_refused_to_readers_on_every_way() {
    let world = a_world_of_ada().await;
    let contact = json!({
        "displayName": "Ada", "email": "ada@example.org", "phone": "+4930123456",
        "standing": "ACTIVE",
    });
    let words = json!({
        "name": "By the park", "text": "kastanien", "matches": {"totalCount": 1},
        "schedule": "ASAP",
    });
    for (document, path) in ways() {
        let shown = world.ask(&document).await;
        let shown = shown.pointer(path).unwrap();
        assert!([&contact, &words].contains(&shown), "{document}: {shown}");

        let refused = world.schema.execute(world.request_as(Role::Reader, TENANT, &document)).await;

        let told = serde_json::to_value(&refused).unwrap();
        let data = told["data"].pointer(path).unwrap().as_object().unwrap();
        for (field, value) in data {
            assert_eq!(value.is_null(), !["standing", "schedule"].contains(&field.as_str()));
        }
        let errors = told["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 3, "{told}");
        assert!(errors.iter().all(|error| error["extensions"]["code"] == "FORBIDDEN"), "{told}");
    }
}

#[tokio::test]
async fn a_saved_search_is_followed_by_writers_only() {
    let world = a_world_of_ada().await;
    let search = search_id();
    let document =
        format!("subscription {{ savedSearchMatched(search: \"{search}\") {{ position }} }}");
    let request = world.request_as(Role::Reader, TENANT, &document);

    let refused = world.schema.execute_stream(request).next().await.unwrap();

    let told = serde_json::to_value(&refused.errors).unwrap();
    assert_eq!(told[0]["extensions"]["code"], "FORBIDDEN", "{told}");
}

#[tokio::test]
async fn a_caller_whose_role_is_not_said_counts_as_a_reader() {
    let world = a_world_of_ada().await;
    let caller = Caller { actor: "x".into(), tenant: TENANT.into(), correlation_id: id(1) };
    let request = Request::new("{ listings { nodes { agent { email } } } }").data(caller);

    let refused = world.schema.execute(request).await;

    assert_eq!(refused.errors.len(), 1, "{refused:?}");
}

#[tokio::test]
async fn an_erased_user_has_no_personal_values() {
    let world = a_world_of_ada().await;
    let mut bob = account(6);
    bob.erasure = Erasure::KeyShredded;
    world.put([bob]).await;
    let (ada, bob) = (user_id(5), user_id(6));
    let ask = format!(
        "{{ ada: user(id: \"{ada}\") {{ displayName email phone erased erasure {{ state }} }}
            bob: user(id: \"{bob}\") {{ displayName email phone erased erasure {{ state }} }} }}"
    );
    let erased = |erased: bool, state: &str| {
        json!({
            "displayName": null, "email": null, "phone": null, "erased": erased,
            "erasure": {"state": state},
        })
    };
    assert_eq!(world.ask(&ask).await["bob"], erased(true, "KEY_SHREDDED"));

    // Before any row is changed.
    world.destroy_key(5).await;

    assert_eq!(world.ask(&ask).await["ada"], erased(false, "NOT_REQUESTED"));
    let searches = format!(
        "{{ user(id: \"{ada}\") {{ savedSearches {{ nodes {{ name text matches {{ totalCount }} }}
            }} }} }}"
    );
    let search: Value = world.ask(&searches).await["user"]["savedSearches"]["nodes"][0].clone();
    assert_eq!(search, json!({"name": null, "text": null, "matches": {"totalCount": 1}}));
}
