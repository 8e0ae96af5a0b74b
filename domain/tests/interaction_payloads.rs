//! What an interaction looks like in storage.

mod golden;

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use freehold_domain::interaction::{
    ActorType, DeviceType, EventSource, Interaction, InteractionDetails, InteractionKind,
    ObjectType, STREAMS_PER_DAY, interaction_stream,
};
use freehold_domain::{ListingKey, PayloadError, PropertyId, StoredEvent};
use proptest::prelude::*;
use uuid::Uuid;

fn at(second: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, second).single().expect("a moment in UTC")
}

fn today() -> NaiveDate {
    at(0).date_naive()
}

fn least() -> InteractionDetails {
    InteractionDetails {
        actor_type: ActorType::Unknown,
        object_type: ObjectType::Property,
        property: None,
        listing: None,
        reference: Some("test-123".to_owned()),
        device_type: None,
        event_source: None,
        session: None,
        page_position: None,
        event_timestamp: at(0),
        reported_timestamp: at(1),
    }
}

fn most() -> InteractionDetails {
    InteractionDetails {
        actor_type: ActorType::Consumer,
        object_type: ObjectType::Listing,
        property: Some(PropertyId(Uuid::from_u128(1))),
        listing: Some(ListingKey(Uuid::from_u128(2))),
        reference: None,
        device_type: Some(DeviceType::Mobile),
        event_source: Some(EventSource::Map),
        session: Some("9f86d081884c7d65".to_owned()),
        page_position: Some(3),
        event_timestamp: at(0),
        reported_timestamp: at(1),
    }
}

#[test]
fn every_kind_is_stored_as_its_golden_file_says() {
    let kinds = InteractionKind::ALL.iter().copied();
    let mut cases: Vec<_> = kinds.map(|kind| ("", Interaction { kind, details: most() })).collect();
    let kind = InteractionKind::DetailedView;
    cases.push(("-least", Interaction { kind, details: least() }));
    golden::assert_golden("interaction", &cases);
}

#[test]
fn the_kinds_are_the_22_of_the_data_dictionary() {
    let kinds = InteractionKind::ALL;
    assert_eq!(kinds.len(), 22);
    for (kind, (name, version)) in kinds.iter().zip(Interaction::TYPES) {
        assert_eq!((kind.name(), 1), (*name, *version));
        assert_eq!(InteractionKind::from_name(&name.to_lowercase()), Some(*kind));
    }
    assert_eq!(InteractionKind::from_name("property_viewed"), None);
}

#[test]
fn an_unknown_kind_and_an_unknown_version_are_told_apart_from_a_malformed_payload() {
    let read =
        |name, version| Interaction::deserialize_payload(name, version, serde_json::json!({}));
    assert!(matches!(read("impression", 1), Err(PayloadError::UnknownType)));
    assert!(matches!(read("Impression", 2), Err(PayloadError::UnknownVersion(2))));
    assert!(matches!(read("Impression", 1), Err(PayloadError::Malformed(_))));
}

#[test]
fn the_stream_of_a_visit_never_changes() {
    assert_eq!(interaction_stream(today(), ""), "interactions-2026-11-23-37");
    assert_eq!(interaction_stream(today(), "9f86d081884c7d65"), "interactions-2026-11-23-00");
}

#[test]
fn the_visits_of_a_day_spread_over_all_its_streams() {
    let stream = |visit: u32| interaction_stream(today(), &visit.to_string());
    let streams: std::collections::BTreeSet<_> = (0..10_000).map(stream).collect();
    assert_eq!(streams.len() as u64, STREAMS_PER_DAY);
}

proptest! {
    #[test]
    fn every_key_has_a_stream_of_its_day(key: String) {
        let stream = interaction_stream(today(), &key);
        let bucket = stream.strip_prefix("interactions-2026-11-23-").unwrap();
        prop_assert!(bucket.len() == 2 && bucket.parse::<u64>().unwrap() < STREAMS_PER_DAY);
    }
}
