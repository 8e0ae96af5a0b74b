//! [`KafkaPublisher`]: one transaction a page, and what is known after one broke off.
//!
//! The producer is the lock: a transactional id belongs to whoever asked for it last, and the
//! broker refuses everybody before. So nothing is retried in place: after any error the producer is
//! dropped, and the next take-over finds out from the control topic what readers see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_ports::{
    GlobalPosition, LogName, PublishError, Published, Publisher, RecordedEvent, StoreFailure,
};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};
use uuid::Uuid;

use crate::cluster::{
    self, ANSWERS_WITHIN, Cluster, KafkaOptions, MOST_RECORD_BYTES, Quiet, publish_error,
};
use crate::control::Control;
use crate::partition::partition_of;
use crate::records::{each_header, source_of, topic_of};

/// How long a broker may leave a transaction open that nobody ends, and how long one record may
/// take; the second must be the shorter one.
const TRANSACTION_TIMEOUT_MS: &str = "10000";
const MESSAGE_TIMEOUT_MS: &str = "8000";
const COMMITS_WITHIN: Duration = Duration::from_secs(10);

/// How many records of the control topic are looked at first; aborted transactions take two each.
const NEWEST: i64 = 64;

/// Publishes a log to the topics of its categories.
pub struct KafkaPublisher {
    options: Arc<KafkaOptions>,
    log: LogName,
    /// While this one has taken over.
    session: Option<Session>,
    /// While it watches another one.
    watch: Option<Tail>,
}

impl KafkaPublisher {
    /// One for a log; nothing is connected yet.
    pub fn new(options: KafkaOptions, log: LogName) -> Self {
        Self { options: Arc::new(options), log, session: None, watch: None }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    async fn published(&mut self) -> Result<Option<Published>, PublishError> {
        let (options, log) = (self.options.clone(), self.log.clone());
        let (session, watch) = (self.session.take(), self.watch.take());
        let (watch, published) = blocking(move || {
            drop(session);
            let name = control_topic(&options, &log);
            let mut watch = match watch {
                Some(watch) => watch,
                None => match Tail::of(&options, &name, &log)? {
                    Some(tail) => tail,
                    None => return Ok((None, None)),
                },
            };
            watch.read_what_is_there()?;
            let published = watch.newest.as_ref().and_then(Control::published);
            Ok((Some(watch), published))
        })
        .await?;
        self.watch = watch;
        Ok(published)
    }

    async fn take_over(&mut self) -> Result<Option<Published>, PublishError> {
        let (options, log) = (self.options.clone(), self.log.clone());
        let (session, watch) = (self.session.take(), self.watch.take());
        let session = blocking(move || {
            drop((session, watch));
            Session::begin(options, &log)
        })
        .await?;
        let published = session.control.published();
        self.session = Some(session);
        Ok(published)
    }

    async fn publish(&mut self, events: Vec<RecordedEvent>) -> Result<(), PublishError> {
        let session = self.session.take();
        let session = session.ok_or_else(|| unavailable("nothing was taken over"))?;
        // After an error the session is dropped, and its producer with it.
        self.session = Some(blocking(move || session.publish(&events)).await?);
        Ok(())
    }
}

/// Runs what waits for brokers where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => Err(unavailable(ended)),
    }
}

fn unavailable(source: impl Into<StoreFailure>) -> PublishError {
    PublishError::Unavailable { source: source.into() }
}

/// Where publishers of a log write how far it is published.
pub(crate) fn control_topic(options: &KafkaOptions, log: &LogName) -> String {
    format!("{}freehold-relay-{log}", options.topic_prefix)
}

/// A producer that has taken over, and what it knows.
struct Session {
    options: Arc<KafkaOptions>,
    cluster: Cluster,
    /// The one whose turn it is, and the one that had the transaction before.
    ///
    /// A broker says that a transaction is committed before it has ended it in each partition. Until
    /// then it refuses the producer's next one, and the driver asks again only 20 ms later: a fixed
    /// number of its.
    producer: BaseProducer<Deliveries>,
    other: BaseProducer<Deliveries>,
    log: LogName,
    source: String,
    control_topic: String,
    control: Control,
    /// The topic of each category that was seen.
    topics: HashMap<Box<str>, Topic>,
    seconds: metrics::Histogram,
}

