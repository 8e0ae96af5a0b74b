//! Questions to the active generation, each answered from one snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use freehold_ports::{
    Filter, GeoBox, Key, Nulls, Page, Part, Query, ReadModelError, Reading, Row, Table, Term, Test,
    Value, search_words, split_words,
};
use sea_query::extension::postgres::PgExpr as _;
use sea_query::{
    Alias, ArrayType, Cond, Expr, ExprTrait, Func, NullOrdering, Order as Direction,
    PostgresQueryBuilder, Query as Builder, SelectStatement,
};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query_with;

use super::schema::{PhysicalTable, WORDS};
use super::value::{arguments, read_row, to_builder};
use super::{catalogue, unavailable};

/// How the rows are called in a statement; no column begins with an underscore.
const ROWS: &str = "_rows";

/// Rows and checkpoint of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What all questions share.
#[derive(Default)]
pub(super) struct Planner {
    /// What is known of the tables of generations, each read from the catalogue once.
    layouts: Mutex<HashMap<(usize, u32), Arc<Layout>>>,
}

/// How a generation's table differs from the declaration of this program.
struct Layout {
    /// For each column, whether it is there, of the same kind; one that is not reads as null.
    present: Vec<bool>,
    /// Whether its words are those of the texts to search.
    words: bool,
}

impl Planner {
    async fn layout(
        &self,
        reader: &mut PgConnection,
        projection: &str,
        number: u32,
        table: &'static Table,
    ) -> Result<Arc<Layout>, ReadModelError> {
        let key = (std::ptr::from_ref(table).addr(), number);
        let known = self.layouts.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(layout) = known {
            return Ok(layout);
        }
        let stored = catalogue::declaration(reader, projection, number, table.name).await?;
        let stored = stored.ok_or_else(|| ReadModelError::NotBuilt(Arc::from(projection)))?;
        let stored: serde_json::Value = serde_json::from_str(&stored)
            .map_err(|error| ReadModelError::Unavailable { source: error.into() })?;
        let present: Vec<bool> = table.columns.iter().map(|c| c.is_in(&stored)).collect();
        let is_present = |name: &&str| table.column(name).is_some_and(|place| present[place]);
        let words = stored["text_search"] == serde_json::json!(table.text_search)
            && table.text_search.iter().all(is_present);
        let layout = Arc::new(Layout { present, words });
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, layout.clone());
        Ok(layout)
    }
}

/// The rows that a checked question asks for.
pub(super) async fn page(
    pool: &PgPool,
    planner: &Planner,
    projection: &str,
    query: &Query,
) -> Result<Page, ReadModelError> {
    let mut reader = pool.begin_with(SNAPSHOT).await.map_err(unavailable)?;
    let (number, checkpoint) = catalogue::active(&mut reader, projection).await?;
    let layout = planner.layout(&mut reader, projection, number, query.table).await?;
    let mut scope = Scope::new(&mut reader, query.table, number, layout);
    let wanted = query.limit.get() as usize;
    let mut rows = match scope.finds_words(&query.filters) {
        true => scope.rows(query, wanted + 1).await?,
        false => scope.rows_by_their_texts(query, wanted + 1).await?,
    };
    reader.commit().await.map_err(unavailable)?;
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    if query.backwards {
        rows.reverse();
    }
    Ok(Page { rows, has_more, checkpoint })
}

/// How many rows match checked filters.
pub(super) async fn count(
    pool: &PgPool,
    planner: &Planner,
    projection: &str,
    table: &'static Table,
    filters: &[Filter],
) -> Result<u64, ReadModelError> {
    let mut reader = pool.begin_with(SNAPSHOT).await.map_err(unavailable)?;
    let (number, _) = catalogue::active(&mut reader, projection).await?;
    let layout = planner.layout(&mut reader, projection, number, table).await?;
    let mut scope = Scope::new(&mut reader, table, number, layout);
    let counted = match scope.finds_words(filters) {
        true => scope.count(filters).await?,
        false => {
            scope.rows_by_their_texts(&everything(table, filters), usize::MAX).await?.len() as u64
        }
    };
    reader.commit().await.map_err(unavailable)?;
    Ok(counted)
}

