//! A projection as a handler: fold a page, commit it while the next one is folded.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_ports::{
    CodecError, Commit, DeadLetter, EventCodec, EventFilter, EventPage, Fault, Generation,
    GenerationId, GenerationState, GlobalPosition, LetterChange, LetterFilter, LetterId, LogName,
    Mark, ReadModelError, RecordedEvent, StreamVersion, Table, TableChanges, Tried,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::decisions::{Decisions, Verdict};
use crate::fold::{FoldError, Run};
use crate::parking::{Meters, Parking, Permit, again_at};
use crate::projections::Engine;
use crate::{DecodeEvent as _, FoldFailure, Folded, Folder, HandleError, Handler, Projection};

/// From how many events on a page is folded on a thread that may be busy for long.
const BUSY_FROM: usize = 100;

/// After how long without events no rows are kept in memory.
const QUIET: Duration = Duration::from_secs(10);

/// How often the checkpoint is stored, or the active generation looked up, when there are no
/// events to handle.
const SELDOM: Duration = Duration::from_secs(1);

/// How many events of a parked stream are tried at a time; the others go on in between.
const WAITING: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// A projection whose types are not known to the caller.
#[async_trait]
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    fn log(&self) -> LogName;
    fn tables(&self) -> &'static [&'static Table];

    /// A handler that fills one generation, or whichever is active.
    fn handler(self: Arc<Self>, engine: Engine, fills: Fills) -> Box<dyn Handler>;

    /// Whether its events are read from what is recorded so.
    fn decodes(&self, codec: &EventCodec, recorded: &RecordedEvent) -> Result<(), CodecError>;

    /// What trying a letter again would come to, if that was decided about its event; nothing is
    /// stored.
    async fn try_letter(
        self: Arc<Self>,
        engine: Engine,
        letter: DeadLetter,
        supposed: Option<Verdict>,
    ) -> Result<Tried, HandleError>;
}

#[async_trait]
impl<P: Projection> AnyProjection for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn log(&self) -> LogName {
        Projection::log(self)
    }

    fn tables(&self) -> &'static [&'static Table] {
        Projection::tables(self)
    }

    fn handler(self: Arc<Self>, engine: Engine, fills: Fills) -> Box<dyn Handler> {
        Box::new(Projector::new(self, engine, fills))
    }

    fn decodes(&self, codec: &EventCodec, recorded: &RecordedEvent) -> Result<(), CodecError> {
        P::Event::decode(codec, recorded).map(drop)
    }

    async fn try_letter(
        self: Arc<Self>,
        engine: Engine,
        letter: DeadLetter,
        supposed: Option<Verdict>,
    ) -> Result<Tried, HandleError> {
        let fills = Fills::One(letter.id.generation.clone());
        let mut projector = Projector::new(self, engine, fills);
        projector.checkpoint().await?;
        projector.read_decisions().await?;
        if let Some(verdict) = supposed {
            let (stream, version) = (letter.id.stream.clone(), letter.version);
            Arc::make_mut(&mut projector.decisions).suppose(stream, version, verdict);
        }
        projector.fold_as_decided();
        Ok(projector.attempt(&letter).await?.outcome)
    }
}

/// Which generation a projector fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fills {
    /// The one that answers queries, also after another process has swapped it.
    Active,
    /// This one.
    One(GenerationId),
    /// None: it looks how far the one is that answers queries, whichever release fills it.
    Nothing,
}

