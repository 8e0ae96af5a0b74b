//! What publishes the logs to Kafka, where the configuration names a cluster, and what brings that
//! back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{Feed, LogName, Publisher, SystemClock};
use freehold_projections::{Relay, Subscription, SubscriptionState};
use futures_util::future::join_all;

use crate::config::{Config, Kafka, Part, Source};
use crate::node::in_short;
use crate::stores::{LOGS, Stores, StoresError};

/// One relay for each log of ours. Logs of applications that were imported have readers already.
pub(crate) struct Relays {
    kafka: Kafka,
    lag_budget: Duration,
    /// None before the start and after the end.
    running: Mutex<Vec<(LogName, Subscription)>>,
}

impl Relays {
    /// None where the configuration names no cluster, or leaves publishing to other processes;
    /// nothing runs yet.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, StoresError> {
        if config.kafka.bootstrap_servers.is_none() || !config.roles.has(Part::Relay) {
            return Ok(None);
        }
        if cfg!(not(feature = "kafka")) {
            return Err(StoresError::NoKafka);
        }
        Ok(Some(Self {
            kafka: config.kafka.clone(),
            lag_budget: config.relay.lag_budget(),
            running: Mutex::default(),
        }))
    }

    /// Makes every relay follow its log.
    pub(crate) fn start(&self, stores: &Stores) {
        let started = LOGS.into_iter().filter_map(|log| {
            let publisher = publisher(&self.kafka, &log)?;
            let relay = Relay::new(log.clone(), stores.events.clone(), publisher);
            let clock = Arc::new(SystemClock);
            Some((log, Subscription::start(stores.events.clone(), clock, Box::new(relay))))
        });
        *self.running() = started.collect();
    }

    /// Ends each after what it publishes just now.
    pub(crate) async fn stop(&self) {
        let running = std::mem::take(&mut *self.running());
        join_all(running.into_iter().map(|(_, relay)| relay.stop())).await;
    }

    /// Whether readers are as far as they should be. Who stands by is not asked: another process
    /// publishes, and says so.
    pub(crate) fn check(&self, now: DateTime<Utc>) -> Result<(), String> {
        let mut late = Vec::new();
        for (log, relay) in &*self.running() {
            let status = relay.status().borrow().clone();
            let (name, lag) = (format!("the relay of {log}"), status.lag(now));
            match &status.state {
                SubscriptionState::StandingBy => {}
                SubscriptionState::Failed(failure) => late.push(in_short(&name, failure)),
                _ if lag > self.lag_budget => {
                    late.push(format!("{name} is {:.1} s behind", lag.as_secs_f64()));
                }
                _ => {}
            }
        }
        if late.is_empty() { Ok(()) } else { Err(late.join("; ")) }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<(LogName, Subscription)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What brings projections the end of their logs, where the configuration says so.
pub(crate) fn feed(config: &Config) -> Result<Option<Arc<dyn Feed>>, StoresError> {
    if config.projections.source == Source::Log || !config.roles.has(Part::Projections) {
        return Ok(None);
    }
    published(&config.kafka).map(Some)
}

#[cfg(feature = "kafka")]
fn published(kafka: &Kafka) -> Result<Arc<dyn Feed>, StoresError> {
    let options = options(kafka).ok_or(StoresError::NoBrokers)?;
    Ok(Arc::new(freehold_kafka::KafkaFeed::new(options, kafka.buffer_bytes)))
}

#[cfg(not(feature = "kafka"))]
fn published(_: &Kafka) -> Result<Arc<dyn Feed>, StoresError> {
    Err(StoresError::NoKafka)
}

#[cfg(feature = "kafka")]
fn publisher(kafka: &Kafka, log: &LogName) -> Option<Box<dyn Publisher>> {
    Some(Box::new(freehold_kafka::KafkaPublisher::new(options(kafka)?, log.clone())))
}

/// The cluster that the configuration names, if it does.
#[cfg(feature = "kafka")]
pub(crate) fn options(kafka: &Kafka) -> Option<freehold_kafka::KafkaOptions> {
    Some(freehold_kafka::KafkaOptions {
        bootstrap_servers: kafka.bootstrap_servers.clone()?,
        topic_prefix: kafka.topic_prefix.clone().unwrap_or_default(),
        partitions: kafka.partitions,
        retention: kafka.retention(),
        batch_bytes: kafka.batch_bytes,
    })
}

#[cfg(not(feature = "kafka"))]
fn publisher(_: &Kafka, _: &LogName) -> Option<Box<dyn Publisher>> {
    None
}
