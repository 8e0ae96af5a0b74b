//! What is wrong with an input, and what speaks against a command.

use serde_json::{Value, json};

use super::world::*;

fn with(base: &Value, more: Value) -> Value {
    let mut input = base.clone();
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

#[tokio::test]
async fn every_bad_field_of_an_input_is_told_at_once_by_its_path() {
    let world = World::new().await;
    let input = json!({
        "commandId": "mine", "expectedVersion": -1,
        "source": { "source": "a/b", "reference": "" },
        "facts": {
            "title": "", "bedrooms": -1, "yearBuilt": 70_000, "rooms": 600,
            "address": { "postalCode": "\u{7}", "country": "Germany" },
            "coordinates": { "latitude": 91, "longitude": 0 },
            "livingArea": { "value": 0, "unit": "SQUARE_FEET" },
        },
        "amenities": ["lift", "balcony", ""],
    });

    let refused = world.send("propertyRegister", input).await;

    let expected = [
        "INVALID_ID input.commandId",
        "INVALID_INPUT input.expectedVersion",
        "OUT_OF_RANGE input.facts.yearBuilt",
        "OUT_OF_RANGE input.facts.bedrooms",
        "MALFORMED input.source.source",
        "BLANK input.source.reference",
        "BLANK input.facts.title",
        "MALFORMED input.facts.address.postalCode",
        "MALFORMED input.facts.address.country",
        "OUT_OF_RANGE input.facts.coordinates",
        "OUT_OF_RANGE input.facts.rooms",
        "OUT_OF_RANGE input.facts.livingArea",
        "PROPERTY_TYPE_MISSING input.facts.propertyType",
        "BLANK input.amenities.2",
    ];
    let mut errors = refused.errors();
    errors.sort_unstable();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(errors, expected);
    assert_eq!((refused.outcome(), world.log().await.len()), ("none", 0));
    assert_eq!([&refused.0["streamVersion"], &refused.0["position"]], [&Value::Null; 2]);
}

#[tokio::test]
async fn prices_ids_and_lists_are_told_by_their_place() {
    let world = World::new().await;
    let (property, listing) = world.draft("berlin-1").await;
    let price = json!({ "amountMinor": 0, "currency": "EURO", "frequency": "MONTHLY" });
    let cases = [
        (
            "listingPriceChange",
            json!({ "listing": listing, "price": price, "reason": "x" }),
            vec!["NOT_POSITIVE input.price.amountMinor", "UNKNOWN_CURRENCY input.price.currency"],
        ),
        (
            "listingMoveInCostsSet",
            json!({ "listing": "nonsense", "costs": [
                { "kind": "PET_DEPOSIT", "price": once(1) },
                { "kind": "CLEANING_FEE", "price": price },
            ] }),
            vec![
                "INVALID_ID input.listing",
                "NOT_POSITIVE input.costs.1.price.amountMinor",
                "UNKNOWN_CURRENCY input.costs.1.price.currency",
            ],
        ),
        (
            "listingMoveInCostsSet",
            json!({ "listing": listing, "costs": [
                { "kind": "PET_DEPOSIT", "price": rent(1) },
                { "kind": "PET_DEPOSIT", "price": once(1) },
            ] }),
            vec!["NOT_ONE_TIME input.costs.0.price", "REPEATED input.costs.1.kind"],
        ),
        (
            "listingLeaseTermsSet",
            json!({ "listing": listing, "terms": {
                "minMonths": 24, "maxMonths": 12, "maxPets": -1,
                "rentIncludes": ["water"], "tenantPays": ["power", "Water", ""],
            } }),
            vec![
                "OUT_OF_RANGE input.terms.maxPets",
                "MIN_ABOVE_MAX input.terms.minMonths",
                "BLANK input.terms.tenantPays.2",
                "PAID_TWICE input.terms.tenantPays.1",
            ],
        ),
        (
            "mediaReorder",
            json!({ "property": { "id": property }, "order": ["x", PHOTO] }),
            vec!["INVALID_ID input.order.0"],
        ),
        (
            "mediaReorder",
            json!({ "property": { "id": property }, "order": [PHOTO] }),
            vec!["MEDIA_NOT_FOUND input.order.0"],
        ),
        (
            "propertyFactsCorrect",
            json!({ "property": { "id": property }, "facts": { "title": "Loft" },
                "clear": ["TITLE", "PROPERTY_TYPE"] }),
            vec!["SET_AND_CLEARED input.facts.title", "PROPERTY_TYPE_MISSING input.clear"],
        ),
        (
            "propertyAddressVerify",
            json!({ "property": { "id": property }, "outcome": { "found": {
                "coordinates": { "latitude": 91, "longitude": 0 },
                "precision": "CITY", "visibility": "EXACT",
            } } }),
            vec!["OUT_OF_RANGE input.outcome.found.coordinates"],
        ),
        (
            "userRegister",
            json!({ "email": "ada", "phone": "12", "displayName": "",
                "source": { "source": "crm", "reference": "a@b" } }),
            vec![
                "SOURCE_INVALID input.source",
                "DISPLAY_NAME_INVALID input.displayName",
                "EMAIL_INVALID input.email",
                "PHONE_INVALID input.phone",
            ],
        ),
        ("userRegister", json!({}), vec!["EMAIL_MISSING input.email"]),
    ];
    for (mutation, input, expected) in cases {
        let refused = world.send(mutation, input).await;
        let mut errors = refused.errors();
        errors.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(errors, expected, "{mutation}");
    }
}

const PHOTO: &str = "00000000-0000-0000-0000-0000000000b1";

#[tokio::test]
async fn a_filter_is_told_by_the_paths_of_the_input() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    let search = json!({ "user": user, "name": "Near work", "schedule": "DAILY" });
    let cases = [
        (
            json!({
                "area": { "box": { "south": 53, "west": 13, "north": 52, "east": 181 } },
                "price": { "minMinor": 2, "maxMinor": 1, "currency": "EUR",
                    "frequency": "MONTHLY" },
                "bedrooms": { "min": 3, "max": 2 }, "bathroomsMin": -1,
                "floorArea": { "min": 2, "max": 1, "unit": "SQUARE_METERS" },
            }),
            vec![
                "SEARCH_INVALID input.filter.area.box.east",
                "SEARCH_INVALID input.filter.area.box.north",
                "SEARCH_INVALID input.filter.price.maxMinor",
                "SEARCH_INVALID input.filter.bedrooms.max",
                "SEARCH_INVALID input.filter.bathroomsMin",
                "SEARCH_INVALID input.filter.floorArea.max",
            ],
        ),
        (
            json!({
                "area": { "radius": { "latitude": 91, "longitude": 0, "meters": 0.5 } },
                "price": { "minMinor": -1 }, "floorArea": { "min": 2 },
            }),
            vec![
                "OUT_OF_RANGE input.filter.price.minMinor",
                "INVALID_INPUT input.filter.price.currency",
                "INVALID_INPUT input.filter.price.frequency",
                "INVALID_INPUT input.filter.floorArea.unit",
                "SEARCH_INVALID input.filter.area.radius",
                "SEARCH_INVALID input.filter.area.radius.meters",
            ],
        ),
    ];
    for (filter, mut expected) in cases {
        let refused = world.send("searchSave", with(&search, json!({ "filter": filter }))).await;
        let mut errors = refused.errors();
        errors.sort_unstable();
        expected.sort_unstable();
        assert_eq!(errors, expected);
    }
}