struct Topic {
    name: Arc<str>,
    sent: metrics::Counter,
}

impl Session {
    fn begin(options: Arc<KafkaOptions>, log: &LogName) -> Result<Self, PublishError> {
        let control_topic = control_topic(&options, log);
        let cluster = Cluster::new(options.clone())?;
        let topics = cluster.topics()?;
        if !topics.contains_key(&control_topic) {
            cluster.make_control_topic(&control_topic)?;
        }
        // Both are taken before anything is read; the mark below goes by the first one. So of two
        // that take over at the same time, one has neither or the first is another's: it ends.
        let producer = take(&options, &control_topic)?;
        let other = take(&options, &format!("{control_topic}-other"))?;
        let mut session = Self {
            producer,
            other,
            log: log.clone(),
            source: source_of(log),
            control_topic,
            control: Control::nothing(),
            topics: HashMap::new(),
            seconds: metrics::histogram!(
                "kafka_produce_latency_seconds",
                "log" => log.to_string()
            ),
            options,
            cluster,
        };
        session.find_out()?;
        session.check_topics(&topics)?;
        let position = session.control.position.0;
        info!(log = %session.log, position, "took over publishing");
        Ok(session)
    }

    /// Reads what the one before published. A mark of our own says where to stop: everything
    /// before it is decided, and what comes after it is not another's.
    fn find_out(&mut self) -> Result<(), PublishError> {
        let mark = Uuid::now_v7().to_string();
        self.producer.begin_transaction().map_err(publish_error)?;
        let key = format!("{}:taken-over", self.log);
        self.send(self.control_record(&key, mark.as_bytes()))?;
        self.commit()?;
        let tail = Tail::of(&self.options, &self.control_topic, &self.log)?;
        let mut tail = tail.ok_or_else(|| unavailable("the control topic is gone"))?;
        tail.read_to(&mark)?;
        if tail.newest.is_none() && tail.begin_earlier()? {
            tail.read_to(&mark)?;
        }
        self.control = tail.newest.take().unwrap_or_else(Control::nothing);
        Ok(())
    }

