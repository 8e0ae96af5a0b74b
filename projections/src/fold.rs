//! Folding a page of events: find the rows, apply, say what changed.

use freehold_ports::{
    CodecError, EventCodec, GenerationId, GlobalPosition, ReadModelError, ReadModels,
    RecordedEvent, SubjectKeys, TableChanges,
};

use crate::{ApplyError, DecodeEvent, MalformedRow, ProjectedEvent, Projection, Rows};

/// How many rows of a table stay in memory between pages.
const ROWS_KEPT: usize = 50_000;

/// How often one event may ask for further rows before that counts as its fault.
const MAX_FETCHES_PER_EVENT: u32 = 100;

/// A projection with the rows it has at hand.
pub(crate) struct Folder<P: Projection> {
    projection: P,
    rows: Rows,
}

/// What a page did.
#[derive(Debug)]
pub(crate) struct Folded {
    /// Changes to write, of the events before a failure.
    pub(crate) changes: Vec<TableChanges>,
    /// The event that could not be applied, if there was one; everything after it waits.
    pub(crate) failure: Option<FoldFailure>,
}

/// An event that could not be applied.
#[derive(Debug)]
pub(crate) struct FoldFailure {
    /// Its position.
    pub(crate) position: GlobalPosition,
    /// Its type.
    pub(crate) event_type: std::sync::Arc<str>,
    /// What is wrong, for an operator.
    pub(crate) reason: String,
}

/// Why a page could not be folded at all; trying again may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Malformed(#[from] MalformedRow),
}

impl<P: Projection> Folder<P> {
    /// A folder with no rows at hand.
    pub(crate) fn new(projection: P) -> Self {
        Self { projection, rows: Rows::default() }
    }

    /// The projection.
    pub(crate) fn projection(&self) -> &P {
        &self.projection
    }

    /// Folds a page onto the rows of a generation. Nothing is written: the caller commits
    /// [`Folded::changes`] and then calls [`settle`](Self::settle), or
    /// [`forget`](Self::forget) when the commit failed.
    pub(crate) async fn fold(
        &mut self,
        models: &dyn ReadModels,
        generation: &GenerationId,
        codec: &EventCodec,
        page: &[RecordedEvent],
    ) -> Result<Folded, FoldError> {
        let keys = codec.keys_for(page).await?;
        let (events, mut failure) = self.decode(codec, page, &keys);
        self.discover(page, &events);
        self.fetch_asked(models, generation).await?;
        for (recorded, event) in page.iter().zip(&events) {
            match self.apply(models, generation, recorded, event).await? {
                Ok(()) => {}
                Err(reason) => {
                    failure = Some(FoldFailure {
                        position: recorded.position,
                        event_type: recorded.event_type.clone(),
                        reason,
                    });
                    break;
                }
            }
        }
        Ok(Folded { changes: self.rows.changes(), failure })
    }

    /// The last page's changes are stored.
    pub(crate) fn settle(&mut self) {
        self.rows.settle(ROWS_KEPT);
    }

    /// The last page's changes are not stored, or someone else wrote: nothing at hand is true.
    pub(crate) fn forget(&mut self) {
        self.rows = Rows::default();
    }

    /// Decodes up to the first event that cannot be decoded.
    fn decode(
        &self,
        codec: &EventCodec,
        page: &[RecordedEvent],
        keys: &SubjectKeys,
    ) -> (Vec<P::Event>, Option<FoldFailure>) {
        let mut events = Vec::with_capacity(page.len());
        for recorded in page {
            match P::Event::decode(codec, recorded, keys) {
                Ok(event) => events.push(event),
                Err(error) => {
                    let failure = FoldFailure {
                        position: recorded.position,
                        event_type: recorded.event_type.clone(),
                        reason: error.to_string(),
                    };
                    return (events, Some(failure));
                }
            }
        }
        (events, None)
    }

    /// Runs every event up to the first row it misses, so that all of those are fetched at once.
    fn discover(&mut self, page: &[RecordedEvent], events: &[P::Event]) {
        for (recorded, event) in page.iter().zip(events) {
            // What it says is for the real run: here only the rows it asks for count.
            let _ = self.projection.apply(ProjectedEvent { recorded, event }, &mut self.rows);
            self.rows.forget_event();
        }
    }

    async fn apply(
        &mut self,
        models: &dyn ReadModels,
        generation: &GenerationId,
        recorded: &RecordedEvent,
        event: &P::Event,
    ) -> Result<Result<(), String>, FoldError> {
        for _ in 0..MAX_FETCHES_PER_EVENT {
            match self.projection.apply(ProjectedEvent { recorded, event }, &mut self.rows) {
                Ok(()) => {
                    self.rows.keep_event();
                    return Ok(Ok(()));
                }
                Err(ApplyError::Missing(_)) => {
                    self.rows.forget_event();
                    self.fetch_asked(models, generation).await?;
                }
                Err(impossible) => {
                    self.rows.forget_event();
                    return Ok(Err(impossible.to_string()));
                }
            }
        }
        Ok(Err(format!("asked for further rows {MAX_FETCHES_PER_EVENT} times")))
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
