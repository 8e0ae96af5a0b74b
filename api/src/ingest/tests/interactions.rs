use super::*;

#[tokio::test]
async fn a_view_of_a_known_property_is_recorded_with_its_listing() {
    let world = World::new().await;
    let property = world.property(complete("test-123")).await;

    let answer = world
        .user(r#"{"user_id": "user-456", "event_type": "property_viewed", "data": {"property_id": "test-123"}}"#)
        .await;

    assert_eq!(
        said(&answer),
        json!([{"status": "accepted", "change": "recorded", "events": ["DetailedView"],
            "errors": [], "warnings": []}])
    );
    assert_eq!(answer.items[0].id, property.items[0].id);
    assert_eq!(answer.items[0].listing, property.items[0].listing);
    assert_eq!(answer.interactions_position, Some(GlobalPosition(1)));
    let stored = world.newest("DetailedView").await;
    assert_eq!(stored["property"], json!(property.items[0].id));
    assert_eq!(stored["listing"], json!(property.items[0].listing));
    assert_eq!(stored["object_type"], "Listing");
    assert_eq!(stored["session"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn a_view_of_an_unknown_property_keeps_the_reference() {
    let world = World::new().await;
    let answer = world
        .user(json!({"event_type": "property_viewed", "data": {"property_id": "nowhere"}}))
        .await;
    assert_eq!(said(&answer)[0]["warnings"], json!([["UNKNOWN_REFERENCE", "data.property_id"]]));
    assert_eq!(world.newest("DetailedView").await["reference"], "nowhere");
}

#[tokio::test]
async fn nothing_that_says_who_it_was_is_stored() {
    let world = World::new().await;
    let secrets = [
        "jane@example.com",
        "203.0.113.7",
        "+44 7700 900123",
        "Jane Doe",
        "Firefox/145",
        "flats near my school",
        "visitor-777",
        "51.75222",
        "jane-cookie",
    ];
    let answer = world
        .user(json!({
            "user_id": secrets[0], "event_type": "Search", "ip": secrets[1], "phone": secrets[2],
            "data": {
                "property_id": "jane@example.com", "name": secrets[3], "user_agent": secrets[4],
                "query": secrets[5], "session_id": secrets[6], "latitude": secrets[7],
                "cookie": secrets[8], "email": secrets[0], "nickname": secrets[3],
            },
        }))
        .await;
    assert_eq!(said(&answer)[0]["status"], "accepted", "{}", said(&answer));
    let dropped = answer.items[0].warnings.iter();
    let dropped = dropped.filter(|warning| warning.code == "PERSONAL_FIELD_DROPPED");
    assert_eq!(dropped.count(), 9);
    let stored = world.events(LogName::INTERACTIONS).await;
    assert_eq!(stored.len(), 1);
    for event in &stored {
        let everything = format!("{event:?}{}", String::from_utf8_lossy(&event.payload));
        for secret in secrets {
            assert!(!everything.contains(secret), "{secret} is stored");
        }
    }
}

#[tokio::test]
async fn programs_are_told_from_people() {
    let world = World::new().await;
    for (data, expected) in [
        (json!({"user_agent": "Googlebot/2.1"}), "Bot"),
        (json!({"is_bot": true}), "Bot"),
        (json!({"actor_type": "bot"}), "Bot"),
        (json!({"actor_type": "Consumer", "user_agent": "Mozilla/5.0 Firefox/145.0"}), "Consumer"),
        (json!({}), "Unknown"),
    ] {
        world.user(json!({"event_type": "Impression", "data": data})).await;
        assert_eq!(world.newest("Impression").await["actor_type"], expected, "{data}");
    }
}

#[tokio::test]
async fn every_kind_has_its_name_and_its_words() {
    let world = World::new().await;
    for (name, stored) in [
        ("property_impression", "Impression"),
        ("property_shared", "Share"),
        ("search", "Search"),
        ("PhotoGallery", "PhotoGallery"),
        ("lead_submitted", "SubmissionOfLeadForm"),
        ("propertyViewed", "DetailedView"),
        ("property.viewed", "DetailedView"),
    ] {
        let answer = world.user(json!({"event_type": name})).await;
        assert_eq!(said(&answer)[0]["events"], json!([stored]));
    }
    let unknown = world.user(json!({"event_type": "property_vewed"})).await;
    assert!(unknown.items[0].errors[0].message.contains("property_viewed"));
    let missing = world.user(json!({"user_id": "u"})).await;
    assert_eq!(missing.items[0].errors[0].code, "EVENT_TYPE_MISSING");
}

#[tokio::test]
async fn what_was_said_about_a_view_is_kept() {
    let world = World::new().await;
    world
        .user(
            json!({"event_type": "Impression", "timestamp": "2026-11-22T08:00:00.123456Z", "data": {
            "position": 3, "device": "ios", "channel": "map", "object_type": "Photo",
            "reported_at": "2026-11-22T08:00:05Z"}}),
        )
        .await;
    let stored = world.newest("Impression").await;
    assert_eq!(stored["page_position"], 3);
    assert_eq!(stored["device_type"], "Mobile");
    assert_eq!(stored["event_source"], "Map");
    assert_eq!(stored["event_timestamp"], "2026-11-22T08:00:00.123456Z");
    assert_eq!(stored["reported_timestamp"], "2026-11-22T08:00:05Z");
    let event = &world.events(LogName::INTERACTIONS).await[0];
    assert!(event.stream.as_str().starts_with("interactions-2026-11-22-"));
}

#[tokio::test]
async fn an_interaction_sent_again_is_counted_once() {
    let world = World::new().await;
    let view = json!({"event_id": "v-1", "event_type": "property_viewed", "user_id": "u"});
    let first = world.user(&view).await;
    let again = world.user(&view).await;
    assert_eq!(said(&again)[0]["change"], "repeated");
    assert_eq!(again.items[0].position, first.items[0].position);
    assert_eq!(world.events(LogName::INTERACTIONS).await.len(), 1);
}

#[tokio::test]
async fn what_one_visit_did_stays_in_order() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let views: Vec<Value> = (0..300)
        .map(|n| json!({"event_type": "Impression", "session_id": "s", "data": {"property_id": "a", "position": n}}))
        .collect();
    world.user(Value::Array(views)).await;
    let stored = world.events(LogName::INTERACTIONS).await;
    let order: Vec<u64> = stored
        .iter()
        .map(|event| {
            serde_json::from_slice::<Value>(&event.payload).unwrap()["page_position"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(order, (0..300).collect::<Vec<_>>());
}
