//! Questions to the active generation.
//!
//! SQLite's planner knows neither how many points a box holds nor how soon a sorted walk meets its
//! limit, so the plan is chosen here, by counting. Each index that some filters can use (places,
//! words, ordinary ones) is asked for at most [`Planner::few`] rows, which costs a millisecond. If one has
//! no more, those rows are the candidates: they are looked up, filtered and sorted. If all have
//! more, matches are dense: the index that gives the order asked for is walked until the page is
//! full, and the filters are checked on the way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use freehold_ports::{ColumnKind, Filter, Page, Query, ReadModelError, Table, Value, search_words};
use rusqlite::Connection;
use sea_query::{
    Alias, Cond, Expr, ExprTrait, Func, NullOrdering, Order as Direction, Query as Builder,
    SelectStatement, SqliteQueryBuilder, TableRef, UnionType,
};

use super::connection::split_words;
use super::geometry::GeoBox;
use super::schema::{self, PhysicalTable, indexed_columns};
use super::value::{BoundByBuilder, check_key, fits, read_row, to_builder, unfit};
use super::{catalogue, unavailable};

/// How many rows are few enough to look each of them up: at about a microsecond each.
const FEW: usize = 10_000;

/// Fewer candidates than this are not worth another count.
const VERY_FEW: usize = 500;

/// The index of words reads all occurrences of a word's beginning before it gives the first one. So
/// it is asked for rare words only: those that few rows of a sample have.
const SAMPLE: u64 = 500;
const RARE: i64 = 10;

/// A text that so many rows of the sample have is found by walking before an index has answered.
const FREQUENT: i64 = 3;

/// The most words a text may have, and the most values [`Filter::OneOf`] may list.
const MAX_WORDS: usize = 64;
const MAX_VALUES: usize = 10_000;

/// How the rows are called in a statement; no column begins with an underscore.
const ROWS: &str = "_rows";
const CANDIDATES: &str = "_candidates";

/// What all questions share.
pub(super) struct Planner {
    /// How many rows are few enough to look each of them up.
    few: usize,
    /// What is known of the tables of generations, each read from the catalogue once.
    layouts: Mutex<HashMap<(usize, u32), Arc<Layout>>>,
}

/// How a generation's table differs from the declaration of this program.
struct Layout {
    /// It does not: its indexes are there under their names.
    same: bool,
    /// For each column, whether it is there, of the same kind; one that is not reads as null.
    present: Vec<bool>,
}

impl Default for Planner {
    fn default() -> Self {
        Self::with_few(FEW)
    }
}

impl Planner {
    pub(super) fn with_few(few: usize) -> Self {
        Self { few, layouts: Mutex::default() }
    }

    fn layout(
        &self,
        reader: &Connection,
        projection: &str,
        number: u32,
        table: &'static Table,
    ) -> Result<Arc<Layout>, ReadModelError> {
        let key = (std::ptr::from_ref(table).addr(), number);
        let known = self.layouts.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(layout) = known {
            return Ok(layout);
        }
        let stored = catalogue::declaration(reader, projection, number, table.name)
            .map_err(unavailable)?
            .ok_or_else(|| ReadModelError::NotBuilt(Arc::from(projection)))?;
        let same = stored == schema::declaration(table);
        let stored: serde_json::Value = serde_json::from_str(&stored)
            .map_err(|error| ReadModelError::Unavailable { source: error.into() })?;
        let present = table.columns.iter().map(|c| schema::declares(&stored, c)).collect();
        let layout = Arc::new(Layout { same, present });
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, layout.clone());
        Ok(layout)
    }
}

/// Refuses a question that does not fit its table.
pub(super) fn check(query: &Query) -> Result<(), ReadModelError> {
    let table = query.table;
    check_filters(table, &query.filters)?;
    for order in &query.order {
        if column(table, order.column)?.1 == ColumnKind::Json {
            return Err(unfit(table, format!("{} is JSON, which has no order", order.column)));
        }
    }
    for values in [&query.after, &query.before].into_iter().flatten() {
        if values.len() != query.order.len() + table.key_columns {
            return Err(unfit(table, "a place in the order has its order values, then its key"));
        }
        let (order, key) = values.split_at(query.order.len());
        check_key(table, key)?;
        for (order, value) in query.order.iter().zip(order) {
            if !fits(column(table, order.column)?.1, value) {
                return Err(unfit(table, format!("{}: {value:?}", order.column)));
            }
        }
    }
    Ok(())
}

