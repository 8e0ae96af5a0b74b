//! A whole deployment, one role a process, of which something is killed at random moments, again
//! and again, under load: processes, brokers, PostgreSQL.
//!
//! `FREEHOLD_TORTURE_CYCLES` says how often, 6 times unless said. At the end everything that was
//! acknowledged is in the logs; readers of committed records saw each event once, each stream in
//! order, each partition as a chain without holes; read models equal a fresh fold. What each kind
//! of kill held up, and for how long, is printed.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use freehold_ports::{EventFilter, GlobalPosition, LogName, SystemClock};
use freehold_projections::models;
use freehold_servers::{Kafka, Options, Postgres};
use freehold_test_stores::{Place, Schema};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Which processes there are: one a name. Whoever adds a role, or another source for one, adds it
/// here, and its name to [`Victim`]'s.
const PROCESSES: [&str; 4] = ["api", "projections", "relay", "relay"];
const CLIENTS: u64 = 3;
/// How many properties each client tells of.
const PROPERTIES: u64 = 200;
/// The read model whose checkpoint says how far queries are.
const FOLLOWED: &str = "listings";
/// What nobody may be kept waiting for longer than: a broker's start, or the patience of a relay
/// that stands by, on a machine that does other work too.
const LONGEST_STALL: Duration = Duration::from_secs(20);
/// How long after a kill all must go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    /// One of [`PROCESSES`].
    Process(usize),
    Broker,
    Postgres,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Self::Process(number) => PROCESSES[number],
            Self::Broker => "broker",
            Self::Postgres => "postgres",
        }
    }

    fn at_random() -> Self {
        match below(PROCESSES.len() as u64 + 2) as usize {
            number if number < PROCESSES.len() => Self::Process(number),
            number if number == PROCESSES.len() => Self::Broker,
            _ => Self::Postgres,
        }
    }
}

fn below(end: u64) -> u64 {
    let [one, other, ..] = *uuid::Uuid::new_v4().as_bytes();
    u64::from(u16::from_be_bytes([one, other])) % end
}

#[test]
#[ignore = "needs PostgreSQL and Java on this machine, and Maven the first time"]
fn whatever_is_killed_every_reader_sees_every_event_once() {
    let cycles = std::env::var("FREEHOLD_TORTURE_CYCLES").map_or(6, |text| text.parse().unwrap());
    let mut deployment = Deployment::start();
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    let began = Instant::now();
    for cycle in 0..cycles {
        // The first ones are of each kind, so that a short run has all of them.
        let victim = match cycle {
            0..4 => [0, 1, 2].map(Victim::Process)[cycle.min(2)],
            4 => Victim::Broker,
            5 => Victim::Postgres,
            _ => Victim::at_random(),
        };
        std::thread::sleep(Duration::from_millis(200 + below(800)));
        let second = Some(Victim::at_random()).filter(|other| *other != victim && cycle % 4 == 3);
        let stalls = deployment.kill(victim, second);
        let name = if second.is_some() { "two at once" } else { victim.name() };
        kinds.entry(name).or_default().note(stalls);
        if cycle % 20 == 19 {
            println!("{} cycles after {:?}: {kinds:?}", cycle + 1, began.elapsed());
        }
    }
    let took = began.elapsed();
    let counts = deployment.end();
    println!("cycles={cycles} took={took:.1?} {counts}");
    println!("longest wait for  append  reader  read model");
    for (name, Kind { kills, longest }) in &kinds {
        let [append, reader, model] = longest.map(|longest| longest.as_secs_f64());
        println!("{name:<12} {kills:>4} {append:>7.1} {reader:>7.1} {model:>11.1}");
    }
    for (name, kind) in kinds {
        assert!(kind.longest.iter().all(|longest| *longest < LONGEST_STALL), "{name}: {kind:?}");
    }
}

/// What kills of one kind did: how long there was nothing new at most, for whom appends, for who
/// reads topics, for who queries.
#[derive(Debug, Default)]
struct Kind {
    kills: u64,
    longest: [Duration; 3],
}

impl Kind {
    fn note(&mut self, stalls: [Duration; 3]) {
        self.kills += 1;
        for (longest, stall) in self.longest.iter_mut().zip(stalls) {
            *longest = stall.max(*longest);
        }
    }
}

/// How long something had no news.
struct Silence(Mutex<(Instant, Duration)>);

