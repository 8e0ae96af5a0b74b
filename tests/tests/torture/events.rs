//! The events that torture writes, and what is wrong with a log of them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold_domain::interaction::{
    ActorType, Interaction, InteractionDetails, InteractionKind, ObjectType,
};
use freehold_domain::{ListingKey, StoredEvent as _};
use freehold_ports::{
    AppendRequest, CommandId, EventFilter, EventId, EventStore, ExpectedVersion, Fingerprint,
    GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance, RecordedEvent, StreamId,
    StreamVersion,
};
use uuid::Uuid;

use crate::process::Said;

pub(crate) const WRITERS: u64 = 16;
/// The log that is tortured; a real projection reads it.
pub(crate) const LOG: LogName = LogName::INTERACTIONS;

/// An event as writer and number; written into its payload.
pub(crate) type Name = (u64, u64);

/// A view of one of the writer's listings, on a day that its number decides.
pub(crate) fn request(
    (writer, number): Name,
    stream: &str,
    expected: ExpectedVersion,
) -> AppendRequest {
    let name = format!("{writer}/{number}");
    let seconds = 1_700_000_000 + (number / 500) as i64 * 86_400;
    let viewed_at = DateTime::from_timestamp(seconds, 0).unwrap();
    let view = Interaction {
        kind: InteractionKind::DetailedView,
        details: InteractionDetails {
            actor_type: ActorType::Consumer,
            object_type: ObjectType::Listing,
            property: None,
            listing: Some(ListingKey(Uuid::from_u64_pair(writer % 5, number % 20))),
            reference: Some(name.clone()),
            device_type: None,
            event_source: None,
            session: None,
            page_position: None,
            event_timestamp: viewed_at,
            reported_timestamp: viewed_at,
        },
    };
    let payload = view.serialize_payload(serde_json::value::Serializer).unwrap();
    AppendRequest {
        log: LOG,
        stream: StreamId::new("interactions", stream).unwrap(),
        expected,
        command_id: CommandId::from_key("torture", &name),
        fingerprint: Fingerprint([writer as u8; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "default".into(),
            actor: "torture".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: vec![NewEvent {
            event_id: EventId::new(),
            event_type: view.event_type().into(),
            schema_version: view.schema_version(),
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: vec![format!("writer:{writer}").parse().unwrap()],
            codec: PayloadCodec::Json,
            payload: payload.to_string().into(),
        }],
    }
}

pub(crate) fn name_of(event: &RecordedEvent) -> Name {
    let view: InteractionDetails = serde_json::from_slice(&event.payload).unwrap();
    let name = view.reference.unwrap();
    let (writer, number) = name.split_once('/').unwrap();
    (writer.parse().unwrap(), number.parse().unwrap())
}

pub(crate) fn exactly(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exactly(StreamVersion(version))
}

pub(crate) async fn read_on(store: &dyn EventStore, after: u64) -> Vec<RecordedEvent> {
    let (filter, limit) = (EventFilter::all(), NonZeroU32::new(1_000).unwrap());
    let page = store.read_all(&LOG, &filter, GlobalPosition(after), limit).await;
    page.unwrap().events
}

pub(crate) async fn read_everything(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let mut log: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = log.last().map_or(0, |event| event.position.0);
        let page = read_on(store, after).await;
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

/// What writing processes were told, as they said before they were killed.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Of each writer the number of the first event that is not acknowledged.
    pub(crate) next: HashMap<u64, u64>,
    /// Where each acknowledged event is.
    pub(crate) acknowledged: HashMap<Name, u64>,
    /// When this process heard of the acknowledgement, by position.
    pub(crate) heard: HashMap<u64, Instant>,
    /// Stored before, and told so only when asked again.
    pub(crate) resent: u64,
    /// Appends without an answer, or refused for a while, each stretch of them once.
    pub(crate) failures: u64,
}

impl Ledger {
    /// The number of the writer's first event that is not acknowledged.
    pub(crate) fn next_of(&self, writer: u64) -> u64 {
        self.next.get(&writer).copied().unwrap_or(0)
    }

    /// What writers find who begin with that log.
    pub(crate) fn of(log: &[RecordedEvent]) -> Self {
        let mut ledger = Self::default();
        for event in log {
            let name = name_of(event);
            ledger.acknowledged.insert(name, event.position.0);
            ledger.next.insert(name.0, name.1 + 1);
        }
        ledger
    }

    pub(crate) fn note(&mut self, said: &Said) {
        let mut words = said.text.split(' ');
        match words.next() {
            Some("failed") => return self.failures += 1,
            first => assert_eq!(first, Some("stored"), "{}", said.text),
        }
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (writer, n, position, repeated) = (number(), number(), number(), number());
        let next = self.next.entry(writer).or_default();
        assert_eq!(n, *next, "the process skipped an event");
        *next += 1;
        self.resent += repeated;
        self.acknowledged.insert((writer, n), position);
        self.heard.insert(position, said.at);
    }
}

/// What is wrong with a log.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Findings {
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) out_of_order: usize,
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, doubled, out_of_order } = self;
        write!(f, "lost={lost} doubled={doubled} out_of_order={out_of_order}")
    }
}

