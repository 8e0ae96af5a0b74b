//! [`KafkaFeed`]: what relays publish, brought back into the order of the log.
//!
//! Nothing is kept and no group is joined: reading begins at the end of every partition, what was
//! there before is in the log, and so is everything that does not arrive. Each feed that is opened
//! has a consumer and a thread of its own, which ends with it.

mod decode;
mod lanes;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_ports::{
    EventFilter, EventPage, Feed, FeedError, FeedPages, GlobalPosition, LogName, Merged,
    StoreFailure,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use self::decode::Wanted;
use self::lanes::{Lanes, Place};
use crate::cluster::{self, ANSWERS_WITHIN, KafkaOptions, Quiet};
use crate::publisher::control_topic;
use crate::records::{EVENTS, headers_of, source_of, topic_of};

/// How long what is published may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
/// How long no broker may answer; connecting again takes a second.
const BACK_WITHIN: Duration = Duration::from_secs(3);
/// How long one has for an answer meanwhile, and how often topics are looked for.
const SEEN_WITHIN: Duration = Duration::from_millis(500);
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// How long the thread waits for a record, and while a partition waits for room.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_WHILE_FULL: Duration = Duration::from_millis(10);
/// How many records are taken in before they are looked at.
const AT_ONCE: usize = 256;

/// Brings what is published of logs to those who follow them.
pub struct KafkaFeed {
    options: Arc<KafkaOptions>,
    buffer_bytes: usize,
}

impl KafkaFeed {
    /// One of a cluster; nothing is connected yet. In each feed that is opened so many bytes wait
    /// at most, beside one record for each partition.
    pub fn new(options: KafkaOptions, buffer_bytes: usize) -> Self {
        Self { options: Arc::new(options), buffer_bytes }
    }
}

#[async_trait]
impl Feed for KafkaFeed {
    async fn open(
        &self,
        log: &LogName,
        filter: &EventFilter,
    ) -> Result<Box<dyn FeedPages>, FeedError> {
        let opening = Opening {
            options: self.options.clone(),
            buffer_bytes: self.buffer_bytes,
            log: log.clone(),
            filter: filter.clone(),
        };
        let (opened, answer) = oneshot::channel();
        // Closing a consumer may wait for a broker that is gone; nobody waits with the thread.
        let thread = std::thread::Builder::new().name("freehold-feed".to_owned());
        thread.spawn(move || opening.run(opened)).map_err(unavailable)?;
        let shared = answer.await.map_err(unavailable)?.map_err(unavailable)?;
        Ok(Box::new(KafkaPages { shared, stuck: None }))
    }
}

fn unavailable(source: impl Into<StoreFailure>) -> FeedError {
    FeedError::Unavailable { source: source.into() }
}

/// A feed that was opened.
struct KafkaPages {
    shared: Open,
    /// Behind which position something does not come, and since when.
    stuck: Option<(GlobalPosition, Instant)>,
}

#[async_trait]
impl FeedPages for KafkaPages {
    async fn next(&mut self, after: GlobalPosition) -> Result<EventPage, FeedError> {
        let shared = self.shared.0.clone();
        loop {
            let missing = {
                let mut lanes = shared.lanes();
                match lanes.next(after) {
                    Merged::Page(page) => return Ok(page),
                    Merged::Gap(through) => {
                        warn!(after = after.0, through = through.0, "published events are missing");
                        return Err(FeedError::Gap(through));
                    }
                    Merged::Nothing => lanes.missing(),
                }
            };
            if let Some(why) = &*lock(&shared.ended) {
                return Err(unavailable(why.clone()));
            }
            let news = shared.news.notified();
            let Some(through) = missing else {
                news.await;
                continue;
            };
            let now = Instant::now();
            let since = match self.stuck {
                Some((at, since)) if at == after => since,
                _ => now,
            };
            self.stuck = Some((after, since));
            let left = ARRIVES_WITHIN.saturating_sub(now - since);
            if left.is_zero() {
                self.stuck = None;
                shared.lanes().give_up();
                warn!(after = after.0, through = through.0, "published events did not arrive");
                return Err(FeedError::Gap(through));
            }
            // In time or not: it is looked at again.
            let _ = tokio::time::timeout(left, news).await;
        }
    }
}

/// What the thread and who waits for pages share.
struct Shared {
    lanes: Mutex<Lanes>,
    /// Why the thread reads no more.
    ended: Mutex<Option<String>>,
    /// That there is something new in one of them.
    news: Notify,
    closed: AtomicBool,
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        lock(&self.lanes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The side of who reads pages: without it the thread ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

/// The side of the thread: without it nothing comes any more.
struct Ending(Arc<Shared>);

impl Ending {
    fn because(&self, why: impl std::fmt::Display) {
        lock(&self.0.ended).get_or_insert_with(|| why.to_string());
        self.0.news.notify_one();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.because("the thread that reads it ended");
    }
}

/// What the thread is asked for.
struct Opening {
    options: Arc<KafkaOptions>,
    buffer_bytes: usize,
    log: LogName,
    filter: EventFilter,
}

impl Opening {
    fn run(self, opened: oneshot::Sender<Result<Open, StoreFailure>>) {
        let begun = self.consumer().map_err(StoreFailure::from).and_then(|consumer| {
            let reading = self.begin(&consumer)?;
            Ok((consumer, reading))
        });
        let (consumer, mut reading) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // Who asked may have gone meanwhile.
                let _ = opened.send(Err(error));
                return;
            }
        };
        // Told before the consumer is closed.
        let ending = Ending(reading.shared.clone());
        if opened.send(Ok(Open(reading.shared.clone()))).is_err() {
            return;
        }
        if let Err(error) = reading.run(&consumer) {
            ending.because(error);
        }
    }