impl Silence {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), Duration::ZERO)))
    }

    fn news(&self) {
        let (last, longest) = &mut *self.0.lock().unwrap();
        *longest = last.elapsed().max(*longest);
        *last = Instant::now();
    }

    /// The longest since it was asked before.
    fn longest(&self) -> Duration {
        let (last, longest) = &mut *self.0.lock().unwrap();
        std::mem::take(longest).max(last.elapsed())
    }
}

/// An event that a sender was told of.
struct Acknowledged {
    log: LogName,
    position: u64,
    /// Not known of an interaction that was sent again.
    id: Option<String>,
}

/// What the threads of a test share.
struct Shared {
    store: String,
    bootstrap: String,
    /// Where the API is.
    address: Mutex<String>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Positions of the domain's log that a reader saw.
    read: Mutex<HashSet<u64>>,
    /// How many records it saw.
    records: AtomicU64,
    /// How far queries are.
    model: Mutex<u64>,
    appends: Silence,
    reads: Silence,
    folds: Silence,
    sending: AtomicBool,
    reading: AtomicBool,
}

impl Shared {
    /// The last position of the domain's log that was acknowledged.
    fn last(&self) -> u64 {
        let acknowledged = self.acknowledged.lock().unwrap();
        let domain = acknowledged.iter().rev().find(|one| one.log == LogName::DOMAIN);
        domain.map_or(0, |one| one.position)
    }
}

struct Deployment {
    shared: Arc<Shared>,
    processes: Vec<Process>,
    clients: Vec<JoinHandle<()>>,
    reader: JoinHandle<Vec<Record>>,
    watcher: JoinHandle<()>,
    kafka: Kafka,
    schema: Schema,
    postgres: Postgres,
}

impl Deployment {
    fn start() -> Self {
        let postgres = Postgres::start(&Options { fsync: true, ..Options::default() }).unwrap();
        let schema = Schema::on(postgres.url()).unwrap();
        let kafka = Kafka::start().unwrap();
        let shared = Arc::new(Shared {
            store: schema.url(),
            bootstrap: kafka.bootstrap().to_owned(),
            address: Mutex::default(),
            acknowledged: Mutex::default(),
            read: Mutex::default(),
            records: AtomicU64::default(),
            model: Mutex::default(),
            appends: Silence::new(),
            reads: Silence::new(),
            folds: Silence::new(),
            sending: AtomicBool::new(true),
            reading: AtomicBool::new(true),
        });
        let processes = PROCESSES.iter().map(|roles| start(&shared, roles)).collect();
        let clients = (0..CLIENTS).map(|client| beside(&shared, move |all| send(all, client)));
        let clients = clients.collect();
        let (reader, watcher) = (beside(&shared, read), beside(&shared, watch));
        let deployment =
            Self { shared, processes, clients, reader, watcher, kafka, schema, postgres };
        deployment.goes_on();
        deployment.stalls();
        deployment
    }

    /// Kills one or two and starts them again after a while; how long each was kept waiting until
    /// all go on.
    fn kill(&mut self, victim: Victim, second: Option<Victim>) -> [Duration; 3] {
        self.stalls();
        self.kill_one(victim);
        if let Some(second) = second {
            std::thread::sleep(Duration::from_millis(below(1_500)));
            self.kill_one(second);
        }
        std::thread::sleep(Duration::from_millis(below(2_000)));
        let mut killed: Vec<_> = [Some(victim), second].into_iter().flatten().collect();
        // A process that finds no database ends.
        killed.sort_by_key(|victim| matches!(victim, Victim::Process(_)));
        for victim in killed {
            match victim {
                Victim::Process(number) => {
                    self.processes[number] = start(&self.shared, PROCESSES[number]);
                }
                Victim::Broker => self.kafka.start_again().unwrap(),
                Victim::Postgres => self.postgres.start_again().unwrap(),
            }
        }
        self.goes_on();
        self.stalls()
    }

    fn kill_one(&mut self, victim: Victim) {
        match victim {
            Victim::Process(number) => self.processes[number].kill(),
            Victim::Broker => self.kafka.kill9().unwrap(),
            Victim::Postgres => self.postgres.kill9().unwrap(),
        }
    }

