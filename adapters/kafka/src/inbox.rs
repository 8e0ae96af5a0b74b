//! [`KafkaInbox`]: messages of senders, each given to a [`Recipient`] until it has it for good.
//!
//! Partitions are shared with other processes by a consumer group, and progress is kept beside the
//! logs ([`Intake`]), not with the group: what Kafka believes about it decides who reads, never
//! where. One thread polls; each partition has a task that gives one message after the other. After
//! any failure the consumer is dropped and the group joined anew.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_ports::{
    Intake, IntakeStep, MessageId, ReadError, RefusedItem, SourcePartition, StoreFailure, Taken,
};
use futures_util::future::join_all;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaRespErr as Response;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::cluster::{self, ANSWERS_WITHIN, KafkaOptions, Quiet};
use crate::records::headers_of;

/// The group forgets a member after so long, and revokes partitions from none that answers sooner.
const SESSION_MS: &str = "6000";
const HEARTBEAT_MS: &str = "1500";
/// How long messages in hand have when a partition is taken away: less than a session.
const DRAINS_WITHIN: Duration = Duration::from_secs(4);
/// How long the store has to say where a partition stands: as above.
const FOUND_WITHIN: Duration = Duration::from_secs(4);
/// How long the thread waits for a message, and while a partition waits for room.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_WHILE_FULL: Duration = Duration::from_millis(10);
/// How often it looks whether the brokers answer and the topics are there, and how long it waits.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// The pause before the group is joined again, doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a partition waits before it asks a store again that gave no answer.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How many messages are taken in, at most, before it is written down.
const UNNOTED: u32 = 100;
/// How long [`KafkaInbox::stop`] waits for the thread.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// What to read.
#[derive(Clone, Debug)]
pub struct InboxOptions {
    /// The cluster; the group's name begins with the prefix of topics.
    pub kafka: KafkaOptions,
    /// The topics by their whole names, made by those who send.
    pub topics: Vec<Arc<str>>,
    /// How many bytes of messages wait in this process, beside one for each partition.
    pub buffer_bytes: usize,
}

/// Takes messages in.
#[async_trait]
pub trait Recipient: Send + Sync {
    /// Takes a message in. It may come again, and is then taken in as one that did.
    async fn take_in(&self, message: &Message) -> Result<TakenIn, NotNow>;
}

/// A message of a sender.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which one.
    pub id: MessageId,
    /// What stands beside it, in the order sent; nothing if a name there is not UTF-8.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What it says; none of a record without a value.
    pub value: Option<Vec<u8>>,
}

/// What came of a message.
#[derive(Debug)]
pub struct TakenIn {
    /// The items that are in no log because they cannot be.
    pub refused: Vec<RefusedItem>,
    /// Whether the logs know it again and would answer the same, also after those behind it.
    pub known: bool,
}

/// Why a message was not taken in.
#[derive(Debug)]
pub enum NotNow {
    /// It can be later; those behind it wait.
    Later {
        /// When to try again.
        after: Duration,
        /// What it waits for.
        what: String,
    },
    /// It can be by another process only: this one is to leave the group.
    Elsewhere {
        /// Why.
        what: String,
    },
}

/// How an inbox is doing.
#[derive(Clone, Debug, Default)]
pub struct InboxStatus {
    /// Why it reads nothing now.
    pub failed: Option<String>,
    /// Topics that nobody made yet.
    pub missing: Vec<Arc<str>>,
    /// The partitions that this process reads.
    pub partitions: usize,
    /// Those among them whose next message has to wait, and what for.
    pub waiting: Vec<(SourcePartition, String)>,
}

/// Reads topics of senders, in a group with other processes, until it is stopped.
pub struct KafkaInbox {
    shared: Arc<Shared>,
    done: watch::Receiver<()>,
}

impl KafkaInbox {
    /// Begins; must be called inside the runtime that the recipient is to run on.
    pub fn start(
        options: InboxOptions,
        intake: Arc<dyn Intake>,
        recipient: Arc<dyn Recipient>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (alive, done) = watch::channel(());
        let reader = Reader {
            options: Arc::new(options),
            intake,
            recipient,
            runtime: Handle::current(),
            shared: shared.clone(),
        };
        std::thread::Builder::new().name("freehold-inbox".to_owned()).spawn(move || {
            reader.run();
            drop(alive);
        })?;
        Ok(Self { shared, done })
    }