/// Refuses filters that do not fit the table.
pub(super) fn check_filters(
    table: &'static Table,
    filters: &[Filter],
) -> Result<(), ReadModelError> {
    let check_value = |name: &'static str, value: &Value| {
        let (_, kind) = column(table, name)?;
        if kind == ColumnKind::Json || !fits(kind, value) {
            return Err(unfit(table, format!("{name} is not compared with {value:?}")));
        }
        Ok(())
    };
    let check_numbers = |numbers: &[f64]| {
        if table.spatial.is_none() {
            return Err(unfit(table, "its rows have no place"));
        }
        match numbers.iter().find(|number| !number.is_finite()) {
            None => Ok(()),
            Some(number) => Err(unfit(table, format!("{number} is not a place or a distance"))),
        }
    };
    filters.iter().try_for_each(|filter| match filter {
        Filter::Equals(name, value)
        | Filter::AtLeast(name, value)
        | Filter::AtMost(name, value) => check_value(name, value),
        Filter::OneOf(name, values) if values.len() > MAX_VALUES => {
            Err(unfit(table, format!("more than {MAX_VALUES} values for {name}")))
        }
        Filter::OneOf(name, values) => values.iter().try_for_each(|value| check_value(name, value)),
        Filter::IsNull(name) => column(table, name).map(|_| ()),
        Filter::Text(_) if table.text_search.is_empty() => {
            Err(unfit(table, "its rows have no text to search"))
        }
        Filter::Text(text) if split_words(&search_words(text)).count() > MAX_WORDS => {
            Err(unfit(table, format!("more than {MAX_WORDS} words")))
        }
        Filter::Text(_) => Ok(()),
        Filter::WithinBox { south, west, north, east } => {
            check_numbers(&[*south, *west, *north, *east])
        }
        Filter::WithinRadius { latitude, longitude, meters } => {
            check_numbers(&[*latitude, *longitude, *meters])
        }
    })
}

fn column(table: &'static Table, name: &str) -> Result<(usize, ColumnKind), ReadModelError> {
    let place = table.column(name).ok_or_else(|| unfit(table, format!("no column {name}")))?;
    Ok((place, table.columns[place].kind))
}

/// The rows that a checked question asks for.
pub(super) fn page(
    reader: &Connection,
    planner: &Planner,
    projection: &str,
    query: &Query,
) -> Result<Page, ReadModelError> {
    let (number, checkpoint) = catalogue::active(reader, projection)?;
    let scope = Scope::new(reader, planner, projection, number, query.table)?;
    let reading = Reading::of(query);
    let source = scope.choose(&query.filters, &reading.terms)?;
    let wanted = query.limit.get() as usize;
    let mut rows = Vec::new();
    for part in reading.parts() {
        // A column that a filter compares is not null in any row of the answer.
        if part.tests.iter().any(|(place, test)| {
            *test == Test::Null && query.filters.iter().any(|f| compares(f, query.table, *place))
        }) {
            continue;
        }
        let mut select = scope.select(&source, &query.filters);
        for (place, column) in query.table.columns.iter().enumerate() {
            select.expr_as(scope.value_of(place), column.name);
        }
        select.cond_where(scope.all(&part.tests));
        if let Some(bound) = &reading.bound {
            select
                .cond_where(bound.iter().fold(Cond::any(), |any, p| any.add(scope.all(&p.tests))));
        }
        part.order.iter().for_each(|term| scope.order_by(&mut select, term));
        select.limit((wanted + 1 - rows.len()) as u64);
        scope.run(&source, &select, |row| {
            rows.push(read_row(query.table, row)?);
            Ok(())
        })?;
        if rows.len() > wanted {
            break;
        }
    }
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    if query.backwards {
        rows.reverse();
    }
    Ok(Page { rows, has_more, checkpoint })
}

