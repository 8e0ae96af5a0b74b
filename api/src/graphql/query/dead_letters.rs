//! Dead letters, and what was decided about them, page by page.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_graphql::connection::{Connection, Edge};
use freehold_ports::{LetterFilter, ReadModels, StreamId, StreamVersion};
use freehold_projections::{DecisionError, ProjectionError, Projections};

use crate::graphql::Fault;
use crate::graphql::fault::internal;
use crate::graphql::mutation::dead_letter::failed;
use crate::graphql::objects::dead_letter::{DeadLetter, DeadLetterDecision};

/// A connection of letters; forward only, the cursor is the letter's id.
pub(crate) type DeadLetters = Connection<String, DeadLetter>;

/// Reads the first `first` letters after a cursor.
pub(crate) async fn dead_letters(
    models: &dyn ReadModels,
    filter: LetterFilter,
    first: u32,
    after: Option<String>,
) -> Result<DeadLetters, Fault> {
    let bad_cursor = || Fault::input("after", "send a cursor as this service gave it");
    let after = after.map(|id| DeadLetter::parse_id(&id).ok_or_else(bad_cursor)).transpose()?;
    let size = first as usize;
    // One more than asked for tells whether there is a next page.
    let limit = NonZeroU32::MIN.saturating_add(first);
    let has_previous = after.is_some();
    let mut found = models.letters(filter, after, limit).await?;
    let has_next = found.len() > size;
    found.truncate(size);
    let mut connection = Connection::new(has_previous, has_next);
    let edge = |letter: freehold_ports::DeadLetter| {
        Edge::new(DeadLetter::id_of(&letter.id).0, DeadLetter(Arc::new(letter)))
    };
    connection.edges = found.into_iter().map(edge).collect();
    Ok(connection)
}

/// A connection of decisions; forward only, the cursor is the decision's number.
pub(crate) type DeadLetterDecisions = Connection<String, DeadLetterDecision>;

/// How many decisions are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// Reads the first `first` decisions about events of a projection after a cursor, of one stream if
/// one is named.
pub(crate) async fn dead_letter_decisions(
    projections: &Projections,
    projection: &str,
    stream: Option<StreamId>,
    first: u32,
    after: Option<String>,
) -> Result<DeadLetterDecisions, Fault> {
    let bad_cursor = |_| Fault::input("after", "send a cursor as this service gave it");
    let after: Option<u64> = after.map(|number| number.parse()).transpose().map_err(bad_cursor)?;
    let mut connection = Connection::new(after.is_some(), false);
    let mut read = StreamVersion(after.unwrap_or_default().min(i64::MAX as u64));
    loop {
        let page = projections.decisions(projection, read, PAGE).await.map_err(not_read)?;
        let Some(last) = page.last() else { return Ok(connection) };
        read = last.version;
        for decision in page {
            let mut events = decision.decision.events().iter();
            if stream.as_ref().is_some_and(|stream| events.all(|event| event.stream != *stream)) {
                continue;
            }
            if connection.edges.len() == first as usize {
                connection.has_next_page = true;
                return Ok(connection);
            }
            let cursor = decision.version.to_string();
            connection.edges.push(Edge::new(cursor, DeadLetterDecision(Arc::new(decision))));
        }
    }
}

fn not_read(error: DecisionError) -> Fault {
    match error {
        DecisionError::Projection(ProjectionError::Unknown(_)) => {
            Fault::input("subscription", "send the name of a projection, such as listings")
        }
        DecisionError::Projection(error) => failed(error),
        error => internal(&error),
    }
}