    /// Waits until something is acknowledged from now on, read in its topic and found by queries.
    fn goes_on(&self) {
        let (began, before) = (Instant::now(), self.shared.last());
        let mut wanted = None;
        loop {
            let last = self.shared.last();
            wanted = wanted.or((last > before).then_some(last));
            let is_read = |wanted| self.shared.read.lock().unwrap().contains(wanted);
            let (read, model) =
                (wanted.as_ref().is_some_and(is_read), *self.shared.model.lock().unwrap());
            if read && wanted.is_some_and(|wanted| model >= wanted) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "of position {before} on: {last} acknowledged, {wanted:?} read: {read}, queries \
                 are at {model}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stalls(&self) -> [Duration; 3] {
        let Shared { appends, reads, folds, .. } = &*self.shared;
        [appends, reads, folds].map(Silence::longest)
    }

    /// Looks whether all is there, once and in order.
    fn end(mut self) -> String {
        let began = Instant::now();
        let projections = PROCESSES.iter().position(|roles| *roles == "projections").unwrap();
        while self.processes[projections].fed() == 0 {
            assert!(began.elapsed() < PATIENCE, "read models are never brought anything by Kafka");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.shared.sending.store(false, Ordering::SeqCst);
        self.clients.drain(..).for_each(|client| client.join().unwrap());
        let runtime = Runtime::new().unwrap();
        let logs = [LogName::DOMAIN, LogName::INTERACTIONS];
        let logs = logs.map(|log| (log.clone(), runtime.block_on(events(&self.shared.store, log))));
        let events: usize = logs.iter().map(|(_, events)| events.len()).sum();
        let acknowledged = std::mem::take(&mut *self.shared.acknowledged.lock().unwrap());
        for one in &acknowledged {
            let (_, log) = logs.iter().find(|(log, _)| *log == one.log).unwrap();
            let stored = log.get(one.position as usize - 1).map(|event| event.id.as_str());
            let found = stored.is_some_and(|id| one.id.as_deref().is_none_or(|told| told == id));
            assert!(found, "{} {} was acknowledged", one.log, one.position);
        }
        wait_until_all_is_read(&self.shared, events as u64);
        self.shared.reading.store(false, Ordering::SeqCst);
        let read = self.reader.join().unwrap();
        self.watcher.join().unwrap();
        // First what is there, so that it is known whose a hole is: the relay's or that reader's.
        println!("who reads afterwards:");
        assert_all_is_there_once(&logs, &Reader::new(&self.shared.bootstrap).read_all(events));
        println!("who read meanwhile:");
        assert_all_is_there_once(&logs, &read);
        for name in models::NAMES {
            let verify = ["projection", "verify", name];
            let verified = freehold(&self.shared, &verify).output().unwrap();
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success(), "{name}: {said}");
        }
        self.processes.iter_mut().for_each(Process::stop);
        drop(self.schema);
        format!("acknowledged={} events={events} read={}", acknowledged.len(), read.len())
    }
}

/// A thread that shares what there is.
fn beside<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> T + Send + 'static,
) -> JoinHandle<T> {
    let shared = shared.clone();
    std::thread::spawn(move || work(&shared))
}

fn freehold(shared: &Shared, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir());
    command.env("DATABASE_URL", &shared.store).env("KAFKA_BOOTSTRAP_SERVERS", &shared.bootstrap);
    command.env("FREEHOLD__KAFKA__PARTITIONS", "4").env("RUST_LOG", "error");
    command.env("FREEHOLD__PROJECTIONS__SOURCE", "kafka");
    command.env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32)).stdin(Stdio::null());
    command
}