/// How many rows match checked filters.
pub(super) fn count(
    reader: &Connection,
    planner: &Planner,
    projection: &str,
    table: &'static Table,
    filters: &[Filter],
) -> Result<u64, ReadModelError> {
    let (number, _) = catalogue::active(reader, projection)?;
    let scope = Scope::new(reader, planner, projection, number, table)?;
    let source = scope.candidates(filters, &Source::Rows, &[])?.unwrap_or(Source::Rows);
    let mut select = scope.select(&source, filters);
    select.expr(Expr::cust("count(*)"));
    let mut counted = 0;
    scope.run(&source, &select, |row| {
        counted = row.get::<_, i64>(0).map_err(unavailable)?.unsigned_abs();
        Ok(())
    })?;
    Ok(counted)
}

/// Whether the filter holds for no row with a null in that column.
fn compares(filter: &Filter, table: &Table, place: usize) -> bool {
    match filter {
        Filter::Equals(name, _)
        | Filter::OneOf(name, _)
        | Filter::AtLeast(name, _)
        | Filter::AtMost(name, _) => table.column(name) == Some(place),
        _ => false,
    }
}

/// One sort column, in the direction of reading.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    place: usize,
    descending: bool,
    /// Where its nulls are; nothing if there are none among the rows.
    nulls: Option<NullOrdering>,
}

/// What a question reads, in the direction of reading.
struct Reading {
    terms: Vec<Term>,
    /// Where the reading begins, if not at the first row.
    start: Option<Vec<Value>>,
    /// Every row is in one of these parts, if the reading ends before the last row.
    bound: Option<Vec<Part>>,
}

/// Consecutive rows in the order of reading.
///
/// "After (a, b, key)" as one condition is a chain of ORs that no index serves. Taken apart, each
/// part is some equalities and one range, and the parts follow one another in the order.
struct Part {
    tests: Vec<(usize, Test)>,
    /// The terms in which its rows differ.
    order: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Is(Value),
    Above(Value),
    Below(Value),
    Null,
    Present,
}

impl Reading {
    fn of(query: &Query) -> Self {
        let (start, end) = match query.backwards {
            false => (&query.after, &query.before),
            true => (&query.before, &query.after),
        };
        // The rows before the far end are those that a reading from there back to here meets.
        let back = terms(query, !query.backwards);
        let bound = end.as_ref().map(|values| parts_after(&back, values));
        Self { terms: terms(query, query.backwards), start: start.clone(), bound }
    }

    fn parts(&self) -> Vec<Part> {
        match &self.start {
            Some(values) => parts_after(&self.terms, values),
            None => parts_from(Vec::new(), &self.terms),
        }
    }
}

/// The order asked for and the key behind it.
fn terms(query: &Query, backwards: bool) -> Vec<Term> {
    let asked = query.order.iter().filter_map(|order| {
        let place = query.table.column(order.column)?;
        Some((place, order.descending))
    });
    let last = query.order.last().is_some_and(|order| order.descending);
    let key = (0..query.table.key_columns).map(|place| (place, last));
    let nulls = if backwards { NullOrdering::First } else { NullOrdering::Last };
    let term = |(place, descending)| Term {
        place,
        descending: descending != backwards,
        nulls: (place >= query.table.key_columns).then_some(nulls),
    };
    asked.chain(key).map(term).collect()
}

/// The parts of the rows that meet `tests` and are sorted by `terms`: those with a null in the
/// first term, which are at one end, and the others.
fn parts_from(tests: Vec<(usize, Test)>, terms: &[Term]) -> Vec<Part> {
    let Some((first, rest)) = terms.split_first() else { return Vec::new() };
    let Some(nulls) = first.nulls else { return vec![Part { tests, order: terms.to_vec() }] };
    let with = |test| [tests.clone(), vec![(first.place, test)]].concat();
    let present = Part { tests: with(Test::Present), order: present_first(first, rest) };
    let null = Part { tests: with(Test::Null), order: rest.to_vec() };
    match nulls {
        NullOrdering::First => vec![null, present],
        NullOrdering::Last => vec![present, null],
    }
}

