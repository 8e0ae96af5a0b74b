//! Deciding about events that a projection could not handle.
//!
//! An edit or a discard is three steps: hold the letter, append the decision, release the letter to
//! be tried. A writer that dies in between leaves a hold that ends by itself, and then the letter is
//! tried with what is in the log. Nothing is decided about an event that readers see applied.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use freehold_domain::StoredEvent as _;
use freehold_domain::SubjectId;
use freehold_ports::{
    AppendError, AppendRequest, CodecError, CommandId, DeadLetter, EventId, EventPlace,
    ExpectedVersion, Fingerprint, Hold, LetterDecision, LetterDiscarded, LetterEdited, LetterId,
    LettersRetried, LogName, NewEvent, Provenance, ReadModelError, RecordedEvent, RetryPace,
    StreamVersion, Tried, kept_personal,
};
use serde_json::Value;

use crate::decisions::{self, Decisions, RecordedDecision, Verdict};
use crate::projections::{Engine, ProjectionError, Projections};
use crate::{HandleError, blame};

/// How long a letter is held at most: much longer than an append takes.
const HOLD: Duration = Duration::from_secs(60);

/// How many letters are decided about in one append.
const TOGETHER: usize = 500;

/// How many characters a reason has at most.
const LONGEST_REASON: usize = 1_000;

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The letter is another one by now.
    #[error(
        "there is no such letter any more: its stream goes on, or is parked at another event; \
         list them again"
    )]
    Gone,
    /// One person at a time.
    #[error(
        "somebody else decides about this event at the moment, or has, and it was not tried since; \
         look in a minute what became of it"
    )]
    Held,
    /// Nobody would know later.
    #[error(
        "give a reason of 1 to {LONGEST_REASON} characters, in one line and without names of people"
    )]
    Reason,
    /// The payload cannot take the place of the event's.
    #[error("{0}")]
    Payload(String),
    /// The decision was not stored, or nobody knows.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A decision cannot be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The projection is not there or not at hand.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
}

impl From<ReadModelError> for DecisionError {
    fn from(error: ReadModelError) -> Self {
        Self::Projection(error.into())
    }
}

impl From<HandleError> for DecisionError {
    fn from(error: HandleError) -> Self {
        Self::Projection(error.into())
    }
}

/// What a payload for an event is, once it was looked at.
struct Edit {
    payload: String,
    subjects: Vec<SubjectId>,
    /// Whose event it is, and so whose the decision.
    tenant: Arc<str>,
}

impl Projections {
    /// What trying a letter would come to if its event had another payload; nothing is stored.
    ///
    /// - Errors: [`DecisionError::Payload`] also where the event still could not be applied.
    pub async fn try_edit(
        &self,
        letter: &DeadLetter,
        payload: &str,
    ) -> Result<Tried, DecisionError> {
        Ok(self.look_at_edit(letter, payload).await?.1)
    }

    /// Has an event folded with another payload from now on, of its type and schema version, and its
    /// letter tried.
    ///
    /// The event stays in the log as it is. Personal values stay sealed where they are, or are left
    /// out.
    pub async fn edit_letter(
        &self,
        letter: DeadLetter,
        payload: &str,
        reason: &str,
        who: Provenance,
    ) -> Result<(), DecisionError> {
        let reason = checked(reason)?;
        let (Edit { payload, subjects, tenant }, _) = self.look_at_edit(&letter, payload).await?;
        let event = EventPlace::from(&letter);
        let edited = LetterDecision::LetterEdited(LetterEdited { event, payload, reason });
        let who = Provenance { tenant, ..who };
        self.decide(vec![(letter, edited, subjects)], &who).await.map(drop)
    }

    /// Has events passed over from now on, and their letters tried, as far as they still are as
    /// named and nobody else decides about them; answers how many are.
    ///
    /// - Errors: [`DecisionError::Held`] or [`DecisionError::Gone`] if none is.
    pub async fn discard_letters(
        &self,
        letters: Vec<DeadLetter>,
        reason: &str,
        who: Provenance,
    ) -> Result<u64, DecisionError> {
        let reason = checked(reason)?;
        let discarded = letters.into_iter().map(|letter| {
            let event = EventPlace::from(&letter);
            let decision =
                LetterDecision::LetterDiscarded(LetterDiscarded { event, reason: reason.clone() });
            (letter, decision, Vec::new())
        });
        self.decide(discarded.collect(), &who).await
    }

