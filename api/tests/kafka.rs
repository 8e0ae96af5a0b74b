//! `freehold serve` with a Kafka cluster: what a plain Java consumer reads, and what is said while
//! there are no brokers.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freehold_servers::Kafka;
use freehold_test_stores::{Place, Schema};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const PRODUCED: &str = "kafka_messages_produced_total{topic=\"property-events\"}";
const POSITION: &str = "freehold_subscription_position{subscription=\"relay-domain\"}";

/// A server, killed when a test gives up on it.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(place: &Place, kafka: &Kafka) -> Self {
        Self::start_with(&place.address(), kafka, &[])
    }

    fn start_with(store: &str, kafka: &Kafka, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", store]).args(arguments);
        command.env_clear().current_dir(std::env::temp_dir());
        command.env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap());
        command.env("FREEHOLD__RELAY__LAG_BUDGET_MS", "3000");
        if store.starts_with("postgres") {
            command.env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Tells of a property; nobody waits for Kafka.
    fn tell(&self, reference: &str, price: u32) {
        let body = format!(
            r#"{{"property_id":"{reference}","event_type":"property_updated","data":{{"price":{price}}}}}"#
        );
        let asked = Instant::now();
        let (status, answer) = self.ask("POST", "/api/events/property", &body);
        assert_eq!(status, 202, "{answer}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }

    /// Whether it is ready, and what the relay says.
    fn relay(&self) -> (bool, Option<String>) {
        let (status, answer) = self.ask("GET", "/ready", "");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let checks = answer["checks"].as_array().unwrap();
        let relay = checks.iter().find(|check| check["name"] == "relay").unwrap();
        let said = relay["reason"].as_str().or(relay["note"].as_str());
        (status == 200, said.map(str::to_owned))
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let (_, metrics) = self.ask("GET", "/metrics", "");
        let value = metrics.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < SOON, "{what}: {:?}", self.relay());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Kafka's own consumer prints of the first records of a topic.
fn read(kafka: &Kafka, topic: &str, records: usize) -> Vec<String> {
    let mut consumer = kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer").unwrap();
    consumer.args(["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"]);
    consumer.args(["--max-messages", &records.to_string(), "--timeout-ms", "20000"]);
    for property in ["print.key", "print.headers", "print.partition"] {
        consumer.args(["--formatter-property", &format!("{property}=true")]);
    }
    let output = consumer.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), records, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    lines
}

#[test]
#[ignore = "needs Java, and Maven the first time"]
fn what_is_stored_is_published_and_brokers_may_be_away_meanwhile() {
    let (kafka, place) = (Kafka::start().unwrap(), Place::on_disk());
    let server = Server::start(&place, &kafka);
    server.tell("one", 1_000);
    server.tell("one", 1_100);
    // Registered, drafted, another price.
    server.wait("three events", |server| server.metric(PRODUCED) == Some(3.0));
    server.wait("ready", |server| server.relay() == (true, None));
    assert!(server.metric("kafka_produce_latency_seconds_count{log=\"domain\"}") >= Some(1.0));
    let records = read(&kafka, "property-events", 3);
    let types = ["PropertyRegistered", "ListingDrafted", "RentChanged"];
    for (position, (record, event_type)) in (1..).zip(records.iter().zip(types)) {
        let position = format!("ce_position:{position},");
        for part in ["ce_specversion:1.0,", "content-type:application/json,", &position] {
            assert!(record.contains(part), "{part} is not in {record}");
        }
        assert!(record.contains(&format!("ce_type:{event_type},")), "{record}");
        assert!(record.contains("\tproperty-"), "{record}");
    }

    kafka.kill9().unwrap();

    for price in 0..20 {
        server.tell("two", 2_000 + price);
    }
    // Whoever publishes alone would not be ready.
    server.wait("late", |server| {
        let (ready, reason) = server.relay();
        ready && reason.is_some_and(|reason| reason.starts_with("the relay of domain "))
    });
    server.tell("three", 3_000);
    kafka.start_again().unwrap();
    server.wait("ready again", |server| server.relay() == (true, None));
    // 2 and 19 of the second, 2 of the third property.
    server.wait("all is published", |server| server.metric(POSITION) == Some(26.0));
    read(&kafka, "property-events", 26);
}

/// Who publishes alone is not ready while it cannot; whoever comes after it goes on where it was.
#[test]
#[ignore = "set TEST_POSTGRES_URL; needs Java, and Maven the first time"]
fn a_process_that_only_publishes_comes_and_goes_beside_one_that_stores() {
    let (kafka, schema) = (Kafka::start().unwrap(), Schema::new());
    let store = schema.url();
    let start = |roles| Server::start_with(&store, &kafka, &["--roles", roles]);
    let api = start("api");
    api.tell("one", 1_000);
    let relay = start("relay");
    relay.wait("the first one", |relay| relay.metric(PRODUCED) == Some(2.0));
    relay.wait("ready", |relay| relay.relay() == (true, None));
    assert_eq!(relay.ask("POST", "/graphql", "{}").0, 404);

    drop(relay);
    api.tell("two", 2_000);
    let relay = start("relay");
    relay.wait("the second one", |relay| relay.metric(POSITION) == Some(4.0));
    kafka.kill9().unwrap();
    api.tell("three", 3_000);
    relay.wait("not ready", |relay| {
        let (ready, reason) = relay.relay();
        !ready && reason.is_some_and(|reason| reason.starts_with("the relay of domain "))
    });
    kafka.start_again().unwrap();

    relay.wait("ready again", |relay| relay.relay() == (true, None));
    relay.wait("the third one", |relay| relay.metric(POSITION) == Some(6.0));
    read(&kafka, "property-events", 6);
}
