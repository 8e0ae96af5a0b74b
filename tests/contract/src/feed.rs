//! What every [`Feed`] does.

use std::sync::Arc;
use std::time::Duration;

use freehold_ports::{
    EventFilter, Feed, FeedError, FeedPages, GlobalPosition, LogName, Publisher, RecordedEvent,
};

use crate::publisher::{Seen, log_of};

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn Followed>`](crate::Fresh).
#[macro_export]
macro_rules! feed_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            feed,
            [$($attribute),*],
            $fresh,
            [
                what_is_published_is_brought_once_and_in_order,
                what_was_published_before_is_a_gap,
                what_is_known_already_is_not_brought,
                what_a_filter_leaves_out_counts_as_brought,
                giving_up_a_wait_loses_nothing,
                everybody_who_follows_is_brought_everything,
                a_feed_goes_on_over_a_take_over,
            ]
        );
    };
}

/// Where the publishers of the log `domain` publish, and what brings that back.
pub trait Followed: Send + Sync {
    /// One more publisher of the log.
    fn publisher(&self) -> Box<dyn Publisher>;

    /// What brings what it publishes.
    fn feed(&self) -> Arc<dyn Feed>;
}

type Topics = Arc<dyn Followed>;
type Pages = Box<dyn FeedPages>;

const SOON: Duration = Duration::from_secs(30);

/// Pages of any size, several categories and many streams, put back into the order of the log.
pub async fn what_is_published_is_brought_once_and_in_order(topics: Topics) {
    let log = log_of(1..=3_000);
    let mut publisher = taken_over(&topics).await;
    let mut pages = open(&topics, &EventFilter::all()).await;
    let mut read = 0;
    for size in [1, 2, 0, 40, 957, 2_000] {
        let page = &log[read..read + size];
        publisher.publish(page.to_vec()).await.unwrap();
        read += size;
        assert_brought(&mut pages, page).await;
    }
}

/// Whoever begins has read the log, and begins behind it.
pub async fn what_was_published_before_is_a_gap(topics: Topics) {
    let log = log_of(1..=60);
    let mut publisher = taken_over(&topics).await;
    publisher.publish(log[..50].to_vec()).await.unwrap();
    let mut pages = open(&topics, &EventFilter::all()).await;
    publisher.publish(log[50..].to_vec()).await.unwrap();

    let gap = tokio::time::timeout(SOON, pages.next(GlobalPosition(20))).await.unwrap();

    assert!(matches!(gap, Err(FeedError::Gap(GlobalPosition(50)))), "{gap:?}");
    assert_brought(&mut pages, &log[50..]).await;
}

/// The log may be read further meanwhile.
pub async fn what_is_known_already_is_not_brought(topics: Topics) {
    let log = log_of(1..=60);
    let mut publisher = taken_over(&topics).await;
    let mut pages = open(&topics, &EventFilter::all()).await;
    for page in log.chunks(20) {
        publisher.publish(page.to_vec()).await.unwrap();
    }
    assert_brought(&mut pages, &log[30..]).await;
}

/// Nobody waits for what he does not want.
pub async fn what_a_filter_leaves_out_counts_as_brought(topics: Topics) {
    let log = log_of(1..=200);
    let mut publisher = taken_over(&topics).await;
    let users = EventFilter { categories: vec!["user".into()], event_types: Vec::new() };
    let none = EventFilter { categories: Vec::new(), event_types: vec!["NothingHappened".into()] };
    let (mut of_users, mut of_none) = (open(&topics, &users).await, open(&topics, &none).await);
    publisher.publish(log.clone()).await.unwrap();

    let wanted: Vec<_> =
        log.iter().filter(|event| event.stream.category() == "user").cloned().collect();
    let brought = bring(&mut of_users, GlobalPosition(0), GlobalPosition(200)).await;
    assert_eq!(seen(&brought), seen(&wanted));
    assert!(bring(&mut of_none, GlobalPosition(0), GlobalPosition(200)).await.is_empty());
}

/// Whoever waits has other things to do now and then.
pub async fn giving_up_a_wait_loses_nothing(topics: Topics) {
    let log = log_of(1..=300);
    let mut publisher = taken_over(&topics).await;
    let mut pages = open(&topics, &EventFilter::all()).await;
    let (mut read, mut brought) = (GlobalPosition(0), Vec::new());
    for page in log.chunks(3) {
        publisher.publish(page.to_vec()).await.unwrap();
        for micros in [0, 50, 400, 3_000] {
            let next = tokio::time::timeout(Duration::from_micros(micros), pages.next(read)).await;
            if let Ok(page) = next {
                let page = page.unwrap();
                read = page.through;
                brought.extend(page.events);
            }
        }
    }
    brought.extend(bring(&mut pages, read, GlobalPosition(300)).await);
    assert_eq!(seen(&brought), seen(&log));
}

/// None takes anything away from another.
pub async fn everybody_who_follows_is_brought_everything(topics: Topics) {
    let log = log_of(1..=90);
    let mut publisher = taken_over(&topics).await;
    let mut first = open(&topics, &EventFilter::all()).await;
    publisher.publish(log[..30].to_vec()).await.unwrap();
    let mut second = open(&topics, &EventFilter::all()).await;
    publisher.publish(log[30..].to_vec()).await.unwrap();

    assert_brought(&mut first, &log).await;
    assert_brought(&mut second, &log[30..]).await;
}

/// Whoever publishes.
pub async fn a_feed_goes_on_over_a_take_over(topics: Topics) {
    let log = log_of(1..=90);
    let mut pages = None;
    for page in log.chunks(30) {
        let mut publisher = taken_over(&topics).await;
        if pages.is_none() {
            pages = Some(open(&topics, &EventFilter::all()).await);
        }
        publisher.publish(page.to_vec()).await.unwrap();
        assert_brought(pages.as_mut().unwrap(), page).await;
    }
}

async fn taken_over(topics: &Topics) -> Box<dyn Publisher> {
    let mut publisher = topics.publisher();
    publisher.take_over().await.unwrap();
    publisher
}

async fn open(topics: &Topics, filter: &EventFilter) -> Pages {
    topics.feed().open(&LogName::DOMAIN, filter).await.unwrap()
}

/// That what comes next is this part of the log.
async fn assert_brought(pages: &mut Pages, part: &[RecordedEvent]) {
    let (Some(first), Some(last)) = (part.first(), part.last()) else { return };
    let brought = bring(pages, GlobalPosition(first.position.0 - 1), last.position).await;
    assert_eq!(seen(&brought), seen(part));
}

/// What is brought up to a position.
async fn bring(
    pages: &mut Pages,
    mut read: GlobalPosition,
    through: GlobalPosition,
) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while read < through {
        let page = tokio::time::timeout(SOON, pages.next(read)).await.expect("a page in time");
        let page = page.unwrap();
        assert!(page.through > read, "a page that brings nothing");
        assert!(page.events.iter().all(|event| event.position <= page.through));
        read = page.through;
        events.extend(page.events);
    }
    assert_eq!(read, through, "more than was published");
    events
}

fn seen(events: &[RecordedEvent]) -> Vec<(Seen, &[u8])> {
    events.iter().map(|event| (Seen::of(event), &*event.payload)).collect()
}
