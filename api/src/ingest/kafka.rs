//! Messages of senders in Kafka: bodies as REST takes them, taken in once.
//!
//! `README.md` says what senders may write beside them.

use std::str::from_utf8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_kafka::{InboxOptions, KafkaInbox, Message, NotNow, Recipient, TakenIn};
use freehold_ports::{CommandId, MessageId, RefusedItem};
use tracing::error;

use super::answer::{Change, Notice, Status};
use super::{BodyRefused, FENCED, Ingest, Sender, http, split};
use crate::config::{Config, Part};
use crate::platform::Caller;
use crate::relays;
use crate::stores::{Stores, StoresError};

/// Topics of senders, behind the prefix, and whether their items are about properties.
const TOPICS: [(&str, bool); 2] = [("property-commands", true), ("user-interactions", false)];
/// The longest name of a tenant, source or key in a header.
const LONGEST: usize = 200;
/// The longest explanation that is kept of a refusal.
const LONGEST_WHAT: usize = 500;

/// What reads the topics of senders, where the process has the role.
pub(crate) struct Inbox {
    options: InboxOptions,
    entrance: Arc<Entrance>,
    /// Whether the process also answers requests, which go on without Kafka.
    answers: bool,
    /// None before the start and after the end.
    running: Mutex<Option<Arc<KafkaInbox>>>,
}

impl Inbox {
    /// None for a process without the role; nothing is read yet.
    pub(crate) fn of(config: &Config, ingest: &Arc<Ingest>) -> Result<Option<Self>, StoresError> {
        let Some(kafka) = relays::options(&config.kafka) else { return Ok(None) };
        if !config.roles.has(Part::Ingest) {
            return Ok(None);
        }
        let topics = TOPICS.map(|(topic, _)| format!("{}{topic}", kafka.topic_prefix).into());
        let buffer_bytes = config.kafka.buffer_bytes;
        Ok(Some(Self {
            options: InboxOptions { kafka, topics: topics.into(), buffer_bytes },
            entrance: Arc::new(Entrance::of(config, ingest)),
            answers: config.roles.has(Part::Api),
            running: Mutex::default(),
        }))
    }

    /// Joins the other processes that read the topics.
    pub(crate) fn start(&self, stores: &Stores) {
        let (options, intake) = (self.options.clone(), stores.intake.clone());
        match KafkaInbox::start(options, intake, self.entrance.clone()) {
            Ok(inbox) => *self.running() = Some(Arc::new(inbox)),
            Err(error) => error!(%error, "no thread for messages of senders"),
        }
    }

    /// Ends after the messages in hand.
    pub(crate) async fn stop(&self) {
        let running = self.running().take();
        if let Some(inbox) = running {
            inbox.stop().await;
        }
    }

