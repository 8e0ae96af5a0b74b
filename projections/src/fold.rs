//! Folding a page of events: find the rows, apply, say what changed.

use std::collections::{HashMap, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use freehold_ports::{
    EventCodec, Fault, GenerationId, ReadModelError, ReadModels, RecordedEvent, StreamId,
    TableChanges,
};

use crate::blame::{self, FoldFailure};
use crate::decisions::{Decisions, Verdict};
use crate::parking::{Parking, Permit};
use crate::{ApplyError, DecodeEvent, MalformedRow, ProjectedEvent, Projection, Rows};

/// How many bytes the rows of a table may take, roughly, that stay in memory between pages. What
/// they point to (texts, lists) comes on top, and so do the rows of the last two pages.
const BYTES_KEPT: usize = 32 << 20;

/// How often one event may ask for further rows before that counts as its fault.
const MAX_FETCHES_PER_EVENT: u32 = 100;

/// How often a page looks ahead over all events to come. Once is enough where each event names its
/// rows, twice where a row names the next one; a page that goes on missing rows depends on its own
/// writes, and then looks [`SHORT_SIGHT`] events ahead.
const FAR_SIGHTS: u32 = 4;
const SHORT_SIGHT: usize = 32;

/// A projection with the rows it has at hand.
pub struct Folder<P: Projection> {
    projection: Arc<P>,
    rows: Rows,
    decisions: Arc<Decisions>,
}

/// How a page is folded.
#[derive(Clone, Debug)]
pub(crate) enum Run {
    /// Up to the first event that cannot be handled.
    First,
    /// Over events that cannot be handled, as far as their streams may be parked. Each row is
    /// looked at before it counts, so that one that no store takes is its event's fault.
    Last(Arc<Permit>),
}

/// What a page did.
#[derive(Debug, Default)]
pub struct Folded {
    /// Changes to write, of the events before a failure.
    pub changes: Vec<TableChanges>,
    /// How many events were applied.
    pub applied: usize,
    /// Events that could not be applied and whose streams are to be parked.
    pub parked: Vec<FoldFailure>,
    /// How many events were passed over because they wait behind a parked one.
    pub waiting: HashMap<StreamId, u64>,
    /// The event that ended the page; everything from it on waits.
    pub failure: Option<FoldFailure>,
}

/// Why a page could not be folded at all; trying again may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    Malformed(#[from] MalformedRow),
}

impl<P: Projection> Folder<P> {
    /// A folder with no rows at hand.
    pub fn new(projection: P) -> Self {
        Self::sharing(Arc::new(projection))
    }

    /// A folder with no rows at hand, of a projection that others use too.
    pub(crate) fn sharing(projection: Arc<P>) -> Self {
        Self { projection, rows: Rows::default(), decisions: Arc::default() }
    }

    /// From now on folds events as it was decided about them.
    pub(crate) fn obey(&mut self, decisions: Arc<Decisions>) {
        self.decisions = decisions;
    }

    /// Keeps no row at hand.
    pub(crate) fn forget_rows(&mut self) {
        self.rows = Rows::default();
    }

    /// The projection.
    pub fn projection(&self) -> &P {
        &self.projection
    }

    /// Folds a page onto the rows of a generation. Nothing is written: the caller commits
    /// [`Folded::changes`], and drops the folder if that fails.
    ///
    /// The rows of this page and the one before stay at hand, so a page can be folded while the
    /// changes of the page before are still being committed, but not earlier ones.
    pub(crate) async fn fold(
        &mut self,
        models: &dyn ReadModels,
        generation: &GenerationId,
        codec: &EventCodec,
        page: &[RecordedEvent],
        parking: &Parking,
        run: &Run,
    ) -> Result<Folded, FoldError> {
        let turns = decode::<P>(codec, page, parking, &self.decisions, run);
        let mut folded = Folded::default();
        let mut parked: HashSet<&StreamId> = HashSet::new();
        let mut sights = 0;
        for (at, (recorded, turn)) in page.iter().zip(&turns).enumerate() {
            let mut failure = match turn {
                Turn::Wait => {
                    folded.wait(recorded);
                    continue;
                }
                _ if !parked.is_empty() && parked.contains(&recorded.stream) => {
                    folded.wait(recorded);
                    continue;
                }
                Turn::Fail(failure) => Some((**failure).clone()),
                Turn::Apply(_) | Turn::PassOver => None,
            };
            let mut fetches = 0;
            while let (Turn::Apply(event), None) = (turn, &failure) {
                match self.apply(recorded, event, run) {
                    Outcome::Applied => break,
                    Outcome::Lacks if fetches < MAX_FETCHES_PER_EVENT => {
                        sights += 1;
                        fetches += 1;
                        let ahead = if sights <= FAR_SIGHTS { page.len() } else { SHORT_SIGHT };
                        let later = page.iter().zip(&turns).skip(at + 1);
                        self.discover(later.take(ahead), &parked);
                        self.fetch_asked(models, generation).await?;
                    }
                    Outcome::Lacks => {
                        self.rows.take_asked();
                        let reason =
                            format!("asked for further rows {MAX_FETCHES_PER_EVENT} times");
                        failure = Some(FoldFailure::of(recorded, Fault::Permanent, reason));
                    }
                    Outcome::Failed(fault, reason) => {
                        failure = Some(FoldFailure::of(recorded, fault, reason));
                    }
                }
            }
            match (failure, run) {
                (None, _) => folded.applied += 1,
                (Some(failure), Run::Last(permit)) if permit.parks(&failure, parked.len()) => {
                    parked.insert(&recorded.stream);
                    folded.parked.push(failure);
                }
                (failure, _) => {
                    folded.failure = failure;
                    break;
                }
            }
        }
        folded.changes = self.rows.take_changes();
        self.rows.age(BYTES_KEPT);
        Ok(folded)
    }

