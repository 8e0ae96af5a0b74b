//! The repository that `cqrs_es::persist` asks for, over the ports.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::Aggregate;
use cqrs_es::persist::{
    EventUpcaster, PersistedEventRepository, PersistenceError, ReplayFeed, ReplayStream,
    SerializedEvent, SerializedSnapshot,
};
use freehold_ports::{
    AppendError, AppendRequest, Clock, CommandId, EventFilter, EventStore, ExpectedVersion,
    Fingerprint, GlobalPosition, LogName, Provenance, ReadError, RecordedEvent, Snapshot,
    SnapshotStore, StreamId, StreamVersion, SystemClock,
};
use serde_json::Value;

use crate::event::{decode, encode};
use crate::names::{NotAStream, category_of, stream_of};

/// How many events are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// How many events of a replay wait for whoever replays.
const REPLAYED_AHEAD: usize = 1_000;

/// How often an append whose outcome is unknown, or that found a full queue, is sent again.
const ATTEMPTS: u32 = 5;

/// The shape of our snapshots: the aggregate's JSON.
const SNAPSHOT_SHAPE: u32 = 1;

/// Events and snapshots of cqrs-es aggregates in one log of a Freehold store.
#[derive(Clone)]
pub struct FreeholdEventRepository {
    events: Arc<dyn EventStore>,
    snapshots: Arc<dyn SnapshotStore>,
    log: LogName,
    provenance: Provenance,
    upcasters: Arc<[Box<dyn EventUpcaster>]>,
}

impl FreeholdEventRepository {
    /// A repository over one log of a store, which should hold nothing but such aggregates.
    ///
    /// `actor` is who stands in the log as the writer of the events.
    pub fn new(
        events: Arc<dyn EventStore>,
        snapshots: Arc<dyn SnapshotStore>,
        log: LogName,
        actor: &str,
    ) -> Self {
        let provenance = Provenance {
            tenant: "default".into(),
            actor: actor.into(),
            correlation_id: None,
            causation_id: None,
        };
        Self { events, snapshots, log, provenance, upcasters: Arc::new([]) }
    }

    /// The upcasters that snapshots are folded with: the same that the store and replays get.
    #[must_use]
    pub fn with_upcasters(self, upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self { upcasters: upcasters.into(), ..self }
    }

    /// The events of a stream after a version.
    async fn read(
        &self,
        stream: &StreamId,
        after: StreamVersion,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let page = self.events.read_stream(&self.log, stream, after, PAGE).await;
            let page = page.map_err(read_failed)?;
            for event in &page {
                found.push(decode(event)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE.get() as usize => after = last.version,
                _ => return Ok(found),
            }
        }
    }

    /// The aggregate as it is now, and its version; none if it has no events.
    ///
    /// From the newest snapshot on, if there is one of the aggregate's present shape.
    async fn fold<A: Aggregate>(
        &self,
        stream: &StreamId,
    ) -> Result<Option<(A, StreamVersion)>, PersistenceError> {
        let kept = self.snapshots.load(&self.log, stream).await.map_err(read_failed)?;
        let kept = kept.filter(|snapshot| snapshot.shape == SNAPSHOT_SHAPE).and_then(|snapshot| {
            Some((serde_json::from_slice(&snapshot.state).ok()?, snapshot.version))
        });
        let (mut aggregate, mut version) = kept.unwrap_or((A::default(), StreamVersion(0)));
        for event in self.read(stream, version).await? {
            version = StreamVersion(event.sequence as u64);
            let upcast = self.upcasters.iter().fold(event, |event, upcaster| {
                match upcaster.can_upcast(&event.event_type, &event.event_version) {
                    true => upcaster.upcast(event),
                    false => event,
                }
            });
            aggregate.apply(serde_json::from_value(upcast.payload)?);
        }
        Ok((version.0 > 0).then_some((aggregate, version)))
    }

    /// Keeps the aggregate as it is now.
    async fn save_snapshot<A: Aggregate>(&self, stream: &StreamId) -> Result<(), PersistenceError> {
        let Some((aggregate, version)) = self.fold::<A>(stream).await? else { return Ok(()) };
        let state = serde_json::to_vec(&aggregate)?.into();
        let snapshot = Snapshot { version, shape: SNAPSHOT_SHAPE, state };
        self.snapshots.save(&self.log, stream, snapshot).await.map_err(read_failed)
    }