    /// Whether messages are taken in, and what else there is to say.
    pub(crate) fn check(&self) -> Result<Option<String>, String> {
        let Some(inbox) = self.running().clone() else {
            return Err("messages of senders are not read".to_owned());
        };
        let status = inbox.status();
        if let Some(what) = status.failed {
            let told = format!("no messages of senders are read: {what}");
            return if self.answers { Ok(Some(told)) } else { Err(told) };
        }
        let missing = status.missing.iter().map(|topic| format!("topic {topic} does not exist"));
        let waiting = status
            .waiting
            .iter()
            .map(|(place, what)| format!("{}/{} waits: {what}", place.topic, place.partition));
        let notes: Vec<String> = missing.chain(waiting).collect();
        Ok((!notes.is_empty()).then(|| notes.join("; ")))
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<KafkaInbox>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of trying a refused message again.
pub(crate) enum Again {
    /// It was taken in; so many items were settled, and these are still refused.
    TakenIn(u64, Vec<RefusedItem>),
    /// Its topic has it no more.
    Gone,
    /// Not now.
    NotNow(String),
}

/// Takes a message in that was refused, as its topic still has it.
pub(crate) async fn take_again(
    config: &Config,
    ingest: &Arc<Ingest>,
    stores: &Stores,
    id: &MessageId,
) -> Again {
    let Some(options) = relays::options(&config.kafka) else {
        return Again::NotNow("kafka.bootstrap_servers names no cluster".to_owned());
    };
    let place = &id.partition;
    let found = KafkaInbox::message_at(&options, &place.topic, place.partition, id.at.offset).await;
    let message = match found {
        Ok(Some(message)) if message.id == *id => message,
        Ok(_) => return Again::Gone,
        Err(error) => return Again::NotNow(format!("Kafka gives no message: {error}")),
    };
    let taken = match Entrance::of(config, ingest).take_in(&message).await {
        Ok(taken) => taken,
        Err(NotNow::Later { what, .. } | NotNow::Elsewhere { what }) => return Again::NotNow(what),
    };
    match stores.intake.settle(id, taken.refused.clone()).await {
        Ok(settled) => Again::TakenIn(settled, taken.refused),
        Err(error) => Again::NotNow(error.to_string()),
    }
}

/// Where messages come in.
struct Entrance {
    ingest: Arc<Ingest>,
    tenant: Arc<str>,
    prefix: String,
    max_body_bytes: usize,
}

impl Entrance {
    fn of(config: &Config, ingest: &Arc<Ingest>) -> Self {
        Self {
            ingest: ingest.clone(),
            tenant: config.tenant.default.as_str().into(),
            prefix: config.kafka.topic_prefix.clone().unwrap_or_default(),
            max_body_bytes: config.ingest.max_body_bytes,
        }
    }

    async fn try_to_take_in(&self, message: &Message) -> Result<Taken, NotNow> {
        let read = match self.read(message) {
            Ok(read) => read,
            Err(notice) => return Ok(Taken::Whole(notice)),
        };
        let lines = read.lines;
        let body = match split(read.value, lines) {
            Ok(body) => body,
            Err(refused) => {
                let code = match refused {
                    BodyRefused::Empty => "BODY_EMPTY",
                    BodyRefused::TooManyItems => "TOO_MANY_ITEMS",
                };
                return Ok(Taken::Whole(Notice::new(code, refused.to_string())));
            }
        };
        let sender =
            Sender { caller: &read.caller, source: read.source, request_key: Some(&read.key) };
        let answered = match self.is_about_properties(message) {
            true => self.ingest.store_properties(&sender, &body.items).await,
            false => self.ingest.store_users(&sender, &body.items).await,
        };
        let waiting = answered.iter().filter(|one| one.item.status == Status::Retry);
        if let Some(after) = waiting.clone().map(|one| one.retry_after.unwrap_or(SOON)).max() {
            let first = waiting.flat_map(|one| &one.item.errors).next();
            let what = first.map_or_else(String::new, |first| first.message.clone());
            return Err(match first {
                Some(first) if first.code == FENCED => NotNow::Elsewhere { what },
                _ => NotNow::Later { after, what },
            });
        }
        let mut items: Vec<_> = answered.into_iter().map(|one| one.item).collect();
        items.sort_by_key(|item| item.index);
        super::count(&items);
        Ok(Taken::Items(items))
    }

    fn is_about_properties(&self, message: &Message) -> bool {
        let topic = &*message.id.partition.topic;
        let name = topic.strip_prefix(&*self.prefix).unwrap_or(topic);
        TOPICS.iter().any(|(topic, properties)| *topic == name && *properties)
    }

    fn read<'m>(&self, message: &'m Message) -> Result<Read<'m>, Notice> {
        let MessageId { partition, at } = &message.id;
        let tenant = text(message, "tenant")?.map_or_else(|| self.tenant.clone(), Arc::from);
        let named = ["idempotency-key", "ce_id", "id"].into_iter();
        let named =
            named.map(|name| text(message, name)).find_map(Result::transpose).transpose()?;
        // The same message always has the same; another one with its offset has another time.
        let of_place = || {
            let (cluster, topic) = (&partition.cluster, &partition.topic);
            let number = partition.partition;
            format!("kafka:{cluster}/{topic}/{number}/{}/{}", at.offset, at.stamp)
        };
        let key = named.map_or_else(of_place, str::to_owned);
        let lines = match text(message, "content-type")? {
            Some(media_type) => http::is_lines_type(media_type).ok_or_else(|| {
                let what = "send JSON as application/json, or lines as application/x-ndjson";
                Notice::new("CONTENT_TYPE_UNSUPPORTED", what)
            })?,
            None => false,
        };
        let value = message.value.as_deref().unwrap_or_default();
        if value.len() > self.max_body_bytes {
            let most = self.max_body_bytes;
            let what = format!("has more than {most} bytes; send fewer items at a time");
            return Err(Notice::new("BODY_TOO_LARGE", what));
        }
        let caller = Caller {
            actor: format!("kafka:{}", partition.topic).into(),
            tenant,
            correlation_id: CommandId::from_key("kafka", &of_place()).0,
        };
        Ok(Read { caller, source: text(message, "source")?, key, lines, value })
    }
}

