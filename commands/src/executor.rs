//! The one way from a command to stored events.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use freehold_domain::{Actor, Circumstances, Claim, Policy, Refusal, StoredEvent, Uniqueness};
use freehold_ports::{
    AppendError, AppendRequest, Appended, Boundary, Clock, CodecError, CommandId, EventCodec,
    EventId, EventStore, ExpectedVersion, Fingerprint, GlobalPosition, InvalidName, InvalidRequest,
    LogName, NewEvent, Provenance, ReadError, RecordedEvent, Snapshot, SnapshotStore, StreamId,
    StreamVersion, Tag,
};
use serde::Serialize;
use tracing::{Instrument, debug_span, warn};
use uuid::Uuid;

use crate::claims;
use crate::remembered::Remembered;

const PAGE: u64 = 500;

/// An aggregate that the executor can serve.
pub trait EventSourced:
    Aggregate<
        Services = Circumstances,
        Event: StoredEvent,
        Command: Serialize + Clone + Send + Sync,
        Error: Refusal + Send,
    > + Clone
    + 'static
{
    /// Counts up whenever a snapshot of an older release would fold to another state.
    const SNAPSHOT_SHAPE: u32;
}

/// Executes commands on aggregates.
#[derive(Clone)]
pub struct CommandExecutor {
    store: Arc<dyn EventStore>,
    snapshots: Arc<dyn SnapshotStore>,
    codec: EventCodec,
    clock: Arc<dyn Clock>,
    remembered: Arc<Remembered>,
    options: ExecutorOptions,
}

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// The tenant's rules.
    pub policy: Policy,
    /// How often a command is decided on what its stream holds, when other writers come first; what
    /// is remembered is tried once before that.
    pub max_decisions: u32,
    /// A snapshot is saved whenever a stream's version passes a multiple of this.
    pub snapshot_every: u64,
    /// About how many bytes of states are remembered for the next command on them; 0 for none. A
    /// home with ten photographs takes 2.5 KiB.
    pub remembered_bytes: u64,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            max_decisions: 10,
            snapshot_every: 100,
            remembered_bytes: 64 << 20,
        }
    }
}

/// Who asks, why, and under which conditions.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// The caller's idempotency key; without one a repetition is another command.
    pub command_id: Option<CommandId>,
    /// What the caller believes the stream's version is; without it conflicts are decided again.
    pub expected: Option<ExpectedVersion>,
    /// Who owns the data.
    pub tenant: Arc<str>,
    /// Who asks.
    pub actor: Arc<str>,
    /// What larger piece of work this belongs to.
    pub correlation_id: Option<Uuid>,
    /// The event or command that led to this.
    pub causation_id: Option<Uuid>,
    /// When it happened, by the sender's clock; without it, now.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Decide and answer, but store nothing.
    pub dry_run: bool,
}

impl CommandContext {
    /// A context with nothing but an owner and an asker.
    pub fn new(tenant: impl Into<Arc<str>>, actor: impl Into<Arc<str>>) -> Self {
        Self {
            command_id: None,
            expected: None,
            tenant: tenant.into(),
            actor: actor.into(),
            correlation_id: None,
            causation_id: None,
            occurred_at: None,
            dry_run: false,
        }
    }

    /// An id for something the command creates: of the command id when the caller named one, so
    /// that a repetition names the same thing; else new and time-ordered.
    pub fn new_id(&self, kind: &str) -> Uuid {
        match self.command_id {
            Some(command) => Uuid::new_v5(&command.0, format!("{}/{kind}", self.tenant).as_bytes()),
            None => Uuid::now_v7(),
        }
    }
}

