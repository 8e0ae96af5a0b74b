//! Logs and snapshots as vectors and maps behind one lock.
//!
//! Command ids are remembered for ever: there is no retention to wait for.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, EventFilter, EventPage, EventStore,
    Fingerprint, GlobalPosition, InvalidRequest, LogName, ReadError, RecordedAnswer, RecordedEvent,
    RestoreBatch, RestoreError, RestoreLog, Snapshot, SnapshotStore, StreamId, StreamVersion,
    SystemClock, Tag, TaggedEvent,
};
use tokio::sync::watch;

/// Logs and snapshots that live as long as this value.
pub struct MemoryEventStore {
    clock: Arc<dyn Clock>,
    logs: HashMap<LogName, Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// The event at index `i` has position `i + 1`.
    events: Vec<RecordedEvent>,
    /// Of each stream the positions of its events; the one at index `i` has version `i + 1`.
    streams: HashMap<StreamId, Vec<GlobalPosition>>,
    commands: BTreeMap<CommandId, RecordedAnswer>,
    /// Of each tenant and tag the newest position.
    tags: HashMap<(Arc<str>, Tag), GlobalPosition>,
    snapshots: HashMap<StreamId, Snapshot>,
    head: watch::Sender<GlobalPosition>,
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self::new([LogName::DOMAIN, LogName::INTERACTIONS], Arc::new(SystemClock))
    }
}

impl MemoryEventStore {
    /// Empty logs of these names, events stamped by `clock`.
    pub fn new(logs: impl IntoIterator<Item = LogName>, clock: Arc<dyn Clock>) -> Self {
        let logs = logs.into_iter().map(|log| (log, Mutex::default())).collect();
        Self { clock, logs }
    }

    fn log(&self, name: &LogName) -> Option<MutexGuard<'_, Log>> {
        // A panic while the lock was held is a bug of this file, and leaves at most a part of one
        // request behind; going on is what tests want.
        self.logs.get(name).map(|log| log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn log_to_read(&self, name: &LogName) -> Result<MutexGuard<'_, Log>, ReadError> {
        self.log(name).ok_or_else(|| ReadError::UnknownLog(name.clone()))
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        request.validate()?;
        let Some(mut log) = self.log(&request.log) else {
            return Err(InvalidRequest::UnknownLog(request.log).into());
        };
        log.append(request, self.clock.now())
    }

    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        let log = self.log_to_read(log)?;
        Ok(log.commands.get(&command_id).map(|known| (known.answer, known.fingerprint)))
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        let log = self.log_to_read(log)?;
        let events: Vec<_> = log
            .events
            .get(after.0 as usize..)
            .unwrap_or_default()
            .iter()
            .filter(|event| filter.admits(&event.stream, &event.event_type))
            .take(limit.get() as usize)
            .cloned()
            .collect();
        let through = match events.last() {
            Some(last) if events.len() == limit.get() as usize => last.position,
            _ => log.head().max(after),
        };
        Ok(EventPage { events, through })
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let log = self.log_to_read(log)?;
        let positions = log.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        let wanted = positions.get(after.0 as usize..).unwrap_or_default();
        Ok(wanted.iter().take(limit.get() as usize).map(|at| log.event(*at).clone()).collect())
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        let log = self.log_to_read(log)?;
        Ok(log
            .last_tagged(tenant, tag)
            .map(|position| TaggedEvent { stream: log.event(position).stream.clone(), position }))
    }

    async fn head(&self, log: &LogName) -> Result<GlobalPosition, ReadError> {
        Ok(self.log_to_read(log)?.head())
    }

    fn subscribe_head(&self, log: &LogName) -> watch::Receiver<GlobalPosition> {
        match self.log(log) {
            Some(log) => log.head.subscribe(),
            None => watch::Sender::default().subscribe(),
        }
    }
}

#[async_trait]
impl SnapshotStore for MemoryEventStore {
    async fn load(&self, log: &LogName, stream: &StreamId) -> Result<Option<Snapshot>, ReadError> {
        Ok(self.log_to_read(log)?.snapshots.get(stream).cloned())
    }

    async fn save(
        &self,
        log: &LogName,
        stream: &StreamId,
        snapshot: Snapshot,
    ) -> Result<(), ReadError> {
        match self.log_to_read(log)?.snapshots.entry(stream.clone()) {
            Entry::Occupied(kept) if kept.get().version > snapshot.version => {}
            Entry::Occupied(mut kept) => _ = kept.insert(snapshot),
            Entry::Vacant(free) => _ = free.insert(snapshot),
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), ReadError> {
        for name in self.logs.keys() {
            self.log_to_read(name)?.snapshots.clear();
        }
        Ok(())
    }
}

#[async_trait]
impl RestoreLog for MemoryEventStore {
    async fn answers(
        &self,
        log: &LogName,
        commands: &[CommandId],
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let log = self.log_to_read(log)?;
        Ok(commands.iter().filter_map(|id| log.commands.get(id).copied()).collect())
    }

