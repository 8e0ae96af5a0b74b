use freehold_projections::Projections;

use super::*;
use crate::ingest::{MAX_ITEMS, Status};

#[tokio::test]
async fn one_bad_item_never_loses_the_others() {
    let world = World::new().await;
    let body = concat!(
        r#"[{"property_id": "a", "data": {"price": 1}},"#,
        r#"{"property_id": "b", "data": {"price": NaN}},"#,
        r#"{"event_type": "property_updated"},"#,
        r#"42, "text", null, [], {},"#,
        r#"{"property_id": "c", "event_type": "property_exploded"},"#,
        r#"{"property_id": {"x": 1}},"#,
        r#"{"property_id": "d", "data": [1]},"#,
        r#"{"property_id": "e", "source": "no/slash"},"#,
        r#"{"property_id": "z", "data": {"price": 2}}]"#,
    );
    let answer = world.property(body).await;
    let statuses: Vec<Status> = answer.items.iter().map(|item| item.status).collect();
    let codes: Vec<_> =
        answer.items.iter().filter_map(|item| Some(item.errors.first()?.code)).collect();
    assert_eq!(statuses.len(), 13);
    assert_eq!((statuses[0], statuses[12]), (Status::Accepted, Status::Accepted));
    assert!(statuses[1..12].iter().all(|status| *status == Status::Refused));
    assert_eq!(
        codes,
        [
            "MALFORMED_JSON",
            "REFERENCE_MISSING",
            "NOT_AN_OBJECT",
            "NOT_AN_OBJECT",
            "NOT_AN_OBJECT",
            "NOT_AN_OBJECT",
            "REFERENCE_MISSING",
            "UNKNOWN_EVENT_TYPE",
            "WRONG_TYPE",
            "WRONG_TYPE",
            "MALFORMED",
        ]
    );
    let indexes: Vec<usize> = answer.items.iter().map(|item| item.index).collect();
    assert_eq!(indexes, (0..13).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_malformed_line_loses_only_itself() {
    let world = World::new().await;
    let lines = "{\"property_id\": \"a\"}\n{\"property_id\": \n{\"property_id\": \"c\"}\n";
    let answer = world.property(lines).await;
    let statuses: Vec<Status> = answer.items.iter().map(|item| item.status).collect();
    assert_eq!(statuses, [Status::Accepted, Status::Refused, Status::Accepted]);
}

#[tokio::test]
async fn an_empty_array_is_answered_with_nothing() {
    let world = World::new().await;
    let answer = world.property("[]").await;
    assert!(answer.items.is_empty());
    assert_eq!(answer.position, Some(GlobalPosition(0)));
}

#[tokio::test]
async fn deep_nesting_is_refused_and_nothing_breaks() {
    let world = World::new().await;
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let body =
        format!(r#"[{{"property_id": "a", "data": {{"title": {deep}}}}}, {{"property_id": "b"}}]"#);
    let answer = world.property(body).await;
    assert_eq!(answer.items[0].errors[0].code, "MALFORMED_JSON");
    assert_eq!(answer.items[1].status, Status::Accepted);
}

#[tokio::test]
async fn a_field_that_comes_twice_counts_as_it_came_last_with_a_warning() {
    let world = World::new().await;
    let answer = world
        .property(r#"{"property_id": "a", "data": {"beds": 1, "beds": 2, "bedrooms": 3, "baths": 1, "bathrooms": 1}}"#)
        .await;
    let codes: Vec<_> = answer.items[0].warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["DUPLICATE_FIELD", "DUPLICATE_FIELD", "EVENT_TYPE_ASSUMED"]);
    assert_eq!(world.newest("PropertyRegistered").await["facts"]["bedrooms"], 3);
}

#[tokio::test]
async fn as_many_items_as_a_request_may_have_are_answered() {
    let world = World::new().await;
    let items: Vec<Value> = (0..MAX_ITEMS)
        .map(|n| json!({"property_id": format!("p-{}", n % 3_000), "data": {"bedrooms": n % 9}}))
        .collect();
    let answer = world.property(Value::Array(items)).await;
    assert_eq!(answer.items.len(), MAX_ITEMS);
    assert!(answer.items.iter().all(|item| item.status == Status::Accepted));
    assert!(answer.items.iter().enumerate().all(|(index, item)| item.index == index));
}

#[tokio::test]
async fn items_of_one_reference_are_stored_in_their_order() {
    let world = World::new().await;
    let items: Vec<Value> = (1..=200)
        .map(|n| {
            json!({"property_id": format!("p-{}", n % 4), "event_type": "price_changed",
                "data": {"price": n, "currency": "GBP"}})
        })
        .collect();
    let answer = world.property(Value::Array(items)).await;
    assert!(answer.items.iter().all(|item| item.status == Status::Accepted));
    let mut newest = std::collections::HashMap::new();
    for event in world.events(LogName::DOMAIN).await {
        let payload: Value = serde_json::from_slice(&event.payload).unwrap();
        if let Some(amount) = payload["new"]["amount_minor"].as_u64() {
            let before = newest.insert(event.stream, amount).unwrap_or(0);
            assert!(before < amount, "{before} came before {amount}");
        }
    }
    let mut last: Vec<u64> = newest.into_values().collect();
    last.sort_unstable();
    assert_eq!(last, [19_700, 19_800, 19_900, 20_000]);
}

#[tokio::test]
async fn a_request_key_gives_the_first_answer_again() {
    let world = World::new().await;
    let items = [
        br#"{"property_id": "a", "data": {"price": 1, "currency": "GBP"}}"#.as_slice(),
        br#"{"property_id": "b", "data": {"bedrooms": 2}}"#,
    ];
    let sender = Sender { request_key: Some("k-1"), ..world.sender() };
    let first = world.ingest.property(&sender, &items).await;
    world.property(json!({"property_id": "a", "data": {"price": 5, "currency": "GBP"}})).await;
    let again = world.ingest.property(&sender, &items).await;

    assert_eq!(said(&first)[0]["change"], "created");
    assert_eq!(said(&again)[0]["change"], "repeated");
    assert_eq!(said(&again)[1]["change"], "repeated");
    assert_eq!(again.items[0].position, first.items[0].position);
    let ids = |answer: &Answer| answer.items[0].events.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(world.newest("RentChanged").await["new"]["amount_minor"], 500, "not sent back");

    let other = [br#"{"property_id": "a", "data": {"price": 9}}"#.as_slice()];
    let other = world.ingest.property(&sender, &other).await;
    assert_eq!(other.items[0].errors[0].code, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn an_event_id_gives_the_first_answer_again_in_whatever_request() {
    let world = World::new().await;
    let item = json!({"property_id": "a", "event_id": "e-1", "data": {"bedrooms": 2}});
    let first = world.property(&item).await;
    world.property(json!({"property_id": "a", "data": {"bedrooms": 4}})).await;
    let again = world.property(json!([{"property_id": "b"}, item])).await;
    assert_eq!(said(&first)[0]["change"], "created");
    assert_eq!(said(&again)[1]["change"], "repeated");
    assert_eq!(again.items[1].position, first.items[0].position);
}

#[tokio::test]
async fn a_repeated_item_is_not_warned_of_what_would_be_planned_now() {
    let world = World::new().await;
    let priced = |data: Value| {
        let event_id = format!("e-{}", data["price"]);
        json!({"property_id": "a", "event_type": "price_changed", "event_id": event_id,
            "data": data})
    };
    let first = world.property(priced(json!({"price": 900, "frequency": "monthly"}))).await;
    let pounds = json!({"price": 950, "currency": "GBP", "frequency": "monthly"});
    world.property(priced(pounds)).await;
    let again = world.property(priced(json!({"price": 900, "frequency": "monthly"}))).await;

    assert_eq!(said(&first)[0]["warnings"], json!([["CURRENCY_ASSUMED", "data.price"]]));
    assert_eq!(said(&again)[0]["change"], "repeated");
    assert_eq!(said(&again)[0]["warnings"], json!([]), "it was taken as EUR, not as GBP");
}

#[tokio::test]
async fn a_full_queue_asks_to_send_again_and_keeps_the_order() {
    let world = World::new().await;
    world.property(json!([{"property_id": "a"}, {"property_id": "b"}])).await;
    world.log.make(Trouble { overloaded_every: Some(3), ..Trouble::default() });
    let prices: Vec<Value> = (1..=4)
        .map(|n| json!({"property_id": "a", "data": {"price": n, "currency": "GBP"}}))
        .collect();
    let answer = world.property(Value::Array(prices)).await;
    let statuses: Vec<Status> = answer.items.iter().map(|item| item.status).collect();
    assert_eq!(statuses, [Status::Accepted, Status::Accepted, Status::Retry, Status::Retry]);
    assert_eq!(answer.items[2].errors[0].code, "OVERLOADED");
    assert_eq!(answer.items[3].errors[0].code, "OUT_OF_TURN");
    assert!(answer.retry_after.is_some());
}

#[tokio::test]
async fn an_unreachable_log_asks_to_send_again() {
    let world = World::new().await;
    world.log.make(Trouble { unavailable: true, ..Trouble::default() });
    let answer = world.property(json!({"property_id": "a"})).await;
    assert_eq!(answer.items[0].status, Status::Retry);
    assert_eq!(answer.items[0].errors[0].code, "UNAVAILABLE");
    let answer = world.user(json!({"event_type": "property_viewed"})).await;
    assert_eq!(answer.items[0].status, Status::Retry);
}

#[tokio::test]
async fn a_sender_without_a_token_is_the_default_source() {
    let world = World { caller: caller("local", "acme"), ..World::new().await };
    let answer = world.property(json!({"property_id": "a"})).await;
    assert_eq!(answer.items[0].source.as_deref(), Some("default"));
    let answer = world.property(json!({"property_id": "a", "source": "crm"})).await;
    assert_eq!(answer.items[0].source.as_deref(), Some("crm"));
    assert_eq!(said(&answer)[0]["change"], "created", "references belong to their source");
}

#[tokio::test]
async fn thousands_of_unknown_fields_cost_no_more_than_a_few_warnings() {
    let world = World::new().await;
    let fields: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":1")).collect();
    let body = format!("{{\"property_id\":\"many\",\"data\":{{{}}}}}", fields.join(","));
    let started = std::time::Instant::now();
    let answer = world.property(body).await;
    // Comparing each with every known name took a minute and more.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(answer.items[0].status, Status::Accepted);
    assert_eq!(answer.items[0].warnings.len(), 50);
}

#[tokio::test]
async fn a_list_of_media_longer_than_any_is_refused_at_once() {
    let world = World::new().await;
    let photos: Vec<String> = (0..5_000).map(|n| format!("https://a.example/{n}.jpg")).collect();
    let item = json!({"property_id": "many", "data": {"photos": photos}});
    let answer = world.property(item.to_string()).await;
    assert_eq!(answer.items[0].errors[0].code, "TOO_MANY");
}

#[tokio::test]
async fn a_name_around_the_data_with_two_values_is_refused() {
    let world = World::new().await;
    let refused = |field: &str| json!([["DUPLICATE_FIELD", field]]);
    for (item, field) in [
        (
            r#"{"property_id":"a","event_type":"price_changed","event_type":"property_removed"}"#,
            "event_type",
        ),
        (r#"{"property_id":"a","propertyId":"b"}"#, "propertyId"),
        (r#"{"property_id":"a","source":"x","source":"y"}"#, "source"),
        (r#"{"property_id":"a","data":{"event_id":"1","event_id":"2"}}"#, "data.event_id"),
        (
            r#"{"property_id":"a","occurred_at":"2026-11-01T00:00:00Z","occurred_at":"2026-11-02T00:00:00Z"}"#,
            "occurred_at",
        ),
    ] {
        let answer = world.property(item).await;
        assert_eq!(said(&answer)[0]["errors"], refused(field), "{item}");
        assert_eq!(answer.items[0].status, Status::Refused, "{item}");
    }
    let user = r#"{"user_id":"a","user_id":"b","event_type":"property_viewed"}"#;
    assert_eq!(said(&world.user(user).await)[0]["errors"], refused("user_id"));
    assert!(world.events(LogName::DOMAIN).await.is_empty());

    let same = r#"{"property_id":"a","property_id":"a","event_type":"property_updated"}"#;
    assert_eq!(said(&world.property(same).await)[0]["warnings"], json!([]));
}

#[tokio::test]
async fn of_two_names_around_the_data_the_one_nearer_to_ours_counts_with_a_warning() {
    let world = World::new().await;
    for item in [
        r#"{"id":"row-7","property_id":"a","event_type":"property_updated"}"#,
        r#"{"property_id":"a","id":"row-7","event_type":"property_updated"}"#,
    ] {
        let answer = world.property(item).await;
        assert_eq!(answer.items[0].reference.as_deref(), Some("a"), "{item}");
        assert_eq!(said(&answer)[0]["warnings"], json!([["DUPLICATE_FIELD", "id"]]), "{item}");
    }
}

#[tokio::test]
async fn what_the_data_says_differently_about_the_item_is_left_out_with_a_warning() {
    let world = World::new().await;
    for (item, field) in [
        (json!({"property_id": "a", "data": {"property_id": "b"}}), "data.property_id"),
        (json!({"property_id": "a", "data": {"id": "b"}}), "data.id"),
        (json!({"property_id": "a", "source": "x", "data": {"source": "y"}}), "data.source"),
    ] {
        let mut item = item;
        item["event_type"] = json!("property_updated");
        let answer = world.property(&item).await;
        assert_eq!(answer.items[0].reference.as_deref(), Some("a"), "{item}");
        assert_eq!(said(&answer)[0]["warnings"], json!([["DUPLICATE_FIELD", field]]), "{item}");
    }
    let same = json!({"property_id": "a", "event_type": "property_updated", "data": {"id": "a"}});
    assert_eq!(said(&world.property(same).await)[0]["warnings"], json!([]));
}

#[tokio::test]
async fn a_user_event_is_about_what_its_data_says_with_a_warning_if_it_stands_outside_too() {
    let world = World::new().await;
    world.property(json!([complete("a"), complete("b")])).await;
    let viewed = |outside: &str| {
        json!({"property_id": outside, "user_id": "u", "event_type": "property_viewed",
            "data": {"property_id": "b"}})
    };
    let answer = world.user(viewed("a")).await;
    assert_eq!(said(&answer)[0]["warnings"], json!([["DUPLICATE_FIELD", "property_id"]]));
    assert_eq!(said(&world.user(viewed("b")).await)[0]["warnings"], json!([]));
}

#[tokio::test]
async fn one_fault_is_one_error() {
    let world = World::new().await;
    let errors = async |data: Value| {
        let answer = world.property(json!({"property_id": "a", "data": data})).await;
        said(&answer)[0]["errors"].clone()
    };
    for (data, error) in [
        (json!({"price": {"amount": "lots"}}), ["WRONG_TYPE", "data.price.amount"]),
        (json!({"living_area": {"value": "lots"}}), ["WRONG_TYPE", "data.living_area.value"]),
        (json!({"photos": [{"url": 1.5}]}), ["WRONG_TYPE", "data.photos[0].url"]),
        (json!({"location": {"lat": "n", "lon": 1}}), ["WRONG_TYPE", "data.location.lat"]),
        (json!({"available_from": "2026-02-30"}), ["MALFORMED", "data.available_from"]),
        (json!({"available_from": 20260230}), ["WRONG_TYPE", "data.available_from"]),
        (json!({"expires_at": "2026-02-30T00:00:00Z"}), ["MALFORMED", "data.expires_at"]),
        (
            json!({"photos": ["https://a.example/1", "https://a.example/2", "nowhere"]}),
            ["MALFORMED", "data.photos[2]"],
        ),
        (json!({"media": [{"href": "nowhere"}]}), ["MALFORMED", "data.media[0].href"]),
        (
            json!({"media": [{"url": "https://a.example/1", "alt": "x".repeat(501)}]}),
            ["TOO_LONG", "data.media[0].alt"],
        ),
    ] {
        assert_eq!(errors(data.clone()).await, json!([error]), "{data}");
    }
    for (item, error) in [
        (
            json!({"property_id": [], "event_type": "property_updated"}),
            ["WRONG_TYPE", "property_id"],
        ),
        (json!({"property_id": " ", "event_type": "property_updated"}), ["BLANK", "property_id"]),
        (json!({"property_id": "a", "event_type": 1.5}), ["WRONG_TYPE", "event_type"]),
    ] {
        let answer = said(&world.property(&item).await);
        assert_eq!(answer[0]["errors"], json!([error]), "{item}");
        assert_eq!(answer[0]["warnings"], json!([]), "{item}");
    }
    for (item, error) in [
        (json!({"event_type": []}), ["WRONG_TYPE", "event_type"]),
        (
            json!({"user_id": [], "event_type": "property_favorited", "data": {"property_id": "a"}}),
            ["WRONG_TYPE", "user_id"],
        ),
        (
            json!({"user_id": "u", "event_type": "property_favorited", "data": {"property_id": []}}),
            ["WRONG_TYPE", "data.property_id"],
        ),
    ] {
        let answer = said(&world.user(&item).await);
        assert_eq!(answer[0]["errors"], json!([error]), "{item}");
    }
}

#[tokio::test]
async fn the_projection_lag_is_of_that_moment() {
    let world = World::new().await;
    let Platform { store, models, codec, clock, .. } = world.platform.clone();
    let projections = Projections::new(store, models, codec, clock);
    let projections = Arc::new(freehold_projections::models::all(projections));
    projections.start();
    let platform = Platform { projections: Some(projections.clone()), ..world.platform.clone() };
    let ingest = Ingest::new(platform, IngestDefaults::default());
    let first = world.property(json!({"property_id": "a"})).await.position.unwrap();
    let reached = projections.wait_for("listings", first, Duration::from_secs(20)).await;
    reached.unwrap().unwrap();
    for price in 1..=5 {
        let item = json!({"property_id": "a", "data": {"price": price, "currency": "GBP"}});
        let stored = ingest.property(&world.sender(), &[item.to_string().as_bytes()]).await;
        let head = stored.position.unwrap();
        assert_eq!(stored.projection_lag.unwrap().head_position, head, "it is the head");

        let reached = projections.wait_for("listings", head, Duration::from_secs(20)).await;
        reached.unwrap().unwrap();

        let again = ingest.property(&world.sender(), &[item.to_string().as_bytes()]).await;
        let lag = again.projection_lag.unwrap();
        assert_eq!((lag.position, lag.head_position, lag.seconds), (head, head, 0.0));
    }
    projections.stop().await;
}