    /// Applies one event, all of it or nothing.
    fn apply(&mut self, recorded: &RecordedEvent, event: &P::Event, run: &Run) -> Outcome {
        let applied = self.try_apply(recorded, event);
        // Whatever it answered, what it did without a row that it asked for does not count.
        let outcome = match applied {
            _ if self.rows.lacks_some() => Outcome::Lacks,
            Err(panic) => Outcome::Failed(Fault::Panic, blame::panicked(&*panic)),
            Ok(Err(ApplyError::Missing(_))) => Outcome::Lacks,
            Ok(Err(ApplyError::Impossible(reason))) => Outcome::Failed(Fault::Permanent, reason),
            Ok(Ok(())) => match run {
                Run::First => Outcome::Applied,
                Run::Last(_) => match self.rows.check_event() {
                    Ok(()) => Outcome::Applied,
                    Err(error) => Outcome::Failed(Fault::Permanent, blame::unfit(&error)),
                },
            },
        };
        match &outcome {
            Outcome::Applied => self.rows.keep_event(),
            Outcome::Lacks | Outcome::Failed(..) => self.rows.forget_event(),
        }
        outcome
    }

    /// What a panic leaves half done is forgotten with the event.
    fn try_apply(
        &mut self,
        recorded: &RecordedEvent,
        event: &P::Event,
    ) -> std::thread::Result<Result<(), ApplyError>> {
        let (projection, rows) = (&self.projection, &mut self.rows);
        let event = ProjectedEvent { recorded, event };
        panic::catch_unwind(AssertUnwindSafe(|| projection.apply(event, rows)))
    }

    /// Runs events up to the first row each of them misses, so that all of those are fetched at
    /// once. What an event writes that misses none is seen by those after it: a row that is made
    /// in a page names the rows of later events too.
    fn discover<'a>(
        &mut self,
        turns: impl Iterator<Item = (&'a RecordedEvent, &'a Turn<P::Event>)>,
        parked: &HashSet<&StreamId>,
    ) {
        for (recorded, turn) in turns {
            let Turn::Apply(event) = turn else { continue };
            if !parked.is_empty() && parked.contains(&recorded.stream) {
                continue;
            }
            // What it says is for the real run: here only the rows it asks for count.
            match self.try_apply(recorded, event) {
                Ok(Ok(())) => self.rows.guess_event(),
                Ok(Err(_)) | Err(_) => self.rows.forget_event(),
            }
        }
        self.rows.forget_guesses();
    }

    async fn fetch_asked(
        &mut self,
        models: &dyn ReadModels,
        generation: &GenerationId,
    ) -> Result<(), FoldError> {
        for (id, table, keys) in self.rows.take_asked() {
            let rows = models.fetch(generation.clone(), table, keys.clone()).await?;
            self.rows.load(id, &keys, rows)?;
        }
        Ok(())
    }
}

/// What is to be done with an event of a page.
enum Turn<E> {
    /// It is applied.
    Apply(E),
    /// It cannot be decoded.
    Fail(Box<FoldFailure>),
    /// It waits behind a parked one.
    Wait,
    /// It was decided that nothing is done, which is done with that.
    PassOver,
}

/// What applying an event came to.
enum Outcome {
    Applied,
    /// It asked for rows that are not at hand.
    Lacks,
    Failed(Fault, String),
}

impl Folded {
    fn wait(&mut self, recorded: &RecordedEvent) {
        match self.waiting.get_mut(&recorded.stream) {
            Some(waiting) => *waiting += 1,
            None => {
                self.waiting.insert(recorded.stream.clone(), 1);
            }
        }
    }
}

/// Decodes what is not parked; the first run up to the first event that cannot be decoded.
fn decode<P: Projection>(
    codec: &EventCodec,
    page: &[RecordedEvent],
    parking: &Parking,
    decisions: &Decisions,
    run: &Run,
) -> Vec<Turn<P::Event>> {
    let (some_parked, some_decided) = (!parking.is_empty(), !decisions.is_empty());
    let mut turns = Vec::with_capacity(page.len());
    for recorded in page {
        if some_parked && parking.holds(recorded) {
            turns.push(Turn::Wait);
            continue;
        }
        let verdict = if some_decided { decisions.about(recorded) } else { None };
        let edited = match verdict {
            Some(Verdict::Discarded) => {
                turns.push(Turn::PassOver);
                continue;
            }
            Some(Verdict::Edited(edited)) => Some(RecordedEvent {
                codec: edited.codec,
                payload: edited.payload.clone(),
                subjects: edited.subjects.clone(),
                ..recorded.clone()
            }),
            None => None,
        };
        let event = edited.as_ref().unwrap_or(recorded);
        let decoded = panic::catch_unwind(AssertUnwindSafe(|| P::Event::decode(codec, event)));
        let failure = match decoded {
            Ok(Ok(event)) => {
                turns.push(Turn::Apply(event));
                continue;
            }
            Ok(Err(error)) => FoldFailure {
                awaits_release: blame::awaits_release(&error),
                ..FoldFailure::of(recorded, Fault::Permanent, blame::undecodable(&error))
            },
            Err(panic) => FoldFailure::of(recorded, Fault::Panic, blame::panicked(&*panic)),
        };
        turns.push(Turn::Fail(Box::new(failure)));
        if matches!(run, Run::First) {
            break;
        }
    }
    turns
}
