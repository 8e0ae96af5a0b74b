//! Folding a page of events: find the rows, apply, say what changed.

use std::sync::Arc;

use freehold_ports::{
    EventCodec, GenerationId, GlobalPosition, ReadModelError, ReadModels, RecordedEvent,
    TableChanges,
};

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
}

/// What a page did.
#[derive(Debug)]
pub struct Folded {
    /// Changes to write, of the events before a failure.
    pub changes: Vec<TableChanges>,
    /// How many events were applied.
    pub applied: usize,
    /// The event that could not be applied, if there was one; everything after it waits.
    pub failure: Option<FoldFailure>,
}

/// An event that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldFailure {
    /// Its position.
    pub position: GlobalPosition,
    /// Its type.
    pub event_type: Arc<str>,
    /// What is wrong, for an operator.
    pub reason: String,
}

impl FoldFailure {
    pub(crate) fn of(recorded: &RecordedEvent, reason: String) -> Self {
        Self { position: recorded.position, event_type: recorded.event_type.clone(), reason }
    }
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
        Self { projection, rows: Rows::default() }
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
    ) -> Result<Folded, FoldError> {
        let (events, mut failure) = self.decode(codec, page);
        let mut applied = 0;
        let mut sights = 0;
        for (at, (recorded, event)) in page.iter().zip(&events).enumerate() {
            let mut fetches = 0;
            let outcome = loop {
                match self.apply(recorded, event) {
                    Err(ApplyError::Missing(_)) if fetches < MAX_FETCHES_PER_EVENT => {
                        sights += 1;
                        fetches += 1;
                        let ahead = if sights <= FAR_SIGHTS { page.len() } else { SHORT_SIGHT };
                        let (recorded, events) = (page.iter().skip(at + 1), events.iter());
                        self.discover(recorded.zip(events.skip(at + 1)).take(ahead));
                        self.fetch_asked(models, generation).await?;
                    }
                    outcome => break outcome,
                }
            };
            match outcome {
                Ok(()) => applied += 1,
                Err(error) => {
                    let reason = match error {
                        ApplyError::Missing(_) => {
                            format!("asked for further rows {MAX_FETCHES_PER_EVENT} times")
                        }
                        ApplyError::Impossible(reason) => reason,
                    };
                    failure = Some(FoldFailure::of(recorded, reason));
                    break;
                }
            }
        }
        let changes = self.rows.take_changes();
        self.rows.age(BYTES_KEPT);
        Ok(Folded { changes, applied, failure })
    }

    /// Decodes up to the first event that cannot be decoded.
    fn decode(
        &self,
        codec: &EventCodec,
        page: &[RecordedEvent],
    ) -> (Vec<P::Event>, Option<FoldFailure>) {
        let mut events = Vec::with_capacity(page.len());
        for recorded in page {
            match P::Event::decode(codec, recorded) {
                Ok(event) => events.push(event),
                Err(error) => return (events, Some(FoldFailure::of(recorded, error.to_string()))),
            }
        }
        (events, None)
    }

    /// Applies one event, all of it or nothing.
    fn apply(&mut self, recorded: &RecordedEvent, event: &P::Event) -> Result<(), ApplyError> {
        let outcome = self.projection.apply(ProjectedEvent { recorded, event }, &mut self.rows);
        // Whatever it answered, what it did without a row that it asked for does not count.
        let outcome = if self.rows.lacks_some() { Err(crate::Missing.into()) } else { outcome };
        match &outcome {
            Ok(()) => self.rows.keep_event(),
            Err(_) => self.rows.forget_event(),
        }
        outcome
    }

    /// Runs events up to the first row each of them misses, so that all of those are fetched at
    /// once. What an event writes that misses none is seen by those after it: a row that is made
    /// in a page names the rows of later events too.
    fn discover<'a>(&mut self, events: impl Iterator<Item = (&'a RecordedEvent, &'a P::Event)>) {
        for (recorded, event) in events {
            // What it says is for the real run: here only the rows it asks for count.
            match self.projection.apply(ProjectedEvent { recorded, event }, &mut self.rows) {
                Ok(()) => self.rows.guess_event(),
                Err(_) => self.rows.forget_event(),
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
