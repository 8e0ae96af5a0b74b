//! What readers of committed records see while relays and brokers are killed.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freehold_kafka::{KafkaOptions, KafkaPublisher};
use freehold_ports::{
    AppendRequest, CommandId, EventFilter, EventId, EventStore, ExpectedVersion, Fingerprint,
    GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance, RecordedEvent, StreamId,
    SystemClock,
};
use freehold_projections::{Relay, Subscription, SubscriptionState};
use freehold_servers::Kafka;
use freehold_sqlite::{LogOptions, SqliteEventStore};

use crate::support::{Reader, Record, options, shared};

const LOG: LogName = LogName::DOMAIN;
const FOLDER: &str = "FREEHOLD_TEST_FOLDER";
const BROKER: &str = "FREEHOLD_TEST_BROKER";
const PREFIX: &str = "FREEHOLD_TEST_PREFIX";
/// How long a broker is away, 12 s unless said.
const AWAY: &str = "FREEHOLD_AWAY_SECONDS";

/// What a killed relay or broker may hold up readers: the patience of who stands by, a broker's
/// start, a new producer, on a machine that does other work too.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(20);

/// A log in files, which other processes read.
pub(crate) struct Log {
    pub(crate) store: Arc<SqliteEventStore>,
    folder: tempfile::TempDir,
}

impl Log {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEventStore::open(folder.path(), LogOptions::default()).unwrap();
        Self { store: Arc::new(store), folder }
    }

    /// Stores some events of some streams; where the last one is.
    pub(crate) async fn append(&self, number: u64) -> GlobalPosition {
        let category = ["property", "user"][usize::from(number.is_multiple_of(3))];
        let event = || NewEvent {
            event_id: EventId::new(),
            event_type: "SomethingHappened".into(),
            schema_version: 1,
            occurred_at: chrono::Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: format!("{{\"number\":{number}}}").into(),
        };
        let request = AppendRequest {
            log: LOG,
            stream: StreamId::new(category, number % 50).unwrap(),
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
            events: (0..1 + number % 20).map(|_| event()).collect(),
        };
        self.store.append(request).await.unwrap().position
    }

    pub(crate) async fn everything(&self) -> Vec<RecordedEvent> {
        let mut log: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = log.last().map_or(GlobalPosition(0), |event| event.position);
            let most = NonZeroU32::new(10_000).unwrap();
            let page = self.store.read_all(&LOG, &EventFilter::all(), after, most).await.unwrap();
            if page.events.is_empty() {
                return log;
            }
            log.extend(page.events);
        }
    }
}

/// Each event once, each stream in order, each partition a chain without holes.
fn assert_all_is_there_once(log: &[RecordedEvent], records: &[Record]) {
    let mut seen: HashMap<&str, Vec<(u64, &str)>> = HashMap::new();
    let mut last: HashMap<(&str, usize), u64> = HashMap::new();
    for record in records {
        let position = record.number("ce_position");
        seen.entry(&record.key).or_default().push((position, &record.headers["ce_id"]));
        let before = last.insert((&record.topic, record.partition), position).unwrap_or(0);
        let said = record.number("ce_previousposition");
        let places = || {
            let of =
                |position| records.iter().position(|one| one.number("ce_position") == position);
            let near = [before, said, position].map(|position| {
                let place = of(position);
                (position, place, place.map(|place| records[place].offset))
            });
            let Record { topic, partition, .. } = record;
            format!("{topic} {partition}: (position, place in what was read, offset) {near:?}")
        };
        assert_eq!(said, before, "{}", places());
    }
    let mut expected: HashMap<&str, Vec<(u64, String)>> = HashMap::new();
    for event in log {
        let seen = (event.position.0, event.event_id.0.to_string());
        expected.entry(event.stream.as_str()).or_default().push(seen);
    }
    let (lost, read) = (log.len() as i64 - records.len() as i64, records.len());
    println!("events={} read={read} lost_minus_doubled={lost}", log.len());
    for (stream, expected) in &expected {
        let expected: Vec<_> = expected.iter().map(|(at, id)| (*at, id.as_str())).collect();
        assert_eq!(seen.get(stream), Some(&expected), "{stream}");
    }
    assert_eq!(lost, 0);
}

