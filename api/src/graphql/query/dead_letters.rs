//! Dead letters, page by page.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_graphql::connection::{Connection, Edge};
use freehold_ports::{LetterFilter, ReadModels};

use crate::graphql::Fault;
use crate::graphql::objects::dead_letter::DeadLetter;

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