/// A state and how many events were folded into it.
#[derive(Clone, Debug, Default)]
pub struct Loaded<A> {
    /// The state.
    pub aggregate: A,
    /// The stream's version.
    pub version: StreamVersion,
    /// Who owns it; nobody while it holds no event.
    pub tenant: Option<Arc<str>>,
    /// Bytes of the payloads folded into it, or of the snapshot: about what the state takes, or more.
    pub payload_bytes: u64,
    /// The id of the last event, where one was folded.
    pub last_event: Option<EventId>,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The state after it; for a repeated command, the state now.
    pub aggregate: A,
    /// The stream's version after it.
    pub version: StreamVersion,
    /// The position of its last event, or the log's head when it had none; what a dry run would
    /// have is not known.
    pub position: Option<GlobalPosition>,
    /// Its events, oldest first.
    pub events: Vec<ExecutedEvent<A::Event>>,
    /// Whether something was stored, and when.
    pub outcome: Outcome,
}

/// One event of a command.
#[derive(Clone, Debug)]
pub struct ExecutedEvent<E> {
    /// What happened.
    pub event: E,
    /// Its id; none in a dry run.
    pub event_id: Option<EventId>,
    /// Its place in the stream.
    pub version: StreamVersion,
    /// Its place in the log; unknown in a dry run.
    pub position: Option<GlobalPosition>,
}

/// Whether a command stored something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its events are stored.
    Stored,
    /// There was nothing to change.
    Unchanged,
    /// It was stored before under the same command id.
    Repeated,
    /// It would be accepted.
    DryRun,
}

/// Why a command had no effect; each variant asks the caller for a different next step.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<R: Refusal> {
    /// The business says no.
    #[error(transparent)]
    Refused(R),
    /// The command takes a key that another stream of the tenant holds.
    #[error("this {namespace} is already taken by {by}")]
    Taken {
        /// What kind of key: `source`, `email`.
        namespace: &'static str,
        /// Who holds it.
        by: StreamId,
    },
    /// The caller's expected version is not the stream's.
    #[error("stream {stream} is at version {actual}, not {expected:?}; reload it and decide again")]
    VersionConflict {
        /// The stream.
        stream: StreamId,
        /// What the caller believed.
        expected: ExpectedVersion,
        /// What is true.
        actual: StreamVersion,
    },
    /// Other writers came first again and again.
    #[error("stream {stream} changed {attempts} times while this was decided; send it again")]
    Contended {
        /// The stream.
        stream: StreamId,
        /// How often it was decided.
        attempts: u32,
    },
    /// The command id was used for something else.
    #[error("command id {command_id} was used for another command; send a new id")]
    CommandIdReused {
        /// The id.
        command_id: CommandId,
    },
    /// Too many wait to write to the log, or to read streams.
    #[error("too many requests wait; try again after {} ms", retry_after.as_millis())]
    Overloaded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The command makes events that no store accepts.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// Nobody knows whether it is stored: ask again with the same command id.
    #[error("no reply from the log; send the same command id ({command_id}) again")]
    OutcomeUnknown {
        /// The id to send again.
        command_id: CommandId,
    },
    /// An event or a key of a person cannot be read or written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// This process writes to the log no more; another one may.
    #[error(
        "this process takes no more writes to the log {log}; send it to another one, or restart it"
    )]
    Fenced {
        /// The log.
        log: LogName,
    },
    /// The log cannot be reached.
    #[error(transparent)]
    Unavailable(ReadError),
}

impl<R: Refusal> From<ReadError> for CommandError<R> {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            error => Self::Unavailable(error),
        }
    }
}

impl<R: Refusal> From<InvalidName> for CommandError<R> {
    fn from(error: InvalidName) -> Self {
        Self::Invalid(InvalidRequest::Name(error))
    }
}

impl CommandExecutor {
    /// An executor on a store; `snapshots` may be emptied at any time.
    pub fn new(
        store: Arc<dyn EventStore>,
        snapshots: Arc<dyn SnapshotStore>,
        codec: EventCodec,
        clock: Arc<dyn Clock>,
        options: ExecutorOptions,
    ) -> Self {
        let remembered = Arc::new(Remembered::new(options.remembered_bytes));
        Self { store, snapshots, codec, clock, remembered, options }
    }

    /// The store it appends to.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The codec it encodes with.
    pub fn codec(&self) -> &EventCodec {
        &self.codec
    }

