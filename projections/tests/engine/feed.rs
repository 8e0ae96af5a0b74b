//! What the engine promises of projections that a feed brings pages, on topics in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_memory::MemoryTopics;
use freehold_ports::{
    EventFilter, EventPage, EventStore, Feed, FeedError, FeedPages, GlobalPosition, LogName,
    ReadModels, SystemClock,
};
use freehold_projections::{Projections, Relay, Subscription};

use crate::Shop;
use crate::support::{Behind, Choppy, Dice, Flaky, Shelves, append, codec, plain, reach, shown};

const SOON: Duration = Duration::from_secs(20);

fn relay(store: Arc<dyn EventStore>, topics: &MemoryTopics) -> Subscription {
    let relay = Relay::new(LogName::DOMAIN, store.clone(), Box::new(topics.publisher()));
    Subscription::start(store, Arc::new(SystemClock), Box::new(relay))
}

fn fed(
    store: Arc<dyn EventStore>,
    models: Arc<dyn ReadModels>,
    feed: impl Feed + 'static,
) -> Projections {
    let projections = Projections::new(store, models, codec(), Arc::new(SystemClock));
    projections.fed_by(Some(Arc::new(feed))).with(Shelves::<1>::default())
}

/// A feed that is closed, loses pages and cannot be opened, now and then.
struct Hiccups {
    topics: MemoryTopics,
    dice: Arc<Dice>,
}

#[async_trait]
impl Feed for Hiccups {
    async fn open(
        &self,
        log: &LogName,
        filter: &EventFilter,
    ) -> Result<Box<dyn FeedPages>, FeedError> {
        match self.dice.below(4) {
            0 => Err(FeedError::Unavailable { source: "a hiccup".into() }),
            _ => {
                let pages = self.topics.open(log, filter).await?;
                Ok(Box::new(HiccupPages { pages, dice: self.dice.clone() }))
            }
        }
    }
}

struct HiccupPages {
    pages: Box<dyn FeedPages>,
    dice: Arc<Dice>,
}

#[async_trait]
impl FeedPages for HiccupPages {
    async fn next(&mut self, after: GlobalPosition) -> Result<EventPage, FeedError> {
        let page = self.pages.next(after).await?;
        match self.dice.below(8) {
            0 => Err(FeedError::Unavailable { source: "a hiccup".into() }),
            1 => Err(FeedError::Gap(page.through)),
            _ => Ok(page),
        }
    }
}

/// Lost pages, closed feeds, failed reads and commits, restarts: the rows are those of one plain
/// loop over all events.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_feed_lacks_the_rows_are_those_of_a_plain_loop() {
    for seed in 0..6 {
        let (dice, topics) = (Arc::new(Dice::new(seed)), MemoryTopics::default());
        let shop = Shop::new();
        let log = shop.log().await;
        let store = Choppy::new(log.clone(), seed, 20);
        let relay = relay(log.clone(), &topics);
        let mut events = Vec::new();
        for run in 0..3 {
            let models = Flaky::new(shop.models().await, seed ^ run, 12);
            let feed = Hiccups { topics: topics.clone(), dice: dice.clone() };
            let projections = fed(store.clone(), models, feed);
            projections.start();
            let mut head = GlobalPosition(0);
            for _ in 0..20 {
                let more = dice.events(dice.below(30) as usize);
                head = append(&*log, &more).await;
                events.extend(more);
                tokio::time::sleep(Duration::from_micros(dice.below(8_000))).await;
            }
            if dice.below(3) > 0 {
                reach(&projections, head).await;
            }
            projections.stop().await;
        }
        shop.settled::<1>(&log).await;
        relay.stop().await;
        let (items, shelves, _) = shown(&*shop.models().await).await;
        assert_eq!((items, shelves), plain(&events), "seed {seed}");
    }
}

/// Appends events one by one until none of the last ten was read in the log.
async fn until_fed(store: &dyn EventStore, reads: impl Fn() -> u64, projections: &Projections) {
    let (dice, began, mut in_a_row) = (Dice::new(1), Instant::now(), 0);
    while in_a_row < 10 {
        assert!(began.elapsed() < SOON, "the log is read again and again");
        let before = reads();
        let position = append(store, &dice.events(1)).await;
        projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
        in_a_row = if reads() == before { in_a_row + 1 } else { 0 };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_fed_reads_no_log() {
    let (shop, topics) = (Shop::in_memory(), MemoryTopics::default());
    let log = shop.log().await;
    append(&*log, &Dice::new(3).events(5_000)).await;
    let relay = relay(log.clone(), &topics);
    let counted = Behind::new(log.clone(), u64::MAX);
    let projections = fed(counted.clone(), shop.models().await, topics);
    projections.start();
    until_fed(&*log, || counted.0.reads.load(Ordering::Relaxed), &projections).await;

    // Swapped in beside it, a new generation is fed as well.
    projections.rebuild("shelves").unwrap().finished().await.unwrap();

    until_fed(&*log, || counted.0.reads.load(Ordering::Relaxed), &projections).await;
    projections.stop().await;
    relay.stop().await;
}

/// A relay that hangs, or is not there, is no reason to show less than the log has.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_silent_holds_up_nobody() {
    let (shop, topics) = (Shop::in_memory(), MemoryTopics::default());
    let (log, dice) = (shop.log().await, Dice::new(4));
    let relay = relay(log.clone(), &topics);
    let counted = Behind::new(log.clone(), u64::MAX);
    let projections = fed(counted.clone(), shop.models().await, topics.clone());
    projections.start();
    until_fed(&*log, || counted.0.reads.load(Ordering::Relaxed), &projections).await;
    relay.stop().await;
    let reads = counted.0.reads.load(Ordering::Relaxed);

    for _ in 0..6 {
        let head = append(&*log, &dice.events(3_000)).await;
        projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    }

    assert!(counted.0.reads.load(Ordering::Relaxed) > reads);
    let relay = self::relay(log.clone(), &topics);
    until_fed(&*log, || counted.0.reads.load(Ordering::Relaxed), &projections).await;
    projections.stop().await;
    relay.stop().await;
}