/// The parts of what comes after a place in the order, in that order.
fn parts_after(terms: &[Term], values: &[Value]) -> Vec<Part> {
    let mut parts = Vec::new();
    for place in (0..terms.len()).rev() {
        let same = terms[..place].iter().zip(values).map(|(term, value)| match value {
            Value::Null => (term.place, Test::Null),
            value => (term.place, Test::Is(value.clone())),
        });
        let same: Vec<_> = same.collect();
        let (term, rest) = (&terms[place], &terms[place + 1..]);
        let with = |test| [same.clone(), vec![(term.place, test)]].concat();
        match &values[place] {
            Value::Null if term.nulls == Some(NullOrdering::First) => {
                parts.push(Part { tests: with(Test::Present), order: present_first(term, rest) });
            }
            Value::Null => {}
            value => {
                let beyond = if term.descending { Test::Below } else { Test::Above };
                let tests = with(beyond(value.clone()));
                parts.push(Part { tests, order: present_first(term, rest) });
                if term.nulls == Some(NullOrdering::Last) {
                    parts.push(Part { tests: with(Test::Null), order: rest.to_vec() });
                }
            }
        }
    }
    parts
}

fn present_first(first: &Term, rest: &[Term]) -> Vec<Term> {
    [&[Term { nulls: None, ..first.clone() }], rest].concat()
}

/// Where the rows of a statement come from.
enum Source {
    /// These rows, by `_row`, which meet the filters at these places.
    Candidates { rows: Vec<i64>, met: HashSet<usize> },
    /// All rows in the order of this index.
    Index(String),
    /// All rows, as SQLite sees fit.
    Rows,
}

/// One table of the active generation in one read transaction.
struct Scope<'a> {
    reader: &'a Connection,
    few: usize,
    table: &'static Table,
    physical: PhysicalTable,
    layout: Arc<Layout>,
}

impl<'a> Scope<'a> {
    fn new(
        reader: &'a Connection,
        planner: &Planner,
        projection: &str,
        number: u32,
        table: &'static Table,
    ) -> Result<Self, ReadModelError> {
        let layout = planner.layout(reader, projection, number, table)?;
        let physical = PhysicalTable::new(table.name, number);
        Ok(Self { reader, few: planner.few, table, physical, layout })
    }

    /// Chooses the plan, see the head of this file.
    fn choose(&self, filters: &[Filter], terms: &[Term]) -> Result<Source, ReadModelError> {
        let walk = self.index_in_order(filters, terms).map_or(Source::Rows, Source::Index);
        Ok(self.candidates(filters, &walk, terms)?.unwrap_or(walk))
    }

    /// The rows that some filters leave, if they are few; else they are to be found by `walk`.
    fn candidates(
        &self,
        filters: &[Filter],
        walk: &Source,
        terms: &[Term],
    ) -> Result<Option<Source>, ReadModelError> {
        if !self.layout.same {
            return Ok(None);
        }
        let mut best: Option<Vec<i64>> = None;
        let mut met = HashSet::new();
        let texts = filters.iter().enumerate().filter_map(|(at, filter)| match filter {
            Filter::Text(text) => Some((at, search_words(text))),
            _ => None,
        });
        let by_text = texts.filter(|(_, words)| !words.is_empty()).map(|(at, words)| {
            let rare = self.rare_words(&words, filters, walk, terms)?;
            let meets = if rare.len() == words.len() { vec![at] } else { Vec::new() };
            let select = self.rows_with(&rare);
            Ok((!rare.is_empty()).then_some(Probe { select, source: Source::Rows, meets }))
        });
        let others = self.probes(filters).into_iter().map(|probe| Ok(Some(probe)));
        for probe in others.chain(by_text) {
            let Some(probe) = probe? else { continue };
            let mut rows = Vec::new();
            let mut select = probe.select;
            select.limit(self.few as u64 + 1);
            self.run(&probe.source, &select, |row| {
                rows.push(row.get::<_, i64>(0).map_err(unavailable)?);
                Ok(())
            })?;
            if rows.len() > self.few {
                continue;
            }
            rows.sort_unstable();
            rows.dedup();
            if let Some(others) = &best {
                rows.retain(|row| others.binary_search(row).is_ok());
            }
            met.extend(probe.meets);
            let enough = rows.len() <= VERY_FEW;
            best = Some(rows);
            if enough {
                break;
            }
        }
        Ok(best.map(|rows| Source::Candidates { rows, met }))
    }

