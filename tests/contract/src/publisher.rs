//! What every [`Publisher`] does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use freehold_ports::{
    CommandId, EventId, GlobalPosition, PayloadCodec, Provenance, PublishError, Published,
    Publisher, RecordedEvent, StreamId, StreamVersion,
};

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn Readable>`](crate::Fresh).
#[macro_export]
macro_rules! publisher_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            publisher,
            [$($attribute),*],
            $fresh,
            [
                nothing_is_published_at_first,
                what_is_published_is_seen_once_and_in_order,
                the_next_one_goes_on_where_the_last_one_was,
                who_was_taken_over_from_publishes_nothing,
                looking_takes_nothing_over,
                who_has_not_taken_over_publishes_nothing,
            ]
        );
    };
}

/// Where the publishers of one log publish, and what readers see.
#[async_trait]
pub trait Readable: Send + Sync {
    /// One more publisher of the log.
    fn publisher(&self) -> Box<dyn Publisher>;

    /// Everything that readers see; what is of one stream in the order in which they see it.
    async fn read(&self) -> Vec<Seen>;
}

/// An event as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose event it is.
    pub stream: StreamId,
    /// Place in the log.
    pub position: GlobalPosition,
    /// Its id.
    pub event_id: EventId,
}

impl Seen {
    /// What a reader sees of an event.
    pub fn of(event: &RecordedEvent) -> Self {
        let RecordedEvent { stream, position, event_id, .. } = event;
        Self { stream: stream.clone(), position: *position, event_id: *event_id }
    }
}

type Topics = Arc<dyn Readable>;

/// A log that was never published has no last event.
pub async fn nothing_is_published_at_first(topics: Topics) {
    let mut publisher = topics.publisher();
    assert_eq!(publisher.published().await.unwrap(), None);
    assert_eq!(publisher.take_over().await.unwrap(), None);
    assert_eq!(publisher.published().await.unwrap(), None);
    assert_eq!(topics.read().await, []);
}

/// Pages of any size, several categories and many streams: each event once, each stream in order.
pub async fn what_is_published_is_seen_once_and_in_order(topics: Topics) {
    let log = log_of(1..=500);
    let mut publisher = topics.publisher();
    publisher.take_over().await.unwrap();
    for page in [&log[..1], &log[1..3], &log[3..3], &log[3..500]] {
        publisher.publish(page.to_vec()).await.unwrap();
    }
    assert_seen(&topics, &log).await;
}

/// What was published is known to whoever comes next, and goes on without a hole.
pub async fn the_next_one_goes_on_where_the_last_one_was(topics: Topics) {
    let log = log_of(1..=90);
    for page in log.chunks(30) {
        let mut publisher = topics.publisher();
        let before = page[0].position.0 - 1;
        let published = before.checked_sub(1).map(|at| last_of(&log[..=at as usize]));
        assert_eq!(publisher.take_over().await.unwrap(), published);
        publisher.publish(page.to_vec()).await.unwrap();
    }
    assert_seen(&topics, &log).await;
}

/// A publisher that was stopped and wakes up late is told so, and readers see nothing of it.
pub async fn who_was_taken_over_from_publishes_nothing(topics: Topics) {
    let log = log_of(1..=30);
    let (mut late, mut next) = (topics.publisher(), topics.publisher());
    late.take_over().await.unwrap();
    late.publish(log[..10].to_vec()).await.unwrap();
    assert_eq!(next.take_over().await.unwrap(), Some(last_of(&log[..10])));

    let refused = late.publish(log[10..20].to_vec()).await;

    assert!(matches!(refused, Err(PublishError::Fenced)), "{refused:?}");
    next.publish(log[10..30].to_vec()).await.unwrap();
    assert_seen(&topics, &log).await;
    // It may come back.
    assert_eq!(late.take_over().await.unwrap(), Some(last_of(&log)));
}

/// Who stands by sees how far the other one is, which goes on undisturbed.
pub async fn looking_takes_nothing_over(topics: Topics) {
    let log = log_of(1..=30);
    let (mut active, mut standing_by) = (topics.publisher(), topics.publisher());
    active.take_over().await.unwrap();
    for page in log.chunks(10) {
        active.publish(page.to_vec()).await.unwrap();
        let expected = Some(last_of(page));
        // What readers see may trail what was answered.
        for _ in 0..200 {
            if standing_by.published().await.unwrap() == expected {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(standing_by.published().await.unwrap(), expected);
    }
    assert_seen(&topics, &log).await;
}

/// The first thing to do is to take over.
pub async fn who_has_not_taken_over_publishes_nothing(topics: Topics) {
    assert!(topics.publisher().publish(log_of(1..=2)).await.is_err());
    assert_eq!(topics.read().await, []);
}

async fn assert_seen(topics: &Topics, log: &[RecordedEvent]) {
    let by_stream = |seen: Vec<Seen>| {
        let mut streams: BTreeMap<StreamId, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            streams.entry(seen.stream.clone()).or_default().push(seen);
        }
        streams
    };
    let expected = by_stream(log.iter().map(Seen::of).collect());
    assert_eq!(by_stream(topics.read().await), expected);
}

fn last_of(log: &[RecordedEvent]) -> Published {
    let last = log.last().unwrap();
    Published { position: last.position, event_id: last.event_id }
}

/// Events of 7 streams of two categories.
pub(crate) fn log_of(positions: std::ops::RangeInclusive<u64>) -> Vec<RecordedEvent> {
    let event = |position: u64| {
        let category = if position % 7 < 5 { "property" } else { "user" };
        RecordedEvent {
            position: GlobalPosition(position),
            stream: StreamId::new(category, position % 7).unwrap(),
            version: StreamVersion(position / 7 + 1),
            event_id: EventId::new(),
            event_type: "SomethingHappened".into(),
            schema_version: 1,
            command_id: CommandId::new(),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "contract".into(),
                correlation_id: None,
                causation_id: None,
            },
            occurred_at: Utc::now(),
            recorded_at: Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: format!("{{\"position\":{position}}}").into(),
        }
    };
    positions.map(event).collect()
}