    /// The clock it decides by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The stream that holds a unique key, if one does: known as soon as it is stored.
    pub async fn holder_of(
        &self,
        tenant: &str,
        claim: &Claim,
    ) -> Result<Option<StreamId>, ReadError> {
        let Some(tag) = claims::tag_of(claim, &self.codec) else { return Ok(None) };
        claims::holder(&*self.store, tenant, &tag).await
    }

    /// Folds a stream; if it has more than `snapshot_every` events, from its newest snapshot where
    /// there is one.
    pub async fn load<A: EventSourced>(
        &self,
        id: Uuid,
    ) -> Result<Loaded<A>, CommandError<A::Error>> {
        let stream = StreamId::new(A::TYPE, id)?;
        let mut loaded = Loaded::default();
        let first = self.options.snapshot_every.clamp(1, PAGE);
        if self.read_page(&stream, &mut loaded, first).await? {
            return Ok(loaded);
        }
        let snapshot = self.load_snapshot::<A>(&stream).await;
        if snapshot.version > loaded.version {
            // Another tenant's events are never in the same stream.
            loaded = Loaded { tenant: loaded.tenant, ..snapshot };
        }
        self.read_news(&stream, loaded).await
    }

    /// Folds what was stored after a state.
    async fn read_news<A: EventSourced>(
        &self,
        stream: &StreamId,
        mut loaded: Loaded<A>,
    ) -> Result<Loaded<A>, CommandError<A::Error>> {
        while !self.read_page(stream, &mut loaded, PAGE).await? {}
        Ok(loaded)
    }

    /// Folds the next events that were stored after a state; true if there are no more.
    async fn read_page<A: EventSourced>(
        &self,
        stream: &StreamId,
        loaded: &mut Loaded<A>,
        limit: u64,
    ) -> Result<bool, CommandError<A::Error>> {
        let limit = u32::try_from(limit).ok().and_then(NonZeroU32::new);
        let limit = limit.expect("a page holds 1 to 500 events");
        let page = self.store.read_stream(&LogName::DOMAIN, stream, loaded.version, limit).await?;
        self.fold(&page, loaded).await?;
        Ok(page.len() < limit.get() as usize)
    }

    /// Folds what was stored after a state that is remembered, if the log still has its last event:
    /// one that was restored to an earlier moment may have gone on otherwise.
    async fn read_on<A: EventSourced>(
        &self,
        stream: &StreamId,
        mut loaded: Loaded<A>,
    ) -> Result<Option<Loaded<A>>, CommandError<A::Error>> {
        let before = StreamVersion(loaded.version.0.saturating_sub(1));
        let limit = NonZeroU32::new(PAGE as u32).expect("500 is not zero");
        let page = self.store.read_stream(&LogName::DOMAIN, stream, before, limit).await?;
        let Some((last, news)) = page.split_first() else { return Ok(None) };
        if Some(last.event_id) != loaded.last_event {
            return Ok(None);
        }
        self.fold(news, &mut loaded).await?;
        if page.len() < limit.get() as usize {
            return Ok(Some(loaded));
        }
        self.read_news(stream, loaded).await.map(Some)
    }

    async fn fold<A: EventSourced>(
        &self,
        page: &[RecordedEvent],
        loaded: &mut Loaded<A>,
    ) -> Result<(), CommandError<A::Error>> {
        if let Some(first) = page.first() {
            loaded.tenant = Some(first.provenance.tenant.clone());
        }
        let keys = self.codec.keys_for(page).await?;
        for recorded in page {
            loaded.aggregate.apply(self.codec.decode::<A::Event>(recorded, &keys)?);
            loaded.version = recorded.version;
            loaded.payload_bytes += recorded.payload.len() as u64;
            loaded.last_event = Some(recorded.event_id);
        }
        Ok(())
    }

