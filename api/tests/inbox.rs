//! `freehold serve --roles ingest`: what a plain Kafka producer sends is stored once, whatever is
//! killed, and what cannot be stored is listed once.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use freehold_servers::Kafka;
use freehold_test_stores::{Place, Schema};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const COMMANDS: &str = "property-commands";
const USERS: &str = "user-interactions";

fn freehold(store: &str, kafka: &Kafka, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).args(["--store", store]).env_clear().current_dir(std::env::temp_dir());
    command.env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap());
    if store.starts_with("postgres") {
        command.env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    }
    command
}

fn run(store: &str, kafka: &Kafka, arguments: &[&str]) -> Output {
    freehold(store, kafka, arguments).output().unwrap()
}

/// The rows of a command that works.
fn rows(store: &str, kafka: &Kafka, arguments: &[&str]) -> Vec<Value> {
    let output = run(store, kafka, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A process, killed when a test gives up on it.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(store: &str, kafka: &Kafka, roles: &str) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--roles", roles];
        Self::of(freehold(store, kafka, &serve))
    }

    fn of(mut serve: Command) -> Self {
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_topics(kafka: &Kafka, partitions: &str) {
    for topic in [COMMANDS, USERS] {
        let mut tool = kafka.tool("org.apache.kafka.tools.TopicCommand").unwrap();
        tool.args(["--create", "--topic", topic, "--partitions", partitions]);
        tool.args(["--config", "max.message.bytes=8388608"]);
        tool.args(["--config", &format!("message.timestamp.after.max.ms={}", i64::MAX)]);
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Sends lines of headers, a tab and a value with Kafka's own producer.
fn send(kafka: &Kafka, topic: &str, lines: &str) {
    let mut tool = kafka.tool("org.apache.kafka.tools.ConsoleProducer").unwrap();
    tool.args(["--topic", topic, "--reader-property", "parse.headers=true"]);
    let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// One valid message and what it says.
fn about(number: usize) -> String {
    format!(
        "id:m-{number},source:crm\t{{\"property_id\":\"p-{number}\",\"data\":{{\"title\":\"{number}\"}}}}\n"
    )
}

/// Which properties were registered, and how often.
fn registered(store: &str, kafka: &Kafka) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let read = ["events", "read", "--type", "PropertyRegistered", "--limit", "100000"];
    for event in rows(store, kafka, &read) {
        *found.entry(event["stream"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    found
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "set TEST_POSTGRES_URL; needs Java, and Maven the first time"]
fn every_message_counts_once_whatever_is_killed() {
    const MESSAGES: usize = 5_000;
    const AT_ONCE: usize = 1_000;
    let (kafka, schema) = (Kafka::start().unwrap(), Schema::new());
    let store = schema.url();
    make_topics(&kafka, "6");
    let start = || Server::start(&store, &kafka, "ingest");
    let (mut one, mut other) = (start(), start());
    let (mut bad, mut valid) = (0, 0);
    for first in (0..MESSAGES).step_by(AT_ONCE) {
        let mut lines = String::new();
        for number in first..first + AT_ONCE {
            if number % 50 == 7 {
                writeln!(
                    lines,
                    "id:m-{number}\t{{\"property_id\":\"p-{number}\",\"event_type\":\"nonsense\"}}"
                )
                .unwrap();
                bad += 1;
                continue;
            }
            valid += 1;
            lines += &about(number);
            if number % 10 == 3 {
                lines += &about(number);
            }
        }
        send(&kafka, COMMANDS, &lines);
        std::thread::sleep(Duration::from_millis(300));
        match first / AT_ONCE {
            0 | 3 => {
                one.kill();
                one = start();
            }
            1 => {
                other.kill();
                other = start();
            }
            2 => {
                kafka.kill9().unwrap();
                std::thread::sleep(Duration::from_secs(2));
                kafka.start_again().unwrap();
            }
            _ => {}
        }
    }

    until("all is stored", || registered(&store, &kafka).len() >= valid);
    let list = ["ingest", "refused"];
    until("all is refused", || rows(&store, &kafka, &list).len() >= bad);
    one.stop();
    other.stop();

    let registered = registered(&store, &kafka);
    assert_eq!(registered.len(), valid);
    assert!(registered.values().all(|times| *times == 1));
    let refused = rows(&store, &kafka, &list);
    let places: BTreeSet<String> = refused
        .iter()
        .map(|row| format!("{}/{}/{}", row["partition"], row["offset"], row["item"]))
        .collect();
    assert_eq!((refused.len(), places.len()), (bad, bad));
    assert!(refused.iter().all(|row| row["code"] == "UNKNOWN_EVENT_TYPE"));
}

#[test]
#[ignore = "needs Java, and Maven the first time"]
fn one_process_on_files_reads_topics_too_and_what_was_refused_is_tried_again() {
    let (kafka, place) = (Kafka::start().unwrap(), Place::on_disk());
    let store = place.address();
    let server = Server::start(&store, &kafka, "api,projections,ingest");
    until("it waits for topics", || {
        server.get("/ready").contains("topic property-commands does not exist")
    });
    make_topics(&kafka, "2");
    send(&kafka, COMMANDS, &about(1));
    // An opinion on what nobody offers yet.
    let opinion = "source:crm\t{\"user_id\":\"u\",\"event_type\":\"property_favorited\",\
                   \"data\":{\"property_id\":\"p-1\"}}\n";
    until("stored", || {
        server.get("/metrics").contains("topic=\"property-commands\",outcome=\"accepted\"} 1")
    });
    send(&kafka, USERS, opinion);
    until("refused", || {
        server.get("/metrics").contains("topic=\"user-interactions\",outcome=\"refused\"} 1")
    });
    let listed = rows(&store, &kafka, &["ingest", "refused", "--topic", USERS]);
    assert_eq!((listed.len(), &listed[0]["code"]), (1, &"LISTING_NOT_FOUND".into()));
    let listing = "source:crm\t{\"property_id\":\"p-1\",\"data\":{\"price\":1000}}\n";
    send(&kafka, COMMANDS, listing);
    until("offered", || {
        server.get("/metrics").contains("topic=\"property-commands\",outcome=\"accepted\"} 2")
    });
    assert!(!server.get("/ready").contains("does not exist"));
    server.stop();

    let offset = |row: &Value, name: &str| row[name].to_string();
    let (partition, offset) = (offset(&listed[0], "partition"), offset(&listed[0], "offset"));
    let again = ["ingest", "retry", USERS, &partition, &offset];
    let settled = rows(&store, &kafka, &again);
    assert_eq!((&settled[0]["settled"], &settled[0]["refused"]), (&1.into(), &0.into()));
    assert_eq!(rows(&store, &kafka, &["ingest", "refused"]), Vec::<Value>::new());
    assert_eq!(run(&store, &kafka, &again).status.code(), Some(3));
}

/// What a producer of any make may send to the topic of properties.
#[derive(Default)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    stamp: i64,
}

impl Record {
    fn of(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), stamp: 1_790_000_000_000, ..Self::default() }
    }

    fn with(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.push((name.to_vec(), Some(value.to_vec())));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut body = vec![0, 0, 0]; // attributes, time and offset as the batch has them
        sized(&mut body, self.key.as_deref());
        sized(&mut body, self.value.as_deref());
        varint(&mut body, self.headers.len() as i64);
        for (name, value) in &self.headers {
            sized(&mut body, Some(name));
            sized(&mut body, value.as_deref());
        }
        let mut covered = Vec::new(); // by the checksum
        covered.extend(0_i16.to_be_bytes());
        covered.extend(0_i32.to_be_bytes());
        covered.extend(self.stamp.to_be_bytes());
        covered.extend(self.stamp.to_be_bytes());
        covered.extend((-1_i64).to_be_bytes());
        covered.extend((-1_i16).to_be_bytes());
        covered.extend((-1_i32).to_be_bytes());
        covered.extend(1_i32.to_be_bytes());
        varint(&mut covered, body.len() as i64);
        covered.extend(body);
        let mut batch = 0_i64.to_be_bytes().to_vec();
        batch.extend((covered.len() as i32 + 9).to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c(&covered).to_be_bytes());
        batch.extend(covered);
        batch
    }

    /// Sends it as bytes, since clients do not let everything through; at which offset it is.
    fn send(&self, kafka: &Kafka, topic: &str) -> u64 {
        let records = self.bytes();
        let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
        // Produce, version 3; no transaction, all replicas, within 30 s; one topic, partition 0.
        let request = [
            &[0, 0, 0, 3, 0, 0, 0, 1][..],
            &text("raw"),
            &(-1_i16).to_be_bytes(),
            &(-1_i16).to_be_bytes(),
            &30_000_i32.to_be_bytes(),
            &1_i32.to_be_bytes(),
            &text(topic),
            &1_i32.to_be_bytes(),
            &0_i32.to_be_bytes(),
            &(records.len() as i32).to_be_bytes(),
            &records,
        ]
        .concat();
        let mut stream = TcpStream::connect(kafka.bootstrap()).unwrap();
        stream.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        let mut answer = vec![0; 4 + 4 + 4 + 2 + topic.len() + 4 + 4 + 2 + 8];
        stream.read_exact(&mut answer).unwrap();
        let (rest, offset) = answer.split_at(answer.len() - 8);
        assert_eq!(rest[rest.len() - 2..], [0, 0], "the broker refuses it");
        u64::from_be_bytes(offset.try_into().unwrap())
    }
}

fn sized(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    varint(bytes, value.map_or(-1, |value| value.len() as i64));
    bytes.extend(value.unwrap_or_default());
}

fn varint(bytes: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left > 0x7f {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let table: [u32; 256] = std::array::from_fn(|byte| (0..8).fold(byte as u32, step));
    let crc =
        bytes.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)]);
    !crc
}

/// What no log can take, and the code it is refused with. All of it says SECRET.
fn bad() -> Vec<(Record, &'static str)> {
    let item = |rest: &str| Record::of(format!("{{\"property_id\":\"SECRET\",{rest}}}"));
    let fine = || item("\"data\":{\"title\":\"SECRET\"}");
    let of_size = |bytes: usize| {
        let around = "{\"property_id\":\"SECRET\",\"data\":{\"title\":\"\"}}".len();
        item(&format!("\"data\":{{\"title\":\"{}\"}}", "x".repeat(bytes - around)))
    };
    let nested =
        |open: &str| format!("{{\"property_id\":\"SECRET\",\"data\":{}", open.repeat(100_000));
    vec![
        (Record::default(), "BODY_EMPTY"),
        (Record::of(""), "BODY_EMPTY"),
        (Record::of(" ".repeat(1 << 20)), "BODY_EMPTY"),
        (Record::of("SECRET"), "MALFORMED_JSON"),
        (Record::of("\"SECRET\""), "NOT_AN_OBJECT"),
        (Record::of("{\"property_id\":\"SECRET"), "MALFORMED_JSON"),
        (Record::of(&b"{\"property_id\":\"\xff\xfeSECRET\"}"[..]), "MALFORMED_JSON"),
        (Record::of(&b"\x1f\x8b\x08\0SECRET"[..]), "MALFORMED_JSON"),
        (Record::of("{\"property_id\":\"SECRET\\ud800\"}"), "MALFORMED_JSON"),
        (Record::of(nested("[")), "MALFORMED_JSON"),
        (Record::of(nested("{\"a\":")), "MALFORMED_JSON"),
        (Record::of("[".repeat(1 << 20)), "MALFORMED_JSON"),
        (Record::of("{}"), "REFERENCE_MISSING"),
        (Record::of("{},".repeat(10_001)).with(b"source", b"crm"), "MALFORMED_JSON"),
        (Record::of("{}\n".repeat(10_001)), "TOO_MANY_ITEMS"),
        (of_size((1 << 20) + 1), "BODY_TOO_LARGE"),
        (of_size((8 << 20) - 100), "BODY_TOO_LARGE"),
        (of_size(1 << 20), "TOO_LONG"),
        (item("\"event_type\":\"SECRET\""), "UNKNOWN_EVENT_TYPE"),
        (item("\"data\":\"SECRET\""), "WRONG_TYPE"),
        (item("\"data\":{\"price\":\"SECRET\"}"), "WRONG_TYPE"),
        (item("\"data\":{\"price\":1e999}"), "MALFORMED_JSON"),
        (item("\"data\":{\"price\":1,\"currency\":\"SECRET\"}"), "UNKNOWN_CURRENCY"),
        (item("\"property_id\":\"SECRET2\""), "DUPLICATE_FIELD"),
        (Record::of("{\"property_id\":\"SECRET\\u0000\"}"), "MALFORMED"),
        (item("\"data\":{\"title\":\"SECRET\\u0000\"}"), "MALFORMED"),
        (item("\"occurred_at\":\"SECRET\""), "WRONG_TYPE"),
        (item("\"occurred_at\":9223372036854775807"), "WRONG_TYPE"),
        (item("\"occurred_at\":\"+262142-12-31T23:59:59Z\""), "WRONG_TYPE"),
        (fine().with(b"source", b"SECRET\xff\xfe"), "HEADER_MALFORMED"),
        (fine().with(b"source", &b"SECRET".repeat(50_000)), "HEADER_MALFORMED"),
        (fine().with(b"source", b"SECRET\nSECRET"), "HEADER_MALFORMED"),
        (fine().with(b"id", b""), "HEADER_MALFORMED"),
        (fine().with(b"tenant", b"SECRET\0"), "HEADER_MALFORMED"),
        (fine().with(b"source", b"SECRET SECRET"), "MALFORMED"),
        (fine().with(b"content-type", b"text/SECRET"), "CONTENT_TYPE_UNSUPPORTED"),
    ]
}

/// What is odd beside the item.
fn odd_and_good(number: usize) -> Record {
    let record = Record::of(format!(
        "{{\"property_id\":\"p-{number}\",\"data\":{{\"title\":\"{number}\"}}}}"
    ));
    match number {
        0 => record.with(b"\xff\xfe", b"a name that is no text"),
        1 => record.with(b"", b""),
        2 => Record { key: Some(b"no stream \xff\0".repeat(1_000)), ..record },
        3 => (0..5_000).fold(record, |record, _| record.with(b"another", b"of many")),
        4 => record.with(b"another", &[0xff; 500_000]),
        5 => Record { headers: vec![(b"another".to_vec(), None)], ..record },
        6 => {
            record.with(b"tenant", "Ärzte'; --".as_bytes()).with(b"id", "Ü".repeat(100).as_bytes())
        }
        7 => Record { stamp: 0, ..record },
        8 => Record { stamp: -1, ..record },
        9 => Record { stamp: i64::MAX, ..record },
        _ => record,
    }
}

fn bad_ones_hold_up_nobody(store: &str) {
    let kafka = Kafka::start().unwrap();
    make_topics(&kafka, "1");
    let mut serve = freehold(store, &kafka, &["serve", "--listen", "127.0.0.1:0"]);
    serve.args(["--roles", "api,projections,ingest"]);
    serve.env("FREEHOLD__INGEST__MAX_BODY_BYTES", "1048576");
    let server = Server::of(serve);
    let mut expected = BTreeMap::new();
    let bad = bad();
    for (number, (record, code)) in bad.iter().enumerate() {
        odd_and_good(number).send(&kafka, COMMANDS);
        expected.insert(record.send(&kafka, COMMANDS), *code);
    }
    let last = odd_and_good(bad.len()).send(&kafka, COMMANDS);
    let users = Record::of("{\"user_id\":\"SECRET\\u0000\",\"event_type\":\"property_viewed\"}");
    let user = users.send(&kafka, USERS);

    let list = ["ingest", "refused", "--first", "100000"];
    let mut listed = Vec::new();
    until("all are answered", || {
        listed = rows(store, &kafka, &list);
        registered(store, &kafka).len() > bad.len()
    });

    let of = |topic: &'static str| {
        let of_topic = listed.iter().filter(move |row| row["topic"] == topic);
        of_topic.map(|row| (row["offset"].as_u64().unwrap(), row["code"].as_str().unwrap()))
    };
    let mut codes: BTreeMap<u64, &str> = BTreeMap::new();
    for (offset, code) in of(COMMANDS) {
        codes.entry(offset).or_insert(code);
    }
    assert_eq!(codes, expected, "of {last}");
    assert_eq!(of(USERS).collect::<Vec<_>>(), [(user, "MALFORMED")]);
    assert!(registered(store, &kafka).values().all(|times| *times == 1));
    for row in &listed {
        assert!(!row.to_string().contains("SECRET"), "{row}");
        let what = row["what"].as_str().unwrap();
        assert!((1..=520).contains(&what.len()), "{row}");
    }
    assert!(server.get("/ready").starts_with("HTTP/1.0 200"), "{}", server.get("/ready"));
    server.stop();
}

#[test]
#[ignore = "needs Java, and Maven the first time"]
fn on_files_bad_messages_hold_up_nobody_and_are_listed_without_their_values() {
    let place = Place::on_disk();
    bad_ones_hold_up_nobody(&place.address());
}

#[test]
#[ignore = "set TEST_POSTGRES_URL; needs Java, and Maven the first time"]
fn on_postgres_bad_messages_hold_up_nobody_and_are_listed_without_their_values() {
    let schema = Schema::new();
    bad_ones_hold_up_nobody(&schema.url());
}