    /// How it is doing.
    pub fn status(&self) -> InboxStatus {
        let mut status = self.shared.status().clone();
        let assigned = self.shared.assigned();
        status.partitions = assigned.len();
        for partition in assigned.values() {
            if let Some(what) = &*lock(&partition.queue.waits_for) {
                status.waiting.push((partition.id.clone(), what.clone()));
            }
        }
        status.waiting.sort();
        status
    }

    /// Takes in what is in hand, writes down how far it is and leaves the group.
    pub async fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let mut done = self.done.clone();
        // Ends with an error when the thread drops its side, which is what is waited for.
        let ended = async { while done.changed().await.is_ok() {} };
        if tokio::time::timeout(STOPS_WITHIN, ended).await.is_err() {
            warn!("the inbox did not end in time; others take its partitions over");
        }
    }

    /// One message that a topic still has, whoever reads it otherwise.
    pub async fn message_at(
        options: &KafkaOptions,
        topic: &str,
        partition: u32,
        offset: u64,
    ) -> Result<Option<Message>, StoreFailure> {
        let (options, topic) = (options.clone(), topic.to_owned());
        let found =
            tokio::task::spawn_blocking(move || read_one(&options, &topic, partition, offset));
        found.await?
    }
}

impl Drop for KafkaInbox {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

fn read_one(
    options: &KafkaOptions,
    topic: &str,
    partition: u32,
    offset: u64,
) -> Result<Option<Message>, StoreFailure> {
    let consumer: BaseConsumer<Quiet> = reading(options)
        // It is asked for, and nothing is ever committed or joined with it.
        .set("group.id", "freehold-ingest-one")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .create_with_context(Quiet)?;
    let cluster = consumer.client().fetch_cluster_id(ANSWERS_WITHIN).ok_or(NO_BROKER)?;
    let (first, end) =
        match consumer.fetch_watermarks(topic, i32::try_from(partition)?, ANSWERS_WITHIN) {
            Ok(offsets) => offsets,
            Err(error) if cluster::is_unknown_topic(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    let offset = i64::try_from(offset)?;
    if !(first..end).contains(&offset) {
        return Ok(None);
    }
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(offset))?;
    consumer.assign(&from)?;
    let deadline = Instant::now() + ANSWERS_WITHIN;
    loop {
        match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Ok(record)) if record.offset() == offset => {
                let topic = Arc::from(topic);
                let id = SourcePartition { cluster: cluster.into(), topic, partition };
                return Ok(Some(message_of(&record, id)));
            }
            // A transaction's end, or one that was compacted away.
            Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => return Err(error.into()),
            None if Instant::now() < deadline => {}
            None => return Err("the broker gave no message in time".into()),
        }
    }
}

const NO_BROKER: &str = "no broker answers";

/// What every reader of senders' topics is told.
fn reading(options: &KafkaOptions) -> ClientConfig {
    let mut config = options.client();
    config
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        // Topics belong to those who send.
        .set("allow.auto.create.topics", "false");
    config
}

/// What the thread, its consumer and those who ask about it share.
#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    status: Mutex<InboxStatus>,
    assigned: Mutex<Partitions>,
    /// Partitions that have another message at the place of the last one that was taken in.
    anew: Mutex<HashMap<SourcePartition, Taken>>,
}

type Partitions = HashMap<(Arc<str>, i32), Assigned>;

impl Shared {
    fn status(&self) -> MutexGuard<'_, InboxStatus> {
        lock(&self.status)
    }

    fn assigned(&self) -> MutexGuard<'_, Partitions> {
        lock(&self.assigned)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A partition that this process reads.
struct Assigned {
    id: SourcePartition,
    queue: Arc<Queue>,
    messages: mpsc::UnboundedSender<Message>,
    revoke: watch::Sender<bool>,
    task: JoinHandle<Ended>,
    /// Whether the consumer fetches nothing of it, until there is room.
    paused: bool,
}

/// What waits in a partition.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    waits_for: Mutex<Option<String>>,
}

/// Why a consumer, or the reading of a partition, is over.
#[derive(Debug)]
enum Ended {
    /// It was asked to stop.
    Stopped,
    /// Trying again may help.
    Failed(String),
    /// Another process has to go on.
    Elsewhere(String),
}

/// The thread.
#[derive(Clone)]
struct Reader {
    options: Arc<InboxOptions>,
    intake: Arc<dyn Intake>,
    recipient: Arc<dyn Recipient>,
    runtime: Handle,
    shared: Arc<Shared>,
}