struct Projector<P: Projection> {
    name: String,
    projection: Arc<P>,
    /// Away while a page is folded; not there again if that panicked.
    folder: Option<Folder<P>>,
    engine: Engine,
    fills: Fills,
    generation: Option<GenerationId>,
    /// Where the generation stands.
    stored: Mark,
    /// Every event up to here has had its effect, which is stored or under way; what lies between
    /// the last effect and here is of no interest to the projection.
    seen: GlobalPosition,
    /// What was decided about events, as far as it was read.
    decisions: Arc<Decisions>,
    /// Up to which decision the generation is filled in obedience.
    decided: StreamVersion,
    /// Whether that was compared with what is decided, since the checkpoint was asked.
    obeys: bool,
    /// What the generation has parked, once that was looked up.
    parking: Option<Arc<Parking>>,
    letters: Option<Meters>,
    /// How many streams are parked where another process does the work, and when that was counted.
    parked_elsewhere: usize,
    counted_at: Option<Instant>,
    /// Up to here every row is looked at before it counts: a store has refused one.
    careful: GlobalPosition,
    /// The commit of the last page, and the checkpoint it moves to.
    under_way: Option<(GlobalPosition, JoinHandle<Result<(), ReadModelError>>)>,
    stored_at: Instant,
    looked_at: Instant,
    /// When the last page was folded, as long as its rows are at hand.
    folded_at: Option<Instant>,
}

#[async_trait]
impl<P: Projection> Handler for Projector<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> LogName {
        Projection::log(&*self.projection)
    }

    fn filter(&self) -> EventFilter {
        Projection::filter(&*self.projection)
    }

    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError> {
        if let Some((_, commit)) = self.under_way.take() {
            // However it ended, the checkpoint says what is stored.
            let _ = commit.await;
        }
        self.folder = Some(Folder::sharing(self.projection.clone()));
        self.folded_at = None;
        self.parking = None;
        self.obeys = false;
        let generation = self.find_generation().await?;
        self.stored = generation.mark();
        self.decided = generation.decided;
        self.seen = generation.checkpoint;
        self.generation = Some(generation.id);
        Ok(self.stored.position)
    }

    async fn checkpoint_elsewhere(&mut self) -> Result<GlobalPosition, HandleError> {
        let checkpoint = self.checkpoint().await?;
        // Whoever does the work shows the letters: two would show them twice, and who lost it for ever.
        if let Some(meters) = &mut self.letters {
            meters.show(&Parking::default(), self.engine.clock.now());
        }
        let is_read = !matches!(self.fills, Fills::One(_));
        if is_read && self.counted_at.is_none_or(|at| at.elapsed() > SELDOM) {
            let projection = Some(P::NAME.into());
            let filter = LetterFilter { projection, ..LetterFilter::default() };
            let groups = self.engine.models.letter_groups(filter).await;
            let groups = groups.map_err(HandleError::unavailable)?;
            let letters: u64 = groups.iter().map(|group| group.letters).sum();
            self.parked_elsewhere = usize::try_from(letters).unwrap_or(usize::MAX);
            self.counted_at = Some(Instant::now());
        }
        Ok(checkpoint)
    }

    async fn handle(&mut self, page: EventPage) -> Result<GlobalPosition, HandleError> {
        let Some(first) = page.events.first().map(|event| event.position) else {
            self.seen = page.through;
            return Ok(self.visible());
        };
        self.notice_change().await?;
        self.obey().await?;
        if self.parking().await?.due(self.engine.clock.now()).is_some() {
            self.finish_commit().await?;
            self.retry_next().await?;
        }
        let through = page.through;
        let (mut events, mut folded) = (page.events, None);
        if first > self.careful {
            let (again, first_run) = self.fold(events, Run::First).await?;
            (events, folded) = (again, Some(first_run));
        }
        let folded = match folded {
            Some(folded) if folded.failure.is_none() => folded,
            _ => self.fold_once_more(events).await?,
        };
        self.finish_commit().await?;
        let to = folded.failure.as_ref().map_or(through, before);
        let failure = folded.failure.clone();
        if to > self.stored.position {
            let models = self.engine.models.clone();
            let commit = self.commit_of(folded, to)?;
            self.remember(&commit.letters);
            self.under_way = Some((to, tokio::spawn(async move { models.commit(commit).await })));
            self.seen = to;
        }
        match failure {
            None => Ok(self.visible()),
            Some(failure) => {
                self.finish_commit().await?;
                Err(HandleError::Event(failure))
            }
        }
    }

    async fn settle(&mut self) -> Result<GlobalPosition, HandleError> {
        self.finish_commit().await?;
        self.obey().await?;
        self.retry_next().await?;
        self.show_letters();
        if self.stored_at.elapsed() > SELDOM {
            self.store_seen().await?;
        }
        if self.folded_at.is_some_and(|folded| folded.elapsed() > QUIET) {
            self.forget_rows();
        }
        self.notice_change().await?;
        Ok(self.visible())
    }

    async fn end(&mut self) -> Result<GlobalPosition, HandleError> {
        self.finish_commit().await?;
        // Who waits for a generation waits for what was ordered in it too, and decided meanwhile.
        if matches!(self.fills, Fills::One(_)) {
            self.obey().await?;
            while self.retry_next().await? {}
            self.notice_decisions().await?;
        }
        self.store_seen().await?;
        Ok(self.visible())
    }

    fn parked(&self) -> usize {
        self.parking.as_ref().map_or(self.parked_elsewhere, |parking| parking.len())
    }

    fn settle_after(&self) -> Option<Duration> {
        let next = self.parking.as_ref()?.next_at()?;
        Some((next - self.engine.clock.now()).to_std().unwrap_or_default())
    }
}