    /// The words of a text that are worth looking up; none if the text as a whole is frequent.
    fn rare_words(
        &self,
        words: &str,
        filters: &[Filter],
        walk: &Source,
        terms: &[Term],
    ) -> Result<String, ReadModelError> {
        let fixed: Vec<Filter> =
            filters.iter().filter(|filter| fixes(filter).is_some()).cloned().collect();
        let mut sample = self.select(walk, &fixed);
        for name in self.table.text_search {
            sample.expr_as(self.column_named(name), *name);
        }
        terms.iter().for_each(|term| self.order_by(&mut sample, term));
        let mut select = Builder::select();
        select.from_subquery(sample.limit(SAMPLE).take(), "_sample");
        let each: Vec<&str> = split_words(words).collect();
        for words in std::iter::once(words).chain(each.iter().copied()) {
            let columns = self.table.text_search.iter().map(|name| Expr::col(*name));
            let begin =
                Func::cust("words_begin").args(std::iter::once(Expr::val(words)).chain(columns));
            select.expr(Func::cust("total").arg(begin));
        }
        let mut counts = Vec::new();
        self.run(walk, &select, |row| {
            let count = |place| row.get::<_, f64>(place).map(|count| count as i64);
            counts = (0..=each.len()).map(count).collect::<Result<_, _>>().map_err(unavailable)?;
            Ok(())
        })?;
        let (all, counts) = counts.split_first().expect("a sum without groups has one row");
        if *all >= FREQUENT {
            return Ok(String::new());
        }
        Ok(each
            .iter()
            .zip(counts)
            .filter(|(_, count)| **count <= RARE)
            .map(|(word, _)| *word)
            .collect())
    }

    /// Every way to some rows by an index over places or columns.
    fn probes(&self, filters: &[Filter]) -> Vec<Probe> {
        let areas = filters.iter().filter_map(|filter| match filter {
            Filter::WithinBox { south, west, north, east } => {
                Some(GeoBox { south: *south, west: *west, north: *north, east: *east })
            }
            Filter::WithinRadius { latitude, longitude, meters } => {
                Some(GeoBox::around(*latitude, *longitude, *meters))
            }
            _ => None,
        });
        // Points in the index are rounded, so the row itself is to be checked too.
        let by_area = |area| {
            let select = self.places_in(area);
            Probe { select, source: Source::Rows, meets: Vec::new() }
        };
        let mut probes: Vec<Probe> = areas.map(by_area).collect();
        let mut usable: Vec<(String, Vec<usize>)> = self
            .indexes()
            .map(|(name, columns)| (name, self.usable_filters(&columns, filters)))
            .filter(|(_, usable)| !usable.is_empty())
            .collect();
        usable.sort_by_key(|(_, usable)| std::cmp::Reverse(usable.len()));
        for (name, meets) in usable {
            if probes.iter().any(|other| meets.iter().all(|at| other.meets.contains(at))) {
                continue;
            }
            let mut select = self.all_rows();
            select.column((ROWS, "_row"));
            for at in &meets {
                select.and_where_option(self.condition(&filters[*at]));
            }
            probes.push(Probe { select, source: Source::Index(name), meets });
        }
        probes
    }

    /// The declared indexes and the key's, each with its columns.
    fn indexes(&self) -> impl Iterator<Item = (String, Vec<&'static str>)> {
        let key = (self.physical.key_index(), indexed_columns(self.table, &[]));
        let declared = self.table.indexes.iter().enumerate();
        std::iter::once(key).chain(
            declared.map(|(place, index)| {
                (self.physical.index(place), indexed_columns(self.table, index))
            }),
        )
    }

