//! Events published to a Kafka on this machine: as many a second as there are, and how long one
//! takes from its acknowledgement until a reader of committed records has it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use freehold_kafka::{KafkaOptions, KafkaPublisher};
use freehold_ports::{EventFilter, EventStore, GlobalPosition, LogName, SystemClock};
use freehold_projections::{Relay, Subscription};
use freehold_servers::Kafka;
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::append::Caller;
use crate::output::{Fsync, Latency, Output, Row};
use crate::{Setting, limit, read};

/// How many records the raw producer puts into a transaction.
const AT_ONCE: u64 = 10_000;
/// How often each of the callers appends who together keep to a rate.
const EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let kafka = Kafka::start_to_measure()?;
    catch_up(setting, &kafka, output).await?;
    for rate in [1_000, 5_000, 20_000] {
        follow(setting, &kafka, rate, output).await?;
    }
    Ok(())
}

/// A log that is there already.
async fn catch_up(setting: &Setting, kafka: &Kafka, output: &mut Output) -> anyhow::Result<()> {
    let events = if setting.quick { 300_000 } else { 1_000_000 };
    let folder = setting.fresh_folder()?;
    let place = setting.fresh_place().await?;
    let store = place.open().await?;
    read::fill(&store, events).await?;
    let limit = raw(kafka, &store, events).await?;
    let before = limit::fsync_us(folder.path())?;
    let relay = relay(&store, &options(kafka));
    let mut status = relay.status();
    // Topics are made and a new broker's code is compiled within the first tenth.
    let from = GlobalPosition(events / 10);
    let first = status.wait_for(|status| status.position >= from).await?.position;
    let started = Instant::now();
    relay.wait_for(GlobalPosition(events), PATIENCE).await?;
    let value = (events - first.0) as f64 / started.elapsed().as_secs_f64();
    relay.stop().await;
    let after = limit::fsync_us(folder.path())?;
    let row = Row {
        bench: "relay",
        store: setting.store_name(),
        parameters: Map::from_iter([("events".to_owned(), Value::from(events))]),
        value,
        unit: "events/s",
        fsync_us: Fsync { before, after },
        ..Row::default()
    };
    output.print(row.beside(Some(limit)))
}

/// Events appended at a rate, by callers who take turns.
async fn follow(
    setting: &Setting,
    kafka: &Kafka,
    rate: u64,
    output: &mut Output,
) -> anyhow::Result<()> {
    let folder = setting.fresh_folder()?;
    let place = setting.fresh_place().await?;
    let store = place.open().await?;
    let options = options(kafka);
    let relay = relay(&store, &options);
    // The first one makes the topic.
    let first = store.append(Caller::plain().next()).await?.position;
    relay.wait_for(first, PATIENCE).await?;
    let done = Arc::new(AtomicBool::new(false));
    let reader = read_beside(&options, done.clone())?;
    let before = limit::fsync_us(folder.path())?;
    let acknowledged = Arc::new(Mutex::new(HashMap::new()));
    let (warm, started) = (Duration::from_secs(2), tokio::time::Instant::now());
    let end = started + warm + setting.duration;
    let callers = u32::try_from(rate / 50)?;
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..callers {
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        let mut caller = Caller::plain();
        let mut due = tokio::time::interval_at(started + EVERY * number / callers, EVERY);
        appends.spawn(async move {
            let mut last = GlobalPosition(0);
            while due.tick().await < end {
                last = store.append(caller.next()).await?.position;
                if started.elapsed() > warm {
                    let mut acknowledged = acknowledged.lock().map_err(|_| anyhow!("panicked"))?;
                    acknowledged.insert(last.0, Instant::now());
                }
            }
            anyhow::Ok(last)
        });
    }
    let mut head = first;
    while let Some(appended) = appends.join_next().await {
        head = head.max(appended??);
    }
    relay.wait_for(head, PATIENCE).await?;
    done.store(true, Ordering::SeqCst);
    let seen = reader.join().map_err(|_| anyhow!("the reader panicked"))??;
    relay.stop().await;
    let acknowledged = acknowledged.lock().map_err(|_| anyhow!("panicked"))?;
    let mut times = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
    let mut lost = 0;
    for (position, at) in &*acknowledged {
        match seen.get(position) {
            Some((seen, _)) => {
                times += seen.saturating_duration_since(*at).as_micros().max(1) as u64
            }
            None => lost += 1,
        }
    }
    let at = |share: f64| times.value_at_quantile(share) as f64 / 1e3;
    output.print(Row {
        bench: "relay",
        store: setting.store_name(),
        parameters: Map::from_iter([("rate".to_owned(), Value::from(rate))]),
        value: acknowledged.len() as f64 / setting.duration.as_secs_f64(),
        unit: "events/s",
        latency: Some(Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) }),
        lost: Some(lost),
        doubled: Some(seen.values().filter(|(_, times)| *times > 1).count() as u64),
        fsync_us: Fsync { before, after: limit::fsync_us(folder.path())? },
        ..Row::default()
    })
}