#[tokio::test]
async fn what_a_listing_lacks_is_told_without_a_field_of_the_input() {
    let world = World::new().await;
    let property = world.property("berlin-1").await;
    world.accepted("listingDraft", json!({ "property": { "id": property } })).await;
    let listing = world.last_payload().await["listing"].clone();

    let refused = world.send("listingPublish", json!({ "listing": listing })).await;

    assert_eq!(refused.errors(), ["RENT_MISSING", "AVAILABILITY_MISSING", "PHOTO_MISSING"]);
}

#[tokio::test]
async fn a_move_that_the_state_machine_lacks_says_from_where_to_where() {
    let world = World::new().await;
    let (_, listing) = world.draft("berlin-1").await;

    let refused = world.send("listingHold", json!({ "listing": listing })).await;

    assert_eq!(refused.errors(), ["INVALID_TRANSITION"]);
    let error = &refused.0["userErrors"][0];
    assert_eq!((&error["from"], &error["to"]), (&json!("DRAFT"), &json!("ON_HOLD")));
}

#[tokio::test]
async fn a_version_that_is_not_the_streams_is_a_conflict_that_says_the_true_one() {
    let world = World::new().await;
    let (_, listing) = world.draft("berlin-1").await;
    let price = json!({ "listing": listing, "price": rent(99_000) });

    let refused = world
        .send(
            "listingPriceChange",
            with(
                &price,
                json!({
                    "expectedVersion": 2,
                }),
            ),
        )
        .await;
    let accepted = world
        .send(
            "listingPriceChange",
            with(
                &price,
                json!({
                    "expectedVersion": "3",
                }),
            ),
        )
        .await;

    assert_eq!(refused.errors(), ["VERSION_CONFLICT input.expectedVersion"]);
    assert_eq!(refused.0["userErrors"][0]["currentVersion"], "3");
    assert_eq!(accepted.outcome(), "STORED");
}