    /// Makes sure that the topics are those that were published to.
    fn check_topics(&self, topics: &HashMap<String, usize>) -> Result<(), PublishError> {
        for (topic, positions) in &self.control.topics {
            match topics.get(topic) {
                None => {
                    warn!(log = %self.log, topic, "a topic that was published to is gone");
                    self.cluster.make_event_topic(topic, positions.len())?;
                }
                Some(0) => return Err(no_partitions(topic)),
                Some(partitions) if *partitions != positions.len() => {
                    let before = positions.len();
                    let what = format!(
                        "topic {topic} has {partitions} partitions and had {before}, which sends \
                         streams to other partitions than before; set another kafka.topic_prefix \
                         to publish all of the log to new topics"
                    );
                    return Err(PublishError::Refused { what });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// All or none; the session is gone after an error.
    fn publish(mut self, events: &[RecordedEvent]) -> Result<Self, PublishError> {
        let started = Instant::now();
        let Some(last) = events.last() else { return Ok(self) };
        for event in events {
            self.find_topic(event.stream.category())?;
        }
        self.producer.begin_transaction().map_err(publish_error)?;
        let mut sent: HashMap<&str, u64> = HashMap::new();
        for (number, event) in events.iter().enumerate() {
            let category = event.stream.category();
            let topic = self.topics[category].name.clone();
            let known = self.control.topics.get_mut(&*topic);
            let positions = known.ok_or_else(|| unavailable("a topic was not looked up"))?;
            let partition = partition_of(event.stream.as_str(), positions.len());
            let before = positions.get_mut(partition).ok_or_else(|| no_partitions(&topic))?;
            let previous = std::mem::replace(before, event.position);
            let mut headers = Some(OwnedHeaders::new_with_capacity(20));
            each_header(event, &self.source, previous, |key, value| {
                let header = Header { key, value: Some(value) };
                headers = headers.take().map(|headers| headers.insert(header));
            });
            let record = BaseRecord::to(&topic)
                .partition(partition as i32)
                .key(event.stream.as_str())
                .payload(&event.payload[..])
                .headers(headers.unwrap_or_default());
            self.send(record).map_err(|error| at(event.position, error))?;
            *sent.entry(category).or_default() += 1;
            if number % 500 == 499 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.control.position = last.position;
        self.control.event_id = last.event_id;
        let control = serde_json::to_string(&self.control).map_err(unavailable)?;
        self.send(self.control_record(self.log.as_str(), control.as_bytes()))?;
        self.commit()?;
        std::mem::swap(&mut self.producer, &mut self.other);
        self.seconds.record(started.elapsed().as_secs_f64());
        for (category, number) in sent {
            self.topics[category].sent.increment(number);
        }
        Ok(self)
    }

    /// Knows the topic of a category, which is made when the first event of it comes.
    fn find_topic(&mut self, category: &str) -> Result<(), PublishError> {
        if self.topics.contains_key(category) {
            return Ok(());
        }
        let topic = topic_of(&self.options.topic_prefix, category);
        if !self.control.topics.contains_key(&topic) {
            let partitions = match self.cluster.topics()?.get(&topic) {
                Some(0) => return Err(no_partitions(&topic)),
                Some(partitions) => *partitions,
                None => {
                    self.cluster.make_event_topic(&topic, self.options.partitions)?;
                    self.options.partitions
                }
            };
            if self.has_records(&topic, partitions)? {
                let what = format!(
                    "topic {topic} holds records, and the control topic {} does not say of which \
                     events; delete both, or set another kafka.topic_prefix, to publish all of \
                     the log again",
                    self.control_topic
                );
                return Err(PublishError::Refused { what });
            }
            self.control.topics.insert(topic.clone(), vec![GlobalPosition(0); partitions]);
        }
        let sent = metrics::counter!("kafka_messages_produced_total", "topic" => topic.clone());
        self.topics.insert(category.into(), Topic { name: topic.into(), sent });
        Ok(())
    }

    /// Whether readers of a topic see anything; a transaction that was aborted also takes offsets.
    fn has_records(&self, topic: &str, partitions: usize) -> Result<bool, PublishError> {
        let consumer = reader(&self.options)?;
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            let beginning = from.add_partition_offset(topic, partition, Offset::Beginning);
            beginning.map_err(publish_error)?;
        }
        consumer.assign(&from).map_err(publish_error)?;
        let (deadline, mut ended) = (Instant::now() + ANSWERS_WITHIN, 0);
        while ended < partitions {
            match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(_)) => return Ok(true),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                // One that was just made may not be everywhere yet.
                Some(Err(error)) => return Err(publish_error(error)),
                None => return Err(unavailable(format!("topic {topic} cannot be read"))),
            }
        }
        Ok(false)
    }

    fn control_record<'a>(&'a self, key: &'a str, value: &'a [u8]) -> BaseRecord<'a, str, [u8]> {
        BaseRecord::to(&self.control_topic).partition(0).key(key).payload(value)
    }

    /// Queues a record; waits while the queue is full.
    fn send(&self, mut record: BaseRecord<'_, str, [u8]>) -> Result<(), PublishError> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    self.check_deliveries()?;
                    self.producer.poll(Duration::from_millis(1));
                    record = back;
                }
                Err((error, _)) => return Err(self.what_is_behind(error)),
            }
        }
    }

    fn commit(&self) -> Result<(), PublishError> {
        // Committing would wait for deliveries in steps of 100 ms.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        self.check_deliveries()?;
        let committed = self.producer.commit_transaction(COMMITS_WITHIN);
        committed.map_err(|error| self.what_is_behind(error))
    }

    fn check_deliveries(&self) -> Result<(), PublishError> {
        let failed = self.producer.context().take_failure();
        failed.map_or(Ok(()), |error| Err(self.what_is_behind(error)))
    }

    /// An error, or what made every further call fail.
    fn what_is_behind(&self, error: KafkaError) -> PublishError {
        match self.producer.client().fatal_error() {
            Some((code, _)) => publish_error(KafkaError::MessageProduction(code)),
            None => publish_error(error),
        }
    }
}

/// A producer that fenced whoever had its transactional id.
fn take(options: &KafkaOptions, id: &str) -> Result<BaseProducer<Deliveries>, PublishError> {
    let mut config = options.client();
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", MOST_RECORD_BYTES)
        .set("batch.size", options.batch_bytes.to_string())
        .set("queue.buffering.max.kbytes", "262144");
    let producer: BaseProducer<Deliveries> =
        config.create_with_context(Deliveries::default()).map_err(publish_error)?;
    producer.init_transactions(ANSWERS_WITHIN).map_err(publish_error)?;
    Ok(producer)
}