/// When each position was read first, and how often.
type Seen = HashMap<u64, (Instant, u32)>;

fn read_beside(
    options: &KafkaOptions,
    done: Arc<AtomicBool>,
) -> anyhow::Result<std::thread::JoinHandle<anyhow::Result<Seen>>> {
    let mut config = config(options);
    config.set("group.id", "bench").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let topic = format!("{}property-events", options.topic_prefix);
    let mut from = TopicPartitionList::new();
    for partition in 0..options.partitions as i32 {
        from.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    Ok(std::thread::spawn(move || {
        let mut seen = Seen::new();
        loop {
            match consumer.poll(Duration::from_millis(500)) {
                Some(record) => {
                    let record = record?;
                    let headers = record.headers().context("a record has no headers")?;
                    let position = headers.iter().find(|header| header.key == "ce_position");
                    let position = position.and_then(|header| header.value);
                    let position = position.context("a record has no position")?;
                    let position = std::str::from_utf8(position)?.parse()?;
                    seen.entry(position).or_insert((Instant::now(), 0)).1 += 1;
                }
                None if done.load(Ordering::SeqCst) => return Ok(seen),
                None => {}
            }
        }
    }))
}

/// The same payloads and keys by librdkafka alone, in transactions, without headers: records a
/// second.
async fn raw(kafka: &Kafka, store: &Arc<dyn EventStore>, events: u64) -> anyhow::Result<f64> {
    let options = options(kafka);
    let most = NonZeroU32::new(AT_ONCE as u32).context("a page is not empty")?;
    let (log, all) = (LogName::DOMAIN, EventFilter::all());
    let page = store.read_all(&log, &all, GlobalPosition(0), most).await?.events;
    ensure!(page.len() as u64 == AT_ONCE, "the log is too short");
    // Makes the topic.
    let relay = relay(store, &options);
    relay.wait_for(GlobalPosition(1), PATIENCE).await?;
    relay.stop().await;
    let topic = format!("{}property-events", options.topic_prefix);
    tokio::task::spawn_blocking(move || {
        let mut config = config(&options);
        config.set("transactional.id", format!("{}raw", options.topic_prefix));
        config.set("linger.ms", "0").set("compression.type", "lz4");
        config.set("partitioner", "murmur2_random");
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(Duration::from_secs(30))?;
        let mut started = Instant::now();
        for transaction in 0..events / AT_ONCE {
            if transaction == events / AT_ONCE / 10 {
                started = Instant::now();
            }
            producer.begin_transaction()?;
            for event in &page {
                let mut record =
                    BaseRecord::to(&topic).key(event.stream.as_str()).payload(&event.payload[..]);
                while let Err((error, back)) = producer.send(record) {
                    let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                    ensure!(error == full, "{error}");
                    producer.poll(Duration::from_millis(1));
                    record = back;
                }
            }
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(1));
            }
            producer.commit_transaction(Duration::from_secs(10))?;
        }
        let counted = events / AT_ONCE - events / AT_ONCE / 10;
        Ok((counted * AT_ONCE) as f64 / started.elapsed().as_secs_f64())
    })
    .await?
}

fn relay(store: &Arc<dyn EventStore>, options: &KafkaOptions) -> Subscription {
    let publisher = Box::new(KafkaPublisher::new(options.clone(), LogName::DOMAIN));
    let relay = Relay::new(LogName::DOMAIN, store.clone(), publisher);
    Subscription::start(store.clone(), Arc::new(SystemClock), Box::new(relay))
}

/// Topics of their own.
fn options(kafka: &Kafka) -> KafkaOptions {
    KafkaOptions {
        bootstrap_servers: kafka.bootstrap().to_owned(),
        topic_prefix: format!("{}.", Uuid::now_v7().simple()),
        partitions: 8,
        retention: Duration::from_secs(3_600),
        batch_bytes: 1_000_000,
    }
}

fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap_servers);
    config
}
