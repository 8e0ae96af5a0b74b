//! Who follows a log by its feed has the log: every event once and in order, whatever happens.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freehold_kafka::{KafkaFeed, KafkaOptions, KafkaPublisher};
use freehold_ports::{
    AppendRequest, CommandId, EventFilter, EventId, EventPage, EventStore, ExpectedVersion, Feed,
    FeedError, FeedPages, Fingerprint, GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance,
    Publisher as _, RecordedEvent, StreamId, Tag,
};
use freehold_servers::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::faults::{Log, Process, relay};
use crate::support::{options, send_a_name_that_is_no_text, shared};

const LOG: LogName = LogName::DOMAIN;
const BUFFER: usize = 8 << 20;
const SOON: Duration = Duration::from_secs(60);

/// Stores events of a stream; where the last one is.
async fn append(log: &Log, stream: &str, payloads: &[usize]) -> GlobalPosition {
    let event = |size: &usize| NewEvent {
        event_id: EventId::new(),
        event_type: "SomethingHappened".into(),
        schema_version: 3,
        occurred_at: chrono::Utc::now(),
        subjects: vec![Uuid::now_v7().to_string().parse().unwrap()],
        tags: ["source:größe/1", "kind:flat"].map(|tag| tag.parse().unwrap()).into(),
        codec: PayloadCodec::Json,
        payload: format!("\"{}\"", "7".repeat(*size)).into(),
    };
    let request = AppendRequest {
        log: LOG,
        stream: stream.parse().unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([0; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "default".into(),
            actor: "crm".into(),
            correlation_id: Some(Uuid::now_v7()),
            causation_id: Some(Uuid::now_v7()),
        },
        events: payloads.iter().map(event).collect(),
    };
    log.store.append(request).await.unwrap().position
}

/// A relay that publishes when it is told to.
struct ByHand<'a> {
    log: &'a Log,
    options: KafkaOptions,
    publisher: KafkaPublisher,
    published: GlobalPosition,
}

impl<'a> ByHand<'a> {
    async fn new(log: &'a Log, options: &KafkaOptions) -> Self {
        let mut publisher = KafkaPublisher::new(options.clone(), LOG);
        publisher.take_over().await.unwrap();
        Self { log, options: options.clone(), publisher, published: GlobalPosition(0) }
    }

    async fn publish(&mut self) {
        let everything = EventFilter::all();
        let most = NonZeroU32::new(10_000).unwrap();
        let page = self.log.store.read_all(&LOG, &everything, self.published, most).await.unwrap();
        self.published = page.through;
        self.publisher.publish(page.events).await.unwrap();
    }

    async fn say(&mut self, stream: &str, payloads: &[usize]) -> GlobalPosition {
        let position = append(self.log, stream, payloads).await;
        self.publish().await;
        position
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.bootstrap_servers);
        config.set("message.max.bytes", "2097152");
        config
    }

    fn topic(&self) -> String {
        format!("{}property-events", self.options.topic_prefix)
    }
}

/// Follows a log by a feed, and reads in the log what the feed does not bring.
struct Follower {
    store: Arc<dyn EventStore>,
    feed: KafkaFeed,
    filter: EventFilter,
    pages: Option<Box<dyn FeedPages>>,
    /// How long it waits for a page before it looks whether it is to go on.
    patience: Duration,
    position: GlobalPosition,
    events: Vec<RecordedEvent>,
    /// How many of them the feed brought.
    brought: usize,
    gaps: usize,
    openings: usize,
}

impl Follower {
    fn new(log: &Log, options: &KafkaOptions, buffer_bytes: usize) -> Self {
        Self {
            store: log.store.clone(),
            feed: KafkaFeed::new(options.clone(), buffer_bytes),
            filter: EventFilter::all(),
            pages: None,
            // Given up all the time: nothing is lost with that.
            patience: Duration::from_millis(20),
            position: GlobalPosition(0),
            events: Vec::new(),
            brought: 0,
            gaps: 0,
            openings: 0,
        }
    }

    async fn step(&mut self) {
        let Some(pages) = &mut self.pages else { return self.open().await };
        let next = pages.next(self.position);
        let Ok(next) = tokio::time::timeout(self.patience, next).await else { return };
        match next {
            Ok(page) => {
                self.brought += page.events.len();
                self.take(page);
            }
            Err(FeedError::Gap(through)) => {
                assert!(through > self.position);
                self.gaps += 1;
                self.read_log(through).await;
            }
            Err(FeedError::Unavailable { .. }) => self.pages = None,
        }
    }

