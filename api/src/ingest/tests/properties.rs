use super::*;

#[tokio::test]
async fn a_bare_price_of_an_unknown_reference_registers_the_property_and_drafts_a_listing() {
    let world = World::new().await;

    let answer = world
        .property(r#"{"property_id": "test-123", "event_type": "property_updated", "data": {"price": 2000}}"#)
        .await;

    assert_eq!(
        said(&answer),
        json!([{
            "status": "accepted",
            "change": "created",
            "events": ["PropertyRegistered", "ListingDrafted"],
            "errors": [],
            "warnings": [["CURRENCY_ASSUMED", "data.price"], ["FREQUENCY_ASSUMED", "data.price"]],
        }])
    );
    let item = &answer.items[0];
    assert_eq!(item.reference.as_deref(), Some("test-123"));
    assert_eq!(item.source.as_deref(), Some("feed"));
    assert_eq!(item.position, Some(GlobalPosition(2)));
    assert_eq!(answer.position, Some(GlobalPosition(2)));
    assert!(item.id.is_some() && item.listing.is_some());
    let stored = world.events(LogName::DOMAIN).await;
    let ids: Vec<_> = stored.iter().map(|event| Some(event.event_id)).collect();
    assert_eq!(item.events.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    let price = json!({"amount_minor": 200_000, "currency": "EUR", "frequency": "Monthly"});
    assert_eq!(world.newest("ListingDrafted").await["price"], price);
}

#[tokio::test]
async fn the_first_use_of_a_reference_creates_later_ones_update_and_the_same_changes_nothing() {
    let world = World::new().await;
    let with_price = |price: u32| {
        json!({"property_id": "a", "event_type": "property_updated",
            "data": {"price": price, "currency": "GBP", "bedrooms": 3}})
    };
    let first = world.property(with_price(900)).await;
    let second = world.property(with_price(950)).await;
    let third = world.property(with_price(950)).await;

    assert_eq!(said(&first)[0]["change"], "created");
    assert_eq!(said(&second)[0]["change"], "updated");
    assert_eq!(said(&second)[0]["events"], json!(["RentChanged"]));
    assert_eq!(said(&third)[0]["change"], "unchanged");
    assert_eq!(world.events(LogName::DOMAIN).await.len(), 3);
    assert_eq!(first.items[0].id, third.items[0].id);
    assert_eq!(third.items[0].position, Some(GlobalPosition(3)), "the head, for minPosition");
}

#[tokio::test]
async fn a_bare_price_keeps_the_currency_and_the_frequency_that_the_listing_has() {
    let world = World::new().await;
    world.property(complete("a")).await;
    world
        .property(
            json!({"property_id": "a", "event_type": "price_changed", "data": {"rent": "1900.50"}}),
        )
        .await;
    let price = json!({"amount_minor": 190_050, "currency": "GBP", "frequency": "Monthly"});
    assert_eq!(world.newest("RentChanged").await["new"], price);
}

#[tokio::test]
async fn a_complete_listing_is_published_in_one_append() {
    let world = World::new().await;
    let answer = world.property(complete("a")).await;
    assert_eq!(
        said(&answer)[0]["events"],
        json!([
            "PropertyRegistered",
            "ListingDrafted",
            "MediaAttached",
            "MediaAttached",
            "ListingPublished"
        ])
    );
    let again = world.property(complete("a")).await;
    assert_eq!(said(&again)[0]["change"], "unchanged");
}

#[tokio::test]
async fn an_item_whose_part_is_refused_stores_nothing_and_names_what_was_sent() {
    let world = World::new().await;
    let answer = world
        .property(json!({"property_id": "a", "event_type": "listing_published",
            "data": {"rent": 900, "beds": 500, "year_built": 12, "title": "Flat"}}))
        .await;
    let item = &answer.items[0];
    assert_eq!(
        said(&answer)[0]["errors"],
        json!([["OUT_OF_RANGE", "data.year_built"], ["OUT_OF_RANGE", "data.beds"]])
    );
    assert_eq!(item.errors[1].value, Some(json!(500)));
    assert!(world.events(LogName::DOMAIN).await.is_empty());

    let incomplete = world
        .property(
            json!({"property_id": "a", "event_type": "listing_published", "data": {"rent": 900}}),
        )
        .await;
    assert_eq!(
        said(&incomplete)[0]["errors"],
        json!([
            ["AVAILABILITY_MISSING", "data.available_from"],
            ["PHOTO_MISSING", "data.media"],
            ["ADDRESS_MISSING", "data.address"]
        ])
    );
    assert!(world.events(LogName::DOMAIN).await.is_empty());
}

#[tokio::test]
async fn names_that_feeds_use_are_understood() {
    let world = World::new().await;
    let answer = world
        .property(json!({"ListingKey": "x", "EventType": "PropertyUpdated",
        "ModificationTimestamp": "2026-11-20T10:00:00Z",
        "Data": {
            "ListPrice": 1000, "Currency": "usd", "LeaseRateFrequency": "Weekly",
            "BedroomsTotal": "2", "BathroomsTotalDecimal": 2.5, "LivingArea": 900,
            "LivingAreaUnits": "SquareFeet", "PropertySubType": "condo",
            "Latitude": 41.5, "Longitude": "-83.5", "StateOrProvince": "OH",
            "AvailabilityDate": "2026-12-24T00:00:00Z", "Features": "lift, garden",
        }}))
        .await;
    assert_eq!(said(&answer)[0]["warnings"], json!([]));
    let registered = world.newest("PropertyRegistered").await;
    assert_eq!(
        registered["facts"],
        json!({
            "property_type": "Condominium", "bedrooms": 2, "bathrooms_full": 2, "bathrooms_half": 1,
            "address": {"region": "OH"}, "living_area": {"value": 900.0, "unit": "SquareFeet"},
            "coordinates": {"latitude": 41.5, "longitude": -83.5},
        })
    );
    assert_eq!(registered["amenities"], json!(["garden", "lift"]));
    let drafted = world.newest("ListingDrafted").await;
    assert_eq!(drafted["available_from"], "2026-12-24");
    assert_eq!(drafted["price"]["frequency"], "Weekly");
    let occurred = world.events(LogName::DOMAIN).await[0].occurred_at;
    assert_eq!(occurred, "2026-11-20T10:00:00Z".parse::<DateTime<Utc>>().unwrap());
}

#[tokio::test]
async fn a_flat_record_is_an_item_too() {
    let world = World::new().await;
    let answer = world.property(json!({"reference": "r-1", "beds": 1, "price": 800})).await;
    assert_eq!(said(&answer)[0]["change"], "created");
    assert_eq!(said(&answer)[0]["warnings"][0], json!(["EVENT_TYPE_ASSUMED", "event_type"]));
}

#[tokio::test]
async fn unknown_fields_are_left_out_with_their_nearest_name() {
    let world = World::new().await;
    let answer = world
        .property(json!({"property_id": "a", "data": {"bedroms": 2, "landlord_email": "a@b.c"}}))
        .await;
    let warnings = &answer.items[0].warnings;
    let bedroms = warnings.iter().find(|w| w.field.as_deref() == Some("data.bedroms")).unwrap();
    assert!(bedroms.message.contains("bedrooms"), "{}", bedroms.message);
    assert!(!serde_json::to_string(&answer).unwrap().contains("a@b.c"));
    let stored = world.events(LogName::DOMAIN).await;
    assert!(stored.iter().all(|event| !event.payload.windows(5).any(|part| part == b"a@b.c")));
}

#[tokio::test]
async fn null_takes_a_fact_away() {
    let world = World::new().await;
    world.property(json!({"property_id": "a", "data": {"title": "Old", "bedrooms": 2}})).await;
    let answer = world.property(json!({"property_id": "a", "data": {"title": null}})).await;
    assert_eq!(said(&answer)[0]["events"], json!(["PropertyFactsCorrected"]));
    assert_eq!(
        world.newest("PropertyFactsCorrected").await["changes"],
        json!([{"title": {"old": "Old"}}])
    );
}

#[tokio::test]
async fn part_of_an_address_completes_the_one_that_is_known() {
    let world = World::new().await;
    world.property(complete("a")).await;
    world.property(json!({"property_id": "a", "data": {"postcode": "OX1 1AA"}})).await;
    let change = world.newest("PropertyFactsCorrected").await;
    assert_eq!(change["changes"][0]["address"]["new"]["street"], "1 High Street");
    assert_eq!(change["changes"][0]["address"]["new"]["postal_code"], "OX1 1AA");
}

#[tokio::test]
async fn a_list_of_photos_replaces_reorders_and_adds() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let photos = |names: &[&str], event: &str| {
        let urls: Vec<_> = names.iter().map(|n| format!("https://example.com/{n}.jpg")).collect();
        json!({"property_id": "a", "event_type": event, "data": {"photos": urls}})
    };
    let answer = world.property(photos(&["3", "2"], "property_updated")).await;
    assert_eq!(
        said(&answer)[0]["events"],
        json!(["MediaRemoved", "MediaAttached", "MediaReordered"])
    );
    let answer = world.property(photos(&["3", "2"], "property_updated")).await;
    assert_eq!(said(&answer)[0]["change"], "unchanged");
    let answer = world.property(photos(&["4", "4"], "photos_added")).await;
    assert_eq!(said(&answer)[0]["events"], json!(["MediaAttached"]));
    assert_eq!(said(&answer)[0]["warnings"][0][0], "DUPLICATE_MEDIA");
}

#[tokio::test]
async fn a_removed_property_leaves_the_market_and_removing_it_again_changes_nothing() {
    let world = World::new().await;
    world.property(complete("a")).await;
    let remove = json!({"property_id": "a", "event_type": "property_removed", "data": {"reason": "sold by owner"}});
    let first = world.property(&remove).await;
    let second = world.property(&remove).await;
    let unknown =
        world.property(json!({"property_id": "zz", "event_type": "property_removed"})).await;
    assert_eq!(said(&first)[0]["events"], json!(["ListingWithdrawn"]));
    assert_eq!(world.newest("ListingWithdrawn").await["reason"], "sold by owner");
    assert_eq!(said(&second)[0]["change"], "unchanged");
    assert_eq!(said(&unknown)[0]["change"], "unchanged");
    assert_eq!(said(&unknown)[0]["warnings"][0][0], "UNKNOWN_REFERENCE");
    assert_eq!(unknown.items[0].id, None);
}

#[tokio::test]
async fn statuses_of_feeds_move_a_listing() {
    let world = World::new().await;
    world.property(complete("a")).await;
    for (status, expected) in [
        ("hold", json!(["ListingHeld"])),
        ("active", json!(["ListingBackOnMarket"])),
        ("Active", json!([])),
        ("under_offer", json!(["ListingPending"])),
        ("let_agreed", json!(["ListingLeased"])),
        ("closed", json!([])),
    ] {
        let answer = world
            .property(json!({"property_id": "a", "event_type": "status_changed", "data": {"status": status}}))
            .await;
        assert_eq!(said(&answer)[0]["events"], expected, "{status}: {}", said(&answer));
        assert_eq!(said(&answer)[0]["status"], "accepted");
    }
    let relisted = world.property(complete("a")).await;
    assert_eq!(said(&relisted)[0]["events"], json!(["ListingDrafted", "ListingPublished"]));
}

#[tokio::test]
async fn a_home_that_was_let_elsewhere_becomes_a_closing() {
    let world = World::new().await;
    let sold = json!({"property_id": "a", "data":
        {"status": "sold", "sale_price": 250000, "currency": "USD", "close_date": "2026-10-01"}});
    let answer = world.property(&sold).await;
    assert_eq!(said(&answer)[0]["events"], json!(["PropertyRegistered", "ClosingRecorded"]));
}

#[tokio::test]
async fn numbers_that_cannot_be_are_refused_by_name() {
    let world = World::new().await;
    let cases = [
        (r#"{"price": 0}"#, "PRICE_INVALID"),
        (r#"{"price": -5}"#, "PRICE_INVALID"),
        (r#"{"price": 1e30}"#, "OUT_OF_RANGE"),
        (r#"{"price": 1e300}"#, "OUT_OF_RANGE"),
        (r#"{"price": 99999999999999999999}"#, "OUT_OF_RANGE"),
        (r#"{"price": 10.005}"#, "TOO_PRECISE"),
        (r#"{"price": 10.5, "currency": "JPY"}"#, "TOO_PRECISE"),
        (r#"{"price": "two thousand"}"#, "WRONG_TYPE"),
        (r#"{"price": [2000]}"#, "WRONG_TYPE"),
        (r#"{"price": {"currency": "EUR"}}"#, "FIELD_MISSING"),
        (r#"{"price": 1, "currency": "XXX"}"#, "UNKNOWN_CURRENCY"),
        (r#"{"price": 1, "frequency": "sometimes"}"#, "UNKNOWN_VALUE"),
        (r#"{"bedrooms": -1}"#, "OUT_OF_RANGE"),
        (r#"{"bedrooms": 1.5}"#, "OUT_OF_RANGE"),
        (r#"{"bathrooms": 1.3}"#, "OUT_OF_RANGE"),
        (r#"{"living_area": 0}"#, "OUT_OF_RANGE"),
        (r#"{"living_area": -20, "area_unit": "sqm"}"#, "OUT_OF_RANGE"),
        (r#"{"latitude": 95, "longitude": 10}"#, "OUT_OF_RANGE"),
        (r#"{"latitude": 50}"#, "COORDINATES_INCOMPLETE"),
        (r#"{"available_from": "soon"}"#, "WRONG_TYPE"),
        (r#"{"available_from": "0001-01-01"}"#, "OUT_OF_RANGE"),
        (r#"{"photos": ["not a url"]}"#, "MALFORMED"),
        (r#"{"title": ""}"#, "BLANK"),
        (r#"{"title": {"en": "Flat"}}"#, "WRONG_TYPE"),
        (r#"{"status": "lost"}"#, "UNKNOWN_VALUE"),
    ];
    for (data, code) in cases {
        let answer = world.property(format!(r#"{{"property_id": "a", "data": {data}}}"#)).await;
        assert_eq!(said(&answer)[0]["status"], "refused", "{data}");
        assert_eq!(answer.items[0].errors[0].code, code, "{data}: {}", said(&answer));
        assert!(answer.items[0].errors[0].field.is_some(), "{data}");
    }
    assert!(world.events(LogName::DOMAIN).await.is_empty());
}

#[tokio::test]
async fn data_that_is_likely_wrong_is_accepted_with_a_warning() {
    let world = World::new().await;
    let cases = [
        (json!({"living_area": 2584, "area_unit": "MTK", "bedrooms": 4}), "AREA_OUTLIER"),
        (json!({"latitude": 0, "longitude": 0}), "COORDINATES_ZERO"),
        (json!({"available_from": "2020-01-01"}), "AVAILABILITY_IN_PAST"),
        (
            json!({"price": 150000, "currency": "GBP", "frequency": "monthly"}),
            "PRICE_FREQUENCY_SUSPECT",
        ),
        (json!({"living_area": 70}), "AREA_UNIT_ASSUMED"),
        (json!({"property_type": "houseboat"}), "UNKNOWN_VALUE"),
    ];
    for (index, (data, code)) in cases.into_iter().enumerate() {
        let answer =
            world.property(json!({"property_id": format!("w-{index}"), "data": data})).await;
        assert_eq!(said(&answer)[0]["status"], "accepted", "{code}");
        let codes: Vec<_> = answer.items[0].warnings.iter().map(|warning| warning.code).collect();
        assert!(codes.contains(&code), "{codes:?} lacks {code}");
    }
}

#[tokio::test]
async fn a_clock_ahead_is_warned_about_and_a_day_ahead_refused() {
    let world = World::new().await;
    let at = |occurred: String| json!({"property_id": "a", "event_timestamp": occurred});
    let ahead = world.property(at((noon() + TimeDelta::minutes(10)).to_rfc3339())).await;
    assert!(ahead.items[0].warnings.iter().any(|warning| warning.code == "CLOCK_SKEW"));
    let future = world.property(at(in_days(2))).await;
    assert_eq!(said(&future)[0]["errors"], json!([["TIMESTAMP_IN_FUTURE", "event_timestamp"]]));
    let ancient = world.property(at("1203-01-01T00:00:00Z".to_owned())).await;
    assert_eq!(ancient.items[0].errors[0].code, "TIMESTAMP_OUT_OF_RANGE");
}

#[tokio::test]
async fn our_own_id_names_a_property_of_the_same_tenant_only() {
    let world = World::new().await;
    let first = world.property(complete("a")).await;
    let id = first.items[0].id.unwrap();
    let by_id = json!({"property_id": id, "data": {"title": "By id"}});
    let mut stranger = World { caller: caller("other", "rival"), ..world };
    let answer = stranger.property(&by_id).await;
    assert_ne!(answer.items[0].id, Some(id), "another tenant's id is a reference like any other");
    stranger.caller = caller("someone", "acme");
    let answer = stranger.property(&by_id).await;
    assert_eq!(answer.items[0].id, Some(id));
}

#[tokio::test]
async fn racing_registrations_of_one_reference_make_one_property() {
    let world = Arc::new(World::new().await);
    let sends = (0..8).map(|bedrooms| {
        let world = world.clone();
        tokio::spawn(async move {
            // Each with nothing remembered, as in processes of their own.
            let ingest = Ingest::new(world.platform.clone(), IngestDefaults::default());
            let item = json!({"property_id": "race", "data": {"bedrooms": bedrooms}}).to_string();
            ingest.property(&world.sender(), &[item.as_bytes()]).await
        })
    });
    let mut ids = std::collections::HashSet::new();
    for answer in futures_util::future::join_all(sends).await {
        let answer = answer.unwrap();
        assert_eq!(said(&answer)[0]["status"], "accepted", "{}", said(&answer));
        ids.insert(answer.items[0].id);
    }
    assert_eq!(ids.len(), 1);
    let registered = world.event_types().await;
    let registered = registered.iter().filter(|name| *name == "PropertyRegistered");
    assert_eq!(registered.count(), 1);
}
