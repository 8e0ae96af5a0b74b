//! Topics that were there before, or are not what they were.

use std::collections::BTreeSet;

use freehold_kafka::{KafkaOptions, KafkaPublisher};
use freehold_ports::{
    CommandId, EventId, GlobalPosition, LogName, PayloadCodec, Provenance, PublishError,
    Publisher as _, RecordedEvent, StreamVersion,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{Reader, options, shared};

fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap_servers);
    config
}

async fn make(options: &KafkaOptions, partitions: i32) -> String {
    let topic = format!("{}property-events", options.topic_prefix);
    let admin: AdminClient<DefaultClientContext> = config(options).create().unwrap();
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    topic
}

fn publisher(options: &KafkaOptions) -> KafkaPublisher {
    KafkaPublisher::new(options.clone(), LogName::DOMAIN)
}

fn event(position: u64, payload: usize) -> RecordedEvent {
    RecordedEvent {
        position: GlobalPosition(position),
        stream: format!("property-{position}").parse().unwrap(),
        version: StreamVersion(1),
        event_id: EventId::new(),
        event_type: "SomethingHappened".into(),
        schema_version: 1,
        command_id: CommandId::new(),
        provenance: Provenance {
            tenant: "default".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        occurred_at: chrono::Utc::now(),
        recorded_at: chrono::Utc::now(),
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: vec![b'7'; payload].into(),
    }
}

/// An operator who makes topics beforehand decides how many partitions they have.
#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn a_topic_that_is_there_keeps_its_partitions() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    make(&options, 7).await;
    let mut publisher = publisher(&options);
    publisher.take_over().await.unwrap();

    publisher.publish((1..=100).map(|position| event(position, 2)).collect()).await.unwrap();

    let records = Reader::new(&options).read_to_the_end();
    assert_eq!(records.len(), 100);
    let partitions: BTreeSet<_> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 7);
}

#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn a_topic_with_records_of_somebody_else_is_left_alone() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let topic = make(&options, 3).await;
    let producer: BaseProducer = config(&options).create().unwrap();
    let record = BaseRecord::to(&topic).partition(1).key("property-1").payload("theirs");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(10)).unwrap();
    let mut publisher = publisher(&options);
    publisher.take_over().await.unwrap();

    let refused = publisher.publish(vec![event(1, 2)]).await;

    assert!(
        matches!(&refused, Err(PublishError::Refused { what }) if what.contains(&topic)),
        "{refused:?}"
    );
}

/// A stream would go on in another partition, beside its own past.
#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn a_topic_with_more_partitions_than_before_is_refused() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let mut before = publisher(&options);
    before.take_over().await.unwrap();
    before.publish(vec![event(1, 2)]).await.unwrap();
    let topic = format!("{}property-events", options.topic_prefix);
    let admin: AdminClient<DefaultClientContext> = config(&options).create().unwrap();
    let more = NewPartitions::new(&topic, options.partitions + 1);
    admin.create_partitions([&more], &AdminOptions::new()).await.unwrap().remove(0).unwrap();

    let refused = publisher(&options).take_over().await;

    assert!(
        matches!(&refused, Err(PublishError::Refused { what }) if what.contains("partitions")),
        "{refused:?}"
    );
}

/// Each take-over leaves a mark in the control topic; what was published stands behind them.
#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn what_was_published_is_found_behind_many_take_overs() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let mut publisher = publisher(&options);
    publisher.take_over().await.unwrap();
    publisher.publish(vec![event(1, 2)]).await.unwrap();
    for _ in 0..40 {
        assert_eq!(publisher.take_over().await.unwrap().unwrap().position, GlobalPosition(1));
    }
    let seen = self::publisher(&options).published().await.unwrap();
    assert_eq!(seen.unwrap().position, GlobalPosition(1));
}

/// What a store takes, a topic takes.
#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn the_largest_event_is_published() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let mut publisher = publisher(&options);
    publisher.take_over().await.unwrap();
    let large = (1..=8).map(|position| {
        let mut event = event(position, 1 << 20);
        event.tags = (0..5_000).map(|tag| format!("tag:{tag}").parse().unwrap()).collect();
        event
    });

    publisher.publish(large.collect()).await.unwrap();

    assert_eq!(Reader::new(&options).read_to_the_end().len(), 8);
}

/// The driver's own way to commit takes 100 ms at least.
#[tokio::test]
#[ignore = "needs Java, and Maven the first time"]
async fn one_event_does_not_wait_for_timers() {
    let kafka = shared();
    let options = options(kafka.bootstrap());
    let mut publisher = publisher(&options);
    publisher.take_over().await.unwrap();
    publisher.publish(vec![event(1, 2)]).await.unwrap();
    let mut took = Vec::new();
    for position in 2..402 {
        let started = std::time::Instant::now();
        publisher.publish(vec![event(position, 300)]).await.unwrap();
        took.push(started.elapsed());
    }
    took.sort_unstable();
    println!("one_event least={:?} p50={:?} p95={:?}", took[0], took[200], took[380]);
    // Each would wait; what else this machine does holds up only some.
    assert!(took[0] < std::time::Duration::from_millis(60), "{:?}", took[0]);
}
