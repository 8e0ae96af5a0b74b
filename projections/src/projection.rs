//! What a projection is.

use freehold_domain::StoredEvent;
use freehold_ports::{CodecError, EventCodec, EventFilter, LogName, RecordedEvent, Table};

use crate::{Missing, Rows};

/// Folds events into rows; can be rebuilt from nothing.
///
/// Pure: the same events give the same rows, in pages of any size, and whatever the order in which
/// different streams come: a parked stream is folded later than others. No clock, no randomness, no
/// reads besides [`Rows`], and no keys: a personal text reaches a row only as the
/// [`SealedText`](freehold_ports::SealedText) that stands in its place.
pub trait Projection: Send + Sync + 'static {
    /// The events it folds.
    type Event: DecodeEvent;

    /// Its name, unique: `listings`.
    const NAME: &'static str;

    /// Counts up whenever the same events would give other rows; the next start then rebuilds.
    const VERSION: u32;

    /// The log it reads.
    fn log(&self) -> LogName;

    /// The events it wants to see; one of them that it cannot handle parks its stream.
    fn filter(&self) -> EventFilter;

    /// The tables it fills.
    fn tables(&self) -> &'static [&'static Table];

    /// What an event does to the rows.
    ///
    /// A row must be read with [`Rows::get`] before it is written, unless what was there does not
    /// matter. It may run more than once for an event; only the last run counts.
    fn apply(
        &self,
        event: ProjectedEvent<'_, Self::Event>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError>;
}

/// An event with its envelope.
#[derive(Debug)]
pub struct ProjectedEvent<'a, E> {
    /// Where it stands, who caused it, when.
    pub recorded: &'a RecordedEvent,
    /// What happened.
    pub event: &'a E,
}

// By hand: deriving would ask `E: Copy`, though only a reference is copied.
impl<E> Clone for ProjectedEvent<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ProjectedEvent<'_, E> {}

/// Events that a projection can be handed: one aggregate's, or an enum over several.
pub trait DecodeEvent: Sized + Send + Sync + 'static {
    /// Decodes a recorded event; personal texts stay sealed.
    fn decode(codec: &EventCodec, recorded: &RecordedEvent) -> Result<Self, CodecError>;
}

impl<E: StoredEvent + Send + Sync + 'static> DecodeEvent for E {
    fn decode(codec: &EventCodec, recorded: &RecordedEvent) -> Result<Self, CodecError> {
        codec.decode_sealed(recorded)
    }
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It asked for a row that is not loaded yet; the engine loads it and applies it again.
    #[error("a row is not loaded yet")]
    Missing(#[from] Missing),
    /// It does not fit what the rows say. The text is kept and listed: it names no value of the
    /// event but ids.
    #[error("{0}")]
    Impossible(String),
}