/// Starts a process of a role, again and again until it serves.
fn start(shared: &Shared, roles: &str) -> Process {
    let began = Instant::now();
    loop {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--roles", roles];
        let mut child = freehold(shared, &serve).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        if let Some(address) = first.trim().strip_prefix("listening on http://") {
            if roles == "api" {
                *shared.address.lock().unwrap() = address.to_owned();
            }
            return Process { child, address: address.to_owned() };
        }
        child.wait().unwrap();
        assert!(began.elapsed() < PATIENCE, "a process for {roles} does not serve");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tells of properties and of who looked at them until told to end; each request is sent until it
/// is answered.
fn send(shared: &Shared, client: u64) {
    let property = |number: u64| format!("c{client}-{}", number % PROPERTIES);
    for number in 0_u64.. {
        if !shared.sending.load(Ordering::SeqCst) {
            return;
        }
        let items = (0..5).map(|item| (5 * number + item, property(5 * number + item)));
        let (kind, items): (_, Vec<String>) = match number % 4 {
            3 => ("user", items.map(|(_, property)| format!(
                r#"{{"user_id":"u{client}-{}","event_type":"property_viewed","data":{{"property_id":"{property}"}}}}"#,
                number % 50
            )).collect()),
            _ => ("property", items.map(|(price, property)| format!(
                r#"{{"property_id":"{property}","event_type":"property_updated","data":{{"price":{}}}}}"#,
                1_000 + price
            )).collect()),
        };
        let body = format!("[{}]", items.join(","));
        let answer = loop {
            let address = shared.address.lock().unwrap().clone();
            match ask(&address, kind, &format!("{client}-{number}"), &body) {
                Some(answer) if is_final(&answer) => break answer,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let items = answer["items"].as_array().unwrap();
        let stored = items.iter().flat_map(|item| item["events"].as_array().unwrap());
        let stored = stored.filter_map(|event| {
            Some(Acknowledged {
                log: match event["log"].as_str()? {
                    "domain" => LogName::DOMAIN,
                    _ => LogName::INTERACTIONS,
                },
                position: event["position"].as_u64()?,
                id: event["id"].as_str().map(str::to_owned),
            })
        });
        shared.acknowledged.lock().unwrap().extend(stored);
        shared.appends.news();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether each item counts; a refused one would be a defect here.
fn is_final(answer: &Value) -> bool {
    let items = answer["items"].as_array();
    items.is_some_and(|items| {
        let refused = items.iter().find(|item| item["status"] == "refused");
        assert!(refused.is_none(), "{refused:?}");
        items.iter().all(|item| item["status"] == "accepted")
    })
}

/// The answer of the API, if it gives one that says that something was stored.
fn ask(address: &str, kind: &str, key: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /api/events/{kind} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // One that was cut off is none; a refusal would be asked for again without end.
    assert!(!head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 429"), "{answer}");
    serde_json::from_str(body).ok().filter(|_| head.starts_with("HTTP/1.1 202"))
}

/// Looks how far queries are until told to end.
fn watch(shared: &Shared) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let models = Place::at(&shared.store).models().await;
        while shared.reading.load(Ordering::SeqCst) {
            // While the database is away nobody is told.
            let generations = models.generations(FOLLOWED).await.unwrap_or_default();
            let position = generations.iter().map(|one| one.checkpoint.0).max().unwrap_or(0);
            if position > *shared.model.lock().unwrap() {
                *shared.model.lock().unwrap() = position;
                shared.folds.news();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

/// An event as a log has it.
struct Stored {
    stream: String,
    id: String,
}

/// All events of a log, in order: positions have no gaps.
async fn events(store: &str, name: LogName) -> Vec<Stored> {
    let log = Place::at(store).log(Arc::new(SystemClock)).await;
    let (mut all, most) = (Vec::new(), NonZeroU32::new(10_000).unwrap());
    loop {
        let after = GlobalPosition(all.len() as u64);
        let page = log.read_all(&name, &EventFilter::all(), after, most).await.unwrap();
        if page.events.is_empty() {
            return all;
        }
        for event in page.events {
            assert_eq!(event.position.0, all.len() as u64 + 1);
            let (stream, id) = (event.stream.to_string(), event.event_id.0.to_string());
            all.push(Stored { stream, id });
        }
    }
}

/// A record of a topic.
struct Record {
    topic: Arc<str>,
    partition: i32,
    log: LogName,
    stream: String,
    id: String,
    position: u64,
    previous: u64,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().unwrap();
        let header = |name: &str| {
            let found = headers.iter().find(|header| header.key == name).unwrap();
            std::str::from_utf8(found.value.unwrap()).unwrap()
        };
        Self {
            topic: message.topic().into(),
            partition: message.partition(),
            log: match header("ce_source") {
                "/freehold/domain" => LogName::DOMAIN,
                "/freehold/interactions" => LogName::INTERACTIONS,
                other => panic!("{other}"),
            },
            stream: std::str::from_utf8(message.key().unwrap()).unwrap().to_owned(),
            id: header("ce_id").to_owned(),
            position: header("ce_position").parse().unwrap(),
            previous: header("ce_previousposition").parse().unwrap(),
        }
    }
}

/// Reads what is committed in all topics of events.
struct Reader {
    consumer: BaseConsumer,
    assigned: HashSet<String>,
    looked: Option<Instant>,
}

impl Reader {
    fn new(bootstrap: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "a-reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("reconnect.backoff.max.ms", "1000")
            .set("fetch.wait.max.ms", "50");
        Self { consumer: config.create().unwrap(), assigned: HashSet::new(), looked: None }
    }

    /// The next record, if one comes soon; brokers may be away meanwhile.
    fn next(&mut self) -> Option<Record> {
        if self.looked.is_none_or(|looked| looked.elapsed() > Duration::from_secs(1)) {
            self.find_topics();
            self.looked = Some(Instant::now());
        }
        match self.consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => Some(Record::of(&message)),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => panic!("{code}"),
            Some(Err(_)) | None => None,
        }
    }

    /// Begins topics that are new at their first record.
    fn find_topics(&mut self) {
        let metadata = self.consumer.fetch_metadata(None, Duration::from_secs(2));
        let Ok(metadata) = metadata else { return };
        let mut from = TopicPartitionList::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().ends_with("-events")) {
            let (name, partitions) = (topic.name(), topic.partitions());
            if !partitions.is_empty() && self.assigned.insert(name.to_owned()) {
                for partition in partitions {
                    from.add_partition_offset(name, partition.id(), Offset::Beginning).unwrap();
                }
            }
        }
        if from.count() > 0 {
            self.consumer.incremental_assign(&from).unwrap();
        }
    }

    /// So many records, and what still comes after them.
    fn read_all(mut self, records: usize) -> Vec<Record> {
        let (mut read, mut last) = (Vec::new(), Instant::now());
        while read.len() < records || last.elapsed() < Duration::from_secs(1) {
            if let Some(record) = self.next() {
                read.push(record);
                last = Instant::now();
            }
            assert!(last.elapsed() < PATIENCE, "{} of {records} are read", read.len());
        }
        read
    }
}

/// Reads topics until told that nothing more comes.
fn read(shared: &Shared) -> Vec<Record> {
    let mut reader = Reader::new(&shared.bootstrap);
    let mut records = Vec::new();
    while shared.reading.load(Ordering::SeqCst) {
        if let Some(record) = reader.next() {
            if record.log == LogName::DOMAIN {
                shared.read.lock().unwrap().insert(record.position);
            }
            records.push(record);
            shared.records.fetch_add(1, Ordering::SeqCst);
            shared.reads.news();
        }
    }
    records
}

/// Waits until a reader saw so many records, and a little longer, in which none may come.
fn wait_until_all_is_read(shared: &Shared, events: u64) {
    let began = Instant::now();
    while shared.records.load(Ordering::SeqCst) < events {
        let read = shared.records.load(Ordering::SeqCst);
        assert!(began.elapsed() < PATIENCE, "{read} of {events} events are read");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(2));
}

/// Each event once, each stream in order, each partition a chain without holes.
fn assert_all_is_there_once(logs: &[(LogName, Vec<Stored>)], records: &[Record]) {
    let mut last: HashMap<(&str, i32), u64> = HashMap::new();
    let mut seen: HashMap<(&LogName, &str), Vec<(u64, &str)>> = HashMap::new();
    let mut broken = 0;
    for record in records {
        let before = last.insert((&record.topic, record.partition), record.position).unwrap_or(0);
        if record.previous != before {
            broken += 1;
            println!(
                "{} {}: {} names {}, read was {before}",
                record.topic, record.partition, record.position, record.previous
            );
        }
        let stream = seen.entry((&record.log, &record.stream)).or_default();
        stream.push((record.position, &record.id));
    }
    let mut expected: HashMap<(&LogName, &str), Vec<(u64, &str)>> = HashMap::new();
    for (log, events) in logs {
        for (event, position) in events.iter().zip(1..) {
            expected.entry((log, &event.stream)).or_default().push((position, &event.id));
        }
    }
    let events: usize = logs.iter().map(|(_, events)| events.len()).sum();
    let read = records.len();
    let other = expected.iter().filter(|(stream, events)| seen.get(stream) != Some(events));
    let (first, other) = (other.clone().next(), other.count());
    println!("events={events} read={read} broken_chains={broken} streams_unlike_the_log={other}");
    assert_eq!((broken, other, read), (0, 0, events), "{first:?}");
}

/// A process, killed when a test gives up on it.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn kill(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    /// How many events Kafka brought the read model since the process began.
    fn fed(&self) -> u64 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n", self.address);
        stream.write_all((head + "Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let name =
            format!("freehold_subscription_fed_events_total{{subscription=\"{FOLLOWED}\"}} ");
        let value = answer.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed or stopped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
