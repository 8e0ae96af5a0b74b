//! A cluster: how to reach it, which topics it has and gets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use freehold_ports::PublishError;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::runtime::Handle;
use tracing::{debug, info};

/// How long the cluster has for an answer about topics.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The most bytes of a record: a payload of 1 MiB and its headers.
pub(crate) const MOST_RECORD_BYTES: &str = "2097152";

/// Where to publish, and how topics are made.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, several by comma.
    pub bootstrap_servers: String,
    /// Stands before every name of a topic and transactional id.
    pub topic_prefix: String,
    /// How many partitions a topic gets that is made; never changed afterwards.
    pub partitions: usize,
    /// How long a topic that is made keeps its records.
    pub retention: Duration,
    /// The largest batch to one partition.
    pub batch_bytes: usize,
}

impl KafkaOptions {
    /// What every client of the cluster is told.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers).set("client.id", "freehold");
        // Else a client comes back up to 10 s after its broker did.
        config.set("reconnect.backoff.max.ms", "1000");
        config
    }
}

/// What is asked of a cluster beside publishing and reading.
pub(crate) struct Cluster {
    options: Arc<KafkaOptions>,
    admin: AdminClient<Quiet>,
}

impl Cluster {
    pub(crate) fn new(options: Arc<KafkaOptions>) -> Result<Self, PublishError> {
        let admin = options.client().create_with_context(Quiet).map_err(publish_error)?;
        Ok(Self { options, admin })
    }

    /// How many partitions each topic has. All are asked for: asking for one that is not there makes
    /// it, where brokers are set so.
    pub(crate) fn topics(&self) -> Result<HashMap<String, usize>, PublishError> {
        let metadata = self.admin.inner().fetch_metadata(None, ANSWERS_WITHIN);
        let metadata = metadata.map_err(publish_error)?;
        let topics = metadata.topics().iter();
        Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
    }

    /// Makes a topic of events.
    pub(crate) fn make_event_topic(
        &self,
        name: &str,
        partitions: usize,
    ) -> Result<(), PublishError> {
        let retention_ms = self.options.retention.as_millis().to_string();
        let topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(-1))
            // Compaction would drop events: the key is the stream.
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention_ms)
            .set("max.message.bytes", MOST_RECORD_BYTES)
            // By the time of the event, what happened long ago would be deleted at once.
            .set("message.timestamp.type", "LogAppendTime");
        self.make(&topic)
    }

    /// Makes a topic that keeps the newest record of each key.
    pub(crate) fn make_control_topic(&self, name: &str) -> Result<(), PublishError> {
        let topic = NewTopic::new(name, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("segment.bytes", "16777216")
            .set("min.cleanable.dirty.ratio", "0.01");
        self.make(&topic)
    }

    fn make(&self, topic: &NewTopic<'_>) -> Result<(), PublishError> {
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWERS_WITHIN))
            .operation_timeout(Some(ANSWERS_WITHIN));
        // Asked on a thread that may wait.
        let made = Handle::current().block_on(self.admin.create_topics([topic], &options));
        match made.map_err(publish_error)?.into_iter().next() {
            // Somebody else was faster.
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(publish_error(KafkaError::AdminOp(code))),
            Some(Ok(_)) | None => {
                info!(topic = topic.name, partitions = topic.num_partitions, "made a topic");
                Ok(())
            }
        }
    }
}

/// For clients of which nothing is heard but what their calls answer.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        note(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&error.to_string(), reason);
    }
}

impl ConsumerContext for Quiet {}

/// The driver says everything as an error, several times a second while a broker is away; what went
/// wrong comes back from the calls.
pub(crate) fn note(what: &str, text: &str) {
    debug!(what, "{text}");
}

/// What an error of the driver means for a publisher.
pub(crate) fn publish_error(error: KafkaError) -> PublishError {
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
            PublishError::Fenced
        }
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::MessageSizeTooLarge
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation,
        ) => PublishError::Refused { what: error.to_string() },
        _ => PublishError::Unavailable { source: Box::new(error) },
    }
}

/// Whether a topic, or a partition of it, is not there.
pub(crate) fn is_unknown_topic(error: &KafkaError) -> bool {
    let unknown = [Code::UnknownTopicOrPartition, Code::UnknownTopic, Code::UnknownPartition];
    error.rdkafka_error_code().is_some_and(|code| unknown.contains(&code))
}