pub(crate) fn relay(store: Arc<dyn EventStore>, options: &KafkaOptions) -> Subscription {
    let publisher = Box::new(KafkaPublisher::new(options.clone(), LOG));
    let relay = Relay::new(LOG, store.clone(), publisher);
    Subscription::start(store, Arc::new(SystemClock), Box::new(relay))
}

/// Not a test of its own: a relay that others start and kill.
#[test]
#[ignore = "started by the tests below"]
fn child_that_relays() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut options = options(&std::env::var(BROKER).unwrap());
    options.topic_prefix = std::env::var(PREFIX).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteEventStore::open_read_only(Path::new(&folder), vec![LOG]).unwrap();
        let _relay = relay(Arc::new(store), &options);
        std::future::pending::<()>().await;
    });
}

/// A process that relays, killed with its value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(log: &Log, options: &KafkaOptions) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::child_that_relays", "--ignored", "--nocapture", "--quiet"])
            .env(FOLDER, log.folder.path())
            .env(BROKER, &options.bootstrap_servers)
            .env(PREFIX, &options.topic_prefix)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn kill(mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads in a thread of its own until it is told that nothing more comes; also how long it saw
/// nothing new at most.
fn read_beside(
    options: &KafkaOptions,
    done: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(Vec<Record>, Duration)> {
    let mut reader = Reader::new(options);
    std::thread::spawn(move || {
        let (mut records, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
        let mut looked = Instant::now() - Duration::from_secs(9);
        loop {
            if looked.elapsed() > Duration::from_secs(1) {
                // A topic is made with the first event of its category.
                reader.find_topics();
                looked = Instant::now();
            }
            match reader.next(Duration::from_millis(100)) {
                Some(record) => {
                    if !records.is_empty() {
                        longest = longest.max(last.elapsed());
                    }
                    last = Instant::now();
                    records.push(record);
                }
                None if done.load(Ordering::SeqCst) && last.elapsed() > Duration::from_secs(3) => {
                    println!("instead of records: {:?}", reader.told());
                    return (records, longest);
                }
                None => {}
            }
        }
    })
}

/// Two relays and a broker, of which one is killed at a random moment, again and again, while
/// events are appended and read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Java, and Maven the first time"]
async fn readers_see_every_event_once_whatever_is_killed() {
    let cycles = std::env::var("FREEHOLD_TORTURE_CYCLES").map_or(8, |text| text.parse().unwrap());
    let kafka = Arc::new(Kafka::start().unwrap());
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let done = Arc::new(AtomicBool::new(false));
    let reading = read_beside(&options, done.clone());
    let mut relays = [Process::start(&log, &options), Process::start(&log, &options)];
    let (mut number, mut brokers, mut head) = (0, 0, GlobalPosition(0));
    for cycle in 0_usize..cycles {
        let [chance, more, ..] = *uuid::Uuid::new_v4().as_bytes();
        let until = Instant::now() + Duration::from_millis(500 + 10 * u64::from(chance));
        while Instant::now() < until {
            head = log.append(number).await;
            number += 1;
            tokio::time::sleep(Duration::from_millis(u64::from(more) % 8)).await;
        }
        if cycle % 4 == 3 {
            brokers += 1;
            kafka.kill9().unwrap();
            let kafka = kafka.clone();
            let again = tokio::task::spawn_blocking(move || kafka.start_again().unwrap());
            while !again.is_finished() {
                head = log.append(number).await;
                number += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            again.await.unwrap();
        } else {
            let old = std::mem::replace(
                &mut relays[cycle % 2],
                // The next one is there before this one is gone, as in a rolling restart.
                Process::start(&log, &options),
            );
            old.kill();
        }
    }
    // The last one alone goes on to the end.
    let relay = relay(log.store.clone(), &options);
    relay.wait_for(head, Duration::from_secs(60)).await.unwrap();
    drop(relays);
    relay.stop().await;
    done.store(true, Ordering::SeqCst);
    let (records, longest) = reading.join().unwrap();
    let log = log.everything().await;
    println!("kills={cycles} of_brokers={brokers} longest_silence={longest:?}");
    // First what is there, so that it is known whose a hole is: the relay's or that reader's.
    println!("who reads afterwards:");
    assert_all_is_there_once(&log, &Reader::new(&options).read_to_the_end());
    println!("who read meanwhile:");
    assert_all_is_there_once(&log, &records);
    assert!(longest < TAKES_OVER_WITHIN, "{longest:?}");
}

/// The one that stands by goes on within seconds, and the one that was killed left no transaction
/// open that readers wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_killed_relay_is_taken_over_from_within_seconds() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let standing_by = relay(log.store.clone(), &options);
    standing_by.wait_for(log.append(1).await, TAKES_OVER_WITHIN).await.unwrap();
    let active = Process::start(&log, &options);
    let mut states = standing_by.status();
    let mut number = 1;
    let stands_by = |state: &SubscriptionState| *state == SubscriptionState::StandingBy;
    let started = Instant::now();
    while !stands_by(&states.borrow_and_update().state) {
        assert!(started.elapsed() < TAKES_OVER_WITHIN, "the new one did not take over");
        number += 1;
        log.append(number).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It is in the middle of it.
    for _ in 0..50 {
        number += 1;
        log.append(number).await;
    }
    active.kill();
    let killed = Instant::now();

    let head = log.append(number + 1).await;
    standing_by.wait_for(head, TAKES_OVER_WITHIN).await.unwrap();

    let taken_over = killed.elapsed();
    let records = Reader::new(&options).read_to_the_end();
    println!("taken_over_after={taken_over:?} readable_after={:?}", killed.elapsed());
    standing_by.stop().await;
    assert_all_is_there_once(&log.everything().await, &records);
    assert!(taken_over < Duration::from_secs(8), "{taken_over:?}");
}

/// Appends do not wait for brokers; what they are behind shows, and goes away by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Java, and Maven the first time"]
async fn without_a_broker_appends_go_on_and_the_relay_catches_up_by_itself() {
    let seconds = std::env::var(AWAY).map_or(12, |text| text.parse().unwrap());
    let kafka = Arc::new(Kafka::start().unwrap());
    let options = options(kafka.bootstrap());
    let log = Log::new();
    let relay = relay(log.store.clone(), &options);
    relay.wait_for(log.append(1).await, TAKES_OVER_WITHIN).await.unwrap();

    kafka.kill9().unwrap();

    let (mut slowest, mut head) = (Duration::ZERO, GlobalPosition(0));
    let away = Instant::now();
    let mut number = 1;
    while away.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        number += 1;
        head = log.append(number).await;
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = relay.status().borrow().clone();
    let lag = status.lag(chrono::Utc::now());
    let least = Duration::from_secs(seconds.saturating_sub(4));
    assert!(lag > least && status.head > status.position, "{status:?}");
    assert_ne!(status.state, SubscriptionState::Live);
    let again = kafka.clone();
    tokio::task::spawn_blocking(move || again.start_again().unwrap()).await.unwrap();
    let back = Instant::now();
    relay.wait_for(head, Duration::from_secs(60)).await.unwrap();
    let (caught_up, events) = (back.elapsed(), head.0);
    println!(
        "events={events} slowest_append={slowest:?} lag={lag:?} caught_up_after={caught_up:?}"
    );
    relay.stop().await;
    let records = Reader::new(&options).read_to_the_end();
    assert_all_is_there_once(&log.everything().await, &records);
}
