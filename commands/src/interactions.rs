//! Interactions: facts without rules, appended as they come.

use std::sync::Arc;

use freehold_domain::StoredEvent;
use freehold_domain::interaction::{Interaction, interaction_stream};
use freehold_ports::{
    AppendError, AppendRequest, Appended, CodecError, CommandId, EventCodec, EventId, EventStore,
    ExpectedVersion, Fingerprint, InvalidRequest, LogName, NewEvent, Provenance,
};

use crate::CommandContext;

/// Why an interaction is not stored.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The log did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It cannot be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Where an interaction was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id; not known when the key was used before.
    pub event_id: Option<EventId>,
    /// Its place in the log.
    pub appended: Appended,
}

/// Appends one interaction to its day's stream of the `interactions` log.
///
/// `key` is the sender's key of the interaction: sending it again under the same key and sender
/// gives the first answer. `visit` decides the stream, so that one visit stays in order.
pub async fn record_interaction(
    store: &dyn EventStore,
    codec: &EventCodec,
    interaction: &Interaction,
    key: Option<&str>,
    visit: &str,
    context: &CommandContext,
) -> Result<Recorded, RecordError> {
    let day = interaction.details.event_timestamp.date_naive();
    let stream = interaction_stream(day, visit).parse().map_err(InvalidRequest::Name);
    let scope = format!("interaction/{}/{}", context.tenant, context.actor);
    let command_id = key.map_or_else(CommandId::new, |key| CommandId::from_key(&scope, key));
    let event_id = EventId::new();
    let payload = codec.encode(interaction, event_id).await?;
    let request = AppendRequest {
        log: LogName::INTERACTIONS,
        stream: stream.map_err(AppendError::Invalid)?,
        expected: ExpectedVersion::Any,
        command_id,
        // The key alone tells interactions apart: a sender that repeats one stamps it anew.
        fingerprint: Fingerprint([0; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: context.tenant.clone(),
            actor: context.actor.clone(),
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
        },
        events: vec![NewEvent {
            event_id,
            event_type: Arc::from(interaction.event_type()),
            schema_version: interaction.schema_version(),
            occurred_at: interaction.details.event_timestamp,
            subjects: payload.subjects,
            tags: Vec::new(),
            codec: payload.codec,
            payload: payload.payload,
        }],
    };
    let appended = store.append(request).await?;
    Ok(Recorded { event_id: (!appended.repeated).then_some(event_id), appended })
}