/// What trying a letter again came to.
struct Attempt {
    outcome: Tried,
    changes: Vec<TableChanges>,
}

impl<P: Projection> Projector<P> {
    fn new(projection: Arc<P>, engine: Engine, fills: Fills) -> Self {
        let now = Instant::now();
        let (name, letters) = match &fills {
            Fills::Active => (P::NAME.to_owned(), Some(Meters::of(P::NAME))),
            Fills::Nothing => (P::NAME.to_owned(), None),
            Fills::One(_) => (format!("{}:building", P::NAME), None),
        };
        Self {
            name,
            folder: Some(Folder::sharing(projection.clone())),
            projection,
            engine,
            fills,
            generation: None,
            stored: GlobalPosition(0).into(),
            seen: GlobalPosition(0),
            decisions: Arc::default(),
            decided: StreamVersion(0),
            obeys: false,
            parking: None,
            letters,
            parked_elsewhere: 0,
            counted_at: None,
            careful: GlobalPosition(0),
            under_way: None,
            stored_at: now,
            looked_at: now,
            folded_at: None,
        }
    }

    /// Folds from here on as it is decided, and notes that in the generation. Right after the
    /// checkpoint was asked: what is decided later moves the revision on.
    async fn obey(&mut self) -> Result<(), HandleError> {
        if self.obeys {
            return Ok(());
        }
        self.read_decisions().await?;
        if self.decisions.last() > self.decided {
            if let Some(applied) = self.applied_before_decided().await? {
                return Err(self.overruled(applied).await);
            }
            let (models, last) = (&self.engine.models, self.decisions.last());
            match models.obey(self.generation()?, self.stored, last).await {
                Ok(mark) => (self.stored, self.decided) = (mark, last),
                Err(error) => return Err(self.failure_of(error).await),
            }
        }
        self.parking().await?;
        self.fold_as_decided();
        self.obeys = true;
        Ok(())
    }

    fn fold_as_decided(&mut self) {
        let decisions = &self.decisions;
        self.folder.iter_mut().for_each(|folder| folder.obey(decisions.clone()));
    }

    /// Reads what was decided since; whether a fold obeys any of it.
    async fn read_decisions(&mut self) -> Result<bool, HandleError> {
        let Engine { store, codec, .. } = &self.engine;
        let log = Projection::log(&*self.projection);
        let news = self.decisions.news(&**store, codec, &log, P::NAME).await?;
        Ok(!news.is_empty() && Arc::make_mut(&mut self.decisions).take_in(news))
    }

    /// Begins anew where something was decided since the checkpoint was asked.
    async fn notice_decisions(&mut self) -> Result<(), HandleError> {
        match self.read_decisions().await? {
            true => Err(HandleError::Moved),
            false => Ok(()),
        }
    }