    /// Executes one command; see [`execute_all`](Self::execute_all).
    pub async fn execute<A: EventSourced>(
        &self,
        id: Uuid,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, CommandError<A::Error>> {
        self.execute_all(id, vec![command], context).await
    }

    /// Executes commands on one aggregate as one: all their events are stored together or none.
    ///
    /// Each command is decided on the state that the ones before it led to; the first refusal
    /// refuses them all.
    pub async fn execute_all<A: EventSourced>(
        &self,
        id: Uuid,
        commands: Vec<A::Command>,
        context: &CommandContext,
    ) -> Result<Executed<A>, CommandError<A::Error>> {
        let plan = |_: &A| Ok::<_, CommandError<A::Error>>(commands.clone());
        self.execute_planned(id, &commands, plan, context).await
    }

    /// Executes what `plan` makes of the state, as one; for a request whose commands depend on
    /// what is there already. After another writer came first it is planned again.
    ///
    /// `request` is what was asked for: it, and not the commands, must be the same when a command
    /// id comes again.
    pub async fn execute_planned<A: EventSourced, E: From<CommandError<A::Error>>>(
        &self,
        id: Uuid,
        request: &(impl Serialize + Sync),
        plan: impl FnMut(&A) -> Result<Vec<A::Command>, E>,
        context: &CommandContext,
    ) -> Result<Executed<A>, E> {
        let stream = StreamId::new(A::TYPE, id).map_err(CommandError::from)?;
        let span =
            debug_span!("command", stream = %stream, correlation_id = ?context.correlation_id);
        let fingerprint = self.fingerprint::<A>(&stream, request, context)?;
        let result = self.plan_and_execute(stream, id, fingerprint, plan, context);
        let result = result.instrument(span).await;
        metrics::counter!("freehold_commands_total", "aggregate" => A::TYPE, "outcome" => label(&result))
            .increment(1);
        result.map_err(|failure| match failure {
            Failure::Plan(error) => error,
            Failure::Command(error) => error.into(),
        })
    }

    async fn plan_and_execute<A: EventSourced, E>(
        &self,
        stream: StreamId,
        id: Uuid,
        fingerprint: Fingerprint,
        plan: impl FnMut(&A) -> Result<Vec<A::Command>, E>,
        context: &CommandContext,
    ) -> Result<Executed<A>, Failure<E, CommandError<A::Error>>> {
        let command_id = context.command_id.unwrap_or_default();
        let asked = Asked { stream, id, command_id, fingerprint, context };
        let named = context.command_id.is_some() && !context.dry_run;
        let mut unanswered = false;
        let failure = match self.attempt_until_answered(&asked, plan, &mut unanswered).await {
            Ok(executed) => return Ok(executed),
            Err(failure) if !named && !unanswered => return Err(failure),
            Err(failure) => failure,
        };
        // The same command may be stored: long ago, meanwhile by another call, or by an append
        // whose reply was lost. Then the no was an answer to its own effect, and its answer is yes.
        match self.first_answer(&asked).await {
            Ok(Some(first)) => Ok(first),
            Err(reused @ CommandError::CommandIdReused { .. }) => Err(reused.into()),
            Ok(None) | Err(_) if unanswered => {
                Err(CommandError::OutcomeUnknown { command_id }.into())
            }
            // Whether it was a no to its own effect is not known, so it is no answer yet.
            Err(lookup) if failure.depends_on_state() => Err(lookup.into()),
            Ok(None) | Err(_) => Err(failure),
        }
    }

    /// Plans, decides and appends until the store says yes or no. `unanswered` tells that it left
    /// an append without a reply: what was sent may be stored even after this returns.
    async fn attempt_until_answered<A: EventSourced, E>(
        &self,
        asked: &Asked<'_>,
        mut plan: impl FnMut(&A) -> Result<Vec<A::Command>, E>,
        unanswered: &mut bool,
    ) -> Result<Executed<A>, Failure<E, CommandError<A::Error>>> {
        let context = asked.context;
        let mut known = self.remembered.get::<A>(&asked.stream);
        // What is remembered may be old. The store takes events only if they were decided
        // on the state that is there, so nothing is read before a yes; before a no, the news is.
        if let Some(remembered) = known.take_if(|_| !context.dry_run) {
            match self.attempt(asked, remembered, &mut plan, 0, unanswered).await {
                // Of a nameless command that changes nothing the store was told nothing.
                Ok(Some(executed))
                    if executed.outcome != Outcome::Unchanged || context.command_id.is_some() =>
                {
                    return Ok(executed);
                }
                Err(failure) if !failure.depends_on_state() => return Err(failure),
                // What another writer led to may be remembered; what led to a no is read anew.
                Ok(_) => known = self.remembered.get(&asked.stream),
                Err(_) => {}
            }
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let loaded = match known.take() {
                Some(known) => self.read_on(&asked.stream, known).await?,
                None => None,
            };
            let loaded = match loaded {
                Some(loaded) => loaded,
                None => {
                    self.remembered.forget(&asked.stream);
                    self.load::<A>(asked.id).await?
                }
            };
            self.remembered.keep(&asked.stream, &loaded);
            let attempt = self.attempt(asked, loaded, &mut plan, attempts, unanswered);
            if let Some(executed) = attempt.await? {
                return Ok(executed);
            }
            if attempts >= self.options.max_decisions {
                let stream = asked.stream.clone();
                return Err(CommandError::Contended { stream, attempts }.into());
            }
            known = self.remembered.get(&asked.stream);
        }
    }

    /// Plans for a state, and decides and appends; nothing when it must be decided again.
    async fn attempt<A: EventSourced, E>(
        &self,
        asked: &Asked<'_>,
        mut loaded: Loaded<A>,
        plan: &mut impl FnMut(&A) -> Result<Vec<A::Command>, E>,
        attempts: u32,
        unanswered: &mut bool,
    ) -> Result<Option<Executed<A>>, Failure<E, CommandError<A::Error>>> {
        let Asked { stream, context, .. } = asked;
        if loaded.tenant.as_ref().is_some_and(|owner| *owner != context.tenant) {
            // To a stranger it looks as if it were not there; an append would be refused.
            loaded = Loaded::default();
        }
        if let Some(expected) = context.expected
            && !expected.admits(loaded.version)
        {
            let (stream, actual) = (stream.clone(), loaded.version);
            return Err(CommandError::VersionConflict { stream, expected, actual }.into());
        }
        let commands = plan(&loaded.aggregate).map_err(Failure::Plan)?;
        Ok(self.decide_and_append(asked, loaded, commands, attempts, unanswered).await?)
    }

    /// Decides on a state, and appends; nothing when it must be decided again.
    async fn decide_and_append<A: EventSourced>(
        &self,
        asked: &Asked<'_>,
        loaded: Loaded<A>,
        commands: Vec<A::Command>,
        attempts: u32,
        unanswered: &mut bool,
    ) -> Result<Option<Executed<A>>, CommandError<A::Error>> {
        let Asked { stream, command_id, fingerprint, context, .. } = asked;
        let Loaded { version: before, mut payload_bytes, mut last_event, .. } = loaded;
        let (aggregate, events) = self.decide(loaded.aggregate, commands, context).await?;
        let decided = Decided { aggregate, events, before };
        let unchanged = decided.events.is_empty();
        let taken = self.taken::<A>(&decided.events);
        // Most keys were never taken before. The store knows, so only its no needs a look-up. Not
        // where a key of a person would be made for events that are refused then.
        let look_first = context.dry_run || A::Event::HOLDS_PERSONAL;
        let boundaries = match look_first {
            true => self.boundaries(stream, &taken, context).await?,
            false => taken.iter().map(claims::never_taken).collect(),
        };
        if context.dry_run {
            return Ok(Some(decided.into_executed(None, Outcome::DryRun, &[])));
        }
        if unchanged && context.command_id.is_none() {
            let head = self.store.head(&LogName::DOMAIN).await?;
            return Ok(Some(decided.into_executed(Some(head), Outcome::Unchanged, &[])));
        }
        let events = self.encode::<A>(&decided.events, context).await?;
        payload_bytes += events.iter().map(|event| event.payload.len() as u64).sum::<u64>();
        let event_ids: Vec<EventId> = events.iter().map(|event| event.event_id).collect();
        last_event = event_ids.last().copied().or(last_event);
        let request = AppendRequest {
            log: LogName::DOMAIN,
            stream: stream.clone(),
            expected: ExpectedVersion::Exactly(before),
            command_id: *command_id,
            fingerprint: *fingerprint,
            boundaries,
            provenance: Provenance {
                tenant: context.tenant.clone(),
                actor: context.actor.clone(),
                correlation_id: context.correlation_id,
                causation_id: context.causation_id,
            },
            events,
        };
        let looked_up = (!look_first && !taken.is_empty()).then(|| request.clone());
        let mut answer = self.store.append(request).await;
        if let (Err(AppendError::BoundaryConflict { .. }), Some(request)) = (&answer, looked_up) {
            let boundaries = self.boundaries(stream, &taken, context).await?;
            answer = self.store.append(AppendRequest { boundaries, ..request }).await;
        }
        match answer {
            // Another call with this id was decided meanwhile: its events, not ours, are stored.
            Ok(Appended { repeated: true, .. }) => self.first_answer(asked).await,
            Ok(appended) => {
                self.save_snapshot(stream, &decided, appended.version).await;
                let tenant = Some(context.tenant.clone());
                let version = appended.version;
                let aggregate = decided.aggregate;
                let now = Loaded { aggregate, version, tenant, payload_bytes, last_event };
                self.remembered.keep(stream, &now);
                let decided = Decided { aggregate: now.aggregate, ..decided };
                let outcome = if unchanged { Outcome::Unchanged } else { Outcome::Stored };
                Ok(Some(decided.into_executed(Some(appended.position), outcome, &event_ids)))
            }
            Err(AppendError::VersionConflict { actual, .. }) => match context.expected {
                Some(expected) if !expected.admits(actual) => {
                    let stream = stream.clone();
                    Err(CommandError::VersionConflict { stream, expected, actual })
                }
                _ => {
                    if actual < before {
                        // The log was restored to an earlier moment.
                        self.remembered.forget(stream);
                    }
                    metrics::counter!("freehold_command_conflicts_total").increment(1);
                    Ok(None)
                }
            },
            // Who holds the key now is found out when it is decided again.
            Err(AppendError::BoundaryConflict { .. }) => Ok(None),
            Err(AppendError::CommandIdReused { command_id }) => {
                Err(CommandError::CommandIdReused { command_id })
            }
            Err(AppendError::Invalid(invalid)) => Err(CommandError::Invalid(invalid)),
            Err(AppendError::Overloaded { retry_after }) => {
                Err(CommandError::Overloaded { retry_after })
            }
            Err(AppendError::OutcomeUnknown { source, .. }) => {
                *unanswered = true;
                warn!(%command_id, error = %source, "append left without an answer, asking again");
                tokio::time::sleep(Duration::from_millis(20 * u64::from(attempts.max(1)))).await;
                self.first_answer(asked).await
            }
            Err(AppendError::Fenced { log }) => Err(CommandError::Fenced { log }),
            Err(AppendError::Unavailable { source }) => {
                Err(CommandError::Unavailable(ReadError::Unavailable { source }))
            }
        }
    }

    async fn decide<A: EventSourced>(
        &self,
        mut aggregate: A,
        commands: Vec<A::Command>,
        context: &CommandContext,
    ) -> Result<(A, Vec<A::Event>), CommandError<A::Error>> {
        let circumstances = Circumstances {
            now: self.clock.now(),
            actor: Actor(context.actor.to_string()),
            policy: self.options.policy.clone(),
        };
        let sink = EventSink::default();
        for command in commands {
            aggregate
                .handle(command, &circumstances, &sink)
                .await
                .map_err(CommandError::Refused)?;
        }
        Ok((aggregate, sink.collect().await))
    }

    async fn encode<A: EventSourced>(
        &self,
        events: &[A::Event],
        context: &CommandContext,
    ) -> Result<Vec<NewEvent>, CommandError<A::Error>> {
        let occurred_at = context.occurred_at.unwrap_or_else(|| self.clock.now());
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            let event_id = EventId::new();
            let payload = self.codec.encode(event, event_id).await?;
            let claims = event.claims();
            encoded.push(NewEvent {
                event_id,
                event_type: Arc::from(event.event_type()),
                schema_version: event.schema_version(),
                occurred_at,
                subjects: payload.subjects,
                tags: claims
                    .iter()
                    .filter_map(|claim| claims::tag_of(claim, &self.codec))
                    .collect(),
                codec: payload.codec,
                payload: payload.payload,
            });
        }
        Ok(encoded)
    }

