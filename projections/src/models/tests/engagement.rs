use freehold_domain::interaction::{
    ActorType, Interaction, InteractionDetails, InteractionKind, ObjectType, interaction_stream,
};
use freehold_domain::{ListingKey, PropertyId};

use super::super::engagement::{Engagement, EngagementRow, PropertyEngagementRow, click_through};
use super::{LISTING, Log, PROPERTY, day, noon};

fn record(
    log: &mut Log,
    number: i64,
    kind: InteractionKind,
    actor_type: ActorType,
    listing: Option<ListingKey>,
    property: Option<PropertyId>,
) {
    let details = InteractionDetails {
        actor_type,
        object_type: ObjectType::Listing,
        property,
        listing,
        reference: None,
        device_type: None,
        event_source: None,
        session: None,
        page_position: None,
        event_timestamp: noon(number),
        reported_timestamp: noon(number),
    };
    let stream = interaction_stream(day(number), "visit");
    let (category, id) = stream.split_once('-').unwrap();
    log.append_named(category, id, noon(number), Interaction { kind, details });
}

fn seen(log: &mut Log, number: i64, kind: InteractionKind) {
    record(log, number, kind, ActorType::Consumer, Some(LISTING), None);
}

#[test]
fn every_kind_raises_one_count() {
    let mut log = Log::new();
    for kind in InteractionKind::ALL {
        seen(&mut log, 0, *kind);
    }
    let row: EngagementRow = log.fold(Engagement).row((LISTING, day(0)));

    assert_eq!((row.impressions, row.detailed_views, row.shares), (1, 1, 1));
    assert_eq!((row.inquiries, row.favourites, row.bot_events), (3, 1, 0));
    assert_eq!(row.other, InteractionKind::ALL.len() as i64 - 7);
}

#[test]
fn days_are_counted_apart() {
    let mut log = Log::new();
    seen(&mut log, 0, InteractionKind::DetailedView);
    seen(&mut log, 1, InteractionKind::DetailedView);
    seen(&mut log, 1, InteractionKind::DetailedView);
    let rows: Vec<EngagementRow> = log.fold(Engagement).rows();

    let views: Vec<_> = rows.iter().map(|row| (row.day, row.detailed_views)).collect();
    assert_eq!(views, [(day(0), 1), (day(1), 2)]);
}

#[test]
fn programs_are_counted_apart() {
    let mut log = Log::new();
    for kind in InteractionKind::ALL {
        record(&mut log, 0, *kind, ActorType::Bot, Some(LISTING), None);
    }
    let row: EngagementRow = log.fold(Engagement).row((LISTING, day(0)));

    assert_eq!(row.bot_events, InteractionKind::ALL.len() as i64);
    assert_eq!(row.impressions + row.detailed_views + row.shares + row.inquiries, 0);
    assert_eq!(row.favourites + row.other, 0);
}

#[test]
fn an_interaction_counts_for_its_listing_or_else_for_its_property() {
    let mut log = Log::new();
    let view = InteractionKind::DetailedView;
    seen(&mut log, 0, view);
    record(&mut log, 0, view, ActorType::Client, Some(LISTING), Some(PROPERTY));
    record(&mut log, 0, view, ActorType::Unknown, None, Some(PROPERTY));
    record(&mut log, 0, InteractionKind::Search, ActorType::Agent, None, None);
    let engagement = log.fold(Engagement);

    let [listing]: [EngagementRow; 1] = engagement.rows().try_into().unwrap();
    assert_eq!((listing.property, listing.detailed_views), (Some(PROPERTY), 2));
    let [property]: [PropertyEngagementRow; 1] = engagement.rows().try_into().unwrap();
    assert_eq!((property.property, property.detailed_views), (PROPERTY, 1));
}

#[test]
fn click_through_is_known_once_something_was_shown() {
    assert_eq!(click_through(1, 4), Some(0.25));
    assert_eq!(click_through(1, 0), None);
}
