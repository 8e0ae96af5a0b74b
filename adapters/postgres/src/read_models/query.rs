//! Questions to the active generation, each answered from one snapshot.
//!
//! PostgreSQL's planner knows how frequent values and words are. It knows neither how many points a
//! box holds nor, where filters and order have to do with one another, how soon a sorted walk fills
//! a page. So that is found out here:
//!
//! 1. The index that gives the order asked for is walked a little way from where the page begins,
//!    and the filters are checked on the way. Many pages are full then.
//! 2. If matches were dense, the walk goes on as far as they let expect, some times over.
//! 3. Else the planner is asked what it costs to look up and sort all rows that other indexes leave,
//!    without the index of places where a box holds many points, and that is done or the order is
//!    walked to the page's end, whichever costs less.

use std::cmp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use freehold_ports::{
    Filter, GeoBox, Key, Nulls, Page, Part, Query, ReadModelError, Reading, Row, Table, Term, Test,
    Value, index_in_order, search_words, split_words, usable_filters,
};
use sea_query::extension::postgres::PgExpr as _;
use sea_query::{
    Alias, ArrayType, CaseStatement, Cond, Expr, ExprTrait, Func, NullOrdering, Order as Direction,
    PostgresQueryBuilder, Query as Builder, SelectStatement,
};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::{Executor as _, Row as _, query_with};

use super::schema::{PhysicalTable, WORDS};
use super::value::{arguments, read_row, to_builder};
use super::{catalogue, unavailable};

/// How the rows are called in a statement, and their number; no column begins with an underscore.
const ROWS: &str = "_rows";
const NUMBER: &str = "_number";

/// Rows and checkpoint of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What a session of [`Database::row_readers`](crate::database::Database::row_readers) does unless
/// it is told otherwise: it finds rows by walking an index in its order.
const WALK: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";

/// What a session may do to find candidates, beside walking an index in its order.
const LOOK_UP: &str = "SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on";

/// What a session may do where no index has the order.
const ANYTHING: &str = "SET LOCAL enable_bitmapscan = on;
     SET LOCAL enable_sort = on;
     SET LOCAL enable_seqscan = on";

/// From which numbers on one plan is better than another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// How many rows of a walk are looked at before anything else is tried.
    pub(super) sample: u64,
    /// With so many matches in a sample the walk goes on.
    pub(super) dense: u64,
    /// A walk is given up after so many times the rows in which the sample lets expect a full page.
    pub(super) patience: u64,
    /// The most points of a box that are looked up in the index of places.
    pub(super) many: u64,
    /// What one row of a walk costs in the planner's unit: a page read at random.
    pub(super) row: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self { sample: 500, dense: 4, patience: 4, many: 20_000, row: 4.0 }
    }
}

/// What all questions share.
#[derive(Default)]
pub(super) struct Planner {
    scale: Scale,
    /// What is known of the tables of generations, each read from the catalogue once.
    layouts: Mutex<HashMap<(usize, u32), Arc<Layout>>>,
}

/// How a generation's table differs from the declaration of this program.
struct Layout {
    /// It does not: its indexes are there.
    same: bool,
    /// For each column, whether it is there, of the same kind; one that is not reads as null.
    present: Vec<bool>,
    /// Whether its words are those of the texts to search.
    words: bool,
}