    async fn open(&mut self) {
        match self.feed.open(&LOG, &self.filter).await {
            Ok(pages) => {
                self.openings += 1;
                self.pages = Some(pages);
                let head = self.store.head(&LOG).await.unwrap();
                self.read_log(head).await;
            }
            Err(error) => {
                assert!(matches!(error, FeedError::Unavailable { .. }), "{error:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn read_log(&mut self, through: GlobalPosition) {
        assert!(self.store.head(&LOG).await.unwrap() >= through, "{through} was never there");
        while self.position < through {
            let most = NonZeroU32::new(1_000).unwrap();
            let page = self.store.read_all(&LOG, &self.filter, self.position, most).await.unwrap();
            self.take(page);
        }
    }

    fn take(&mut self, page: EventPage) {
        assert!(page.through > self.position);
        for event in &page.events {
            assert!(event.position > self.position && event.position <= page.through);
            self.position = event.position;
        }
        self.position = page.through;
        self.events.extend(page.events);
    }

    async fn follow_to(&mut self, position: GlobalPosition) {
        let began = Instant::now();
        while self.position < position {
            assert!(began.elapsed() < SOON, "at {} of {position}", self.position);
            self.step().await;
        }
    }

    /// Opens, and is where everything comes from the feed.
    async fn begin(&mut self, by: &mut ByHand<'_>) {
        self.open().await;
        let first = by.say("property-first", &[1]).await;
        self.follow_to(first).await;
        assert!(self.brought > 0, "the first event came from the log");
    }

    fn counts(&self) -> String {
        let Self { brought, gaps, openings, events, .. } = self;
        format!("events={} brought={brought} gaps={gaps} openings={openings}", events.len())
    }

    async fn assert_has(&self, log: &Log) {
        let expected = log.everything().await;
        assert_eq!(self.events.len(), expected.len(), "{}", self.counts());
        for (read, stored) in self.events.iter().zip(&expected) {
            assert_eq!(read, stored);
        }
    }
}

/// Two relays and a broker, of which one is killed at a random moment, again and again, while
/// events of two categories with eight partitions each are appended and followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Java, and Maven the first time"]
async fn who_follows_has_the_log_whatever_is_killed() {
    let cycles = std::env::var("FREEHOLD_TORTURE_CYCLES").map_or(8, |text| text.parse().unwrap());
    let kafka = Arc::new(Kafka::start().unwrap());
    let options = KafkaOptions { partitions: 8, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let head = Arc::new(AtomicU64::new(u64::MAX));
    let mut follower = Follower::new(&log, &options, BUFFER);
    let until = head.clone();
    let following = tokio::spawn(async move {
        while follower.position.0 < until.load(Ordering::SeqCst) {
            follower.step().await;
        }
        follower
    });
    let mut relays = [Process::start(&log, &options), Process::start(&log, &options)];
    let (mut number, mut brokers, mut last) = (0, 0, GlobalPosition(0));
    for cycle in 0_usize..cycles {
        let [chance, more, ..] = *Uuid::new_v4().as_bytes();
        let until = Instant::now() + Duration::from_millis(1_500 + 10 * u64::from(chance));
        while Instant::now() < until {
            last = log.append(number).await;
            number += 1;
            tokio::time::sleep(Duration::from_millis(u64::from(more) % 8)).await;
        }
        if cycle % 4 == 3 {
            brokers += 1;
            kafka.kill9().unwrap();
            let kafka = kafka.clone();
            let again = tokio::task::spawn_blocking(move || kafka.start_again().unwrap());
            while !again.is_finished() {
                last = log.append(number).await;
                number += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            again.await.unwrap();
        } else {
            let old = std::mem::replace(&mut relays[cycle % 2], Process::start(&log, &options));
            old.kill();
        }
    }
    // The last one alone goes on to the end.
    let relay = relay(log.store.clone(), &options);
    relay.wait_for(last, SOON).await.unwrap();
    drop(relays);
    head.store(last.0, Ordering::SeqCst);
    let follower = tokio::time::timeout(SOON, following).await.unwrap().unwrap();
    relay.stop().await;
    println!("kills={cycles} of_brokers={brokers} {}", follower.counts());
    follower.assert_has(&log).await;
    assert!(follower.brought > follower.events.len() / 3, "{}", follower.counts());
    // Whoever is killed leaves no hole: what is there is read once.
    assert_eq!(follower.gaps, 0, "{}", follower.counts());
}

/// From the end of the transaction to the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn an_event_is_brought_as_soon_as_it_is_published() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 8, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, BUFFER);
    follower.begin(&mut by).await;
    follower.patience = SOON;
    let mut took = Vec::new();
    for number in 0..400 {
        let stream = format!("{}-{number}", ["property", "user"][number % 2]);
        let position = append(&log, &stream, &[300]).await;
        by.publish().await;
        let published = Instant::now();
        follower.follow_to(position).await;
        took.push(published.elapsed());
    }
    took.sort_unstable();
    println!("brought least={:?} p50={:?} p95={:?}", took[0], took[200], took[380]);
    assert_eq!((follower.brought, follower.gaps), (401, 0), "{}", follower.counts());
    // Each would wait; what else this machine does holds up only some.
    assert!(took[0] < Duration::from_millis(20), "{:?}", took[0]);
    follower.assert_has(&log).await;
}

/// The control topic is made by the first relay, and a category's topic by its first event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn topics_that_are_made_later_are_followed() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let mut follower = Follower::new(&log, &options, BUFFER);
    follower.open().await;
    let mut by = ByHand::new(&log, &options).await;
    for category in ["property", "user", "listing"] {
        let position = by.say(&format!("{category}-1"), &[9, 9]).await;
        follower.follow_to(position).await;
    }
    assert_eq!((follower.brought, follower.gaps), (6, 0), "{}", follower.counts());
    follower.assert_has(&log).await;
}

/// However old the log is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn what_was_published_before_is_not_read_again() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 1, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let before = by.say("property-1", &[1; 10]).await;
    let feed = KafkaFeed::new(options, BUFFER);
    let mut pages = feed.open(&LOG, &EventFilter::all()).await.unwrap();

    let nothing = pages.next(GlobalPosition(0));
    let nothing = tokio::time::timeout(Duration::from_secs(1), nothing).await;

    assert!(nothing.is_err(), "{nothing:?}");
    let after = by.say("property-1", &[1]).await;
    let gap = pages.next(GlobalPosition(0)).await;
    assert!(matches!(gap, Err(FeedError::Gap(through)) if through == before), "{gap:?}");
    let page = pages.next(before).await.unwrap();
    assert_eq!((page.events.len(), page.through), (1, after));
}

/// What nobody wants is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn who_wants_one_category_or_type_is_brought_no_other() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let named = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    for (categories, event_types, wanted) in [
        (named(&["user"]), named(&[]), 20),
        (named(&["property", "user"]), named(&[]), 50),
        (named(&[]), named(&["NothingHappened"]), 0),
    ] {
        let mut follower = Follower::new(&log, &options, BUFFER);
        follower.filter = EventFilter { categories, event_types };
        follower.open().await;
        follower.events.clear();
        for number in 0..10 {
            by.say(&format!("user-{number}"), &[1, 2]).await;
            by.say(&format!("property-{number}"), &[1, 2, 3]).await;
        }
        follower.follow_to(by.published).await;
        assert_eq!((follower.brought, follower.gaps), (wanted, 0), "{}", follower.counts());
        assert_eq!(follower.events.len(), wanted);
        assert!(
            follower
                .events
                .iter()
                .all(|event| follower.filter.admits(&event.stream, &event.event_type))
        );
    }
}

