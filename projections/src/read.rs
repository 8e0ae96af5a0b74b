//! Reading typed rows.

use freehold_ports::{Filter, GlobalPosition, Query, ReadModelError, ReadModels};

use crate::{MalformedRow, TypedRow};

/// Typed rows that match, in the order asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedPage<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// Whether more rows follow in the direction of reading.
    pub has_more: bool,
    /// The checkpoint that these rows show.
    pub checkpoint: GlobalPosition,
}

/// Why typed rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The read models did not answer.
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// A row does not have the shape of its table.
    #[error(transparent)]
    Malformed(#[from] MalformedRow),
}

/// Queries a projection's table and types the rows; `query.table` must be the row's table.
pub async fn query<R: TypedRow>(
    models: &dyn ReadModels,
    projection: &str,
    query: Query,
) -> Result<TypedPage<R>, ReadError> {
    let page = models.query(projection, query).await?;
    let rows = page.rows.into_iter().map(R::from_row).collect::<Result<_, _>>()?;
    Ok(TypedPage { rows, has_more: page.has_more, checkpoint: page.checkpoint })
}

/// The row of a key.
pub async fn find<R: TypedRow>(
    models: &dyn ReadModels,
    projection: &str,
    key: &R::Key,
) -> Result<Option<R>, ReadError> {
    let columns = R::TABLE.columns.iter().map(|column| column.name);
    let equals = columns.zip(R::key_values(key).0).map(|(name, value)| Filter::Equals(name, value));
    let only = Query {
        table: R::TABLE,
        filters: equals.collect(),
        order: Vec::new(),
        after: None,
        before: None,
        backwards: false,
        limit: std::num::NonZeroU32::MIN,
    };
    Ok(query(models, projection, only).await?.rows.pop())
}