const SOON: Duration = Duration::from_secs(1);

/// A message apart from its items.
struct Read<'m> {
    caller: Caller,
    source: Option<&'m str>,
    key: String,
    lines: bool,
    value: &'m [u8],
}

/// What became of a message.
enum Taken {
    /// None of it was looked at.
    Whole(Notice),
    Items(Vec<super::ItemAnswer>),
}

/// The first header of a name.
fn text<'m>(message: &'m Message, name: &'static str) -> Result<Option<&'m str>, Notice> {
    let found = message.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
    let Some((_, value)) = found else { return Ok(None) };
    let text = from_utf8(value).ok().map(str::trim);
    let line =
        |text: &&str| (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
    text.filter(line).map(Some).ok_or_else(|| {
        let what = format!("must be one line of 1 to {LONGEST} bytes of UTF-8");
        Notice::new("HEADER_MALFORMED", what).at(format!("header {name}"))
    })
}

#[async_trait]
impl Recipient for Entrance {
    async fn take_in(&self, message: &Message) -> Result<TakenIn, NotNow> {
        let taken = self.try_to_take_in(message).await?;
        let now = self.ingest.platform.clock.now();
        let refusal = |item: Option<usize>, errors: &[Notice]| {
            let first = errors.first();
            let more = match errors.len() {
                0 | 1 => String::new(),
                more => format!(" (and {} more)", more - 1),
            };
            let what = first.map_or("", |first| &*first.message);
            let what: String = what.chars().take(LONGEST_WHAT).collect();
            RefusedItem {
                message: message.id.clone(),
                item: item.and_then(|item| u32::try_from(item).ok()),
                code: first.map_or("REFUSED", |first| first.code).into(),
                field: first.and_then(|first| {
                    let field: String = first.field.as_ref()?.chars().take(LONGEST).collect();
                    Some(field.into())
                }),
                what: format!("{what}{more}").into(),
                refused_at: now,
            }
        };
        let (refused, known) = match &taken {
            Taken::Whole(notice) => (vec![refusal(None, std::slice::from_ref(notice))], false),
            Taken::Items(items) => {
                let refused = items.iter().filter(|item| item.status == Status::Refused);
                let refused = refused.map(|item| refusal(Some(item.index), &item.errors));
                let known = items.iter().all(|item| {
                    item.status == Status::Accepted && item.change != Some(Change::Unchanged)
                });
                (refused.collect(), known)
            }
        };
        let outcome = if refused.is_empty() { "accepted" } else { "refused" };
        let topic = message.id.partition.topic.to_string();
        let labels = [("topic", topic), ("outcome", outcome.to_owned())];
        metrics::counter!("freehold_ingest_messages_total", &labels).increment(1);
        Ok(TakenIn { refused, known })
    }
}