    /// Appends, again where that is safe and may help: the same command id stores once.
    async fn append(&self, request: AppendRequest) -> Result<(), PersistenceError> {
        let mut attempt = 1;
        loop {
            let pause = match self.events.append(request.clone()).await {
                Ok(_) => return Ok(()),
                Err(AppendError::VersionConflict { .. }) => {
                    return Err(PersistenceError::OptimisticLockError);
                }
                Err(AppendError::Overloaded { retry_after }) if attempt < ATTEMPTS => retry_after,
                Err(AppendError::OutcomeUnknown { .. }) if attempt < ATTEMPTS => {
                    Duration::from_millis(100) * attempt
                }
                Err(
                    error @ (AppendError::Overloaded { .. }
                    | AppendError::OutcomeUnknown { .. }
                    | AppendError::Unavailable { .. }),
                ) => return Err(PersistenceError::ConnectionError(error.into())),
                Err(
                    error @ (AppendError::BoundaryConflict { .. }
                    | AppendError::Fenced { .. }
                    | AppendError::CommandIdReused { .. }
                    | AppendError::Invalid(_)),
                ) => return Err(PersistenceError::UnknownError(error.into())),
            };
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }
}

impl PersistedEventRepository for FreeholdEventRepository {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.get_last_events::<A>(aggregate_id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let stream = stream_of(A::TYPE, aggregate_id).map_err(no_stream)?;
        self.read(&stream, StreamVersion(last_sequence as u64)).await
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        let stream = stream_of(A::TYPE, aggregate_id).map_err(no_stream)?;
        let Some((aggregate, version)) = self.fold::<A>(&stream).await? else { return Ok(None) };
        Ok(Some(SerializedSnapshot {
            aggregate_id: aggregate_id.to_owned(),
            aggregate: serde_json::to_value(aggregate)?,
            current_sequence: version.0 as usize,
            // A number that postgres-es counts updates with; here versions tell them apart.
            current_snapshot: version.0 as usize,
        }))
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let Some(first) = events.first() else { return Ok(()) };
        let stream = stream_of(A::TYPE, &first.aggregate_id).map_err(no_stream)?;
        let now = SystemClock.now();
        let encoded = events.iter().map(|event| encode(event, now));
        let before = StreamVersion((first.sequence as u64).saturating_sub(1));
        let request = AppendRequest {
            log: self.log.clone(),
            stream: stream.clone(),
            expected: ExpectedVersion::Exactly(before),
            command_id: CommandId::new(),
            // Nobody else knows the command id, so nobody asks for something else with it.
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: self.provenance.clone(),
            events: encoded.collect::<Result<_, _>>()?,
        };
        self.append(request).await?;
        // The state that is given is not stored: `README.md`, "Snapshots".
        if snapshot_update.is_some()
            && let Err(error) = self.save_snapshot::<A>(&stream).await
        {
            // The events are stored, so this is no reason to say that the command failed.
            tracing::warn!(%stream, %error, "no snapshot was kept");
        }
        Ok(())
    }

    async fn stream_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        let stream = stream_of(A::TYPE, aggregate_id).map_err(no_stream)?;
        let (mut feed, replayed) = ReplayStream::new(REPLAYED_AHEAD);
        let (store, log) = (self.events.clone(), self.log.clone());
        tokio::spawn(async move {
            let mut after = StreamVersion(0);
            loop {
                let page = store.read_stream(&log, &stream, after, PAGE).await;
                if let Ok(page) = &page {
                    let Some(last) = page.last() else { return };
                    after = last.version;
                }
                if !hand_over(&mut feed, page).await {
                    return;
                }
            }
        });
        Ok(replayed)
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        let of_type =
            EventFilter { categories: vec![category_of(A::TYPE).into()], ..EventFilter::default() };
        let (mut feed, replayed) = ReplayStream::new(REPLAYED_AHEAD);
        let (store, log) = (self.events.clone(), self.log.clone());
        tokio::spawn(async move {
            let mut after = GlobalPosition(0);
            loop {
                let page = store.read_all(&log, &of_type, after, PAGE).await;
                if let Ok(page) = &page {
                    if page.through <= after {
                        return;
                    }
                    after = page.through;
                }
                if !hand_over(&mut feed, page.map(|page| page.events)).await {
                    return;
                }
            }
        });
        Ok(replayed)
    }
}

/// Gives a page to whoever replays; false after an error, or if nobody listens any more.
async fn hand_over(feed: &mut ReplayFeed, page: Result<Vec<RecordedEvent>, ReadError>) -> bool {
    let page = match page {
        Ok(page) => page,
        Err(error) => {
            // Nobody to tell if it fails: whoever replayed went away.
            let _ = feed.push(Err(read_failed(error))).await;
            return false;
        }
    };
    for event in &page {
        let event = decode(event);
        // What comes after an event that cannot be read must not be applied without it.
        let readable = event.is_ok();
        if feed.push(event).await.is_err() || !readable {
            return false;
        }
    }
    true
}

fn read_failed(error: ReadError) -> PersistenceError {
    match error {
        ReadError::Unavailable { .. } | ReadError::Overloaded { .. } => {
            PersistenceError::ConnectionError(error.into())
        }
        ReadError::Damaged { .. } => PersistenceError::DeserializationError(error.into()),
        ReadError::UnknownLog(_) => PersistenceError::UnknownError(error.into()),
    }
}

fn no_stream(error: NotAStream) -> PersistenceError {
    PersistenceError::UnknownError(error.into())
}