#[tokio::test]
async fn a_reference_is_registered_once_within_a_tenant() {
    let world = World::new().await;
    world.property("berlin-1").await;

    let refused = world.send("propertyRegister", registration("berlin-1")).await;
    let elsewhere = world.send_as(STRANGER, "propertyRegister", registration("berlin-1")).await;

    assert_eq!(refused.errors(), ["DUPLICATE_SOURCE_REF input.source"]);
    assert_eq!(elsewhere.outcome(), "STORED");
    let user = json!({ "source": { "source": "crm", "reference": "user-1" } });
    world.accepted("userRegister", user.clone()).await;
    let refused = world.send("userRegister", user).await;
    assert_eq!(refused.errors(), ["DUPLICATE_SOURCE_REF input.source"]);
}

#[tokio::test]
async fn an_address_belongs_to_one_account_until_that_is_closed() {
    let world = World::new().await;
    let ada = world.user("ada@example.com").await;
    let again = json!({ "email": "ADA@example.com" });

    let refused = world.send("userRegister", again.clone()).await;
    assert_eq!(refused.errors(), ["EMAIL_TAKEN input.email"]);
    let message = refused.0["userErrors"][0]["message"].as_str().unwrap();
    assert!(!message.contains(&ada), "whose address it is stays unsaid");

    world.accepted("accountClose", json!({ "user": ada })).await;
    assert_eq!(world.accepted("userRegister", again).await, ["UserRegistered"]);
}

#[tokio::test]
async fn nothing_of_another_tenant_is_found() {
    let world = World::new().await;
    let (property, listing) = world.draft("berlin-1").await;
    let user = world.user("ada@example.com").await;
    let source = json!({ "source": "berlin", "reference": "berlin-1" });
    let before = world.log().await.len();
    let cases = [
        ("propertyArchive", json!({ "property": { "id": property } }), "NOT_REGISTERED"),
        (
            "propertyArchive",
            json!({ "property": { "source": source } }),
            "NOT_REGISTERED input.property.source",
        ),
        ("listingVoid", json!({ "listing": listing }), "LISTING_NOT_FOUND input.listing"),
        ("userReinstate", json!({ "user": user }), "NOT_REGISTERED"),
    ];
    for (mutation, input, expected) in cases {
        let refused = world.send_as(STRANGER, mutation, input).await;
        assert_eq!(refused.errors(), [expected], "{mutation}");
    }
    let merged = json!({ "property": { "source": source }, "survivor": property });
    world.send_as(STRANGER, "propertyRegister", registration("berlin-1")).await;
    let refused = world.send_as(STRANGER, "propertyDuplicateMark", merged).await;
    assert_eq!(refused.errors(), ["NOT_REGISTERED input.survivor"]);
    assert_eq!(world.log().await.len(), before + 1);
}

#[tokio::test]
async fn what_the_platform_looks_up_decides_too() {
    let world = World::new().await;
    let (_, listing) = world.draft("berlin-1").await;
    let agent = world.user("agent@example.com").await;
    world.accepted("userSuspend", json!({ "user": agent, "reason": "Chargebacks" })).await;

    let input = json!({ "listing": listing, "agent": agent, "commandId": PHOTO });
    let refused = world.send("listingAgentReassign", input.clone()).await;
    assert_eq!(refused.errors(), ["AGENT_INACTIVE input.agent"]);

    world.accepted("userReinstate", json!({ "user": agent })).await;
    let accepted = world.send("listingAgentReassign", input.clone()).await;
    assert_eq!(accepted.outcome(), "STORED");
    world.accepted("accountClose", json!({ "user": agent })).await;
    let repeated = world.send("listingAgentReassign", input).await;
    assert_eq!(repeated.outcome(), "REPEATED", "the same command, whatever became of the agent");

    let (one, two, three) = (
        world.property("dup-1").await,
        world.property("dup-2").await,
        world.property("dup-3").await,
    );
    let merge = |property: &str, survivor: &str| json!({ "property": { "id": property }, "survivor": survivor });
    world.accepted("propertyDuplicateMark", merge(&one, &two)).await;
    let refused = world.send("propertyDuplicateMark", merge(&three, &one)).await;
    assert_eq!(refused.errors(), ["SURVIVOR_IS_DUPLICATE input.survivor"]);
}