    async fn answers_without_events(
        &self,
        log: &LogName,
        after: Option<CommandId>,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let log = self.log_to_read(log)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let answers = log.commands.range((start, Bound::Unbounded)).map(|(_, answer)| *answer);
        let without = answers.filter(|answer| answer.answer.events == 0);
        Ok(without.take(limit.get() as usize).collect())
    }

    async fn restore(&self, log: &LogName, batch: RestoreBatch) -> Result<(), RestoreError> {
        let known = self.log(log).ok_or_else(|| RestoreError::UnknownLog(log.clone()));
        known?.restore(log, batch)
    }
}

impl Log {
    fn restore(&mut self, name: &LogName, batch: RestoreBatch) -> Result<(), RestoreError> {
        let recorded_at = self.events.last().map_or(DateTime::UNIX_EPOCH, |last| last.recorded_at);
        let version = |stream: &StreamId| Ok::<_, Infallible>(self.version(stream));
        let Ok(checked) = batch.check(name, self.head(), recorded_at, version);
        checked?;
        for answer in &batch.answers {
            let known = self.commands.get(&answer.command_id);
            if known.is_some_and(|known| known != answer) {
                return Err(RestoreError::OtherAnswer { command_id: answer.command_id });
            }
        }
        self.commands.extend(batch.answers.into_iter().map(|answer| (answer.command_id, answer)));
        for event in batch.events {
            self.streams.entry(event.stream.clone()).or_default().push(event.position);
            for tag in &event.tags {
                let tenant = event.provenance.tenant.clone();
                self.tags.insert((tenant, tag.clone()), event.position);
            }
            self.events.push(event);
        }
        let head = self.head();
        self.head.send_if_modified(|known| std::mem::replace(known, head) != head);
        Ok(())
    }

    fn version(&self, stream: &StreamId) -> StreamVersion {
        StreamVersion(self.streams.get(stream).map_or(0, Vec::len) as u64)
    }

    fn append(
        &mut self,
        request: AppendRequest,
        now: DateTime<Utc>,
    ) -> Result<Appended, AppendError> {
        if let Some(first) = self.commands.get(&request.command_id) {
            return request.decide_again(first.answer, first.fingerprint);
        }
        let version = self.version(&request.stream);
        let tenant = &request.provenance.tenant;
        let Ok(verdict) = request
            .decide(version, self.head(), |tag| Ok::<_, Infallible>(self.last_tagged(tenant, tag)));
        let appended = verdict?;
        let now = to_the_microsecond(now);
        let answer = RecordedAnswer {
            command_id: request.command_id,
            answer: appended,
            fingerprint: request.fingerprint,
            answered_at: now,
        };
        self.commands.insert(request.command_id, answer);
        if !request.events.is_empty() {
            self.store(request, version, now);
            self.head.send_replace(appended.position);
        }
        Ok(appended)
    }

    fn store(&mut self, request: AppendRequest, version: StreamVersion, now: DateTime<Utc>) {
        // The clock of a machine may be set back; the log's never is.
        let recorded_at = self.events.last().map_or(now, |last| last.recorded_at.max(now));
        let positions = self.streams.entry(request.stream.clone()).or_default();
        for (version, event) in (version.0 + 1..).zip(request.events) {
            let position = GlobalPosition(self.events.len() as u64 + 1);
            positions.push(position);
            for tag in &event.tags {
                self.tags.insert((request.provenance.tenant.clone(), tag.clone()), position);
            }
            self.events.push(RecordedEvent {
                position,
                stream: request.stream.clone(),
                version: StreamVersion(version),
                event_id: event.event_id,
                event_type: event.event_type,
                schema_version: event.schema_version,
                command_id: request.command_id,
                provenance: request.provenance.clone(),
                occurred_at: to_the_microsecond(event.occurred_at),
                recorded_at,
                subjects: event.subjects,
                tags: event.tags,
                codec: event.codec,
                payload: event.payload,
            });
        }
    }

    fn head(&self) -> GlobalPosition {
        GlobalPosition(self.events.len() as u64)
    }

    /// The event at a position taken from one of the indexes.
    fn event(&self, position: GlobalPosition) -> &RecordedEvent {
        &self.events[position.0 as usize - 1]
    }

    fn last_tagged(&self, tenant: &str, tag: &Tag) -> Option<GlobalPosition> {
        self.tags.get(&(Arc::from(tenant), tag.clone())).copied()
    }
}

fn to_the_microsecond(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