    fn consumer(&self) -> Result<BaseConsumer<Quiet>, KafkaError> {
        let kilobytes = (self.buffer_bytes / 2 / 1_024).max(1);
        let at_once = (self.buffer_bytes / 4).clamp(1_024, 8 << 20);
        let mut config = self.options.client();
        config
            // It is asked for, and nothing is ever committed or joined with it.
            .set("group.id", "freehold-feed")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            // What is left out by that is noticed: each record names the one before it.
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            // A broker that is there and says nothing is one that is away.
            .set("socket.timeout.ms", "10000")
            // A partition that is fetched again waits for so long, where nothing is new.
            .set("fetch.wait.max.ms", "50")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", kilobytes.to_string())
            .set("fetch.message.max.bytes", at_once.min(1 << 20).to_string())
            .set("fetch.max.bytes", at_once.max(1 << 20).to_string())
            // Else a queue that was full is filled once a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        config.create_with_context(Quiet)
    }

    /// Finds out where everything ends, which is where it will be read from.
    fn begin(&self, consumer: &BaseConsumer<Quiet>) -> Result<Reading, StoreFailure> {
        let prefix = &self.options.topic_prefix;
        let control = control_topic(&self.options, &self.log);
        let categories = self.filter.categories.iter();
        let wanted: BTreeSet<_> = categories.map(|name| topic_of(prefix, name)).collect();
        let wanted = Some(wanted).filter(|wanted| !wanted.is_empty());
        // All are asked for: asking for one that is not there makes it, where brokers are set so.
        let metadata = consumer.fetch_metadata(None, ANSWERS_WITHIN)?;
        let mut places = TopicPartitionList::new();
        for topic in metadata.topics() {
            let name = topic.name();
            let is_wanted = match &wanted {
                Some(wanted) => wanted.contains(name),
                None => name.starts_with(prefix) && name.ends_with(EVENTS),
            };
            if is_wanted || name == control {
                for partition in topic.partitions() {
                    places.add_partition_offset(name, partition.id(), Offset::End)?;
                }
            }
        }
        let ends = match places.count() {
            0 => places,
            _ => consumer.offsets_for_times(places, ANSWERS_WITHIN)?,
        };
        let mut starts = HashMap::new();
        for place in ends.elements() {
            // One that cannot be asked now is read from its beginning, should it be needed.
            if let (Ok(()), Offset::Offset(offset)) = (place.error(), place.offset()) {
                starts.insert((place.topic().to_owned(), place.partition()), offset);
            }
        }
        // A quarter is on its way from one to the other.
        let lanes = Lanes::new(wanted, self.buffer_bytes / 4);
        let reading = Reading {
            shared: Arc::new(Shared {
                lanes: Mutex::new(lanes),
                ended: Mutex::new(None),
                news: Notify::new(),
                closed: AtomicBool::new(false),
            }),
            wanted: Wanted { source: source_of(&self.log), filter: self.filter.clone() },
            at_once: self.buffer_bytes / 4,
            key: self.log.to_string(),
            starts,
            // Looked for from now on if it is not there.
            looked: ends.elements_for_topic(&control).is_empty().then(Instant::now),
            control,
            gone: None,
            warned: false,
        };
        if reading.looked.is_none() {
            reading.assign(consumer, &[(reading.control.as_str().into(), 0)])?;
        }
        Ok(reading)
    }
}

/// What the thread knows.
struct Reading {
    shared: Arc<Shared>,
    wanted: Wanted,
    /// How many bytes are taken in before they are looked at.
    at_once: usize,
    control: String,
    /// The key of control records.
    key: String,
    /// Where partitions ended that were there at first.
    starts: HashMap<(String, i32), i64>,
    /// When the control topic was looked for last; none once it is there.
    looked: Option<Instant>,
    /// Since when no broker may be there.
    gone: Option<Instant>,
    /// Whether a record of somebody else was told of.
    warned: bool,
}

impl Reading {
    /// Reads until nobody wants more.
    fn run(&mut self, consumer: &BaseConsumer<Quiet>) -> Result<(), StoreFailure> {
        while !self.shared.closed.load(Ordering::Relaxed) {
            self.look_for_the_control_topic(consumer)?;
            self.look_for_brokers(consumer)?;
            let patience = match self.balance(consumer)? {
                true => PATIENCE_WHILE_FULL,
                false => PATIENCE,
            };
            let mut polled = consumer.poll(patience);
            let (mut records, mut bytes) = (0, 0);
            while let Some(next) = polled {
                match next {
                    Ok(record) => {
                        records += 1;
                        bytes += self.take_in(consumer, &record)?;
                    }
                    Err(error) => self.note(error)?,
                }
                if records >= AT_ONCE || bytes >= self.at_once {
                    break;
                }
                polled = consumer.poll(Duration::ZERO);
            }
            if records > 0 {
                self.gone = None;
                self.shared.lanes().settle();
                self.shared.news.notify_one();
            }
        }
        Ok(())
    }