    /// The kinds and tags of the keys that `events` take.
    fn taken<A: EventSourced>(&self, events: &[A::Event]) -> Vec<(&'static str, Tag)> {
        let claims = events.iter().flat_map(StoredEvent::claims);
        let taken = claims.filter(|claim| claim.uniqueness == Uniqueness::Taken);
        taken.filter_map(|it| Some((it.namespace, claims::tag_of(&it, &self.codec)?))).collect()
    }

    /// The conditions under which keys are still free.
    async fn boundaries<R: Refusal>(
        &self,
        stream: &StreamId,
        taken: &[(&'static str, Tag)],
        context: &CommandContext,
    ) -> Result<Vec<Boundary>, CommandError<R>> {
        let mut boundaries = Vec::new();
        for (namespace, tag) in taken {
            let condition = claims::condition(&*self.store, &context.tenant, stream, tag).await?;
            boundaries.extend(condition.map_err(|by| CommandError::Taken { namespace, by })?);
        }
        Ok(boundaries)
    }

    /// The answer a command id got, with its events read back and the state as it is now.
    async fn first_answer<A: EventSourced>(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Option<Executed<A>>, CommandError<A::Error>> {
        let Asked { stream, id, command_id, fingerprint, .. } = asked;
        let (id, command_id, fingerprint) = (*id, *command_id, *fingerprint);
        let Some((first, of)) = self.store.find_command(&LogName::DOMAIN, command_id).await? else {
            return Ok(None);
        };
        if of != fingerprint {
            return Err(CommandError::CommandIdReused { command_id });
        }
        let mut events = Vec::new();
        if let Some(count) = std::num::NonZeroU32::new(first.events) {
            let before = first.version_before();
            let page = self.store.read_stream(&LogName::DOMAIN, stream, before, count).await?;
            let keys = self.codec.keys_for(&page).await?;
            for recorded in &page {
                events.push(ExecutedEvent {
                    event: self.codec.decode(recorded, &keys)?,
                    event_id: Some(recorded.event_id),
                    version: recorded.version,
                    position: Some(recorded.position),
                });
            }
        }
        let aggregate = self.load(id).await?.aggregate;
        Ok(Some(Executed {
            aggregate,
            version: first.version,
            position: Some(first.position),
            events,
            outcome: Outcome::Repeated,
        }))
    }

    /// Keyed, because a plain hash of personal input could be guessed from the log for ever.
    fn fingerprint<A: EventSourced>(
        &self,
        stream: &StreamId,
        request: &impl Serialize,
        context: &CommandContext,
    ) -> Result<Fingerprint, CommandError<A::Error>> {
        let expected = format!("{:?}", context.expected);
        let content = (&context.tenant, stream.as_str(), request, expected, context.occurred_at);
        let content = serde_json::to_vec(&content).map_err(CodecError::Unwritable)?;
        let hash = self.codec.keyed_hash("command", &content);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.0[..16]);
        Ok(Fingerprint(first))
    }

    async fn load_snapshot<A: EventSourced>(&self, stream: &StreamId) -> Loaded<A> {
        let nothing = Loaded::default;
        let snapshot = match self.snapshots.load(&LogName::DOMAIN, stream).await {
            Ok(Some(snapshot)) if snapshot.shape == A::SNAPSHOT_SHAPE => snapshot,
            Ok(_) => return nothing(),
            Err(error) => {
                warn!(%stream, %error, "snapshot not loaded, folding from the first event");
                return nothing();
            }
        };
        match self.codec.decode_state(&snapshot.state, place_of(stream)).await {
            Ok(aggregate) => Loaded {
                aggregate,
                version: snapshot.version,
                tenant: None,
                payload_bytes: snapshot.state.len() as u64,
                last_event: None,
            },
            Err(error) => {
                warn!(%stream, %error, "snapshot not readable, folding from the first event");
                nothing()
            }
        }
    }

    async fn save_snapshot<A: EventSourced>(
        &self,
        stream: &StreamId,
        decided: &Decided<A>,
        version: StreamVersion,
    ) {
        let every = self.options.snapshot_every.max(1);
        if decided.before.0 / every == version.0 / every {
            return;
        }
        let saved = async {
            let state = self.codec.encode_state(&decided.aggregate, place_of(stream)).await?;
            let snapshot = Snapshot { version, shape: A::SNAPSHOT_SHAPE, state };
            self.snapshots.save(&LogName::DOMAIN, stream, snapshot).await?;
            Ok::<_, CommandError<A::Error>>(())
        };
        // A snapshot is a shortcut: without it the next load only takes longer.
        if let Err(error) = saved.await {
            warn!(%stream, %error, "snapshot not saved");
        }
    }
}

/// The id that a stream's snapshot authenticates its sealed values with.
fn place_of(stream: &StreamId) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, stream.as_str().as_bytes())
}