    /// Has letters tried again as they are, some a second at most; answers how many stand as named.
    /// Who ordered it is noted first: what is noted may find its letters moved on.
    pub async fn retry_letters(
        &self,
        letters: Vec<DeadLetter>,
        per_second: Option<NonZeroU32>,
        who: Provenance,
    ) -> Result<u64, DecisionError> {
        let per_second = per_second.map(NonZeroU32::get);
        for (projection, letters) in by_projection(letters.iter().map(|letter| (letter, ()))) {
            let engine = self.of(&projection)?.0;
            let log = &letters[0].0.log;
            for letters in letters.chunks(TOGETHER) {
                let letters =
                    letters.iter().map(|(letter, ())| EventPlace::from(*letter)).collect();
                let retried = LettersRetried { letters, per_second };
                let decision = (LetterDecision::LettersRetried(retried), Vec::new());
                engine.append(log, &projection, vec![decision], &who).await?;
            }
        }
        let every = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        let pace = RetryPace { first_at: self.engine().clock.now(), every };
        let ids = letters.into_iter().map(|letter| letter.id).collect();
        Ok(self.engine().models.order_retry(ids, pace, who.actor).await?)
    }

    /// At most so many decisions about events of a projection, in the order they were made, after
    /// one of them.
    pub async fn decisions(
        &self,
        projection: &str,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedDecision>, DecisionError> {
        let (engine, of) = self.of(projection)?;
        let (store, codec) = (&*engine.store, &engine.codec);
        Ok(decisions::read(store, codec, &of.log(), projection, after, limit).await?)
    }

    async fn look_at_edit(
        &self,
        letter: &DeadLetter,
        payload: &str,
    ) -> Result<(Edit, Tried), DecisionError> {
        let (engine, projection) = self.of(&letter.id.generation.projection)?;
        let recorded = engine.event_of(letter).await?;
        let edited: Value = serde_json::from_str(payload)
            .map_err(|error| DecisionError::Payload(format!("this is no JSON: {error}")))?;
        // Where the event has no JSON either, nothing personal can be kept.
        let original = serde_json::from_slice(&recorded.payload).unwrap_or_default();
        let subjects = kept_personal(&original, &edited)
            .map_err(|changed| DecisionError::Payload(changed.to_string()))?;
        // As it was understood: of a field that is there twice only one was looked at.
        let tenant = recorded.provenance.tenant.clone();
        let edit = Edit { payload: edited.to_string(), subjects, tenant };
        let trial = RecordedEvent {
            payload: edit.payload.clone().into_bytes().into(),
            subjects: edit.subjects.clone(),
            ..recorded
        };
        projection.clone().decodes(&engine.codec, &trial).map_err(|error| {
            DecisionError::Payload(format!(
                "this is no {} of schema version {}: {}",
                trial.event_type,
                trial.schema_version,
                blame::undecodable(&error)
            ))
        })?;
        let verdict = Verdict::edited(edit.payload.clone(), &trial);
        let tried = self.try_with(&letter.id, Some(verdict)).await?.ok_or(DecisionError::Gone)?;
        if let Tried::Failed { error, .. } = &tried {
            let message = format!("with this payload the event still cannot be applied: {error}");
            return Err(DecisionError::Payload(message));
        }
        Ok((edit, tried))
    }

    /// Holds, appends, releases.
    async fn decide(
        &self,
        decided: Vec<(DeadLetter, LetterDecision, Vec<SubjectId>)>,
        who: &Provenance,
    ) -> Result<u64, DecisionError> {
        let first = decided.first().map(|(letter, ..)| letter.clone());
        let mut count = 0;
        let decided = decided.into_iter().map(|(letter, decision, of)| (letter, (decision, of)));
        for (projection, decided) in by_projection(decided) {
            let engine = self.of(&projection)?.0;
            let mut decided = decided.into_iter().peekable();
            let mut known = Decisions::default();
            while decided.peek().is_some() {
                let some = decided.by_ref().take(TOGETHER).collect();
                count += engine.decide(&projection, some, who, &mut known).await?;
            }
        }
        match first {
            Some(letter) if count == 0 => Err(self.engine().why_not(&letter).await?),
            _ => Ok(count),
        }
    }
}

type Decision = (LetterDecision, Vec<SubjectId>);

impl Engine {
    async fn decide(
        &self,
        projection: &str,
        decided: Vec<(DeadLetter, Decision)>,
        who: &Provenance,
        known: &mut Decisions,
    ) -> Result<u64, DecisionError> {
        let at = self.clock.now();
        let hold = Hold { by: who.actor.clone(), at, until: at + HOLD };
        let ids: Vec<LetterId> = decided.iter().map(|(letter, _)| letter.id.clone()).collect();
        let held = self.models.hold(ids, hold.clone()).await?;
        if held.is_empty() {
            return Ok(0);
        }
        let (log, is_held) = (decided[0].0.log.clone(), HashSet::<_>::from_iter(&held));
        known.take_in(known.news(&*self.store, &self.codec, &log, projection).await?);
        // Whoever decides knows what came of what was decided before.
        let knows = |letter: &DeadLetter| {
            known.made(&letter.into()).is_none_or(|made| made < letter.tried_at)
        };
        let decided = decided.into_iter().filter(|(l, _)| is_held.contains(&l.id) && knows(l));
        let events: Vec<Decision> = decided.map(|(_, decision)| decision).collect();
        let count = events.len() as u64;
        let pace = RetryPace { first_at: self.clock.now(), every: Duration::ZERO };
        if events.is_empty() {
            self.models.release(held, hold, pace).await?;
            return Ok(0);
        }
        // Who was stopped meanwhile decides nothing any more: others may have tried the letters.
        let left = (hold.until - self.clock.now()).to_std().unwrap_or_default();
        if left < HOLD / 2 {
            return Err(DecisionError::Held);
        }
        let append = self.append(&log, projection, events, who);
        let unknown = |_| AppendError::OutcomeUnknown {
            stream: held[0].stream.clone(),
            source: "no answer in time".into(),
        };
        let appended = tokio::time::timeout(left / 2, append).await;
        let appended = appended.map_err(unknown)?;
        if matches!(&appended, Err(DecisionError::Append(AppendError::OutcomeUnknown { .. }))) {
            // If it is stored, it is obeyed when the hold ends.
            return appended.map(|()| 0);
        }
        self.models.release(held, hold, pace).await?;
        appended.map(|()| count)
    }