/// All rows that meet the filters, in the order of their keys.
fn everything(table: &'static Table, filters: &[Filter]) -> Query {
    Query {
        table,
        filters: filters.to_vec(),
        order: Vec::new(),
        after: None,
        before: None,
        backwards: false,
        limit: std::num::NonZeroU32::MAX,
    }
}

/// One table of the active generation in one read transaction.
struct Scope<'a> {
    reader: &'a mut PgConnection,
    table: &'static Table,
    physical: PhysicalTable,
    layout: Arc<Layout>,
}

impl<'a> Scope<'a> {
    fn new(
        reader: &'a mut PgConnection,
        table: &'static Table,
        number: u32,
        layout: Arc<Layout>,
    ) -> Self {
        Self { reader, table, physical: PhysicalTable::new(table.name, number), layout }
    }

    /// Whether all filters are conditions on a row of this generation.
    fn finds_words(&self, filters: &[Filter]) -> bool {
        self.layout.words || !filters.iter().any(|filter| matches!(filter, Filter::Text(_)))
    }

    /// The first rows of the answer.
    async fn rows(&mut self, query: &Query, wanted: usize) -> Result<Vec<Row>, ReadModelError> {
        let filters: Vec<Filter> = query.filters.iter().map(Filter::plain).collect();
        let reading = Reading::of(query, &filters);
        let mut rows = Vec::new();
        for part in &reading.parts {
            let walk = self.walk(&filters, part, reading.bound.as_deref(), wanted - rows.len())?;
            for row in walk.run(self.reader).await? {
                rows.push(read_row(self.table, &row)?);
            }
            if rows.len() == wanted {
                break;
            }
        }
        Ok(rows)
    }

    /// The first rows of the answer in a generation that was made without the words asked for:
    /// those of the other filters, as many as it takes, and their texts are looked through here.
    async fn rows_by_their_texts(
        &mut self,
        query: &Query,
        wanted: usize,
    ) -> Result<Vec<Row>, ReadModelError> {
        const AT_ONCE: usize = 1_000;
        let mut texts = Vec::new();
        let mut rest = query.clone();
        rest.filters.retain(|filter| match filter {
            Filter::Text(text) => {
                texts.push(search_words(text));
                false
            }
            _ => true,
        });
        let mut rows = Vec::new();
        loop {
            let met = self.rows(&rest, AT_ONCE).await?;
            let ends = met.len() < AT_ONCE;
            let reached = met.last().map(|row| self.place_of(row, query));
            rows.extend(met.into_iter().filter(|row| self.has_words(row, &texts)));
            if ends || rows.len() >= wanted {
                rows.truncate(wanted);
                return Ok(rows);
            }
            let end = if query.backwards { &mut rest.before } else { &mut rest.after };
            *end = reached;
        }
    }

    /// A row's place in the order asked for.
    fn place_of(&self, row: &Row, query: &Query) -> Vec<Value> {
        let order = query.order.iter().filter_map(|order| self.table.column(order.column));
        let Key(key) = self.table.key_of(row);
        order.map(|place| row.0[place].clone()).chain(key).collect()
    }

    /// Whether each of the words begins a word of the row.
    fn has_words(&self, row: &Row, texts: &[String]) -> bool {
        let searched = self.table.text_search.iter().filter_map(|name| self.table.column(name));
        let words: String = searched
            .filter_map(|place| match &row.0[place] {
                Value::Text(text) => Some(search_words(text)),
                _ => None,
            })
            .collect();
        texts.iter().all(|text| split_words(text).all(|word| str::contains(&words, word)))
    }

    async fn count(&mut self, filters: &[Filter]) -> Result<u64, ReadModelError> {
        let filters: Vec<Filter> = filters.iter().map(Filter::plain).collect();
        let counted = self.counting(&filters)?.run(self.reader).await?;
        let row = counted.first().ok_or_else(|| unavailable(sqlx::Error::RowNotFound))?;
        let counted: i64 = sqlx::Row::try_get(row, 0).map_err(unavailable)?;
        Ok(counted.unsigned_abs())
    }

