use super::*;

fn opinion(event_type: &str, user: &str) -> Value {
    json!({"user_id": user, "event_type": event_type, "data": {"property_id": "a"}})
}

#[tokio::test]
async fn a_favourite_belongs_to_the_account_and_is_no_interaction_too() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let first = world.user(opinion("property_favorited", "user-456")).await;
    let again = world.user(opinion("Favorited", "user-456")).await;
    let changed = world.user(opinion("Discard", "user-456")).await;
    let cleared = world.user(opinion("property_unfavorited", "user-456")).await;

    assert_eq!(said(&first)[0]["change"], "created");
    assert_eq!(said(&first)[0]["events"], json!(["UserRegistered", "ListingPreferenceSet"]));
    assert_eq!(said(&again)[0]["change"], "unchanged");
    assert_eq!(said(&changed)[0]["events"], json!(["ListingPreferenceSet"]));
    assert_eq!(said(&cleared)[0]["events"], json!(["ListingPreferenceCleared"]));
    assert_eq!(first.items[0].id, cleared.items[0].id);
    assert!(world.events(LogName::INTERACTIONS).await.is_empty());
}

#[tokio::test]
async fn an_opinion_needs_a_user_and_a_listing() {
    let world = World::new().await;
    let nobody = world.user(json!({"event_type": "Favorited", "data": {"property_id": "a"}})).await;
    assert_eq!(said(&nobody)[0]["errors"], json!([["REFERENCE_MISSING", "user_id"]]));
    let nothing = world.user(json!({"event_type": "Favorited", "user_id": "u"})).await;
    assert_eq!(said(&nothing)[0]["errors"], json!([["REFERENCE_MISSING", "data.property_id"]]));
    let nowhere = world.user(opinion("Favorited", "u")).await;
    assert_eq!(said(&nowhere)[0]["errors"], json!([["LISTING_NOT_FOUND", "data.property_id"]]));
}

#[tokio::test]
async fn an_address_is_no_reference_of_an_account() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let answer = world.user(opinion("Favorited", "jane@example.com")).await;
    assert_eq!(said(&answer)[0]["errors"], json!([["SOURCE_INVALID", "user_id"]]));
    let stored = world.events(LogName::DOMAIN).await;
    assert!(stored.iter().all(|event| !String::from_utf8_lossy(&event.payload).contains("jane")));
}

#[tokio::test]
async fn opinions_of_one_user_are_stored_in_their_order() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let kinds = ["Favorited", "Maybe", "Discard", "unfavorited", "Favorited"];
    let items: Vec<Value> = kinds.iter().map(|kind| opinion(kind, "u")).collect();
    let answer = world.user(Value::Array(items)).await;
    let positions: Vec<_> = answer.items.iter().map(|item| item.position).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(world.newest("ListingPreferenceSet").await["preference"], "Favorite");
}

#[tokio::test]
async fn a_favourite_sent_again_is_repeated() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let mut favourite = opinion("Favorited", "u");
    favourite["event_id"] = json!("f-1");
    world.user(&favourite).await;
    world.user(opinion("unfavorited", "u")).await;
    let again = world.user(&favourite).await;
    assert_eq!(said(&again)[0]["change"], "repeated");
    assert_eq!(
        world.event_types().await.last().map(String::as_str),
        Some("ListingPreferenceCleared")
    );
}

#[tokio::test]
async fn racing_first_favourites_make_one_user() {
    let world = Arc::new(World::new().await);
    world.property(complete("a")).await;
    let sends = (0..8).map(|_| {
        let world = world.clone();
        tokio::spawn(async move {
            let ingest = Ingest::new(world.platform.clone(), IngestDefaults::default());
            let item = opinion("Favorited", "race").to_string();
            ingest.user(&world.sender(), &[item.as_bytes()]).await
        })
    });
    for answer in futures_util::future::join_all(sends).await {
        let answer = answer.unwrap();
        assert_eq!(said(&answer)[0]["status"], "accepted", "{}", said(&answer));
    }
    let types = world.event_types().await;
    assert_eq!(types.iter().filter(|name| *name == "UserRegistered").count(), 1);
}