/// A decision that is not stored yet.
struct Decided<A: Aggregate> {
    aggregate: A,
    events: Vec<A::Event>,
    before: StreamVersion,
}

impl<A: Aggregate> Decided<A> {
    fn into_executed(
        self,
        last: Option<GlobalPosition>,
        outcome: Outcome,
        ids: &[EventId],
    ) -> Executed<A> {
        let count = self.events.len() as u64;
        let place = |(index, event)| ExecutedEvent {
            event,
            event_id: ids.get(index).copied(),
            version: StreamVersion(self.before.0 + index as u64 + 1),
            position: last.map(|last| GlobalPosition(last.0 + 1 + index as u64 - count)),
        };
        Executed {
            aggregate: self.aggregate,
            version: StreamVersion(self.before.0 + count),
            position: last,
            events: self.events.into_iter().enumerate().map(place).collect(),
            outcome,
        }
    }
}

/// What is executed, and how it is told from everything else.
struct Asked<'a> {
    stream: StreamId,
    id: Uuid,
    command_id: CommandId,
    fingerprint: Fingerprint,
    context: &'a CommandContext,
}

/// Why nothing came of a request: nothing could be planned, or the commands had no effect.
enum Failure<P, C> {
    Plan(P),
    Command(C),
}

impl<P, R: Refusal> From<CommandError<R>> for Failure<P, CommandError<R>> {
    fn from(error: CommandError<R>) -> Self {
        Self::Command(error)
    }
}

impl<P, R: Refusal> Failure<P, CommandError<R>> {
    /// Whether another state might have led to something else.
    fn depends_on_state(&self) -> bool {
        use CommandError as E;
        match self {
            Self::Plan(_) => true,
            Self::Command(E::Refused(_) | E::Taken { .. } | E::VersionConflict { .. }) => true,
            Self::Command(E::Invalid(_) | E::Codec(_)) => true,
            Self::Command(_) => false,
        }
    }
}

fn label<A: Aggregate, P, R: Refusal>(
    result: &Result<Executed<A>, Failure<P, CommandError<R>>>,
) -> &'static str {
    match result {
        Ok(executed) => match executed.outcome {
            Outcome::Stored => "stored",
            Outcome::Unchanged => "unchanged",
            Outcome::Repeated => "repeated",
            Outcome::DryRun => "dry_run",
        },
        Err(
            Failure::Plan(_)
            | Failure::Command(CommandError::Refused(_) | CommandError::Taken { .. }),
        ) => "refused",
        Err(Failure::Command(
            CommandError::VersionConflict { .. } | CommandError::Contended { .. },
        )) => "conflict",
        Err(Failure::Command(_)) => "failed",
    }
}