    async fn append(
        &self,
        log: &LogName,
        projection: &str,
        decisions: Vec<Decision>,
        who: &Provenance,
    ) -> Result<(), DecisionError> {
        let stream = LetterDecision::stream_of(projection);
        let stream = stream.map_err(HandleError::unavailable)?;
        let mut events = Vec::with_capacity(decisions.len());
        for (decision, subjects) in decisions {
            let event_id = EventId::new();
            let encoded = self.codec.encode(&decision, event_id).await?;
            events.push(NewEvent {
                event_id,
                event_type: decision.event_type().into(),
                schema_version: decision.schema_version(),
                occurred_at: self.clock.now(),
                subjects,
                tags: Vec::new(),
                codec: encoded.codec,
                payload: encoded.payload,
            });
        }
        let request = AppendRequest {
            log: log.clone(),
            stream,
            expected: ExpectedVersion::Any,
            command_id: CommandId::new(),
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: who.clone(),
            events,
        };
        self.store.append(request).await?;
        Ok(())
    }

    /// The event that a letter is parked at.
    async fn event_of(&self, letter: &DeadLetter) -> Result<RecordedEvent, DecisionError> {
        let before = StreamVersion(letter.version.0.saturating_sub(1));
        let (log, stream) = (&letter.log, &letter.id.stream);
        let read = self.store.read_stream(log, stream, before, NonZeroU32::MIN).await;
        let event = read.map_err(HandleError::unavailable)?.pop();
        event.filter(|event| event.event_id == letter.event_id).ok_or(DecisionError::Gone)
    }

    /// Why a letter could not be held.
    async fn why_not(&self, letter: &DeadLetter) -> Result<DecisionError, DecisionError> {
        let parked = self.models.parked(&letter.id.generation).await?;
        let stands = parked.iter().any(|now| now.id == letter.id && now.done_through < now.version);
        Ok(if stands { DecisionError::Held } else { DecisionError::Gone })
    }
}

/// Letters, with what belongs to each, by their projections.
fn by_projection<L: std::borrow::Borrow<DeadLetter>, T>(
    letters: impl IntoIterator<Item = (L, T)>,
) -> BTreeMap<Arc<str>, Vec<(L, T)>> {
    let mut by_projection: BTreeMap<Arc<str>, Vec<(L, T)>> = BTreeMap::new();
    for (letter, with) in letters {
        let projection = letter.borrow().id.generation.projection.clone();
        by_projection.entry(projection).or_default().push((letter, with));
    }
    by_projection
}

/// A reason as it is kept.
fn checked(reason: &str) -> Result<String, DecisionError> {
    let reason = reason.trim();
    let fits = !reason.is_empty() && reason.chars().count() <= LONGEST_REASON;
    if fits && !reason.contains(char::is_control) {
        return Ok(reason.to_owned());
    }
    Err(DecisionError::Reason)
}
