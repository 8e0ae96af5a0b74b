//! Relay connections over read models: keyset cursors that stay true under writes.
//!
//! A cursor holds the values that a row is ordered by, so it needs no row to still be there: the
//! next page begins after the place, not after the row.

use async_graphql::connection::{Connection, CursorType, Edge};
use async_graphql::{Context, Object, ObjectType, OutputType};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use freehold_ports::{ColumnKind, Filter, GlobalPosition, Order, Page, Query, Row, Table, Value};
use freehold_projections::TypedRow;
use std::num::NonZeroU32;
use std::sync::Arc;
use uuid::Uuid;

use super::limits::{DEFAULT_PAGE, page_fault};
use super::{Fault, loaders, platform};

/// The rows of a type belong to one projection.
pub(crate) trait Projected: TypedRow {
    /// The projection's name.
    const PROJECTION: &'static str;
}

/// An order of rows, by the name that cursors carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ordering {
    /// Its name; a cursor of another order is refused.
    pub(crate) name: &'static str,
    /// The columns; the key is always appended.
    pub(crate) columns: Vec<Order>,
}

impl Ordering {
    /// Orders by one column.
    pub(crate) fn by(name: &'static str, column: &'static str, descending: bool) -> Self {
        Self { name, columns: vec![Order { column, descending }] }
    }
}

/// A place in an order, opaque to clients.
///
/// - Shape: base64url of the JSON list `[version, order, values...]`; a value is a text that begins
///   with the letter of its kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    order: String,
    values: Vec<Value>,
}

const CURSOR_VERSION: u64 = 1;

impl Cursor {
    /// The place of a row.
    pub(crate) fn of(row: &Row, table: &Table, order: &Ordering) -> Self {
        let columns = order.columns.iter().filter_map(|order| table.column(order.column));
        let places = columns.chain(0..table.key_columns);
        let values = places.filter_map(|place| row.0.get(place).cloned()).collect();
        Self { order: order.name.to_owned(), values }
    }

    /// A place in a list of keys.
    fn key(order: &str, key: Uuid) -> Self {
        Self { order: order.to_owned(), values: vec![Value::Uuid(key)] }
    }

    /// Reads a cursor that a client sent in `field` for an order of a table.
    pub(crate) fn parse(
        text: &str,
        field: &str,
        table: &Table,
        order: &Ordering,
    ) -> Result<Vec<Value>, Fault> {
        let invalid = |invalid: InvalidCursor| Fault::input(field, invalid.to_string());
        let cursor = Self::decode_cursor(text).map_err(invalid)?;
        let columns = order.columns.iter().filter_map(|order| table.column(order.column));
        let kinds = columns.chain(0..table.key_columns).map(|place| table.columns[place].kind);
        let kinds: Vec<ColumnKind> = kinds.collect();
        let fits = cursor.values.len() == kinds.len()
            && cursor.values.iter().zip(kinds).all(|(value, kind)| is_of(value, kind));
        if cursor.order != order.name || !fits {
            let advice = format!("this cursor belongs to another order than {}", order.name);
            return Err(Fault::input(field, advice));
        }
        Ok(cursor.values)
    }
}

/// A text is no cursor of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("send a cursor as this service gave it")]
pub(crate) struct InvalidCursor;

impl CursorType for Cursor {
    type Error = InvalidCursor;

    fn decode_cursor(text: &str) -> Result<Self, InvalidCursor> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let (version, order, values): (u64, String, Vec<String>) =
            serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        if version != CURSOR_VERSION {
            return Err(InvalidCursor);
        }
        let values = values.iter().map(|value| value_from(value)).collect::<Option<_>>();
        Ok(Self { order, values: values.ok_or(InvalidCursor)? })
    }

    fn encode_cursor(&self) -> String {
        let values: Vec<String> = self.values.iter().map(value_text).collect();
        let json = serde_json::json!([CURSOR_VERSION, self.order, values]);
        URL_SAFE_NO_PAD.encode(json.to_string())
    }
}

fn is_of(value: &Value, kind: ColumnKind) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => kind == ColumnKind::Bool,
        Value::Integer(_) => kind == ColumnKind::Integer,
        Value::Real(_) => kind == ColumnKind::Real,
        Value::Text(_) => kind == ColumnKind::Text,
        Value::Uuid(_) => kind == ColumnKind::Uuid,
        Value::Timestamp(_) => kind == ColumnKind::Timestamp,
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "n".to_owned(),
        Value::Bool(yes) => format!("b{}", u8::from(*yes)),
        Value::Integer(number) => format!("i{number}"),
        // As bits: no digit may get lost on the way.
        Value::Real(number) => format!("r{:x}", number.to_bits()),
        Value::Text(text) => format!("t{text}"),
        Value::Uuid(uuid) => format!("u{}", uuid.simple()),
        Value::Timestamp(moment) => format!("m{}", moment.timestamp_micros()),
    }
}

