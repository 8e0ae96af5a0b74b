//! The publisher to Kafka keeps the contract of its port, and what readers of topics rely on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod feed;
mod inbox;
mod support;
mod topics;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use freehold_contract::Fresh;
use freehold_contract::feed::Followed;
use freehold_contract::publisher::{Readable, Seen};
use freehold_kafka::{KafkaFeed, KafkaOptions, KafkaPublisher, partition_of};
use freehold_ports::{Feed, LogName, Publisher};

use support::{Reader, options, shared};

struct Topics(KafkaOptions);

#[async_trait]
impl Readable for Topics {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(KafkaPublisher::new(self.0.clone(), LogName::DOMAIN))
    }

    async fn read(&self) -> Vec<Seen> {
        let records = Reader::new(&self.0).read_to_the_end();
        let (mut last, mut seen) = (HashMap::new(), Vec::new());
        for record in records {
            assert_eq!(record.partition, partition_of(&record.key, self.0.partitions));
            // Each record names the one before it in its partition.
            let place = (record.topic.clone(), record.partition);
            let before = last.insert(place, record.number("ce_position"));
            assert_eq!(record.number("ce_previousposition"), before.unwrap_or(0));
            let position = record.number("ce_position");
            assert_eq!(record.payload, format!("{{\"position\":{position}}}").into_bytes());
            seen.push(record.seen());
        }
        seen
    }
}

impl Followed for Topics {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(KafkaPublisher::new(self.0.clone(), LogName::DOMAIN))
    }

    fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(KafkaFeed::new(self.0.clone(), 8 << 20))
    }
}

fn followed() -> Fresh<dyn Followed> {
    let kafka = shared();
    Fresh::keeping(Arc::new(Topics(options(kafka.bootstrap()))), kafka)
}

fn topics() -> Fresh<dyn Readable> {
    let kafka = shared();
    Fresh::keeping(Arc::new(Topics(options(kafka.bootstrap()))), kafka)
}

freehold_contract::publisher_suite!(topics(), #[ignore = "needs Java, and Maven the first time"]);
freehold_contract::feed_suite!(followed(), #[ignore = "needs Java, and Maven the first time"]);