    /// An event that the generation had applied when something was decided about it.
    async fn applied_before_decided(&mut self) -> Result<Option<RecordedEvent>, HandleError> {
        let (parking, stored) = (self.parking().await?, self.stored.position);
        let (log, filter) =
            (Projection::log(&*self.projection), Projection::filter(&*self.projection));
        for (stream, version) in self.decisions.since(self.decided) {
            if stored == GlobalPosition(0) || parking.waits(stream, version) {
                continue;
            }
            let before = StreamVersion(version.0.saturating_sub(1));
            let read = self.engine.store.read_stream(&log, stream, before, NonZeroU32::MIN).await;
            let event = read.map_err(HandleError::unavailable)?.pop();
            let applied = event.filter(|event| {
                event.position <= stored && filter.admits(&event.stream, &event.event_type)
            });
            if applied.is_some() {
                return Ok(applied);
            }
        }
        Ok(None)
    }

    /// A generation that applied what was then decided otherwise is not what the log says, and
    /// nothing makes it so: one that nobody reads is dropped.
    async fn overruled(&self, event: RecordedEvent) -> HandleError {
        let RecordedEvent { stream, position, .. } = event;
        let name = P::NAME;
        let Fills::One(id) = &self.fills else {
            let error = format!(
                "the event of {stream} at position {position} was applied before it was decided \
                 otherwise; `freehold projection rebuild {name}` folds all as it is decided"
            );
            return HandleError::Unavailable(error.into());
        };
        warn!(subscription = self.name, %stream, position = position.0, "decided otherwise, dropped");
        match self.engine.models.drop_generation(id.clone()).await {
            Ok(()) => HandleError::Gone,
            Err(error) => self.failure_of(error).await,
        }
    }

    /// What the generation has parked.
    async fn parking(&mut self) -> Result<Arc<Parking>, HandleError> {
        if let Some(parking) = &self.parking {
            return Ok(parking.clone());
        }
        let parked = self.engine.models.parked(&self.generation()?).await;
        let parking = Arc::new(Parking::of(parked.map_err(HandleError::unavailable)?));
        self.parking = Some(parking.clone());
        self.show_letters();
        Ok(parking)
    }

    /// Takes in what is committed, or about to be: if that fails, all is looked up again. Nobody
    /// else holds the letters now, so nothing is copied.
    fn remember(&mut self, changes: &[LetterChange]) {
        if let (Some(parking), false) = (&mut self.parking, changes.is_empty()) {
            let parking = Arc::make_mut(parking);
            changes.iter().for_each(|change| parking.apply(change));
            self.show_letters();
        }
    }

    fn show_letters(&mut self) {
        if let (Some(meters), Some(parking)) = (&mut self.letters, &self.parking) {
            meters.show(parking, self.engine.clock.now());
        }
    }

    /// Folds a page again onto stored rows, since those in memory may have been what was wrong.
    /// What fails now is parked, as far as it may be.
    async fn fold_once_more(&mut self, events: Vec<RecordedEvent>) -> Result<Folded, HandleError> {
        self.finish_commit().await?;
        self.forget_rows();
        let permit = Arc::new(self.permit().await?);
        let (_, mut folded) = self.fold(events, Run::Last(permit.clone())).await?;
        let parked = folded.parked.len();
        if let Some(failure) = &mut folded.failure
            && self.parks()
            && permit.is_full(parked)
        {
            let streams = self.parked() + parked;
            let reason = &mut failure.reason;
            reason.push_str(&format!("; {streams} streams are parked, and no more may be"));
        }
        Ok(folded)
    }

    /// Whether streams are parked at all.
    fn parks(&self) -> bool {
        !self.engine.policy.stopping.contains(P::NAME)
    }

    /// What may be parked now.
    async fn permit(&mut self) -> Result<Permit, HandleError> {
        if !self.parks() {
            return Ok(Permit::none());
        }
        let parked = self.parking().await?.len();
        let room = self.engine.policy.max_streams.saturating_sub(parked);
        let Fills::One(id) = &self.fills else { return Ok(Permit::any(room)) };
        let models = &self.engine.models;
        let generations = models.generations(P::NAME).await.map_err(HandleError::unavailable)?;
        let active = generations.into_iter().find(|g| g.state == GenerationState::Active);
        match active {
            Some(active) if active.id != *id => {
                let parked = models.parked(&active.id).await.map_err(HandleError::unavailable)?;
                Ok(Permit::unseen(room, active.checkpoint, parked))
            }
            _ => Ok(Permit::any(room)),
        }
    }

