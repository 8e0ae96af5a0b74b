//! Whatever is sent gets an answer, and harms nothing beside it.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::ingest::Status;
use crate::ingest::names::{
    ENVELOPE_FIELDS, PROPERTY_EVENTS, PROPERTY_FIELDS, USER_EVENTS, USER_FIELDS,
};

fn names() -> Vec<&'static str> {
    let fields = PROPERTY_FIELDS.all.iter().flat_map(|(_, names)| names.iter());
    let fields = fields.chain(USER_FIELDS.all.iter().flat_map(|(_, names)| names.iter()));
    fields.chain(ENVELOPE_FIELDS.all.iter().flat_map(|(_, names)| names.iter())).copied().collect()
}

fn any_json() -> impl Strategy<Value = Value> {
    let events = PROPERTY_EVENTS.all.iter().flat_map(|(_, names)| names.iter());
    let events = events.chain(USER_EVENTS.all.iter().flat_map(|(_, names)| names.iter()));
    let events: Vec<&'static str> = events.copied().collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u32..3_000).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(events).prop_map(Value::from),
        prop::sample::select(vec![
            "active",
            "leased",
            "sqft",
            "EUR",
            "weekly",
            "2026-11-20",
            "https://example.com/1.jpg",
            "1e9",
            "-0.0",
            "2026-11-20T10:00:00",
            "\u{0}",
            "a/b",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let field = prop_oneof![
            4 => prop::sample::select(names()).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((field, inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An item that has a chance: its envelope is right, its data is anything.
fn almost_an_item() -> impl Strategy<Value = Value> {
    let events = PROPERTY_EVENTS.all.iter().flat_map(|(_, names)| names.iter());
    let events = events.chain(USER_EVENTS.all.iter().flat_map(|(_, names)| names.iter()));
    let events: Vec<&'static str> = events.copied().collect();
    let field = prop::sample::select(names());
    let data = prop::collection::vec((field, any_json()), 0..6);
    (prop::sample::select(events), data).prop_map(|(event, data)| {
        let data: serde_json::Map<_, _> =
            data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        json!({"property_id": "p", "user_id": "u", "event_type": event, "data": data})
    })
}

/// Checks 400 cases on one platform, each in a tenant of its own.
fn check<S: Strategy>(cases: S, holds: impl AsyncFn(World, S::Value) -> Result<(), TestCaseError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let tenants = Cell::new(0);
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&cases, |case| {
        tenants.set(tenants.get() + 1);
        let world = world.of_tenant(&format!("tenant-{}", tenants.get()));
        runtime.block_on(holds(world, case))
    });
    checked.unwrap();
    runtime.block_on(async { drop(world) });
}

#[test]
fn anything_is_answered_and_its_neighbours_are_stored() {
    check(prop_oneof![any_json(), almost_an_item()], async |world, item| {
        let body = json!([{"property_id": "x"}, item, {"property_id": "y"}]);
        let answer = world.property(&body).await;
        prop_assert_eq!(answer.items.len(), 3);
        prop_assert_eq!(answer.items[0].status, Status::Accepted);
        prop_assert_eq!(answer.items[2].status, Status::Accepted);
        let middle = &answer.items[1];
        prop_assert_eq!(middle.status == Status::Refused, !middle.errors.is_empty());
        prop_assert!(middle.status != Status::Retry, "{}", said(&answer));

        // What is accepted says the same when it is sent again.
        if middle.status == Status::Accepted {
            let again = world.property(&body).await;
            prop_assert_eq!(again.items[1].status, Status::Accepted, "{}", said(&again));
        }

        let body = json!([{"event_type": "search"}, item, {"event_type": "search"}]);
        let answer = world.user(&body).await;
        prop_assert_eq!(answer.items.len(), 3);
        prop_assert_eq!(answer.items[0].status, Status::Accepted);
        prop_assert_eq!(answer.items[2].status, Status::Accepted);
        prop_assert!(answer.items[1].status != Status::Retry, "{}", said(&answer));
        Ok(())
    });
}

#[test]
fn any_bytes_come_apart_into_items() {
    check(prop::collection::vec(any::<u8>(), 0..200), async |world, body| {
        if let Ok(body) = split(&body, false) {
            let answer = world.ingest.property(&world.sender(), &body.items).await;
            prop_assert_eq!(answer.items.len(), body.items.len());
        }
        Ok(())
    });
}