impl Reader {
    fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            // A panic is no reason to read no more, and never without anybody knowing.
            let ended = match catch_unwind(AssertUnwindSafe(|| self.read())) {
                Ok(ended) => ended.unwrap_or_else(|error| Ended::Failed(error.to_string())),
                Err(_) => Ended::Failed("it panicked".to_owned()),
            };
            match ended {
                Ended::Stopped => return,
                Ended::Failed(what) => {
                    warn!(what, "reads no messages of senders now, and tries again");
                    self.shared.status().failed = Some(what);
                }
                Ended::Elsewhere(what) => {
                    warn!(what, "reads no messages of senders until this process is restarted");
                    self.shared.status().failed = Some(what);
                    self.wait(Duration::MAX);
                }
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            self.wait(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
            if self.shared.is_stopping() {
                return;
            }
        }
    }

    fn wait(&self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause && !self.shared.is_stopping() {
            std::thread::sleep(PATIENCE.min(pause));
        }
    }

    /// Joins the group and reads until something fails.
    fn read(&self) -> Result<Ended, KafkaError> {
        let options = &self.options;
        let kilobytes = (options.buffer_bytes / 2 / 1_024).max(1);
        let at_once = (options.buffer_bytes / 4).clamp(1_024, 8 << 20);
        let mut config = reading(&options.kafka);
        config
            .set("group.id", format!("{}freehold-ingest", options.kafka.topic_prefix))
            .set("session.timeout.ms", SESSION_MS)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("partition.assignment.strategy", "roundrobin")
            .set("auto.offset.reset", "earliest")
            // How soon a topic that is made is found, or a partition that is added.
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", kilobytes.to_string())
            .set("fetch.message.max.bytes", at_once.min(1 << 20).to_string())
            .set("fetch.max.bytes", at_once.max(1 << 20).to_string())
            // Else a queue that was full is filled once a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        let member =
            Member { reader: self.clone(), cluster: Mutex::default(), failed: Mutex::default() };
        let consumer: BaseConsumer<Member> = config.create_with_context(member)?;
        let Some(cluster) = consumer.client().fetch_cluster_id(ANSWERS_WITHIN) else {
            return Ok(Ended::Failed(NO_BROKER.to_owned()));
        };
        *lock(&consumer.context().cluster) = cluster.into();
        let topics: Vec<&str> = options.topics.iter().map(|topic| &**topic).collect();
        consumer.subscribe(&topics)?;
        let ended = self.read_with(&consumer);
        // Whatever is in hand is done or given up before the group hears that this member left.
        self.give_up(&consumer);
        // Closing may wait for a broker that is gone; nobody has to wait with it.
        let closing = std::thread::spawn(move || drop(consumer));
        let began = Instant::now();
        while !closing.is_finished() && began.elapsed() < DRAINS_WITHIN {
            std::thread::sleep(PATIENCE_WHILE_FULL);
        }
        Ok(ended)
    }

    fn read_with(&self, consumer: &BaseConsumer<Member>) -> Ended {
        let mut looks_at = Instant::now();
        loop {
            if self.shared.is_stopping() {
                return Ended::Stopped;
            }
            if Instant::now() >= looks_at {
                self.look(consumer);
                looks_at = Instant::now() + LOOKS_EVERY;
            }
            let patience = match self.make_room(consumer) {
                Ok(true) => PATIENCE_WHILE_FULL,
                Ok(false) => PATIENCE,
                Err(error) => return Ended::Failed(error.to_string()),
            };
            match consumer.poll(patience) {
                Some(Ok(record)) => {
                    if let Err(error) = self.put(consumer, &record) {
                        return Ended::Failed(error.to_string());
                    }
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Ended::Failed(code.to_string());
                }
                // While brokers are away the driver connects again by itself.
                Some(Err(error)) => cluster::note("inbox", &error.to_string()),
                None => {}
            }
            if let Some(failed) = lock(&consumer.context().failed).take() {
                return Ended::Failed(failed);
            }
            if let Some(ended) = self.ended_by_itself() {
                return ended;
            }
        }
    }