impl Findings {
    pub(crate) fn of(log: &[RecordedEvent], acknowledged: &HashMap<Name, u64>) -> Self {
        let mut found = Self::default();
        let stored: HashMap<Name, u64> =
            log.iter().map(|event| (name_of(event), event.position.0)).collect();
        found.lost = acknowledged.iter().filter(|(name, at)| stored.get(name) != Some(at)).count();
        let mut ids = HashSet::new();
        found.doubled = log.len() - stored.len()
            + log.iter().filter(|event| !ids.insert(event.event_id)).count();
        // Positions without gaps, versions without gaps, each writer in its own order.
        let (mut versions, mut numbers) = (HashMap::new(), HashMap::new());
        for (position, event) in (1..).zip(log) {
            let version: &mut u64 = versions.entry(event.stream.clone()).or_default();
            *version += 1;
            let (writer, number) = name_of(event);
            let due: &mut u64 = numbers.entry(writer).or_default();
            let in_order =
                event.position.0 == position && event.version.0 == *version && number == *due;
            *due = number + 1;
            found.out_of_order += usize::from(!in_order);
        }
        found
    }

    /// Adds what one reader saw otherwise than the log is: each event once, in order.
    pub(crate) fn compare(&mut self, seen: &[Seen], log: &[RecordedEvent]) {
        let same = |(seen, event): &(&Seen, &RecordedEvent)| {
            seen.position == event.position && seen.event_id == event.event_id
        };
        self.out_of_order += seen.iter().zip(log).filter(|pair| !same(pair)).count();
        self.lost += log.len().saturating_sub(seen.len());
        self.doubled += seen.len().saturating_sub(log.len());
    }
}

/// An event as a reader saw it.
pub(crate) struct Seen {
    pub(crate) position: GlobalPosition,
    pub(crate) event_id: EventId,
    pub(crate) at: Instant,
}

/// What one reader saw, and how often it was refused.
#[derive(Default)]
pub(crate) struct Tail {
    pub(crate) seen: Vec<Seen>,
    pub(crate) failures: u64,
}

impl Tail {
    /// Reads on from a random moment, by waiting for the head and by polling, until it has reached
    /// `end`.
    pub(crate) async fn follow(
        mut self,
        store: std::sync::Arc<dyn EventStore>,
        reader: u64,
        end: tokio::sync::watch::Receiver<u64>,
    ) -> Self {
        let mut dice = Dice::new(1_000 + reader);
        tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
        let mut head = store.subscribe_head(&LOG);
        let mut after = self.seen.last().map_or(GlobalPosition(0), |seen| seen.position);
        while after.0 < *end.borrow() {
            let limit = NonZeroU32::new(1 + dice.below(100) as u32).unwrap();
            let Ok(page) = store.read_all(&LOG, &EventFilter::all(), after, limit).await else {
                self.failures += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            if page.events.is_empty() {
                let _ = tokio::time::timeout(Duration::from_millis(20), head.changed()).await;
            }
            let at = Instant::now();
            self.seen.extend(page.events.iter().map(|event| Seen {
                position: event.position,
                event_id: event.event_id,
                at,
            }));
            after = page.through;
        }
        self
    }
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Random numbers that are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound` (SplitMix64).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