    /// The filters that narrow an index: equalities on its first columns, then one range.
    fn usable_filters(&self, columns: &[&str], filters: &[Filter]) -> Vec<usize> {
        let mut usable = Vec::new();
        for column in columns {
            let on = |pick: fn(&Filter) -> Option<&'static str>| {
                filters.iter().enumerate().filter(move |(_, f)| pick(f) == Some(*column))
            };
            if let Some((at, _)) = on(equality_on).next() {
                usable.push(at);
                continue;
            }
            usable.extend(on(range_on).map(|(at, _)| at));
            break;
        }
        usable
    }

    /// The index whose order is the one asked for, or begins like it.
    fn index_in_order(&self, filters: &[Filter], terms: &[Term]) -> Option<String> {
        if !self.layout.same {
            return None;
        }
        let fixed = |name: &str| filters.iter().any(|filter| fixes(filter) == Some(name));
        let name_of = |term: &Term| self.table.columns[term.place].name;
        let asked: Vec<&Term> = terms.iter().filter(|term| !fixed(name_of(term))).collect();
        let score = |columns: &[&str]| {
            let mut sorted = asked.iter().peekable();
            let (mut matched, mut narrowed) = (0, 0);
            let direction = asked.first().map(|term| term.descending);
            for column in columns {
                match sorted.peek() {
                    Some(term)
                        if name_of(term) == *column && Some(term.descending) == direction =>
                    {
                        matched += 1;
                        sorted.next();
                    }
                    _ if fixed(column) => narrowed += 1,
                    _ => break,
                }
            }
            let covered = filters
                .iter()
                .filter(|f| equality_on(f).or(range_on(f)).is_some_and(|c| columns.contains(&c)))
                .count();
            (matched > 0).then_some((matched, narrowed, covered))
        };
        let scored = self.indexes().filter_map(|(name, columns)| Some((score(&columns)?, name)));
        scored.max_by_key(|(score, _)| *score).map(|(_, name)| name)
    }

    fn all_rows(&self) -> SelectStatement {
        Builder::select().from_as(Alias::new(self.physical.rows()), ROWS).take()
    }

    /// The rows of a source that meet all filters, nothing selected yet.
    fn select(&self, source: &Source, filters: &[Filter]) -> SelectStatement {
        let (mut select, met) = match source {
            Source::Candidates { rows, met } => {
                let rows = serde_json::to_string(rows).expect("a list of numbers is JSON");
                // CROSS keeps the candidates the outer loop; the builder writes no ON behind it.
                let mut select = Builder::select();
                select
                    .from_function(Func::cust("json_each").arg(rows), CANDIDATES)
                    .cross_join(TableRef::from(Alias::new(self.physical.rows())).alias(ROWS))
                    .and_where(Expr::col((ROWS, "_row")).equals((CANDIDATES, "value")));
                (select, Some(met))
            }
            Source::Index(_) | Source::Rows => (self.all_rows(), None),
        };
        let open = (0..filters.len()).filter(|at| !met.is_some_and(|met| met.contains(at)));
        for at in open {
            select.and_where_option(self.condition(&filters[at]));
        }
        select
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
            Filter::Equals(name, value) => self.column_named(name).eq(to_builder(value)),
            Filter::OneOf(name, values) => {
                let values = values.iter().filter(|value| **value != Value::Null);
                self.column_named(name).is_in(values.map(to_builder))
            }
            Filter::AtLeast(name, value) => self.column_named(name).gte(to_builder(value)),
            Filter::AtMost(name, value) => self.column_named(name).lte(to_builder(value)),
            Filter::IsNull(name) => self.column_named(name).is_null(),
            Filter::Text(text) => {
                let words = search_words(text);
                if words.is_empty() {
                    return None;
                }
                let columns = self.table.text_search.iter().map(|name| self.column_named(name));
                let arguments = std::iter::once(Expr::val(words)).chain(columns);
                Func::cust("words_begin").args(arguments).into()
            }
            Filter::WithinBox { south, west, north, east } => {
                let (south, west, north, east) = (*south, *west, *north, *east);
                self.within(GeoBox { south, west, north, east })
            }
            Filter::WithinRadius { latitude, longitude, meters } => {
                let (place_latitude, place_longitude) = self.place();
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

    fn place(&self) -> (Expr, Expr) {
        let named = |name: Option<&str>| name.map_or(Expr::cust("NULL"), |n| self.column_named(n));
        let spatial = self.table.spatial.as_ref();
        (named(spatial.map(|s| s.latitude)), named(spatial.map(|s| s.longitude)))
    }

    fn within(&self, area: GeoBox) -> Expr {
        let (latitude, longitude) = self.place();
        let east_west = area
            .longitudes()
            .into_iter()
            .map(|(west, east)| longitude.clone().gte(west).and(longitude.clone().lte(east)));
        let east_west = east_west.reduce(ExprTrait::or).unwrap_or(Expr::cust("0"));
        latitude.clone().gte(area.south).and(latitude.lte(area.north)).and(east_west)
    }

    /// The rows whose point, rounded outwards by the index, lies in the box.
    fn places_in(&self, area: GeoBox) -> SelectStatement {
        let ranges = area.longitudes().into_iter().map(|(west, east)| {
            Builder::select()
                .column("id")
                .from(Alias::new(self.physical.places()))
                .and_where(Expr::col("north").gte(area.south))
                .and_where(Expr::col("south").lte(area.north))
                .and_where(Expr::col("east").gte(west))
                .and_where(Expr::col("west").lte(east))
                .take()
        });
        let united = ranges.reduce(|mut one, other| one.union(UnionType::All, other).take());
        united.expect("a box has at least one range of longitudes")
    }

    /// The rows in which each of the words begins a word.
    fn rows_with(&self, words: &str) -> SelectStatement {
        let begins = |word: &str| format!("\"{}\"*", word.trim_start());
        let expression: Vec<String> = split_words(words).map(begins).collect();
        let index = self.physical.words();
        let words = Alias::new(&index);
        Builder::select()
            .column("rowid")
            .from(words.clone())
            .and_where(Expr::cust_with_exprs(
                "? MATCH ?",
                [Expr::col(words), Expr::val(expression.join(" AND "))],
            ))
            .take()
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

    fn order_by(&self, select: &mut SelectStatement, term: &Term) {
        let direction = if term.descending { Direction::Desc } else { Direction::Asc };
        let column = self.value_of(term.place);
        // SQLite's nulls are smaller than everything: said only where that is not what is wanted,
        // because it keeps an index from serving the order.
        match (term.nulls, term.descending) {
            (Some(NullOrdering::Last), false) | (Some(NullOrdering::First), true) => {
                let nulls = if term.descending { NullOrdering::First } else { NullOrdering::Last };
                select.order_by_expr_with_nulls(column, direction, nulls);
            }
            _ => {
                select.order_by_expr(column, direction);
            }
        }
    }

    fn run(
        &self,
        source: &Source,
        select: &SelectStatement,
        mut each: impl FnMut(&rusqlite::Row<'_>) -> Result<(), ReadModelError>,
    ) -> Result<(), ReadModelError> {
        let (mut sql, values) = select.build(SqliteQueryBuilder);
        if let Source::Index(name) = source {
            // The builder does not know this clause of SQLite's. Nothing a caller sends is in the
            // text, and the name of the rows is in it once with an AS.
            let rows = format!(" AS \"{ROWS}\"");
            sql = sql.replacen(&rows, &format!("{rows} INDEXED BY \"{name}\""), 1);
        }
        let mut statement = self.reader.prepare_cached(&sql).map_err(unavailable)?;
        let values = rusqlite::params_from_iter(values.0.iter().map(BoundByBuilder));
        let mut found = statement.query(values).map_err(unavailable)?;
        while let Some(row) = found.next().map_err(unavailable)? {
            each(row)?;
        }
        Ok(())
    }
}

/// A count that may turn out to be small.
struct Probe {
    select: SelectStatement,
    source: Source,
    /// The filters that its rows meet for certain.
    meets: Vec<usize>,
}

fn equality_on(filter: &Filter) -> Option<&'static str> {
    match filter {
        Filter::Equals(name, _) | Filter::OneOf(name, _) | Filter::IsNull(name) => Some(name),
        _ => None,
    }
}

fn range_on(filter: &Filter) -> Option<&'static str> {
    match filter {
        Filter::AtLeast(name, _) | Filter::AtMost(name, _) => Some(name),
        _ => None,
    }
}

/// The column that is the same in all rows the filter admits.
fn fixes(filter: &Filter) -> Option<&'static str> {
    match filter {
        Filter::Equals(name, _) | Filter::IsNull(name) => Some(name),
        _ => None,
    }
}
