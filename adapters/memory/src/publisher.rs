//! A published log in memory.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use freehold_ports::{
    EventFilter, EventPage, Feed, FeedError, FeedPages, GlobalPosition, LogName, PublishError,
    Published, Publisher, RecordedEvent,
};
use tokio::sync::watch;

/// Where the publishers of one log publish, and what readers see.
#[derive(Clone, Default)]
pub struct MemoryTopics(Arc<Mutex<Topics>>);

#[derive(Default)]
struct Topics {
    /// That there is something new.
    news: watch::Sender<()>,
    /// Counts take-overs: who has the newest number publishes.
    epoch: u64,
    events: Vec<RecordedEvent>,
}

impl MemoryTopics {
    /// What readers see, oldest first.
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.with(|topics| topics.events.clone())
    }

    /// One more publisher, which has not taken over.
    pub fn publisher(&self) -> MemoryPublisher {
        MemoryPublisher { topics: self.clone(), epoch: None }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Topics) -> T) -> T {
        // What panicked under the lock changed nothing half-way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Topics {
    fn published(&self) -> Option<Published> {
        let last = self.events.last()?;
        Some(Published { position: last.position, event_id: last.event_id })
    }
}

/// One of the publishers of a log.
pub struct MemoryPublisher {
    topics: MemoryTopics,
    epoch: Option<u64>,
}

#[async_trait]
impl Publisher for MemoryPublisher {
    async fn published(&mut self) -> Result<Option<Published>, PublishError> {
        Ok(self.topics.with(|topics| topics.published()))
    }

    async fn take_over(&mut self) -> Result<Option<Published>, PublishError> {
        let (epoch, published) = self.topics.with(|topics| {
            topics.epoch += 1;
            (topics.epoch, topics.published())
        });
        self.epoch = Some(epoch);
        Ok(published)
    }

    async fn publish(&mut self, events: Vec<RecordedEvent>) -> Result<(), PublishError> {
        let epoch = self.epoch;
        self.topics.with(|topics| {
            if epoch != Some(topics.epoch) {
                return Err(PublishError::Fenced);
            }
            topics.events.extend(events);
            topics.news.send_replace(());
            Ok(())
        })
    }
}

#[async_trait]
impl Feed for MemoryTopics {
    async fn open(
        &self,
        _: &LogName,
        filter: &EventFilter,
    ) -> Result<Box<dyn FeedPages>, FeedError> {
        let (topics, filter) = (self.clone(), filter.clone());
        let (from, news) = self.with(|topics| (topics.events.len(), topics.news.subscribe()));
        Ok(Box::new(MemoryPages { topics, filter, from, news }))
    }
}

/// What is published from a place on.
struct MemoryPages {
    topics: MemoryTopics,
    filter: EventFilter,
    from: usize,
    news: watch::Receiver<()>,
}

#[async_trait]
impl FeedPages for MemoryPages {
    async fn next(&mut self, after: GlobalPosition) -> Result<EventPage, FeedError> {
        loop {
            self.news.mark_unchanged();
            let new = self.topics.with(|topics| topics.events[self.from..].to_vec());
            let read = new.partition_point(|event| event.position <= after);
            if let [first, .., last] | [first @ last] = &new[read..] {
                if first.position.0 > after.0 + 1 {
                    return Err(FeedError::Gap(GlobalPosition(first.position.0 - 1)));
                }
                let through = last.position;
                self.from += new.len();
                let mut events = new;
                events.drain(..read);
                events.retain(|event| self.filter.admits(&event.stream, &event.event_type));
                return Ok(EventPage { events, through });
            }
            if let Err(source) = self.news.changed().await {
                return Err(FeedError::Unavailable { source: source.into() });
            }
        }
    }
}