fn value_from(text: &str) -> Option<Value> {
    let kind = text.chars().next()?;
    let rest = &text[kind.len_utf8()..];
    Some(match kind {
        'n' if rest.is_empty() => Value::Null,
        'b' => Value::Bool(rest == "1"),
        'i' => Value::Integer(rest.parse().ok()?),
        'r' => {
            let number = f64::from_bits(u64::from_str_radix(rest, 16).ok()?);
            (!number.is_nan()).then_some(Value::Real(number))?
        }
        't' => Value::Text(Arc::from(rest)),
        'u' => Value::Uuid(Uuid::try_parse(rest).ok()?),
        'm' => Value::Timestamp(DateTime::from_timestamp_micros(rest.parse().ok()?)?),
        _ => return None,
    })
}

/// The arguments of a connection, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) size: u32,
    pub(crate) backwards: bool,
    pub(crate) after: Option<String>,
    pub(crate) before: Option<String>,
}

impl Window {
    /// Checks what a client asked for.
    pub(crate) fn new(
        ctx: &Context<'_>,
        (first, after): (Option<i32>, Option<String>),
        (last, before): (Option<i32>, Option<String>),
    ) -> Result<Self, Fault> {
        let (field, asked) = match (first, last) {
            (Some(_), Some(_)) => {
                return Err(Fault::input("last", "send either first or last, not both"));
            }
            (first, None) => ("first", first),
            (None, last) => ("last", last),
        };
        Ok(Self { size: page_size(ctx, field, asked)?, backwards: last.is_some(), after, before })
    }

    /// Whether it is the first rows that are asked for: what a loader fetches for many parents.
    pub(crate) fn is_first_page(&self) -> bool {
        !self.backwards && self.after.is_none() && self.before.is_none()
    }
}

/// How many nodes a page may have.
pub(crate) fn page_size(ctx: &Context<'_>, field: &str, asked: Option<i32>) -> Result<u32, Fault> {
    let cap = ctx.data_unchecked::<super::Limits>().page_cap;
    let size = asked.map_or(Some(DEFAULT_PAGE.min(cap)), |asked| u32::try_from(asked).ok());
    size.filter(|size| *size <= cap).ok_or_else(|| page_fault(field, cap))
}

/// What rows a connection shows.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) filters: Vec<Filter>,
    pub(crate) order: Ordering,
}

/// Rows of one page with their cursors.
pub(crate) struct Rows<R> {
    pub(crate) rows: Vec<(Cursor, R)>,
    pub(crate) has_previous: bool,
    pub(crate) has_next: bool,
}

impl<R: Projected> Rows<R> {
    fn none() -> Self {
        Self { rows: Vec::new(), has_previous: false, has_next: false }
    }

    /// Reads the page of a window.
    pub(crate) async fn read(
        ctx: &Context<'_>,
        selection: &Selection,
        window: &Window,
    ) -> Result<Self, Fault> {
        let Selection { filters, order } = selection;
        let place = |cursor: &Option<String>, field| match cursor {
            Some(text) => Cursor::parse(text, field, R::TABLE, order).map(Some),
            None => Ok(None),
        };
        let query = Query {
            table: R::TABLE,
            filters: filters.clone(),
            order: order.columns.clone(),
            after: place(&window.after, "after")?,
            before: place(&window.before, "before")?,
            backwards: window.backwards,
            // Whether there is a row tells an empty page whether more is to come.
            limit: NonZeroU32::new(window.size).unwrap_or(NonZeroU32::MIN),
        };
        let models = &platform(ctx).models;
        let page = loaders(ctx).rounds.ask(models.query(R::PROJECTION, query)).await?;
        let Page { mut rows, has_more, .. } = page;
        let has_more = has_more || rows.len() > window.size as usize;
        rows.truncate(window.size as usize);
        Ok(Self {
            rows: with_cursors(rows, order)?,
            // Whether there are rows beyond the cursor the client came from costs a query more;
            // there was at least the row that the cursor is of.
            has_previous: if window.backwards { has_more } else { window.after.is_some() },
            has_next: if window.backwards { window.before.is_some() } else { has_more },
        })
    }

    /// As a connection of GraphQL objects.
    pub(crate) fn connection<N: OutputType, T: ObjectType>(
        self,
        total: T,
        node: impl Fn(R) -> N,
    ) -> Connection<Cursor, N, T> {
        let Self { rows, has_previous, has_next } = self;
        let mut connection = Connection::with_additional_fields(has_previous, has_next, total);
        connection.edges = rows.into_iter().map(|(at, row)| Edge::new(at, node(row))).collect();
        connection
    }

    /// The total of a selection of which this page was read: when the page shows all there is,
    /// nobody needs to count.
    pub(crate) fn total(&self, selection: Selection, window: &Window) -> Total {
        let all = window.after.is_none() && window.before.is_none();
        if all && !self.has_next && !self.has_previous {
            return Total::Known(self.rows.len() as u64);
        }
        Total::of::<R>(selection)
    }
}

/// Types rows and gives each its cursor.
pub(crate) fn with_cursors<R: Projected>(
    rows: Vec<Row>,
    order: &Ordering,
) -> Result<Vec<(Cursor, R)>, Fault> {
    let typed = |row: Row| Ok((Cursor::of(&row, R::TABLE, order), R::from_row(row)?));
    rows.into_iter().map(typed).collect()
}

