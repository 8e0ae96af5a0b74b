//! Messages of senders: shared between readers, each in its partition's order, none lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_kafka::{InboxOptions, KafkaInbox, Message, NotNow, Recipient, TakenIn};
use freehold_memory::MemoryIntake;
use freehold_ports::{Intake, SourcePartition, Taken};
use freehold_servers::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{options, send_a_name_that_is_no_text, shared};

const PARTITIONS: u32 = 4;
const SOON: Duration = Duration::from_secs(60);

/// Remembers what it was given; every third time it is not ready.
#[derive(Default)]
struct Notes {
    given: Mutex<HashMap<u32, Vec<(Taken, String)>>>,
    asked: Mutex<u64>,
}

#[async_trait]
impl Recipient for Notes {
    async fn take_in(&self, message: &Message) -> Result<TakenIn, NotNow> {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        if asked.is_multiple_of(3) {
            return Err(NotNow::Later { after: Duration::from_millis(5), what: "a while".into() });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let value = String::from_utf8(message.value.clone().unwrap()).unwrap();
        let partition = message.id.partition.partition;
        let mut given = self.given.lock().unwrap();
        given.entry(partition).or_default().push((message.id.at, value));
        Ok(TakenIn { refused: Vec::new(), known: asked.is_multiple_of(2) })
    }
}

impl Notes {
    fn count(&self) -> usize {
        self.given.lock().unwrap().values().map(Vec::len).sum()
    }
}

struct Topic {
    options: InboxOptions,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
}

impl Topic {
    fn name_it(kafka: &Kafka) -> Self {
        let kafka = options(kafka.bootstrap());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &kafka.bootstrap_servers);
        let topics = vec![format!("{}commands", kafka.topic_prefix).into()];
        let (admin, producer) = (config.create().unwrap(), config.create().unwrap());
        // So little that partitions pause.
        Self { options: InboxOptions { kafka, topics, buffer_bytes: 16_384 }, admin, producer }
    }

    fn name(&self) -> &str {
        &self.options.topics[0]
    }

    async fn make(&self) {
        let topic = NewTopic::new(self.name(), PARTITIONS as i32, TopicReplication::Fixed(1));
        let made = self.admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        made.into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
    }

    fn send(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let (partition, value) = ((number % PARTITIONS) as i32, number.to_string());
            let record = BaseRecord::<(), _>::to(self.name()).partition(partition).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(SOON).unwrap();
    }

    fn read(&self, intake: &Arc<MemoryIntake>, notes: &Arc<Notes>) -> KafkaInbox {
        KafkaInbox::start(self.options.clone(), intake.clone(), notes.clone()).unwrap()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn readers_come_and_go_and_each_message_is_taken_in_once_and_in_order() {
    let kafka = shared();
    let topic = Topic::name_it(&kafka);
    let (intake, notes) = (Arc::new(MemoryIntake::default()), Arc::new(Notes::default()));
    let one = topic.read(&intake, &notes);
    until("the topic is missing", || one.status().missing.len() == 1).await;
    topic.make().await;
    topic.send(0..400);
    until("some are there", || notes.count() > 100).await;

    let other = topic.read(&intake, &notes);
    until("they share", || one.status().partitions == 2 && other.status().partitions == 2).await;
    topic.send(400..800);
    until("more are there", || notes.count() > 500).await;
    one.stop().await;
    until("one has all", || other.status().partitions == 4).await;
    until("all are there", || notes.count() >= 800).await;
    other.stop().await;
    let third = topic.read(&intake, &notes);
    until("the third reads", || third.status().partitions == 4).await;
    topic.send(800..804);
    until("the last are there", || notes.count() >= 804).await;
    third.stop().await;

    let given = notes.given.lock().unwrap().clone();
    for (partition, given) in &given {
        let values: Vec<u32> = given.iter().map(|(_, value)| value.parse().unwrap()).collect();
        let expected: Vec<u32> =
            (0..804).filter(|number| number % PARTITIONS == *partition).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
    let cluster = topic.producer.client().fetch_cluster_id(SOON).unwrap();
    for (partition, given) in given {
        let topic = topic.options.topics[0].clone();
        let place = SourcePartition { cluster: cluster.as_str().into(), topic, partition };
        assert_eq!(intake.taken(&place).await.unwrap(), given.last().map(|(at, _)| *at));
    }
    let found = KafkaInbox::message_at(&topic.options.kafka, topic.name(), 1, 0).await.unwrap();
    assert_eq!(found.unwrap().value.unwrap(), b"1");
    let none = KafkaInbox::message_at(&topic.options.kafka, topic.name(), 1, 9_999).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let kafka = shared();
    let topic = Topic::name_it(&kafka);
    let (intake, notes) = (Arc::new(MemoryIntake::default()), Arc::new(Notes::default()));
    topic.make().await;
    topic.send(0..40);
    let one = topic.read(&intake, &notes);
    until("all are there", || notes.count() == 40).await;
    one.stop().await;
    let deleted = topic.admin.delete_topics(&[topic.name()], &AdminOptions::new()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    topic.make().await;
    // Partition 0 ends where it did, with another message there; the others end before.
    let anew = Topic { producer: kafka_producer(&kafka), ..topic };
    for _ in 0..10 {
        anew.send(0..1);
    }
    anew.send(1..2);

    let other = anew.read(&intake, &notes);

    until("those of the new topic are there", || notes.count() == 51).await;
    other.stop().await;
}

fn kafka_producer(kafka: &Kafka) -> BaseProducer {
    ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap()
}

/// Whoever may send could else stop the reading of all partitions for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java, and Maven the first time"]
async fn a_header_whose_name_is_no_text_stops_nothing() {
    let kafka = shared();
    let topic = Topic::name_it(&kafka);
    let (intake, notes) = (Arc::new(MemoryIntake::default()), Arc::new(Notes::default()));
    topic.make().await;
    topic.send(0..4);
    send_a_name_that_is_no_text(kafka.bootstrap(), topic.name(), 0);
    topic.send(4..8);

    let one = topic.read(&intake, &notes);

    until("all are there", || notes.count() == 9).await;
    one.stop().await;
    let found = KafkaInbox::message_at(&topic.options.kafka, topic.name(), 0, 1).await.unwrap();
    assert!(found.unwrap().headers.is_empty());
}