    /// Whether brokers answer, and which topics are missing; nobody is told twice.
    fn look(&self, consumer: &BaseConsumer<Member>) {
        // All are asked for: asking for one that is not there makes it, where brokers are set so.
        let metadata = consumer.fetch_metadata(None, SEEN_WITHIN);
        let mut status = self.shared.status();
        let Ok(metadata) = metadata else {
            status.failed = Some(NO_BROKER.to_owned());
            return;
        };
        let there = |topic: &Arc<str>| {
            let mut found = metadata.topics().iter().filter(|found| found.name() == &**topic);
            found.any(|found| !found.partitions().is_empty())
        };
        let topics = self.options.topics.iter();
        let missing: Vec<_> = topics.filter(|topic| !there(topic)).cloned().collect();
        for topic in missing.iter().filter(|topic| !status.missing.contains(topic)) {
            warn!(%topic, "a topic of senders does not exist; it is read as soon as they make it");
        }
        status.missing = missing;
        status.failed = None;
    }

    /// Fetches again of partitions that have room; whether others have none.
    fn make_room(&self, consumer: &BaseConsumer<Member>) -> Result<bool, KafkaError> {
        let mut assigned = self.shared.assigned();
        let room = self.room(assigned.len());
        let (mut roomy, mut full) = (TopicPartitionList::new(), false);
        for ((topic, number), partition) in &mut *assigned {
            if partition.paused && partition.queue.bytes.load(Ordering::Relaxed) <= room / 2 {
                partition.paused = false;
                roomy.add_partition(topic, *number);
            }
            full |= partition.paused;
        }
        drop(assigned);
        if roomy.count() > 0 {
            consumer.resume(&roomy)?;
        }
        Ok(full)
    }

    /// How many bytes may wait in each of so many partitions. The driver has the other half.
    fn room(&self, partitions: usize) -> usize {
        self.options.buffer_bytes / 2 / partitions.max(1)
    }

    /// Gives a record to its partition.
    fn put(
        &self,
        consumer: &BaseConsumer<Member>,
        record: &BorrowedMessage<'_>,
    ) -> Result<(), KafkaError> {
        let mut assigned = self.shared.assigned();
        let room = self.room(assigned.len());
        let place = (Arc::from(record.topic()), record.partition());
        let Some(partition) = assigned.get_mut(&place) else { return Ok(()) };
        let message = message_of(record, partition.id.clone());
        let before = partition.queue.bytes.fetch_add(message.bytes(), Ordering::Relaxed);
        let full = before + message.bytes() >= room;
        // A task that ended is noticed beside.
        let _ = partition.messages.send(message);
        if full && !partition.paused {
            partition.paused = true;
            drop(assigned);
            let mut list = TopicPartitionList::new();
            list.add_partition(&place.0, place.1);
            consumer.pause(&list)?;
        }
        Ok(())
    }

    /// Why a partition is read no more though nobody took it away.
    fn ended_by_itself(&self) -> Option<Ended> {
        let mut assigned = self.shared.assigned();
        let place = assigned.iter().find(|(_, partition)| partition.task.is_finished());
        let place = place.map(|(place, _)| place.clone())?;
        let partition = assigned.remove(&place)?;
        drop(assigned);
        let ended = self.runtime.block_on(partition.task);
        Some(ended.unwrap_or_else(|error| Ended::Failed(format!("a partition's task {error}"))))
    }

    /// Finds where partitions stand, and begins there.
    fn take(
        &self,
        consumer: &BaseConsumer<Member>,
        list: &mut TopicPartitionList,
    ) -> Result<(), StoreFailure> {
        let cluster = lock(&consumer.context().cluster).clone();
        let mut found = Vec::new();
        for element in list.elements() {
            let (topic, number) = (Arc::from(element.topic()), element.partition());
            let partition = u32::try_from(number)?;
            let id = SourcePartition { cluster: cluster.clone(), topic, partition };
            found.push((number, id));
        }
        let asked = found.iter().map(|(_, id)| self.intake.taken(id));
        let asked = async { tokio::time::timeout(FOUND_WITHIN, join_all(asked)).await };
        let answers = self.runtime.block_on(asked)?;
        let mut starts = Vec::new();
        for ((number, id), answer) in found.into_iter().zip(answers) {
            let taken = answer?;
            // The last one that was taken in comes again, and tells whether the topic is the same.
            let anew = lock(&self.shared.anew).remove(&id);
            let anew = anew.is_some() && anew == taken;
            let offset = match taken {
                Some(_) if anew => Offset::Beginning,
                Some(taken) => Offset::Offset(i64::try_from(taken.offset)?),
                None => Offset::Beginning,
            };
            list.set_partition_offset(&id.topic, number, offset)?;
            starts.push((number, id, taken, !anew));
        }
        consumer.assign(list)?;
        for (number, id, taken, first) in starts {
            info!(topic = %id.topic, partition = number, after = taken.map(|taken| taken.offset), "reads");
            let assigned = self.begin(id, taken, first);
            let place = (assigned.id.topic.clone(), number);
            self.shared.assigned().insert(place, assigned);
        }
        Ok(())
    }

