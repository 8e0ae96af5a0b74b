//! What people decided about events that a projection could not handle, as its folds obey it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use freehold_ports::{
    EncodedPayload, EventCodec, EventPlace, EventStore, LetterDecision, LogName, PayloadCodec,
    Provenance, RecordedEvent, StreamId, StreamVersion, SubjectKeys,
};

use crate::HandleError;

/// How many decisions are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// What folds of a projection obey, up to a version of its stream of decisions. All of them are kept
/// in memory: people make them one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decisions {
    /// The last decision that was read.
    read: StreamVersion,
    /// The last one that folds obey.
    last: StreamVersion,
    by_stream: HashMap<StreamId, BTreeMap<StreamVersion, Decided>>,
}

#[derive(Clone, Debug)]
struct Decided {
    /// Its place among the decisions.
    at: StreamVersion,
    recorded_at: DateTime<Utc>,
    verdict: Verdict,
}

/// What a fold does with an event.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It takes this for the payload.
    Edited(EncodedPayload),
    /// It passes it over.
    Discarded,
}

impl Verdict {
    pub(crate) fn edited(payload: String, event: &RecordedEvent) -> Self {
        let (payload, subjects) = (payload.into_bytes().into(), event.subjects.clone());
        Self::Edited(EncodedPayload { codec: PayloadCodec::Json, payload, subjects })
    }
}

impl Decisions {
    /// The last decision that folds obey.
    pub(crate) fn last(&self) -> StreamVersion {
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_stream.is_empty()
    }

    /// What is decided about an event.
    pub(crate) fn about(&self, event: &RecordedEvent) -> Option<&Verdict> {
        let decided = self.by_stream.get(&event.stream)?.get(&event.version)?;
        Some(&decided.verdict)
    }

    /// When something was last decided about an event.
    pub(crate) fn made(&self, event: &EventPlace) -> Option<DateTime<Utc>> {
        Some(self.by_stream.get(&event.stream)?.get(&event.version)?.recorded_at)
    }

    /// The events that something was decided about after a decision.
    pub(crate) fn since(
        &self,
        decision: StreamVersion,
    ) -> impl Iterator<Item = (&StreamId, StreamVersion)> {
        let events = self.by_stream.iter().flat_map(|(stream, decided)| {
            decided.iter().map(move |(version, decided)| (stream, *version, decided.at))
        });
        let later = events.filter(move |(.., at)| *at > decision);
        later.map(|(stream, version, _)| (stream, version))
    }

    /// A decision that is not in the log, to see what would come of it.
    pub(crate) fn suppose(&mut self, stream: StreamId, version: StreamVersion, verdict: Verdict) {
        let recorded_at = DateTime::UNIX_EPOCH;
        self.decide(stream, version, Decided { at: self.read, recorded_at, verdict });
    }

    fn decide(&mut self, stream: StreamId, version: StreamVersion, decided: Decided) {
        self.by_stream.entry(stream).or_default().insert(version, decided);
    }

    /// Takes in decisions that were read; whether folds obey one of them.
    pub(crate) fn take_in(&mut self, recorded: Vec<RecordedDecision>) -> bool {
        let before = self.last;
        for RecordedDecision { version: at, event, decision, recorded_at, .. } in recorded {
            self.read = at;
            let (place, verdict) = match decision {
                LetterDecision::LetterEdited(edited) => {
                    (edited.event, Verdict::edited(edited.payload, &event))
                }
                LetterDecision::LetterDiscarded(discarded) => (discarded.event, Verdict::Discarded),
                LetterDecision::LettersRetried(_) => continue,
            };
            self.last = at;
            self.decide(place.stream, place.version, Decided { at, recorded_at, verdict });
        }
        self.last > before
    }

    /// The decisions after those that were read so far.
    pub(crate) async fn news(
        &self,
        store: &dyn EventStore,
        codec: &EventCodec,
        log: &LogName,
        projection: &str,
    ) -> Result<Vec<RecordedDecision>, HandleError> {
        let mut found: Vec<RecordedDecision> = Vec::new();
        loop {
            let after = found.last().map_or(self.read, |last| last.version);
            let page = read(store, codec, log, projection, after, PAGE).await?;
            let is_last = page.len() < PAGE.get() as usize;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }
}

/// A decision with its envelope.
#[derive(Clone, Debug)]
pub struct RecordedDecision {
    /// Its place among those of the projection.
    pub version: StreamVersion,
    /// What was decided.
    pub decision: LetterDecision,
    /// When.
    pub recorded_at: DateTime<Utc>,
    /// Who decided.
    pub provenance: Provenance,
    /// As it is stored.
    pub(crate) event: RecordedEvent,
}

/// At most so many decisions about events of a projection, after one of them.
pub(crate) async fn read(
    store: &dyn EventStore,
    codec: &EventCodec,
    log: &LogName,
    projection: &str,
    after: StreamVersion,
    limit: NonZeroU32,
) -> Result<Vec<RecordedDecision>, HandleError> {
    let stream = LetterDecision::stream_of(projection).map_err(HandleError::unavailable)?;
    let events = store.read_stream(log, &stream, after, limit).await;
    let decode = |event: RecordedEvent| {
        Ok(RecordedDecision {
            version: event.version,
            decision: codec.decode(&event, &SubjectKeys::default())?,
            recorded_at: event.recorded_at,
            provenance: event.provenance.clone(),
            event,
        })
    };
    let decoded: Result<_, freehold_ports::CodecError> =
        events.map_err(HandleError::unavailable)?.into_iter().map(decode).collect();
    decoded.map_err(HandleError::unavailable)
}
