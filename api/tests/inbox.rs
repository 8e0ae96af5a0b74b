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
        let mut child = freehold(store, kafka, &serve).stdout(Stdio::piped()).spawn().unwrap();
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
