//! A broker for the tests of a program, and what a reader of committed records sees.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use freehold_contract::publisher::Seen;
use freehold_kafka::KafkaOptions;
use freehold_ports::{EventId, GlobalPosition};
use freehold_servers::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

/// Options with topics of their own.
pub(crate) fn options(bootstrap: &str) -> KafkaOptions {
    KafkaOptions {
        bootstrap_servers: bootstrap.to_owned(),
        topic_prefix: format!("test-{}.", Uuid::now_v7().simple()),
        partitions: 4,
        retention: Duration::from_secs(3_600),
        batch_bytes: 1_000_000,
    }
}

/// Sends a record with one header whose name is not UTF-8, which clients in Rust cannot.
pub(crate) fn send_a_name_that_is_no_text(bootstrap: &str, topic: &str, partition: i32) {
    let number = |number: i8| -> Vec<u8> { vec![(number << 1 ^ number >> 7) as u8] };
    let record = [
        &[0][..], // attributes
        &number(0),
        &number(0),  // timestamp and offset, from those of the batch
        &number(-1), // no key
        &number(2),
        b"{}",
        &number(1), // headers
        &number(3),
        b"ce\xff",
        &number(1),
        b"x",
    ]
    .concat();
    let records = [number(record.len() as i8), record].concat();
    let batch = [
        &[0; 2][..], // attributes
        &[0; 4],     // the last offset
        &[0; 16],    // timestamps
        &[0xff; 14], // no idempotent producer
        &1_i32.to_be_bytes(),
        &records,
    ]
    .concat();
    let behind_the_length = [&[0xff; 4][..], &[2], &crc32c(&batch).to_be_bytes(), &batch].concat();
    let length = behind_the_length.len() as i32;
    let batch = [&[0; 8][..], &length.to_be_bytes(), &behind_the_length].concat();
    let request = [
        &[0, 0, 0, 3, 0, 0, 0, 7, 0xff, 0xff][..], // produce, version 3, of no client by name
        &[0xff, 0xff, 0, 1, 0, 0, 0x27, 0x10],     // no transaction, acknowledged within 10 s
        &1_i32.to_be_bytes(),
        &(topic.len() as i16).to_be_bytes(),
        topic.as_bytes(),
        &1_i32.to_be_bytes(),
        &partition.to_be_bytes(),
        &(batch.len() as i32).to_be_bytes(),
        &batch,
    ]
    .concat();
    let mut broker = TcpStream::connect(bootstrap).unwrap();
    broker.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut answer = vec![0; 4];
    broker.read_exact(&mut answer).unwrap();
    answer.resize(i32::from_be_bytes(answer[..4].try_into().unwrap()) as usize, 0);
    broker.read_exact(&mut answer).unwrap();
    // The request's number, one topic by its name, one partition by its number, and its error.
    let error = &answer[4 + 4 + 2 + topic.len() + 4 + 4..][..2];
    assert_eq!(error, [0, 0], "the broker did not take it");
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

/// The broker that is given, or one that the tests of a process share while any of them runs.
pub(crate) fn shared() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let kafka = Arc::new(Kafka::given_or_start().unwrap());
        *shared = Arc::downgrade(&kafka);
        kafka
    })
}

/// Reads what is committed in all topics of events with a prefix.
pub(crate) struct Reader {
    consumer: BaseConsumer,
    prefix: String,
    /// Of each topic that was found, how many partitions.
    assigned: HashMap<String, usize>,
    /// What it was told instead of a record.
    told: Vec<String>,
}

impl Reader {
    pub(crate) fn new(options: &KafkaOptions) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.bootstrap_servers)
            .set("group.id", "a-reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("reconnect.backoff.max.ms", "1000")
            .set("fetch.wait.max.ms", "50");
        let consumer = config.create().unwrap();
        let prefix = options.topic_prefix.clone();
        Self { consumer, prefix, assigned: HashMap::new(), told: Vec::new() }
    }

    /// Looks for topics that are new, and begins them at their first record.
    pub(crate) fn find_topics(&mut self) -> bool {
        let metadata = self.consumer.fetch_metadata(None, Duration::from_secs(5));
        let Ok(metadata) = metadata else { return false };
        let mut from = TopicPartitionList::new();
        for topic in metadata.topics() {
            let name = topic.name();
            if name.starts_with(&self.prefix)
                && name.ends_with("-events")
                && !self.assigned.contains_key(name)
                && !topic.partitions().is_empty()
            {
                for partition in topic.partitions() {
                    from.add_partition_offset(name, partition.id(), Offset::Beginning).unwrap();
                }
                self.assigned.insert(name.to_owned(), topic.partitions().len());
            }
        }
        if from.count() > 0 {
            self.consumer.incremental_assign(&from).unwrap();
        }
        true
    }

    /// The next record, if one comes in time; brokers may be away meanwhile.
    pub(crate) fn next(&mut self, patience: Duration) -> Option<Record> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Ok(message)) => return Some(Record::of(&message)),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => panic!("{code}"),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => self.told.push(error.to_string()),
                None => return None,
            }
        }
    }

    /// What it was told instead of records, without what it was told often.
    pub(crate) fn told(&mut self) -> Vec<String> {
        self.told.sort();
        self.told.dedup();
        std::mem::take(&mut self.told)
    }

    /// Everything that is there now.
    pub(crate) fn read_to_the_end(&mut self) -> Vec<Record> {
        assert!(self.find_topics());
        let partitions: usize = self.assigned.values().sum();
        let (mut ended, mut records) = (0, Vec::new());
        while ended < partitions {
            match self.consumer.poll(Duration::from_secs(10)).expect("a partition has no end") {
                Ok(message) => records.push(Record::of(&message)),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        records
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) topic: String,
    pub(crate) partition: usize,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) payload: Vec<u8>,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().unwrap();
        let headers =
            headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap())));
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition() as usize,
            offset: message.offset(),
            key: text(message.key().unwrap()),
            headers: headers.collect(),
            payload: message.payload().unwrap().to_vec(),
        }
    }

    /// A header that is a number.
    pub(crate) fn number(&self, header: &str) -> u64 {
        self.headers[header].parse().unwrap()
    }

    pub(crate) fn seen(&self) -> Seen {
        assert_eq!(self.key, self.headers["ce_subject"]);
        Seen {
            stream: self.key.parse().unwrap(),
            position: GlobalPosition(self.number("ce_position")),
            event_id: EventId(self.headers["ce_id"].parse().unwrap()),
        }
    }
}