#[tokio::test]
async fn ids_are_global_ids_or_uuids_of_the_right_type() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let id = |kind: &str| base64::Engine::encode(&engine, format!("{kind}:{user}"));

    let right = world.send("userReinstate", json!({ "user": id("User") })).await;
    let wrong = world.send("userReinstate", json!({ "user": id("Property") })).await;
    let hold = world.send("legalHoldRelease", json!({ "user": "x", "hold": id("User") })).await;

    assert_eq!(right.outcome(), "UNCHANGED");
    assert_eq!(wrong.errors(), ["INVALID_ID input.user"]);
    assert_eq!(hold.errors(), ["INVALID_ID input.hold", "INVALID_ID input.user"]);
}

#[tokio::test]
async fn nothing_happened_in_the_future_or_before_there_were_records() {
    let world = World::new().await;
    let property = json!({ "id": world.property("berlin-1").await });
    for (occurred_at, code) in [
        ("2999-01-01T00:00:00Z", "TIMESTAMP_IN_FUTURE input.occurredAt"),
        ("1800-01-01T00:00:00Z", "TIMESTAMP_OUT_OF_RANGE input.occurredAt"),
    ] {
        let input = json!({ "property": property, "occurredAt": occurred_at });
        assert_eq!(world.send("propertyArchive", input).await.errors(), [code]);
    }
    let long_ago = json!({ "property": property, "occurredAt": "1984-05-06T00:00:00Z" });
    assert_eq!(world.accepted("propertyArchive", long_ago).await, ["PropertyArchived"]);
}

#[tokio::test]
async fn nobody_has_an_opinion_about_a_listing_that_is_not() {
    let world = World::new().await;
    let user = world.user("ada@example.com").await;
    let (_, listing) = world.draft("berlin-1").await;
    let unknown = json!({ "user": user, "listing": PHOTO });
    for mutation in ["listingFavourite", "listingMarkPossible", "listingDiscard"] {
        let refused = world.send(mutation, unknown.clone()).await;
        assert_eq!(refused.errors(), ["LISTING_NOT_FOUND input.listing"], "{mutation}");
    }
    let known = json!({ "user": user, "listing": listing });
    assert_eq!(world.accepted("listingFavourite", known).await, ["ListingPreferenceSet"]);
    world.accepted("listingPreferenceClear", unknown).await;
}

#[tokio::test]
async fn more_money_than_there_is_and_places_that_are_not_are_refused() {
    let world = World::new().await;
    let (property, listing) = world.draft("berlin-1").await;
    let price = |amount: i64| json!({ "amountMinor": amount.to_string(), "currency": "EUR", "frequency": "MONTHLY" });
    let input = json!({ "listing": listing, "price": price(1 << 53) });
    let refused = world.send("listingPriceChange", input).await;
    assert_eq!(refused.errors(), ["OUT_OF_RANGE input.price"]);
    world
        .accepted(
            "listingPriceChange",
            json!({ "listing": listing, "price": price((1 << 53) - 1) }),
        )
        .await;
    let facts = json!({ "address": { "city": "Berlin", "country": "QX" } });
    let input = json!({ "property": { "id": property }, "facts": facts });
    let refused = world.send("propertyFactsCorrect", input).await;
    assert_eq!(refused.errors(), ["MALFORMED input.facts.address.country"]);
}

#[tokio::test]
async fn a_listing_that_cannot_go_there_is_told_where_it_can_go() {
    let world = World::new().await;
    let (_, listing) = world.draft("berlin-1").await;
    let input = json!({ "listing": listing });
    let message = async |mutation: &str| {
        let refused = world.send(mutation, input.clone()).await;
        refused.0["userErrors"][0]["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        message("listingHold").await,
        "this listing is Draft and cannot become OnHold this way; it may become InReview, \
         ComingSoon, Active or Voided"
    );
    assert_eq!(
        message("listingResume").await,
        "this listing is Draft and cannot become Active this way; publish it"
    );
    world.accepted("listingVoid", input.clone()).await;
    assert_eq!(
        message("listingHold").await,
        "this listing is Voided and cannot become OnHold this way; that is final: draft a new one"
    );
}
