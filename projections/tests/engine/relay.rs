//! What a relay promises, whatever fails, on a publisher in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_memory::{MemoryEventStore, MemoryPublisher, MemoryTopics};
use freehold_ports::{
    EventFilter, EventStore, GlobalPosition, LogName, PublishError, Published, Publisher,
    RecordedEvent, SystemClock,
};
use freehold_projections::{Relay, Subscription, SubscriptionState};

use crate::support::{Choppy, Dice, append};

const SOON: Duration = Duration::from_secs(20);

/// Fails now and then, before anything is published or after.
struct FlakyPublisher {
    publisher: MemoryPublisher,
    dice: Dice,
}

impl FlakyPublisher {
    fn fails(&self) -> Result<(), PublishError> {
        match self.dice.below(4) {
            0 => Err(PublishError::Unavailable { source: "a hiccup".into() }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Publisher for FlakyPublisher {
    async fn published(&mut self) -> Result<Option<Published>, PublishError> {
        self.publisher.published().await
    }

    async fn take_over(&mut self) -> Result<Option<Published>, PublishError> {
        self.fails()?;
        self.publisher.take_over().await
    }

    async fn publish(&mut self, events: Vec<RecordedEvent>) -> Result<(), PublishError> {
        self.fails()?;
        self.publisher.publish(events).await?;
        self.fails()
    }
}

async fn everything(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let most = std::num::NonZeroU32::new(100_000).unwrap();
    let (all, log) = (EventFilter::all(), LogName::DOMAIN);
    store.read_all(&log, &all, GlobalPosition(0), most).await.unwrap().events
}

fn start(store: Arc<dyn EventStore>, publisher: impl Publisher + 'static) -> Subscription {
    let relay = Relay::new(LogName::DOMAIN, store.clone(), Box::new(publisher));
    Subscription::start(store, Arc::new(SystemClock), Box::new(relay))
}

#[tokio::test]
async fn every_event_is_published_once_and_in_order_whatever_fails() {
    let (log, topics) = (Arc::new(MemoryEventStore::default()), MemoryTopics::default());
    let dice = Dice::new(5);
    for run in 0..4 {
        let store = Choppy::new(log.clone(), run, 20);
        let flaky = FlakyPublisher { publisher: topics.publisher(), dice: Dice::new(run) };
        let relay = start(store, flaky);
        let head = append(&*log, &dice.events(150)).await;
        if run % 2 == 1 {
            relay.wait_for(head, SOON).await.unwrap();
        }
        relay.stop().await;
    }
    assert_eq!(topics.events(), everything(&*log).await);
}

/// One begins, the other takes over because it begins later; then that one ends, and the first one
/// notices within seconds.
#[tokio::test]
async fn of_two_relays_one_publishes_and_the_other_goes_on_where_it_ends() {
    let (log, topics) = (Arc::new(MemoryEventStore::default()), MemoryTopics::default());
    let dice = Dice::new(5);
    let first = start(log.clone(), topics.publisher());
    first.wait_for(append(&*log, &dice.events(10)).await, SOON).await.unwrap();
    let second = start(log.clone(), topics.publisher());
    let mut states = first.status();
    for _ in 0..30 {
        let head = append(&*log, &dice.events(10)).await;
        second.wait_for(head, SOON).await.unwrap();
        // Who stands by sees what the other one does.
        first.wait_for(head, SOON).await.unwrap();
    }
    let stands_by = |state: &SubscriptionState| *state == SubscriptionState::StandingBy;
    states.wait_for(|status| stands_by(&status.state)).await.unwrap();

    second.stop().await;

    let head = append(&*log, &dice.events(10)).await;
    let waited = Instant::now();
    first.wait_for(head, SOON).await.unwrap();
    assert!(waited.elapsed() < Duration::from_secs(4), "{:?}", waited.elapsed());
    assert_eq!(topics.events(), everything(&*log).await);
}

/// A log that was restored without its last events has others at their positions; published after
/// what was lost they would be taken for its continuation.
#[tokio::test]
async fn another_history_is_not_published() {
    let (log, topics) = (Arc::new(MemoryEventStore::default()), MemoryTopics::default());
    let dice = Dice::new(5);
    let relay = start(log.clone(), topics.publisher());
    relay.wait_for(append(&*log, &dice.events(10)).await, SOON).await.unwrap();
    relay.stop().await;
    let before = topics.events();
    // Shorter, as long, and longer.
    for events in [5, 10, 400] {
        let restored = Arc::new(MemoryEventStore::default());
        append(&*restored, &dice.events(events)).await;
        let relay = start(restored.clone(), topics.publisher());
        // What comes later changes nothing.
        append(&*restored, &dice.events(20)).await;
        let mut status = relay.status();
        let failed = status.wait_for(|status| {
            matches!(&status.state, SubscriptionState::Failed(failure)
                if failure.error.contains("kafka.topic_prefix"))
        });
        tokio::time::timeout(SOON, failed).await.unwrap().unwrap();
        relay.stop().await;
        assert_eq!(topics.events(), before);
    }
}

/// The same while the relay runs: between two of its reads the log became another one.
#[tokio::test]
async fn another_history_is_noticed_by_the_relay_that_runs() {
    let (old, new) = (MemoryEventStore::default(), MemoryEventStore::default());
    let dice = Dice::new(5);
    append(&old, &dice.events(10)).await;
    append(&new, &dice.events(20)).await;
    let log = Arc::new(freehold_contract::interposed::Interposed(FailsOver {
        stores: [old, new],
        over: false.into(),
    }));
    let topics = MemoryTopics::default();
    let relay = start(log.clone(), topics.publisher());
    relay.wait_for(GlobalPosition(10), SOON).await.unwrap();
    let before = topics.events();

    log.over.store(true, std::sync::atomic::Ordering::SeqCst);

    let mut status = relay.status();
    let failed = status.wait_for(|status| matches!(status.state, SubscriptionState::Failed(_)));
    tokio::time::timeout(SOON, failed).await.unwrap().unwrap();
    relay.stop().await;
    assert_eq!(topics.events(), before);
    assert_eq!(before.iter().map(|event| event.event_id).collect::<BTreeSet<_>>().len(), 10);
}

/// A log that becomes another one.
struct FailsOver {
    stores: [MemoryEventStore; 2],
    over: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl freehold_contract::interposed::InterposedStore for FailsOver {
    fn behind(&self) -> &dyn EventStore {
        &self.stores[usize::from(self.over.load(std::sync::atomic::Ordering::SeqCst))]
    }
}