    /// The first rows of a part.
    fn walk(
        &self,
        filters: &[Filter],
        part: &Part,
        bound: Option<&[Part]>,
        wanted: usize,
    ) -> Result<Statement, ReadModelError> {
        let mut select = self.select(filters);
        self.select_columns(&mut select);
        self.within_part(&mut select, part);
        if let Some(bound) = bound {
            select.cond_where(self.any(bound));
        }
        select.limit(wanted as u64);
        Statement::of(&select)
    }

    fn counting(&self, filters: &[Filter]) -> Result<Statement, ReadModelError> {
        let mut select = self.select(filters);
        select.expr(Expr::cust("count(*)"));
        Statement::of(&select)
    }

    /// The rows that meet all filters, nothing selected yet.
    fn select(&self, filters: &[Filter]) -> SelectStatement {
        let mut select = Builder::select();
        select.from_as(Alias::new(self.physical.rows()), ROWS);
        for filter in filters {
            select.and_where_option(self.condition(filter));
        }
        select
    }

    fn select_columns(&self, select: &mut SelectStatement) {
        for (place, column) in self.table.columns.iter().enumerate() {
            select.expr_as(self.value_of(place), column.name);
        }
    }

    /// Leaves the rows of a part, in its order.
    fn within_part(&self, select: &mut SelectStatement, part: &Part) {
        select.cond_where(self.all(&part.tests));
        let nulls = part.tests.iter().filter(|(_, test)| *test == Test::Null);
        let descending = part.order.first().is_some_and(|term| term.descending);
        for (place, _) in nulls {
            // The same in all rows. Only so the server knows that an index over it and what
            // follows has the order of what follows.
            self.order_by(select, &Term { place: *place, descending, nulls: None });
        }
        part.order.iter().for_each(|term| self.order_by(select, term));
    }

    fn order_by(&self, select: &mut SelectStatement, term: &Term) {
        if !self.layout.present[term.place] {
            return;
        }
        let direction = if term.descending { Direction::Desc } else { Direction::Asc };
        let column = self.value_of(term.place);
        // PostgreSQL's nulls are larger than everything: said only where that is not what is
        // wanted, because it keeps an index from serving the order.
        match (term.nulls, term.descending) {
            (Some(Nulls::Last), true) => {
                select.order_by_expr_with_nulls(column, direction, NullOrdering::Last);
            }
            (Some(Nulls::First), false) => {
                select.order_by_expr_with_nulls(column, direction, NullOrdering::First);
            }
            _ => {
                select.order_by_expr(column, direction);
            }
        }
    }

    fn value_of(&self, place: usize) -> Expr {
        if self.layout.present[place] {
            return Expr::col((ROWS, self.table.columns[place].name));
        }
        Expr::cust("NULL")
    }

    fn column_named(&self, name: &str) -> Expr {
        self.table.column(name).map_or(Expr::cust("NULL"), |place| self.value_of(place))
    }

    /// A filter on the row itself; nothing if it holds for every row.
    fn condition(&self, filter: &Filter) -> Option<Expr> {
        Some(match filter {
            Filter::Equals(_, Value::Null)
            | Filter::AtLeast(_, Value::Null)
            | Filter::AtMost(_, Value::Null) => never(),
            Filter::Equals(name, value) => self.column_named(name).eq(to_builder(value)),
            Filter::OneOf(name, values) => self.is_one_of(name, values),
            Filter::AtLeast(name, value) => self.column_named(name).gte(to_builder(value)),
            Filter::AtMost(name, value) => self.column_named(name).lte(to_builder(value)),
            Filter::IsNull(name) => self.column_named(name).is_null(),
            Filter::Text(text) => {
                let words = search_words(text);
                if words.is_empty() {
                    return None;
                }
                begin_with(&words)
            }
            Filter::WithinBox { south, west, north, east } => {
                let (south, west, north, east) = (*south, *west, *north, *east);
                self.within(GeoBox { south, west, north, east })
            }
            Filter::WithinRadius { latitude, longitude, meters } => {
                let Some((place_latitude, place_longitude)) = self.place() else {
                    return Some(never());
                };
                let distance = Func::cust("meters_between").args([
                    Expr::val(*latitude),
                    Expr::val(*longitude),
                    place_latitude,
                    place_longitude,
                ]);
                self.within(GeoBox::around(*latitude, *longitude, *meters))
                    .and(Expr::from(distance).lte(*meters))
            }
        })
    }