    fn commit_of(&self, folded: Folded, to: GlobalPosition) -> Result<Commit, HandleError> {
        let Folded { changes, parked, mut waiting, .. } = folded;
        let mut letters = Vec::with_capacity(parked.len() + waiting.len());
        for failure in parked {
            let waiting = waiting.remove(&failure.stream).unwrap_or_default();
            let letter = self.letter_of(failure, waiting)?;
            let (stream, position) = (&letter.id.stream, letter.id.position.0);
            let (event_type, error) = (&letter.event_type, &letter.error);
            warn!(subscription = self.name, %stream, position, %event_type, %error, "parked");
            letters.push(LetterChange::Park(letter));
        }
        letters.extend(
            waiting.into_iter().map(|(stream, events)| LetterChange::Wait { stream, events }),
        );
        let commit = Commit::moving(self.generation()?, self.stored, to, changes);
        Ok(Commit { letters, ..commit })
    }

    fn letter_of(&self, failure: FoldFailure, waiting: u64) -> Result<DeadLetter, HandleError> {
        let now = self.engine.clock.now();
        Ok(DeadLetter {
            id: LetterId {
                generation: self.generation()?,
                stream: failure.stream,
                position: failure.position,
            },
            log: Projection::log(&*self.projection),
            version: failure.version,
            event_id: failure.event_id,
            event_type: failure.event_type,
            recorded_at: failure.recorded_at,
            error: failure.reason.into(),
            fault: failure.fault,
            attempts: 1,
            parked_at: now,
            tried_at: now,
            done_through: StreamVersion(failure.version.0.saturating_sub(1)),
            waiting,
            retry_at: again_at(failure.fault, 1, now),
            retry_by: None,
        })
    }

    /// Tries a part of the stream again that has been due for longest; whether one was due. No
    /// commit is under way.
    async fn retry_next(&mut self) -> Result<bool, HandleError> {
        let at = self.engine.clock.now();
        let due = self.parking().await?.due(at).cloned();
        let Some(letter) = due else { return Ok(false) };
        // Whoever decided and died before saying so is heard here.
        self.notice_decisions().await?;
        let Attempt { outcome, changes } = self.attempt(&letter).await?;
        let LetterId { generation, stream, position } = letter.id;
        match &outcome {
            Tried::Failed { error, .. } => {
                warn!(subscription = self.name, %stream, position = position.0, %error, "fails again");
            }
            Tried::FailedLater(DeadLetter { id, error, .. }) => {
                warn!(subscription = self.name, %stream, position = id.position.0, %error, "parked");
            }
            Tried::Onwards { .. } | Tried::Resolved => {
                info!(subscription = self.name, %stream, ?outcome, "tried again");
            }
        }
        let commit = Commit::moving(generation, self.stored, self.stored.position, changes);
        let letters = vec![LetterChange::Tried { stream, position, at, outcome }];
        let commit = Commit { letters, ..commit };
        let (mark, letters) = (commit.mark(), commit.letters.clone());
        if let Err(error) = self.engine.models.commit(commit).await {
            return Err(self.failure_of(error).await);
        }
        self.stored = mark;
        self.remember(&letters);
        Ok(true)
    }