    fn begin(&self, id: SourcePartition, taken: Option<Taken>, first: bool) -> Assigned {
        let (messages, received) = mpsc::unbounded_channel();
        let (revoke, revoked) = watch::channel(false);
        let queue = Arc::new(Queue::default());
        let giving = Giving {
            intake: self.intake.clone(),
            recipient: self.recipient.clone(),
            partition: id.clone(),
            queue: queue.clone(),
            revoked,
            noted: taken,
            last: taken,
            first,
            unnoted: 0,
            refused: Vec::new(),
            shared: self.shared.clone(),
        };
        let task = self.runtime.spawn(giving.run(received));
        Assigned { id, queue, messages, revoke, task, paused: false }
    }

    /// Lets every partition finish the message in hand and write it down, then gives it up.
    fn drain(&self) {
        let given_up: Vec<Assigned> = self.shared.assigned().drain().map(|(_, one)| one).collect();
        let deadline = tokio::time::Instant::now() + DRAINS_WITHIN;
        for partition in &given_up {
            partition.revoke.send_replace(true);
        }
        self.runtime.block_on(join_all(given_up.into_iter().map(|mut partition| async move {
            if tokio::time::timeout_at(deadline, &mut partition.task).await.is_err() {
                // Whoever reads it next gives the message again.
                partition.task.abort();
                warn!(topic = %partition.id.topic, partition = partition.id.partition,
                    "gives a partition up with a message in hand");
            }
        })));
    }

    fn give_up(&self, consumer: &BaseConsumer<Member>) {
        self.drain();
        if let Err(error) = consumer.unassign() {
            cluster::note("inbox", &error.to_string());
        }
    }
}

fn message_of(record: &BorrowedMessage<'_>, partition: SourcePartition) -> Message {
    let stamp = record.timestamp().to_millis().unwrap_or(-1);
    // Offsets of records that were read count from 0.
    let at = Taken { offset: record.offset() as u64, stamp };
    let headers = headers_of(record).into_iter();
    Message {
        id: MessageId { partition, at },
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        value: record.payload().map(<[u8]>::to_vec),
    }
}

impl Message {
    /// What it takes while it waits.
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| 64 + name.len() + value.len());
        256 + headers.sum::<usize>() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// What the consumer tells of its group, on the thread that polls.
struct Member {
    reader: Reader,
    cluster: Mutex<Arc<str>>,
    failed: Mutex<Option<String>>,
}

impl ClientContext for Member {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        cluster::note(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        cluster::note(&error.to_string(), reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: Response,
        list: &mut TopicPartitionList,
    ) {
        if what == Response::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
            && !self.reader.shared.is_stopping()
        {
            let Err(error) = self.reader.take(consumer, list) else { return };
            *lock(&self.failed) = Some(format!("nobody knows where partitions stand: {error}"));
        }
        // An answer is owed whatever happened, or the group waits for it.
        self.reader.give_up(consumer);
    }
}

/// Gives the messages of a partition, one after the other.
struct Giving {
    intake: Arc<dyn Intake>,
    recipient: Arc<dyn Recipient>,
    partition: SourcePartition,
    queue: Arc<Queue>,
    revoked: watch::Receiver<bool>,
    /// Where the store has the partition.
    noted: Option<Taken>,
    /// The last message that was taken in.
    last: Option<Taken>,
    /// Whether none has come since the partition was taken, where the last one is to come first.
    first: bool,
    /// How many of them the store does not have.
    unnoted: u32,
    refused: Vec<RefusedItem>,
    shared: Arc<Shared>,
}

impl Giving {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) -> Ended {
        let ended = self.give(&mut messages).await;
        if let Ended::Failed(_) = ended {
            return ended;
        }
        match self.note().await {
            Ok(()) => ended,
            Err(failed) => failed,
        }
    }