    fn is_one_of(&self, name: &str, values: &[Value]) -> Expr {
        let values = values.iter().filter(|value| **value != Value::Null);
        let values: Vec<sea_query::Value> = values.map(to_builder).collect();
        let Some(first) = values.first() else { return never() };
        let kind: ArrayType = first.array_type();
        let values = sea_query::Value::Array(kind, Some(Box::new(values)));
        self.column_named(name).eq(sea_query::extension::postgres::PgFunc::any(values))
    }

    /// The columns of a row's point, if this generation has both.
    fn place(&self) -> Option<(Expr, Expr)> {
        let spatial = self.table.spatial.as_ref()?;
        let of = |name| {
            let place = self.table.column(name)?;
            self.layout.present[place].then(|| self.value_of(place))
        };
        Some((of(spatial.latitude)?, of(spatial.longitude)?))
    }

    /// Whether the row's point lies in the box: so that the index of points finds it, and exactly.
    fn within(&self, area: GeoBox) -> Expr {
        let Some((latitude, longitude)) = self.place() else { return never() };
        let point = |x: Expr, y: Expr| Func::cust("point").args([x, y]);
        let in_range = |(west, east): (f64, f64)| {
            let corners = [(west, area.south), (east, area.north)]
                .map(|(x, y)| Expr::from(point(Expr::val(x), Expr::val(y))));
            Expr::from(point(longitude.clone(), latitude.clone()))
                .contained(Func::cust("box").args(corners))
                .and(longitude.clone().gte(west))
                .and(longitude.clone().lte(east))
        };
        let ranges = area.longitudes().into_iter().map(in_range);
        let east_west = ranges.reduce(ExprTrait::or).unwrap_or(never());
        latitude.clone().gte(area.south).and(latitude.lte(area.north)).and(east_west)
    }

    fn all(&self, tests: &[(usize, Test)]) -> Cond {
        tests.iter().fold(Cond::all(), |all, (place, test)| {
            let column = self.value_of(*place);
            all.add(match test {
                Test::Is(value) => column.eq(to_builder(value)),
                Test::Above(value) => column.gt(to_builder(value)),
                Test::Below(value) => column.lt(to_builder(value)),
                Test::Null => column.is_null(),
                Test::Present => column.is_not_null(),
            })
        })
    }

    fn any(&self, parts: &[Part]) -> Cond {
        parts.iter().fold(Cond::any(), |any, part| any.add(self.all(&part.tests)))
    }
}

/// A statement with its values.
struct Statement {
    sql: String,
    arguments: PgArguments,
}

impl Statement {
    fn of(select: &SelectStatement) -> Result<Self, ReadModelError> {
        let (sql, values) = select.build(PostgresQueryBuilder);
        Ok(Self { sql, arguments: arguments(&values)? })
    }

    async fn run(self, reader: &mut PgConnection) -> Result<Vec<PgRow>, ReadModelError> {
        query_with(&self.sql, self.arguments).fetch_all(reader).await.map_err(unavailable)
    }
}

/// Whether each of the words, as [`search_words`] gives them, begins a word of the row.
fn begin_with(words: &str) -> Expr {
    // Words are letters, digits and marks: nothing in them ends a quotation.
    let words = split_words(words).map(|word| format!("'{}':*", &word[1..]));
    let asked = words.collect::<Vec<_>>().join(" & ");
    Expr::col((ROWS, WORDS)).matches(Expr::val(asked).cast_as("tsquery"))
}

fn never() -> Expr {
    Expr::cust("false")
}