/// One page of a list of keys that is at hand.
pub(crate) struct KeyPage {
    pub(crate) keys: Vec<Uuid>,
    has_previous: bool,
    has_next: bool,
}

impl KeyPage {
    /// The keys of a window.
    pub(crate) fn of(order: &str, all: &[Uuid], window: &Window) -> Result<Self, Fault> {
        let place = |cursor: &Option<String>, field| match cursor {
            None => Ok(None),
            Some(text) => Cursor::decode_cursor(text)
                .ok()
                .and_then(|cursor| all.iter().position(|key| Cursor::key(order, *key) == cursor))
                .map(Some)
                .ok_or_else(|| Fault::input(field, "this cursor belongs to another list")),
        };
        let from = place(&window.after, "after")?.map_or(0, |place| place + 1);
        let to = place(&window.before, "before")?.unwrap_or(all.len()).max(from);
        let size = (window.size as usize).min(to - from);
        let (from, to) = if window.backwards { (to - size, to) } else { (from, from + size) };
        Ok(Self { keys: all[from..to].to_vec(), has_previous: from > 0, has_next: to < all.len() })
    }

    /// As a connection; a key without a node is left out: its row is still to come.
    pub(crate) fn connection<N: OutputType>(
        self,
        order: &str,
        total: usize,
        mut node: impl FnMut(Uuid) -> Option<N>,
    ) -> Connection<Cursor, N, Total> {
        let Self { keys, has_previous, has_next } = self;
        let total = Total::Known(total as u64);
        let mut connection = Connection::with_additional_fields(has_previous, has_next, total);
        let edge = |key: Uuid| Some(Edge::new(Cursor::key(order, key), node(key)?));
        connection.edges = keys.into_iter().filter_map(edge).collect();
        connection
    }
}

/// How many nodes there are on all pages together; counted only when asked for.
pub(crate) enum Total {
    Known(u64),
    Counted { projection: &'static str, table: &'static Table, filters: Vec<Filter> },
}

impl Total {
    fn of<R: Projected>(selection: Selection) -> Self {
        let filters = selection.filters;
        Self::Counted { projection: R::PROJECTION, table: R::TABLE, filters }
    }
}

#[Object]
impl Total {
    /// How many nodes there are on all pages together; counted only when asked for.
    #[graphql(complexity = 10)]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<u64, Fault> {
        match self {
            Self::Known(count) => Ok(*count),
            Self::Counted { projection, table, filters } => {
                let models = &platform(ctx).models;
                Ok(models.count(projection, table, filters.clone()).await?)
            }
        }
    }
}

/// Reads a connection, or only counts it when nothing else is asked for.
pub(crate) async fn connection<R: Projected, N: OutputType>(
    ctx: &Context<'_>,
    selection: Selection,
    window: Window,
    node: impl Fn(R) -> N,
) -> Result<Connection<Cursor, N, Total>, Fault> {
    let rows = if asks_for_rows(ctx) {
        Rows::<R>::read(ctx, &selection, &window).await?
    } else {
        let total = Total::of::<R>(selection);
        return Ok(Rows::none().connection(total, node));
    };
    let total = rows.total(selection, &window);
    Ok(rows.connection(total, node))
}

/// Whether a connection's rows are needed to answer the request.
fn asks_for_rows(ctx: &Context<'_>) -> bool {
    let asked = ctx.look_ahead();
    ["edges", "nodes", "pageInfo"].iter().any(|field| asked.field(field).exists())
}

/// Where a log's page ends: the cursor of events is their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtPosition(pub(crate) GlobalPosition);

impl CursorType for AtPosition {
    type Error = std::num::ParseIntError;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        text.parse().map(|position| Self(GlobalPosition(position)))
    }

    fn encode_cursor(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_to_a_client_and_back() {
        let moment = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let cursor = Cursor {
            order: "NEWEST".to_owned(),
            values: vec![
                Value::Null,
                Value::Bool(true),
                Value::Integer(i64::MIN),
                Value::Real(0.1 + 0.2),
                Value::Text(Arc::from("ß, \"quoted\"")),
                Value::Uuid(Uuid::now_v7()),
                Value::Timestamp(moment),
            ],
        };
        assert_eq!(Cursor::decode_cursor(&cursor.encode_cursor()), Ok(cursor));
    }

    #[test]
    fn a_cursor_of_another_version_or_shape_is_refused() {
        let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for text in
            ["", "?", &encode("[2,\"A\",[]]"), &encode("[1,\"A\",[\"ruuu\"]]"), &encode("{}")]
        {
            assert_eq!(Cursor::decode_cursor(text), Err(InvalidCursor), "{text}");
        }
        let nan = encode(&format!("[1,\"A\",[\"r{:x}\"]]", f64::NAN.to_bits()));
        assert_eq!(Cursor::decode_cursor(&nan), Err(InvalidCursor));
    }
}