    async fn give(&mut self, messages: &mut mpsc::UnboundedReceiver<Message>) -> Ended {
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(_) => {
                    // Nothing waits: time to write down.
                    if let Err(failed) = self.note().await {
                        return failed;
                    }
                    let next = tokio::select! {
                        biased;
                        _ = self.revoked.wait_for(|revoked| *revoked) => None,
                        next = messages.recv() => next,
                    };
                    let Some(message) = next else { return Ended::Stopped };
                    message
                }
            };
            if *self.revoked.borrow() {
                return Ended::Stopped;
            }
            let given = self.give_one(&message).await;
            self.queue.bytes.fetch_sub(message.bytes(), Ordering::Relaxed);
            if let Some(ended) = given {
                return ended;
            }
        }
    }

    /// Gives one message until it is taken in; why that ended without.
    async fn give_one(&mut self, message: &Message) -> Option<Ended> {
        let at = message.id.at;
        if self.last == Some(at) {
            self.first = false;
            return None;
        }
        if let (true, Some(last)) = (self.first, self.last)
            && last.offset == at.offset
            && at.offset > 0
        {
            // What stands before it is new too: the partition is taken once more, from there.
            lock(&self.shared.anew).insert(self.partition.clone(), last);
            let SourcePartition { topic, partition, .. } = &self.partition;
            return Some(Ended::Failed(format!("{topic}/{partition} was made anew")));
        }
        self.tell_what_is_missing(at);
        self.first = false;
        let taken = loop {
            match self.recipient.take_in(message).await {
                Ok(taken) => break taken,
                Err(NotNow::Elsewhere { what }) => return Some(Ended::Elsewhere(what)),
                Err(NotNow::Later { after, what }) => {
                    *lock(&self.queue.waits_for) = Some(what);
                    let given_up = self.revoked.wait_for(|revoked| *revoked);
                    if tokio::time::timeout(after, given_up).await.is_ok() {
                        return Some(Ended::Stopped);
                    }
                }
            }
        };
        *lock(&self.queue.waits_for) = None;
        self.last = Some(at);
        self.unnoted += 1;
        // What the logs would not know again is written down before the next one changes anything.
        let now = !taken.known || self.unnoted >= UNNOTED;
        self.refused.extend(taken.refused);
        if now { self.note().await.err() } else { None }
    }

    fn tell_what_is_missing(&self, at: Taken) {
        let SourcePartition { topic, partition, .. } = &self.partition;
        let Some(last) = self.last else { return };
        if at.offset <= last.offset {
            warn!(%topic, partition, offset = at.offset, taken = last.offset,
                "the topic was made anew: it is read from its beginning");
        } else if self.first && at.offset > last.offset + 1 {
            // The last one that was taken in comes first, unless it is gone.
            warn!(%topic, partition, from = last.offset + 1, to = at.offset,
                "the topic kept messages too shortly: some may be gone that were not taken in");
        }
    }

    /// Writes down how far the partition is taken in, and what was refused on the way.
    async fn note(&mut self) -> Result<(), Ended> {
        let (Some(to), true) = (self.last, self.unnoted > 0) else { return Ok(()) };
        let step = IntakeStep {
            partition: self.partition.clone(),
            from: self.noted,
            to,
            refused: std::mem::take(&mut self.refused),
        };
        loop {
            match self.intake.advance(step.clone()).await {
                Ok(true) => break,
                Ok(false) => return Err(self.lost()),
                Err(error) => {
                    self.wait_for_the_store(&error).await;
                    // It may be written all the same.
                    match self.intake.taken(&self.partition).await {
                        Ok(taken) if taken == Some(to) => break,
                        Ok(taken) if taken != self.noted => return Err(self.lost()),
                        Ok(_) | Err(_) => {}
                    }
                }
            }
        }
        *lock(&self.queue.waits_for) = None;
        self.noted = Some(to);
        self.unnoted = 0;
        Ok(())
    }

    fn lost(&self) -> Ended {
        let SourcePartition { topic, partition, .. } = &self.partition;
        Ended::Failed(format!("another process reads {topic}/{partition} too"))
    }

    /// Whoever takes the partition away ends this after a while.
    async fn wait_for_the_store(&self, error: &ReadError) {
        let what = format!("the store does not say that it knows how far this is: {error}");
        *lock(&self.queue.waits_for) = Some(what);
        tokio::time::sleep(STORE_PAUSE).await;
    }
}