    /// Folds the next part of what waits in a parked stream, up to the checkpoint: the commit that
    /// names it makes sure that no page applies the same.
    async fn attempt(&mut self, letter: &DeadLetter) -> Result<Attempt, HandleError> {
        let (log, done) = (&letter.log, letter.done_through);
        let read = self.engine.store.read_stream(log, &letter.id.stream, done, WAITING).await;
        let mut events = read.map_err(HandleError::unavailable)?;
        let end = self.stored.position;
        let last = events.last().filter(|event| event.position < end);
        let more =
            last.map(|event| event.version).filter(|_| events.len() == WAITING.get() as usize);
        let filter = Projection::filter(&*self.projection);
        events.retain(|event| {
            event.position <= end && filter.admits(&event.stream, &event.event_type)
        });
        let own = u64::from(done < letter.version);
        if own > 0 && events.first().map(|event| event.event_id) != Some(letter.event_id) {
            // The log was restored, or this release is not interested any more: that is for a person,
            // and the other streams go on.
            let error = format!("the log does not hold event {} any more", letter.id.position);
            let (error, fault) = (error.into(), Fault::Permanent);
            let outcome = Tried::Failed { error, fault, retry_at: None };
            return Ok(Attempt { outcome, changes: Vec::new() });
        }
        let count = events.len() as u64;
        let (events, mut folded) = self.fold_alone(events).await?;
        if folded.failure.is_some() {
            self.forget_rows();
            (_, folded) = self.fold_alone(events).await?;
        }
        let outcome = match (folded.failure, more) {
            (None, None) => Tried::Resolved,
            (None, Some(done_through)) => {
                let waiting = letter.waiting.saturating_sub(count - own);
                Tried::Onwards { done_through, waiting }
            }
            (Some(failure), _) if failure.position == letter.id.position => {
                let (error, fault) = (failure.reason.into(), failure.fault);
                let retry_at = again_at(fault, letter.attempts + 1, self.engine.clock.now());
                Tried::Failed { error, fault, retry_at }
            }
            (Some(failure), _) => {
                let handled = folded.applied as u64 - own;
                let waiting = letter.waiting.saturating_sub(handled + 1);
                let later = self.letter_of(failure, waiting)?;
                let (parked_at, retry_by) = (letter.parked_at, letter.retry_by.clone());
                Tried::FailedLater(DeadLetter { parked_at, retry_by, ..later })
            }
        };
        Ok(Attempt { outcome, changes: folded.changes })
    }

    fn forget_rows(&mut self) {
        self.folded_at = None;
        self.folder.iter_mut().for_each(Folder::forget_rows);
    }

    /// Up to where queries see every effect.
    fn visible(&self) -> GlobalPosition {
        if self.under_way.is_some() { self.stored.position } else { self.seen }
    }

    fn generation(&self) -> Result<GenerationId, HandleError> {
        let asked = self.generation.clone();
        asked.ok_or_else(|| HandleError::Unavailable("asked before its checkpoint was".into()))
    }

    async fn find_generation(&self) -> Result<Generation, HandleError> {
        let generations = self.engine.models.generations(P::NAME).await;
        let mut generations = generations.map_err(HandleError::unavailable)?.into_iter();
        match &self.fills {
            Fills::One(id) => {
                generations.find(|generation| generation.id == *id).ok_or(HandleError::Gone)
            }
            Fills::Active | Fills::Nothing => {
                let active = generations.find(|g| g.state == GenerationState::Active);
                let active = active.ok_or_else(|| {
                    HandleError::unavailable(ReadModelError::NotBuilt(Arc::from(P::NAME)))
                })?;
                if active.version == P::VERSION || self.fills == Fills::Nothing {
                    return Ok(active);
                }
                Err(HandleError::Unavailable(
                    format!(
                        "generation {} of {} was filled by version {}, this program has version {}",
                        active.id.number,
                        P::NAME,
                        active.version,
                        P::VERSION,
                    )
                    .into(),
                ))
            }
        }
    }

    /// Another process may have activated another generation: that one is then to be filled. And
    /// somebody may have ordered a retry.
    async fn notice_change(&mut self) -> Result<(), HandleError> {
        if self.fills != Fills::Active || self.looked_at.elapsed() < SELDOM {
            return Ok(());
        }
        self.looked_at = Instant::now();
        let found = self.find_generation().await?;
        if Some(&found.id) == self.generation.as_ref() && found.revision == self.stored.revision {
            return Ok(());
        }
        Err(HandleError::Moved)
    }

    /// Folds a page over what is parked; answers its events too.
    async fn fold(
        &mut self,
        events: Vec<RecordedEvent>,
        run: Run,
    ) -> Result<(Vec<RecordedEvent>, Folded), HandleError> {
        let parking = self.parking().await?;
        self.fold_beside(events, parking, run).await
    }