/// Much more than there is room for waits while nobody reads, most of it in one partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_partition_far_ahead_of_others_does_not_stop_them() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 8, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, 64 << 10);
    follower.begin(&mut by).await;
    for number in 0..20 {
        append(&log, "property-far-ahead", &[20_000; 50]).await;
        append(&log, &format!("property-{number}"), &[1_000_000]).await;
        append(&log, &format!("user-{number}"), &[10; 30]).await;
        by.publish().await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    follower.follow_to(by.published).await;
    println!("far_ahead took={:?} {}", began.elapsed(), follower.counts());
    assert_eq!((follower.gaps, follower.openings), (0, 1), "{}", follower.counts());
    assert_eq!(follower.brought, follower.events.len());
    follower.assert_has(&log).await;
}

/// Nothing is fetched of a partition that has no room; meanwhile the topic loses its records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn what_retention_took_is_a_gap() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 1, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, 64 << 10);
    follower.begin(&mut by).await;
    for _ in 0..20 {
        by.say("property-1", &[20_000; 20]).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let admin: AdminClient<DefaultClientContext> = by.config().create().unwrap();
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&by.topic(), 0, Offset::End).unwrap();
    let deleted = admin.delete_records(&until, &AdminOptions::new()).await.unwrap();
    assert!(deleted.elements().iter().all(|one| one.error().is_ok()), "{deleted:?}");

    // Nothing comes behind it that would tell.
    follower.follow_to(by.published).await;
    assert!(follower.gaps > 0, "{}", follower.counts());
    let before = follower.brought;
    let began = Instant::now();
    for _ in 0..20 {
        let position = by.say("property-1", &[20]).await;
        follower.follow_to(position).await;
    }

    println!("retention took={:?} {}", began.elapsed(), follower.counts());
    assert_eq!(follower.openings, 1);
    assert!(follower.brought > before, "{}", follower.counts());
    follower.assert_has(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_topic_that_is_made_anew_is_followed() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 2, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, BUFFER);
    follower.begin(&mut by).await;
    for number in 0..50 {
        by.say(&format!("property-{number}"), &[9]).await;
    }
    follower.follow_to(by.published).await;
    let admin: AdminClient<DefaultClientContext> = by.config().create().unwrap();
    let deleted = admin.delete_topics(&[&by.topic()], &AdminOptions::new()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    by.publisher.take_over().await.unwrap();

    let before = follower.brought;
    let began = Instant::now();
    for number in 0..100 {
        let position = by.say(&format!("property-{number}"), &[9]).await;
        follower.follow_to(position).await;
    }

    println!("anew took={:?} {}", began.elapsed(), follower.counts());
    assert!(follower.brought > before + 50, "{}", follower.counts());
    follower.assert_has(&log).await;
}