impl Planner {
    #[cfg(test)]
    pub(super) fn with(scale: Scale) -> Self {
        Self { scale, layouts: Mutex::default() }
    }

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
        let same = stored == table.declaration();
        let stored: serde_json::Value = serde_json::from_str(&stored)
            .map_err(|error| ReadModelError::Unavailable { source: error.into() })?;
        let present: Vec<bool> = table.columns.iter().map(|c| c.is_in(&stored)).collect();
        let is_present = |name: &&str| table.column(name).is_some_and(|place| present[place]);
        let words = stored["text_search"] == serde_json::json!(table.text_search)
            && table.text_search.iter().all(is_present);
        let layout = Arc::new(Layout { same, present, words });
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
    let mut scope = Scope::new(&mut reader, planner.scale, query.table, number, layout);
    let wanted = query.limit.get() as usize;
    let mut rows = match scope.finds_words(&query.filters) {
        true => scope.rows(query, wanted + 1).await?,
        false => {
            let mut rows = Vec::new();
            let take = |row| {
                rows.push(row);
                rows.len() <= wanted
            };
            scope.by_their_texts(query, take).await?;
            rows
        }
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
    let mut scope = Scope::new(&mut reader, planner.scale, table, number, layout);
    let counted = match scope.finds_words(filters) {
        true => scope.count(filters).await?,
        false => {
            let mut counted = 0;
            let take = |_| {
                counted += 1;
                true
            };
            scope.by_their_texts(&everything(table, filters), take).await?;
            counted
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
    scale: Scale,
    table: &'static Table,
    physical: PhysicalTable,
    layout: Arc<Layout>,
}

/// What a walk gives.
enum Walked {
    /// The first rows of the answer.
    Page(Vec<Row>),
    /// So many rows met the filters before it was given up.
    GivenUp { met: u64 },
}

/// The index that is walked.
struct Walk {
    /// The filters that its rows meet because the walk goes by them.
    kept: Vec<Filter>,
    /// Columns before those of the order that are null in all its rows.
    nulls: Vec<usize>,
}

impl<'a> Scope<'a> {
    fn new(
        reader: &'a mut PgConnection,
        scale: Scale,
        table: &'static Table,
        number: u32,
        layout: Arc<Layout>,
    ) -> Self {
        Self { reader, scale, table, physical: PhysicalTable::new(table.name, number), layout }
    }

    /// Whether all filters are conditions on a row of this generation.
    fn finds_words(&self, filters: &[Filter]) -> bool {
        self.layout.words || !filters.iter().any(|filter| matches!(filter, Filter::Text(_)))
    }

    /// The first rows of the answer, by the plan that suits them, see the head of this file.
    async fn rows(&mut self, query: &Query, wanted: usize) -> Result<Vec<Row>, ReadModelError> {
        let filters: Vec<Filter> = query.filters.iter().map(Filter::plain).collect();
        let reading = Reading::of(query, &filters);
        if reading.parts.is_empty() {
            return Ok(Vec::new());
        }
        if self.names_keys(&filters) {
            self.allow(LOOK_UP).await?;
            return self.sorted(&filters, &[], &reading, wanted).await;
        }
        let Some(walk) = self.walk_in_order(&filters, &reading.terms) else {
            self.allow(ANYTHING).await?;
            let anywhere = Walk { kept: filters, nulls: Vec::new() };
            return self.walk(&anywhere, &[], &reading, wanted).await;
        };
        let open: Vec<Filter> =
            filters.iter().filter(|filter| !walk.kept.contains(filter)).cloned().collect();
        if open.iter().all(|filter| self.condition(filter, true).is_none()) {
            return self.walk(&walk, &[], &reading, wanted).await;
        }
        let Scale { sample, dense, patience, .. } = self.scale;
        let mut met = match self.walk_within(sample, &walk, &open, &reading, wanted).await? {
            Walked::Page(rows) => return Ok(rows),
            Walked::GivenUp { met } => met,
        };
        let mut passed = sample;
        if met >= dense {
            let expected = wanted as u64 * sample / cmp::max(met, 1);
            passed = cmp::max(expected.saturating_mul(patience), sample);
            met = match self.walk_within(passed, &walk, &open, &reading, wanted).await? {
                Walked::Page(rows) => return Ok(rows),
                Walked::GivenUp { met } => met,
            };
        }
        let crowded = self.crowded(&open).await?;
        self.allow(LOOK_UP).await?;
        // Where nothing was met, something may be behind; that is not known.
        let rows_a_match = passed.checked_div(met).unwrap_or(2 * passed);
        let walking = wanted as f64 * rows_a_match as f64 * self.scale.row;
        if self.cost(&filters, &crowded, &reading, wanted).await? <= walking {
            return self.sorted(&filters, &crowded, &reading, wanted).await;
        }
        self.allow(WALK).await?;
        self.walk(&walk, &open, &reading, wanted).await
    }

    /// Whether a filter says which rows by their keys.
    fn names_keys(&self, filters: &[Filter]) -> bool {
        let mut key = self.table.columns[..self.table.key_columns].iter();
        key.all(|column| filters.iter().any(|f| f.equality_on() == Some(column.name)))
    }

    /// The walk in the order asked for, if an index has it.
    fn walk_in_order(&self, filters: &[Filter], terms: &[Term]) -> Option<Walk> {
        if !self.layout.same {
            return None;
        }
        let key = std::iter::once(&[] as &[&'static str]);
        let indexes = key.chain(self.table.indexes.iter().copied());
        let columns = indexes.map(|index| self.table.indexed_columns(index));
        let columns = index_in_order(
            self.table,
            columns.map(|columns| (columns.clone(), columns)),
            filters,
            terms,
        )?;
        let kept = usable_filters(&columns, filters).into_iter().map(|at| filters[at].clone());
        // Several values of a column are not in the index's order.
        let kept: Vec<Filter> = kept.filter(|f| !matches!(f, Filter::OneOf(..))).collect();
        let nulls = kept.iter().filter_map(|filter| match filter {
            Filter::IsNull(name) => self.table.column(name),
            _ => None,
        });
        let nulls = nulls.collect();
        Some(Walk { kept, nulls })
    }

    /// The rows of a page by a walk, however long.
    async fn walk(
        &mut self,
        walk: &Walk,
        open: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Vec<Row>, ReadModelError> {
        let mut rows = Vec::new();
        for part in &reading.parts {
            let walked = self.walking(walk, open, part, reading, wanted - rows.len())?;
            for row in walked.run(self.reader).await? {
                rows.push(read_row(self.table, &row)?);
            }
            if rows.len() == wanted {
                break;
            }
        }
        Ok(rows)
    }

    /// The rows of a page by a walk over at most so many rows of a part.
    async fn walk_within(
        &mut self,
        budget: u64,
        walk: &Walk,
        open: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Walked, ReadModelError> {
        let mut rows = Vec::new();
        for part in &reading.parts {
            let left = wanted - rows.len();
            let walked = self.walking_within(budget, walk, open, part, reading, left)?;
            for row in walked.run(self.reader).await? {
                let meets: Option<bool> =
                    row.try_get(self.table.columns.len()).map_err(unavailable)?;
                let last: bool = row.try_get(self.table.columns.len() + 1).map_err(unavailable)?;
                if meets == Some(true) {
                    rows.push(read_row(self.table, &row)?);
                }
                if last && rows.len() < wanted {
                    return Ok(Walked::GivenUp { met: rows.len() as u64 });
                }
            }
            if rows.len() == wanted {
                break;
            }
        }
        Ok(Walked::Page(rows))
    }

    /// The areas asked for that hold more points than are looked up.
    async fn crowded(&mut self, filters: &[Filter]) -> Result<Vec<Filter>, ReadModelError> {
        let mut crowded = Vec::new();
        for filter in filters {
            let Some(area) = area_of(filter) else { continue };
            let mut points = 0;
            for range in area.longitudes() {
                let counting = self.counting_points(&area, range, self.scale.many + 1)?;
                points += counting.number(self.reader).await?;
            }
            if points > self.scale.many {
                crowded.push(filter.clone());
            }
        }
        Ok(crowded)
    }

    /// What the planner thinks that [`sorted`](Self::sorted) costs.
    async fn cost(
        &mut self,
        filters: &[Filter],
        crowded: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<f64, ReadModelError> {
        let mut statement = self.sorting(filters, crowded, reading, wanted)?;
        statement.sql.insert_str(0, "EXPLAIN (FORMAT JSON) ");
        let plan = statement.run(self.reader).await?;
        let plan: &str = match plan.first() {
            Some(row) => row.try_get_unchecked(0).map_err(unavailable)?,
            None => "",
        };
        let plan: serde_json::Value = serde_json::from_str(plan)
            .map_err(|error| ReadModelError::Unavailable { source: error.into() })?;
        Ok(plan[0]["Plan"]["Total Cost"].as_f64().unwrap_or(f64::INFINITY))
    }

    /// The rows of a page by looking up all that meet the filters.
    async fn sorted(
        &mut self,
        filters: &[Filter],
        crowded: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Vec<Row>, ReadModelError> {
        let sorting = self.sorting(filters, crowded, reading, wanted)?;
        let found = sorting.run(self.reader).await?;
        found.iter().map(|row| read_row(self.table, row)).collect()
    }

    /// Lets the rest of the transaction plan otherwise.
    async fn allow(&mut self, settings: &str) -> Result<(), ReadModelError> {
        self.reader.execute(settings).await.map(drop).map_err(unavailable)
    }

    /// Hands out the rows of the answer, until told to stop, in a generation that was made without
    /// the words asked for: a page of the other filters' rows after the other, and their texts are
    /// looked through here.
    async fn by_their_texts(
        &mut self,
        query: &Query,
        mut take: impl FnMut(Row) -> bool + Send,
    ) -> Result<(), ReadModelError> {
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
        loop {
            let met = self.rows(&rest, AT_ONCE).await?;
            let ends = met.len() < AT_ONCE;
            let reached = met.last().map(|row| self.place_of(row, query));
            let mut meant = met.into_iter().filter(|row| self.has_words(row, &texts));
            if !meant.all(&mut take) || ends {
                return Ok(());
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
        self.allow(ANYTHING).await?;
        self.counting(&filters)?.number(self.reader).await
    }

    fn walking(
        &self,
        walk: &Walk,
        open: &[Filter],
        part: &Part,
        reading: &Reading,
        wanted: usize,
    ) -> Result<Statement, ReadModelError> {
        let mut select = self.select(&walk.kept);
        for filter in open {
            select.and_where_option(self.condition(filter, false));
        }
        self.select_columns(&mut select);
        self.within_part(&mut select, part, &walk.nulls);
        if let Some(bound) = &reading.bound {
            select.cond_where(self.any(bound));
        }
        select.limit(wanted as u64);
        Statement::of(&select)
    }

    /// The matches among the first rows of a part, and its last row if there are so many, each
    /// with whether it matches and whether it is that one.
    fn walking_within(
        &self,
        budget: u64,
        walk: &Walk,
        open: &[Filter],
        part: &Part,
        reading: &Reading,
        wanted: usize,
    ) -> Result<Statement, ReadModelError> {
        let mut walked = self.select(&walk.kept);
        walked.expr(Expr::cust("*"));
        self.within_part(&mut walked, part, &walk.nulls);
        walked.limit(budget);
        let mut numbered = Builder::select();
        numbered.expr(Expr::cust("*"));
        // Numbered as they come, which is in their order.
        numbered.expr_as(Expr::cust("row_number() OVER ()"), NUMBER);
        numbered.from_subquery(walked, ROWS);
        let bound = reading.bound.as_ref().map(|bound| Expr::from(self.any(bound)));
        let open = open.iter().filter_map(|filter| self.condition(filter, false));
        let meets = open.chain(bound).reduce(ExprTrait::and).unwrap_or(Expr::cust("true"));
        let last = Expr::col((ROWS, NUMBER)).eq(budget as i64);
        let mut select = Builder::select();
        select.from_subquery(numbered, ROWS);
        self.select_columns(&mut select);
        select.expr(meets.clone()).expr(last.clone());
        select.and_where(meets.or(last)).limit(wanted as u64);
        Statement::of(&select)
    }

    /// The first of all rows that meet the filters; they are found before they are sorted.
    fn sorting(
        &self,
        filters: &[Filter],
        crowded: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Statement, ReadModelError> {
        let mut found = self.select(&[]);
        for filter in filters {
            found.and_where_option(self.condition(filter, !crowded.contains(filter)));
        }
        if !reading.whole {
            found.cond_where(self.any(&reading.parts));
        }
        if let Some(bound) = &reading.bound {
            found.cond_where(self.any(bound));
        }
        // The planner does not look through it, and so does not walk the order.
        found.expr(Expr::cust("*")).offset(0);
        let mut select = Builder::select();
        select.from_subquery(found, ROWS);
        self.select_columns(&mut select);
        reading.terms.iter().for_each(|term| self.order_by(&mut select, term));
        select.limit(wanted as u64);
        Statement::of(&select)
    }

    /// How many points a box has in a range of longitudes, at most so many.
    fn counting_points(
        &self,
        area: &GeoBox,
        range: (f64, f64),
        most: u64,
    ) -> Result<Statement, ReadModelError> {
        let mut points = self.select(&[]);
        points.expr_as(Expr::cust("1"), NUMBER).limit(most);
        points.and_where(self.place().map_or(never(), |place| in_box(&place, area, range)));
        let mut select = Builder::select();
        select.from_subquery(points, ROWS).expr(Expr::cust("count(*)"));
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
            select.and_where_option(self.condition(filter, true));
        }
        select
    }

    fn select_columns(&self, select: &mut SelectStatement) {
        for (place, column) in self.table.columns.iter().enumerate() {
            select.expr_as(self.value_of(place), column.name);
        }
    }

    /// Leaves the rows of a part, in its order.
    fn within_part(&self, select: &mut SelectStatement, part: &Part, nulls: &[usize]) {
        select.cond_where(self.all(&part.tests));
        let tested = part.tests.iter().filter(|(_, test)| *test == Test::Null);
        let nulls = nulls.iter().copied().chain(tested.map(|(place, _)| *place));
        let descending = part.order.first().is_some_and(|term| term.descending);
        for place in nulls {
            // The same in all rows. Only so the server knows that an index over it and what
            // follows has the order of what follows.
            self.order_by(select, &Term { place, descending, nulls: None });
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

    /// A filter on the row itself; nothing if it holds for every row. Whether the index of places
    /// may find the rows of an area is said by the caller.
    fn condition(&self, filter: &Filter, by_places: bool) -> Option<Expr> {
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
            Filter::WithinBox { .. } => self.within(filter, by_places),
            Filter::WithinRadius { latitude, longitude, meters } => {
                let Some(place) = self.place() else { return Some(never()) };
                let [to_latitude, to_longitude] = place;
                let distance = Func::cust("meters_between").args([
                    Expr::val(*latitude),
                    Expr::val(*longitude),
                    to_latitude,
                    to_longitude,
                ]);
                // Only points of the box are measured: the others may be nowhere on the globe.
                let near = CaseStatement::new()
                    .case(self.within(filter, false), Expr::from(distance).lte(*meters))
                    .finally(Expr::cust("false"));
                match by_places {
                    true => self.within(filter, true).and(near),
                    false => near.into(),
                }
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

    /// Latitude and longitude of a row's point, if this generation has both.
    fn place(&self) -> Option<[Expr; 2]> {
        let spatial = self.table.spatial.as_ref()?;
        let of = |name| {
            let place = self.table.column(name)?;
            self.layout.present[place].then(|| self.value_of(place))
        };
        Some([of(spatial.latitude)?, of(spatial.longitude)?])
    }

    /// Whether the row's point lies in the area's box, exactly.
    fn within(&self, filter: &Filter, by_places: bool) -> Expr {
        let Some((place, area)) = self.place().zip(area_of(filter)) else { return never() };
        let [latitude, longitude] = &place;
        let in_range = |range: (f64, f64)| {
            let between = longitude.clone().gte(range.0).and(longitude.clone().lte(range.1));
            match by_places {
                true => in_box(&place, &area, range).and(between),
                false => between,
            }
        };
        let east_west = area.longitudes().into_iter().map(in_range).reduce(ExprTrait::or);
        let north_south = latitude.clone().gte(area.south).and(latitude.clone().lte(area.north));
        north_south.and(east_west.unwrap_or(never()))
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

    /// Runs a statement that gives one number.
    async fn number(self, reader: &mut PgConnection) -> Result<u64, ReadModelError> {
        let rows = self.run(reader).await?;
        let row = rows.first().ok_or_else(|| unavailable(sqlx::Error::RowNotFound))?;
        let number: i64 = row.try_get(0).map_err(unavailable)?;
        Ok(number.unsigned_abs())
    }

    async fn run(self, reader: &mut PgConnection) -> Result<Vec<PgRow>, ReadModelError> {
        #[cfg(test)]
        tests::note_plan(&self, reader).await;
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

/// The box of an area, if the filter asks for one.
fn area_of(filter: &Filter) -> Option<GeoBox> {
    match filter {
        Filter::WithinBox { south, west, north, east } => {
            Some(GeoBox { south: *south, west: *west, north: *north, east: *east })
        }
        Filter::WithinRadius { latitude, longitude, meters } => {
            Some(GeoBox::around(*latitude, *longitude, *meters))
        }
        _ => None,
    }
}

/// Whether a point is in a box, as the index of places knows it.
fn in_box(place: &[Expr; 2], area: &GeoBox, (west, east): (f64, f64)) -> Expr {
    let point = |x: Expr, y: Expr| Expr::from(Func::cust("point").args([x, y]));
    let [latitude, longitude] = place.clone();
    let corners =
        [(west, area.south), (east, area.north)].map(|(x, y)| point(Expr::val(x), Expr::val(y)));
    point(longitude, latitude).contained(Func::cust("box").args(corners))
}

fn never() -> Expr {
    Expr::cust("false")
}

#[cfg(test)]
mod tests;