    /// Folds events of one stream as if nothing was parked, up to one that cannot be handled.
    async fn fold_alone(
        &mut self,
        events: Vec<RecordedEvent>,
    ) -> Result<(Vec<RecordedEvent>, Folded), HandleError> {
        self.fold_beside(events, Arc::default(), Run::Last(Arc::new(Permit::none()))).await
    }

    async fn fold_beside(
        &mut self,
        events: Vec<RecordedEvent>,
        parking: Arc<Parking>,
        run: Run,
    ) -> Result<(Vec<RecordedEvent>, Folded), HandleError> {
        let generation = self.generation()?;
        let away = || HandleError::Unavailable("the page before was not finished".into());
        let mut folder = self.folder.take().ok_or_else(away)?;
        let (models, codec) = (self.engine.models.clone(), self.engine.codec.clone());
        let busy = events.len() >= BUSY_FROM;
        let fold = async move {
            let folded = folder.fold(&*models, &generation, &codec, &events, &parking, &run).await;
            (folder, events, folded)
        };
        let (folder, events, folded) = if busy {
            let runtime = Handle::current();
            let folding = tokio::task::spawn_blocking(move || runtime.block_on(fold));
            folding.await.map_err(HandleError::unavailable)?
        } else {
            fold.await
        };
        self.folder = Some(folder);
        self.folded_at = Some(Instant::now());
        match folded {
            Err(FoldError::ReadModels(error)) => Err(self.failure_of(error).await),
            Err(error) => Err(HandleError::unavailable(error)),
            Ok(folded) => Ok((events, folded)),
        }
    }

    /// Moves the checkpoint over events of no interest.
    async fn store_seen(&mut self) -> Result<(), HandleError> {
        if self.seen > self.stored.position {
            let commit = Commit::moving(self.generation()?, self.stored, self.seen, Vec::new());
            if let Err(error) = self.engine.models.commit(commit).await {
                return Err(self.failure_of(error).await);
            }
            self.stored.position = self.seen;
            self.stored_at = Instant::now();
        }
        Ok(())
    }

    /// What an error of the read models means. A generation that is gone, or that another one
    /// fills, is no failure where another process has swapped it for the one that is active now.
    async fn failure_of(&self, error: ReadModelError) -> HandleError {
        use ReadModelError::{CheckpointMoved, NoGeneration, Retired};
        if self.fills != Fills::Active && matches!(error, NoGeneration(_) | Retired(_)) {
            return HandleError::Gone;
        }
        if self.fills == Fills::Active
            && matches!(error, NoGeneration(_) | CheckpointMoved { .. })
            && self.find_generation().await.is_ok_and(|found| Some(found.id) != self.generation)
        {
            return HandleError::Moved;
        }
        match error {
            CheckpointMoved { expected, actual, .. } if actual.position > expected.position => {
                HandleError::Elsewhere
            }
            // A server that crashed may have lost the last commits: their events come again. Or
            // letters were changed, or a retry ordered, where the checkpoint still is.
            CheckpointMoved { .. } => HandleError::Moved,
            // Readers look elsewhere: so does this from now on.
            Retired(_) => HandleError::Moved,
            error => HandleError::unavailable(error),
        }
    }

    async fn finish_commit(&mut self) -> Result<(), HandleError> {
        let Some((to, commit)) = self.under_way.take() else { return Ok(()) };
        let committed = commit.await.map_err(HandleError::unavailable)?;
        match committed {
            Ok(()) => {}
            // No store takes one of its rows: they are looked at one by one, to find its event.
            Err(ReadModelError::Unfit { .. }) if to > self.careful => {
                self.careful = to;
                return Err(HandleError::Moved);
            }
            Err(error) => return Err(self.failure_of(error).await),
        }
        self.stored.position = to;
        self.stored_at = Instant::now();
        Ok(())
    }
}

fn before(failure: &FoldFailure) -> GlobalPosition {
    GlobalPosition(failure.position.0.saturating_sub(1))
}