/// Records of anybody else in the same topics, by mistake or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn records_of_others_hide_nothing() {
    let kafka = shared();
    let options = KafkaOptions { partitions: 2, ..options(kafka.bootstrap()) };
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, 1 << 20);
    follower.begin(&mut by).await;
    let producer: BaseProducer = by.config().create().unwrap();
    let with = |position: &'static str, previous: &'static str| {
        let headers = [
            ("ce_source", "/freehold/domain"),
            ("ce_position", position),
            ("ce_previousposition", previous),
            ("ce_subject", "property-1"),
        ];
        headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    };
    let topic = by.topic();
    let huge = "7".repeat(2_000_000);
    let control = format!("{}freehold-relay-domain", options.topic_prefix);
    for round in 0..30 {
        for partition in 0..2 {
            for (headers, payload) in [
                (OwnedHeaders::new(), "none"),
                (with("999999999", "1"), "far"),
                (with("18446744073709551615", "999999999"), "farther"),
                (with("1", "0"), "again"),
                (with("-4", "x"), "no position"),
                (with("3", "0").insert(Header { key: "ce_id", value: Some(b"\xff") }), "no text"),
                (OwnedHeaders::new(), if round % 10 == 0 { &huge } else { "small" }),
            ] {
                let record = BaseRecord::<(), _>::to(&topic).partition(partition);
                let record = record.headers(headers).payload(payload);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        let record = BaseRecord::to(&control).partition(0).key("domain").payload("{\"position\":");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(SOON).unwrap();
        send_a_name_that_is_no_text(kafka.bootstrap(), &topic, round % 2);
        let position = by.say(&format!("property-{round}"), &[9; 10]).await;
        follower.follow_to(position).await;
    }
    println!("others {}", follower.counts());
    // One stands where an event of the other partition does, and the next one does not name it.
    assert!(follower.gaps <= 2 && follower.openings == 1, "{}", follower.counts());
    assert!(follower.brought > 250, "{}", follower.counts());
    follower.assert_has(&log).await;
}

/// An event with more tags than a header holds is in the log with all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn an_event_of_which_something_is_left_out_is_a_gap() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, BUFFER);
    follower.begin(&mut by).await;
    let request = AppendRequest {
        log: LOG,
        stream: StreamId::new("property", 2).unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([0; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "default".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: vec![NewEvent {
            event_id: EventId::new(),
            event_type: "SomethingHappened".into(),
            schema_version: 1,
            occurred_at: chrono::Utc::now(),
            subjects: Vec::new(),
            tags: (0..10_000).map(|tag| format!("tag:{tag}").parse::<Tag>().unwrap()).collect(),
            codec: PayloadCodec::Json,
            payload: "{}".into(),
        }],
    };
    log.store.append(request).await.unwrap();
    by.publish().await;
    follower.follow_to(by.published).await;
    let last = by.say("property-3", &[1]).await;
    follower.follow_to(last).await;
    assert_eq!((follower.gaps, follower.brought), (1, 2), "{}", follower.counts());
    follower.assert_has(&log).await;
}

/// Who reads can turn to the log, and is not held up by what is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_broker_that_is_gone_is_told_and_a_feed_is_closed_at_once() {
    let kafka = Kafka::start().unwrap();
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let mut by = ByHand::new(&log, &options).await;
    let mut follower = Follower::new(&log, &options, BUFFER);
    follower.begin(&mut by).await;
    let mut idle = follower.feed.open(&LOG, &EventFilter::all()).await.unwrap();
    let given_up = follower.feed.open(&LOG, &EventFilter::all()).await.unwrap();
    kafka.kill9().unwrap();
    let killed = Instant::now();
    drop(given_up);
    assert!(killed.elapsed() < Duration::from_millis(100), "{:?}", killed.elapsed());

    let told = tokio::time::timeout(SOON, idle.next(by.published)).await.unwrap();

    println!("told_after={:?} {told:?}", killed.elapsed());
    assert!(matches!(told, Err(FeedError::Unavailable { .. })), "{told:?}");
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    let asked = Instant::now();
    let refused = follower.feed.open(&LOG, &EventFilter::all()).await;
    assert!(matches!(refused, Err(FeedError::Unavailable { .. })));
    println!("refused_after={:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