    /// Begins to read partitions where they ended at first, or else at their first record.
    fn assign(&self, consumer: &BaseConsumer<Quiet>, places: &[Place]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            let partition = *partition as i32;
            let start = self.starts.get(&(topic.to_string(), partition));
            let start = start.map_or(Offset::Beginning, |offset| Offset::Offset(*offset));
            list.add_partition_offset(topic, partition, start)?;
        }
        consumer.incremental_assign(&list)
    }

    /// Made with the first take-over of a relay, it is read from its first record.
    fn look_for_the_control_topic(
        &mut self,
        consumer: &BaseConsumer<Quiet>,
    ) -> Result<(), KafkaError> {
        if self.looked.is_none_or(|looked| looked.elapsed() < LOOKS_EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        match consumer.fetch_metadata(None, SEEN_WITHIN) {
            Ok(metadata) => {
                let mut topics = metadata.topics().iter();
                if topics.any(|topic| topic.name() == self.control) {
                    self.looked = None;
                    self.assign(consumer, &[(self.control.as_str().into(), 0)])?;
                }
            }
            Err(error) => self.doubt(&error),
        }
        Ok(())
    }

    /// Whether a broker answers again, if there was none.
    fn look_for_brokers(&mut self, consumer: &BaseConsumer<Quiet>) -> Result<(), KafkaError> {
        let Some(since) = self.gone else { return Ok(()) };
        match consumer.fetch_metadata(Some(&self.control), SEEN_WITHIN) {
            Ok(_) => self.gone = None,
            Err(error) if since.elapsed() >= BACK_WITHIN => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn doubt(&mut self, error: &KafkaError) {
        cluster::note("feed", &error.to_string());
        self.gone.get_or_insert_with(Instant::now);
    }

    /// What the driver says instead of a record.
    fn note(&mut self, error: KafkaError) -> Result<(), KafkaError> {
        match (&error, error.rdkafka_error_code()) {
            (KafkaError::MessageConsumptionFatal(_), _)
            | (_, Some(Code::TopicAuthorizationFailed)) => return Err(error),
            (_, Some(Code::AllBrokersDown)) => self.doubt(&error),
            _ => cluster::note("feed", &error.to_string()),
        }
        Ok(())
    }

    /// Fetches of partitions that have room, and of no others; whether there are others.
    fn balance(&self, consumer: &BaseConsumer<Quiet>) -> Result<bool, KafkaError> {
        let (full, roomy, is_full) = {
            let mut lanes = self.shared.lanes();
            let (full, roomy) = lanes.balance();
            (full, roomy, lanes.is_full())
        };
        let list = |places: Vec<Place>| {
            let mut list = TopicPartitionList::new();
            for (topic, partition) in places {
                list.add_partition(&topic, partition as i32);
            }
            list
        };
        if !full.is_empty() {
            consumer.pause(&list(full))?;
        }
        if !roomy.is_empty() {
            consumer.resume(&list(roomy))?;
        }
        Ok(is_full)
    }

    /// How many bytes a record has.
    fn take_in(
        &mut self,
        consumer: &BaseConsumer<Quiet>,
        record: &BorrowedMessage<'_>,
    ) -> Result<usize, KafkaError> {
        if record.topic() == self.control {
            self.take_in_control(consumer, record)?;
            return Ok(record.payload_len());
        }
        let headers = headers_of(record);
        match self.wanted.decode(headers, record.payload()) {
            Some(arrival) => {
                let bytes = arrival.bytes;
                // Partitions count from 0.
                self.shared.lanes().arrived(record.topic(), record.partition() as usize, arrival);
                Ok(bytes)
            }
            None => {
                self.warn_of(record);
                Ok(record.payload_len())
            }
        }
    }

    fn take_in_control(
        &mut self,
        consumer: &BaseConsumer<Quiet>,
        record: &BorrowedMessage<'_>,
    ) -> Result<(), KafkaError> {
        // Take-overs and other logs stand there too.
        if record.key() != Some(self.key.as_bytes()) {
            return Ok(());
        }
        match serde_json::from_slice(record.payload().unwrap_or_default()) {
            Ok(control) => {
                let found = self.shared.lanes().published(control);
                self.shared.news.notify_one();
                if found.is_empty() { Ok(()) } else { self.assign(consumer, &found) }
            }
            Err(_) => {
                self.warn_of(record);
                Ok(())
            }
        }
    }

    /// Nobody is told twice: it may be one of many.
    fn warn_of(&mut self, record: &BorrowedMessage<'_>) {
        if !std::mem::replace(&mut self.warned, true) {
            let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
            warn!(topic, partition, offset, "a record that no relay of this log wrote");
        }
    }
}