/// While a topic is made or moved a broker may know none of its partitions.
fn no_partitions(topic: &str) -> PublishError {
    unavailable(format!("topic {topic} has no partitions now"))
}

/// A refusal says which event is refused.
fn at(position: GlobalPosition, error: PublishError) -> PublishError {
    match error {
        PublishError::Refused { what } => {
            PublishError::Refused { what: format!("the event at position {position}: {what}") }
        }
        other => other,
    }
}

/// Remembers the first record that was not delivered.
#[derive(Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl Deliveries {
    fn take_failure(&self) -> Option<KafkaError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        cluster::note(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        cluster::note(&error.to_string(), reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.clone());
        }
    }
}

/// Reads the end of the control topic.
struct Tail {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    log: LogName,
    /// The first offset there is, and the one that reading began at.
    first: i64,
    from: i64,
    newest: Option<Control>,
    /// Whether it was at the end once.
    at_end: bool,
}

impl Tail {
    /// None if there is no such topic.
    fn of(
        options: &KafkaOptions,
        topic: &str,
        log: &LogName,
    ) -> Result<Option<Self>, PublishError> {
        let consumer = reader(options)?;
        let (first, end) = match consumer.fetch_watermarks(topic, 0, ANSWERS_WITHIN) {
            Ok(offsets) => offsets,
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(
                        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition
                    )
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(publish_error(error)),
        };
        let from = first.max(end - NEWEST);
        let (topic, log) = (topic.to_owned(), log.clone());
        let tail = Self { consumer, topic, log, first, from, newest: None, at_end: false };
        tail.begin(from)?;
        Ok(Some(tail))
    }

    fn begin(&self, from: i64) -> Result<(), PublishError> {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, 0, Offset::Offset(from));
        added.and_then(|()| self.consumer.assign(&list)).map_err(publish_error)
    }

    /// Begins at the first record; false if that is where it began.
    fn begin_earlier(&mut self) -> Result<bool, PublishError> {
        if self.from == self.first {
            return Ok(false);
        }
        self.from = self.first;
        self.begin(self.first).map(|()| true)
    }

    /// Reads until a record has that text.
    fn read_to(&mut self, text: &str) -> Result<(), PublishError> {
        let deadline = Instant::now() + ANSWERS_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(record)) if record.payload() == Some(text.as_bytes()) => return Ok(()),
                Some(Ok(record)) => note(&self.log, &mut self.newest, &record)?,
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(publish_error(error)),
                None => return Err(unavailable("the control topic cannot be read to its end")),
            }
        }
    }

    /// Reads on to the end the first time, and then what has come since.
    fn read_what_is_there(&mut self) -> Result<(), PublishError> {
        loop {
            let patience = if self.at_end { Duration::ZERO } else { ANSWERS_WITHIN };
            match self.consumer.poll(patience) {
                Some(Ok(record)) => note(&self.log, &mut self.newest, &record)?,
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.at_end = self.newest.is_some() || !self.begin_earlier()?;
                }
                None if self.at_end => return Ok(()),
                None => return Err(unavailable("the control topic cannot be read to its end")),
                // While brokers are away nothing is published either.
                Some(Err(error)) => return Err(publish_error(error)),
            }
        }
    }
}

fn note(
    log: &LogName,
    newest: &mut Option<Control>,
    record: &BorrowedMessage<'_>,
) -> Result<(), PublishError> {
    if record.key() != Some(log.as_str().as_bytes()) {
        return Ok(());
    }
    let control = serde_json::from_slice(record.payload().unwrap_or_default());
    let control = control.map_err(|error| PublishError::Refused {
        what: format!("the control record at offset {} is damaged: {error}", record.offset()),
    })?;
    *newest = Some(control);
    Ok(())
}

/// A reader of what is committed, in no group.
fn reader(options: &KafkaOptions) -> Result<BaseConsumer<Quiet>, PublishError> {
    let mut config = options.client();
    config
        // It is asked for, and nothing is ever committed or joined with it.
        .set("group.id", "freehold-relay")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100");
    config.create_with_context(Quiet).map_err(publish_error)
}
