//! Questions to the active generation.
//!
//! SQLite's planner knows neither how many points a box holds nor how soon a sorted walk meets
//! its limit, so the plan is chosen here, by counting:
//!
//! 1. The index that gives the order asked for is walked a little way from where the page begins.
//!    If matches are dense there, it is walked until the page is full, and the filters are checked
//!    on the way. A walk that should have filled the page by then and has not is given up.
//! 2. Else the other indexes (places, words, ordinary ones) are asked for the rows that some
//!    filters leave, for a limited number of them, and not where that sample (after a walk given
//!    up: what comes behind it) says that they are many. What all that answer agree on are the
//!    candidates.
//! 3. Few candidates are looked up, filtered and sorted. With many, the order is walked in its
//!    index alone, and only candidates that it meets are looked up; when that has cost as much as
//!    looking up all of them, they are.
//! 4. If no index has an answer, the order is walked to the page's end, however far that is.

use std::cmp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use freehold_ports::{
    Filter, GeoBox, Nulls, Page, Part, Query, ReadModelError, Reading, Row, Table, Term, Test,
    Value, index_in_order, search_words, split_words, usable_filters,
};
use rusqlite::Connection;
use sea_query::{
    Alias, Cond, Expr, ExprTrait, Func, NullOrdering, Order as Direction, Query as Builder,
    SelectStatement, SqliteQueryBuilder, TableRef, UnionType,
};

use super::schema::PhysicalTable;
use super::value::{BoundByBuilder, read_row, to_builder};
use super::{catalogue, unavailable};

/// From which numbers on one plan is better than another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// How many rows of a walk are looked at before it is chosen.
    pub(super) sample: u64,
    /// With so many matches in a sample a walk fills a page sooner than another index answers.
    pub(super) dense: usize,
    /// A dense walk is given up after so many times the rows in which the sample lets expect a
    /// full page; never within the sample, and at the latest after as many rows as candidates
    /// would be looked up.
    pub(super) patience: u64,
    /// How many occurrences of words are read: the index of words reads all of a word's beginning
    /// before it gives the first one. So many for each match that a dense sample has and this one
    /// has not.
    pub(super) rare: usize,
    /// The most candidates.
    pub(super) many: usize,
    /// So many candidates are looked up, without a walk that might meet them: a few milliseconds.
    pub(super) sorted: usize,
}

impl Default for Scale {
    fn default() -> Self {
        Self { sample: 500, dense: 4, patience: 4, rare: 15_000, many: 60_000, sorted: 3_000 }
    }
}

/// So many candidates are not worth another count.
const VERY_FEW: usize = 1_000;

/// How many entries of an index are walked in the time in which one row is looked up.
const ENTRIES_A_ROW: usize = 8;

/// How many occurrences of words are read in the time in which one row is looked up.
const OCCURRENCES_A_ROW: usize = 12;

/// How many candidates that a walk meets are looked up at once.
const AT_ONCE: usize = 64;

/// How the rows are called in a statement; no column begins with an underscore.
const ROWS: &str = "_rows";
const CANDIDATES: &str = "_candidates";

/// What all questions share.
#[derive(Default)]
pub(super) struct Planner {
    scale: Scale,
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

impl Planner {
    #[cfg(test)]
    pub(super) fn with(scale: Scale) -> Self {
        Self { scale, layouts: Mutex::default() }
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
        let same = stored == table.declaration();
        let stored: serde_json::Value = serde_json::from_str(&stored)
            .map_err(|error| ReadModelError::Unavailable { source: error.into() })?;
        let present = table.columns.iter().map(|c| c.is_in(&stored)).collect();
        let layout = Arc::new(Layout { same, present });
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).insert(key, layout.clone());
        Ok(layout)
    }
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
    let filters = plain(&query.filters);
    let reading = Reading::of(query, &filters);
    if reading.parts.is_empty() {
        return Ok(Page { rows: Vec::new(), has_more: false, checkpoint });
    }
    let wanted = query.limit.get() as usize;
    let mut rows = scope.rows(&filters, &reading, wanted + 1)?;
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
    let filters = plain(filters);
    let candidates = match scope.layout.same {
        // Every match is to be met, so no word is too frequent to begin with it.
        true => scope.candidates(&filters, &Sample::default(), usize::MAX)?,
        false => None,
    };
    let source = candidates.map_or(Source::Rows, Source::Candidates);
    let mut select = scope.select(&source, &filters);
    select.expr(Expr::cust("count(*)"));
    let mut counted = 0;
    scope.run(&source, &select, |row| {
        counted = row.get::<_, i64>(0).map_err(unavailable)?.unsigned_abs();
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(counted)
}

/// The filters, with one of one value as the equality that it is.
fn plain(filters: &[Filter]) -> Vec<Filter> {
    filters.iter().map(Filter::plain).collect()
}

/// Where the rows of a statement come from.
enum Source {
    /// These rows.
    Candidates(Candidates),
    /// All rows in the order of this index.
    Index(String),
    /// All rows, as SQLite sees fit.
    Rows,
}

/// Rows, by `_row` in ascending order, that meet the filters at these places, and all rows that
/// meet all filters among them.
struct Candidates {
    rows: Vec<i64>,
    met: HashSet<usize>,
}

/// The first rows of a walk; of all rows, in no order, unless said.
#[derive(Default)]
struct Sample<'q> {
    index: Option<String>,
    /// The filters that these rows meet because the walk goes by them.
    met: Vec<usize>,
    /// What is walked, part after part; all rows if there are none.
    parts: &'q [Part],
    /// So many rows of each part are passed over.
    passed: u64,
}

/// How the rows of a page are found.
enum Plan<'q> {
    /// By a walk, however long.
    Walk,
    /// By a walk over so many rows at most, because this sample of it is dense.
    Dense(Sample<'q>, u64),
    /// Among these.
    Candidates(Candidates),
}

/// One table of the active generation in one read transaction.
struct Scope<'a> {
    reader: &'a Connection,
    scale: Scale,
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
        Ok(Self { reader, scale: planner.scale, table, physical, layout })
    }

    /// The first rows of the answer, by the plan that suits them, see the head of this file.
    fn rows(
        &self,
        filters: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Vec<Row>, ReadModelError> {
        let (walk, plan) = self.choose(filters, reading, wanted)?;
        let candidates = match plan {
            Plan::Walk => None,
            Plan::Candidates(candidates) => Some(candidates),
            Plan::Dense(sample, budget) => {
                let walked = self.walk_within(budget, &sample, filters, reading, wanted)?;
                if let Some(met) = walked {
                    return self.look_up(met);
                }
                let behind = Sample { passed: budget, ..sample };
                self.candidates(filters, &behind, self.occurrences(0))?
            }
        };
        let Some(candidates) = candidates else {
            return self.walk(&walk, filters, reading, wanted);
        };
        let mut met = None;
        if let Source::Index(index) = &walk
            && candidates.rows.len() > self.scale.sorted
        {
            met = self.walk_among(&candidates, index, filters, reading, wanted)?;
        }
        let met = match met {
            Some(met) => met,
            None => self.sort(candidates, filters, reading, wanted)?,
        };
        self.look_up(met)
    }

    /// Chooses the plan, and the walk for those that walk.
    fn choose<'q>(
        &self,
        filters: &[Filter],
        reading: &'q Reading,
        wanted: usize,
    ) -> Result<(Source, Plan<'q>), ReadModelError> {
        if !self.layout.same {
            return Ok((Source::Rows, Plan::Walk));
        }
        let index = self.index_in_order(filters, &reading.terms);
        let walk = index.clone().map_or(Source::Rows, Source::Index);
        let sample = match index.and_then(|name| self.indexes().find(|(other, _)| *other == name)) {
            Some((name, columns)) => {
                let met = usable_filters(&columns, filters);
                Sample { index: Some(name), met, parts: &reading.parts, passed: 0 }
            }
            None => Sample::default(),
        };
        let Some(all) = self.open_condition(&sample, filters) else {
            return Ok((walk, Plan::Walk));
        };
        let (seen, counts) = self.sampled(&sample, filters, &[all])?;
        let matching: usize = counts.iter().sum();
        if (seen as u64) < self.scale.sample {
            return Ok((walk, Plan::Walk));
        }
        if matching >= self.scale.dense && sample.index.is_some() {
            let expected = wanted as u64 * self.scale.sample / matching.max(1) as u64;
            let budget = cmp::min(expected * self.scale.patience, self.scale.many as u64);
            let budget = cmp::max(budget, self.scale.sample);
            return Ok((walk, Plan::Dense(sample, budget)));
        }
        let candidates = self.candidates(filters, &sample, self.occurrences(matching))?;
        Ok((walk, candidates.map_or(Plan::Walk, Plan::Candidates)))
    }

    /// How many occurrences of words may be read if a sample has so many matches: the denser they
    /// are, the less time there is to ask another index.
    fn occurrences(&self, matching: usize) -> usize {
        self.scale.rare * self.scale.dense.saturating_sub(matching).max(1)
    }

    /// What is left to check on the rows of a sample, if anything is.
    fn open_condition(&self, sample: &Sample<'_>, filters: &[Filter]) -> Option<Expr> {
        let open = (0..filters.len()).filter(|at| !sample.met.contains(at));
        open.filter_map(|at| self.condition(&filters[at])).reduce(ExprTrait::and)
    }

    /// How many rows a sample has, and how many of them meet each of the conditions on the
    /// filters' columns.
    fn sampled(
        &self,
        sample: &Sample<'_>,
        filters: &[Filter],
        conditions: &[Expr],
    ) -> Result<(usize, Vec<usize>), ReadModelError> {
        let walk = sample.index.clone().map_or(Source::Rows, Source::Index);
        let kept: Vec<Filter> = sample.met.iter().map(|at| filters[*at].clone()).collect();
        let tested: BTreeSet<&str> = filters.iter().flat_map(|f| self.columns_of(f)).collect();
        let everything = [Part { tests: Vec::new(), order: Vec::new() }];
        let parts: &[Part] = if sample.parts.is_empty() { &everything } else { sample.parts };
        let mut counts = vec![0; conditions.len()];
        let mut seen = 0;
        for part in parts {
            let mut rows = self.select(&walk, &kept);
            rows.column((ROWS, "_row"));
            for name in &tested {
                rows.expr_as(self.column_named(name), *name);
            }
            self.within_part(&mut rows, part);
            rows.limit(self.scale.sample - seen as u64).offset(sample.passed);
            let mut select = Builder::select();
            select.from_subquery(rows, ROWS).expr(Expr::cust("total(1)"));
            for condition in conditions {
                select.expr(Func::cust("total").arg(condition.clone()));
            }
            self.run(&walk, &select, |row| {
                let count = |place| row.get::<_, f64>(place).map(|count| count as usize);
                seen += count(0).map_err(unavailable)?;
                for (place, counted) in counts.iter_mut().enumerate() {
                    *counted += count(place + 1).map_err(unavailable)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if seen as u64 == self.scale.sample {
                break;
            }
        }
        Ok((seen, counts))
    }

    /// The columns that a filter looks at.
    fn columns_of(&self, filter: &Filter) -> Vec<&'static str> {
        match filter {
            Filter::Text(_) => self.table.text_search.to_vec(),
            Filter::WithinBox { .. } | Filter::WithinRadius { .. } => {
                self.table.spatial.iter().flat_map(|s| [s.latitude, s.longitude]).collect()
            }
            filter => filter.equality_on().or(filter.range_on()).into_iter().collect(),
        }
    }

    /// The rows that some filters leave, if an index can say them; it may read so many occurrences
    /// of words.
    fn candidates(
        &self,
        filters: &[Filter],
        sample: &Sample<'_>,
        occurrences: usize,
    ) -> Result<Option<Candidates>, ReadModelError> {
        let texts = filters.iter().enumerate().filter_map(|(at, filter)| match filter {
            Filter::Text(text) => Some((at, search_words(text))),
            _ => None,
        });
        let texts: Vec<(usize, String)> = texts.collect();
        let words: Vec<&str> = texts.iter().flat_map(|(_, words)| split_words(words)).collect();
        let mut probes = self.probes_of_areas(filters);
        probes.extend(self.probes_of_columns(filters));
        let tests = probes.iter().map(|probe| probe.test.clone());
        let tests = tests.chain(words.iter().map(|word| self.begin_with(word)));
        let tests: Vec<Expr> = tests.collect();
        if tests.is_empty() {
            return Ok(None);
        }
        let (seen, mut estimates) = self.sampled(sample, filters, &tests)?;
        if sample.passed > 0 && (seen as u64) < self.scale.sample {
            // So little is behind that the walk is soon at its end, and nothing to estimate from.
            return Ok(None);
        }
        let all = self.number_of_rows()?;
        estimates.iter_mut().for_each(|count| *count = count.saturating_mul(all) / seen.max(1));
        let of_words = estimates.split_off(probes.len());
        let mut probes: Vec<(usize, Probe)> = estimates.into_iter().zip(probes).collect();
        probes.extend(self.probe_of_words(&texts, &words, &of_words, occurrences));
        // An estimate may be twice as high as the truth.
        probes.retain(|(estimate, _)| estimate / 2 <= self.scale.many);
        probes.sort_by_key(|(estimate, _)| *estimate);
        let mut best = None;
        for (_, probe) in probes {
            self.narrow(&mut best, probe)?;
            if best.as_ref().is_some_and(|best| best.rows.len() <= VERY_FEW) {
                break;
            }
        }
        Ok(best)
    }

    /// About how many rows there are: no more than this, unless other programs wrote them.
    fn number_of_rows(&self) -> Result<usize, ReadModelError> {
        let mut select = self.all_rows();
        select.expr(Func::max(Expr::col((ROWS, "_row"))));
        let mut rows = 0;
        self.run(&Source::Rows, &select, |row| {
            let last: Option<i64> = row.get(0).map_err(unavailable)?;
            rows = last.and_then(|last| usize::try_from(last).ok()).unwrap_or(0);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// Keeps the candidates that a probe has too, unless it has too many rows.
    fn narrow(&self, best: &mut Option<Candidates>, probe: Probe) -> Result<(), ReadModelError> {
        let mut rows = Vec::new();
        let mut select = probe.select;
        select.limit(self.scale.many as u64 + 1);
        self.run(&probe.source, &select, |row| {
            rows.push(row.get::<_, i64>(0).map_err(unavailable)?);
            Ok(ControlFlow::Continue(()))
        })?;
        if rows.len() > self.scale.many {
            return Ok(());
        }
        rows.sort_unstable();
        rows.dedup();
        let mut met = HashSet::from_iter(probe.meets);
        if let Some(others) = best.take() {
            rows.retain(|row| others.rows.binary_search(row).is_ok());
            met.extend(others.met);
        }
        *best = Some(Candidates { rows, met });
        Ok(())
    }

    /// The way to the rows with the rarest words of texts, and the estimate of the rarest; nothing
    /// if already that one has more occurrences than may be read.
    fn probe_of_words(
        &self,
        texts: &[(usize, String)],
        words: &[&str],
        estimates: &[usize],
        mut occurrences: usize,
    ) -> Option<(usize, Probe)> {
        let mut by_estimate: Vec<(usize, &str)> =
            estimates.iter().copied().zip(words.iter().copied()).collect();
        by_estimate.sort_unstable();
        let rarest = by_estimate.first()?.0;
        let mut asked = Vec::new();
        for (estimate, word) in by_estimate {
            let pays = estimate <= rarest.saturating_mul(OCCURRENCES_A_ROW);
            if !pays || estimate > occurrences {
                break;
            }
            occurrences -= estimate;
            asked.push(word);
        }
        if asked.is_empty() {
            return None;
        }
        let is_met = |(_, words): &&(usize, String)| split_words(words).all(|w| asked.contains(&w));
        let meets: Vec<usize> = texts.iter().filter(is_met).map(|(at, _)| *at).collect();
        // Rows are estimated by the rarest, and read by all of those words.
        let (select, test) = (self.rows_with(&asked), Expr::cust("1"));
        Some((rarest, Probe { select, source: Source::Rows, meets, test }))
    }

    /// The rows of a page by a walk.
    fn walk(
        &self,
        walk: &Source,
        filters: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Vec<Row>, ReadModelError> {
        let mut rows = Vec::new();
        for part in &reading.parts {
            let mut select = self.select(walk, filters);
            self.select_columns(&mut select);
            self.within_part(&mut select, part);
            self.within_bound(&mut select, reading);
            select.limit((wanted - rows.len()) as u64);
            self.run(walk, &select, |row| {
                rows.push(read_row(self.table, row)?);
                Ok(ControlFlow::Continue(()))
            })?;
            if rows.len() == wanted {
                break;
            }
        }
        Ok(rows)
    }

    /// The rows of a page by the walk of a sample; nothing if so many rows are passed before it is
    /// full.
    fn walk_within(
        &self,
        budget: u64,
        sample: &Sample<'_>,
        filters: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Option<Vec<i64>>, ReadModelError> {
        let walk = sample.index.clone().map_or(Source::Rows, Source::Index);
        let kept: Vec<Filter> = sample.met.iter().map(|at| filters[*at].clone()).collect();
        let bound = reading.bound.as_ref().map(|bound| Expr::from(self.any(bound)));
        let matches = self.open_condition(sample, filters).into_iter().chain(bound);
        let matches = matches.reduce(ExprTrait::and).unwrap_or(Expr::cust("1"));
        let mut left = budget;
        let mut found = Vec::new();
        for part in &reading.parts {
            let mut select = self.select(&walk, &kept);
            // SQLite gives the rows that do not match too, so that they are counted.
            select.column((ROWS, "_row")).expr(matches.clone());
            self.within_part(&mut select, part);
            select.limit(left);
            self.run(&walk, &select, |row| {
                left -= 1;
                if row.get::<_, Option<bool>>(1).map_err(unavailable)? == Some(true) {
                    found.push(row.get(0).map_err(unavailable)?);
                }
                Ok(match found.len() == wanted {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            if found.len() == wanted {
                break;
            }
            if left == 0 {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// The rows of a page by a walk that looks up candidates only; nothing if that takes as long as
    /// looking up all of them.
    fn walk_among(
        &self,
        candidates: &Candidates,
        index: &str,
        filters: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Option<Vec<i64>>, ReadModelError> {
        let walk = Source::Index(index.to_owned());
        let columns = self.indexes().find(|(name, _)| name == index).map(|(_, columns)| columns);
        let covered = |f: &&Filter| {
            let column = f.equality_on().or(f.range_on());
            column.is_some_and(|c| columns.as_ref().is_some_and(|all| all.contains(&c)))
        };
        let kept: Vec<Filter> = filters.iter().filter(covered).cloned().collect();
        let mut left = candidates.rows.len() * ENTRIES_A_ROW;
        let mut found = Vec::new();
        for part in &reading.parts {
            let mut select = self.select(&walk, &kept);
            select.column((ROWS, "_row"));
            self.within_part(&mut select, part);
            self.within_bound(&mut select, reading);
            let mut met = Vec::new();
            self.run(&walk, &select, |row| {
                let row: i64 = row.get(0).map_err(unavailable)?;
                let mut cost = 1;
                if candidates.rows.binary_search(&row).is_ok() {
                    met.push(row);
                    cost += ENTRIES_A_ROW;
                }
                left = left.saturating_sub(cost);
                if met.len() == AT_ONCE {
                    found.extend(self.matching(std::mem::take(&mut met), candidates, filters)?);
                }
                Ok(match left == 0 || found.len() >= wanted {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            if found.len() < wanted {
                found.extend(self.matching(met, candidates, filters)?);
            }
            if found.len() >= wanted {
                found.truncate(wanted);
                return Ok(Some(found));
            }
            if left == 0 {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Those of some candidates that meet all filters, in the order given.
    fn matching(
        &self,
        mut rows: Vec<i64>,
        candidates: &Candidates,
        filters: &[Filter],
    ) -> Result<Vec<i64>, ReadModelError> {
        let met = candidates.met.clone();
        let source = Source::Candidates(Candidates { rows: rows.clone(), met });
        let mut select = self.select(&source, filters);
        select.column((ROWS, "_row"));
        let matching: HashSet<i64> = self.rows_of(&source, &select)?.into_iter().collect();
        rows.retain(|row| matching.contains(row));
        Ok(rows)
    }

    /// The rows of a page by looking up all candidates.
    fn sort(
        &self,
        candidates: Candidates,
        filters: &[Filter],
        reading: &Reading,
        wanted: usize,
    ) -> Result<Vec<i64>, ReadModelError> {
        let source = Source::Candidates(candidates);
        let mut select = self.select(&source, filters);
        // The other columns follow for the page alone: to sort whole rows takes twice as long.
        select.column((ROWS, "_row"));
        if !reading.whole {
            select.cond_where(self.any(&reading.parts));
        }
        self.within_bound(&mut select, reading);
        reading.terms.iter().for_each(|term| self.order_by(&mut select, term));
        select.limit(wanted as u64);
        self.rows_of(&source, &select)
    }

    fn rows_of(
        &self,
        source: &Source,
        select: &SelectStatement,
    ) -> Result<Vec<i64>, ReadModelError> {
        let mut rows = Vec::new();
        self.run(source, select, |row| {
            rows.push(row.get(0).map_err(unavailable)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// These rows, in this order.
    fn look_up(&self, rows: Vec<i64>) -> Result<Vec<Row>, ReadModelError> {
        let source = Source::Candidates(Candidates { rows: rows.clone(), met: HashSet::new() });
        let mut select = self.select(&source, &[]);
        self.select_columns(&mut select);
        select.column((ROWS, "_row"));
        let mut found = HashMap::with_capacity(rows.len());
        self.run(&source, &select, |row| {
            let number: i64 = row.get(self.table.columns.len()).map_err(unavailable)?;
            found.insert(number, read_row(self.table, row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows.iter().filter_map(|row| found.remove(row)).collect())
    }

    fn select_columns(&self, select: &mut SelectStatement) {
        for (place, column) in self.table.columns.iter().enumerate() {
            select.expr_as(self.value_of(place), column.name);
        }
    }

    /// Leaves the rows of a part, in its order.
    fn within_part(&self, select: &mut SelectStatement, part: &Part) {
        select.cond_where(self.all(&part.tests));
        part.order.iter().for_each(|term| self.order_by(select, term));
    }

    /// Leaves the rows before the end of the reading.
    fn within_bound(&self, select: &mut SelectStatement, reading: &Reading) {
        if let Some(bound) = &reading.bound {
            select.cond_where(self.any(bound));
        }
    }

    /// The ways to the rows in the areas asked for. Points in the index are rounded, so the row
    /// itself is to be checked too.
    fn probes_of_areas(&self, filters: &[Filter]) -> Vec<Probe> {
        let areas = filters.iter().filter_map(|filter| match filter {
            Filter::WithinBox { south, west, north, east } => {
                Some(GeoBox { south: *south, west: *west, north: *north, east: *east })
            }
            Filter::WithinRadius { latitude, longitude, meters } => {
                Some(GeoBox::around(*latitude, *longitude, *meters))
            }
            _ => None,
        });
        let probe = |area| Probe {
            select: self.places_in(area),
            source: Source::Rows,
            meets: Vec::new(),
            test: self.within(area),
        };
        areas.map(probe).collect()
    }

    /// The ways to some rows by an index over columns.
    fn probes_of_columns(&self, filters: &[Filter]) -> Vec<Probe> {
        let mut probes: Vec<Probe> = Vec::new();
        let mut usable: Vec<(String, Vec<usize>)> = self
            .indexes()
            .map(|(name, columns)| (name, usable_filters(&columns, filters)))
            .filter(|(_, usable)| !usable.is_empty())
            .collect();
        usable.sort_by_key(|(_, usable)| cmp::Reverse(usable.len()));
        for (name, meets) in usable {
            if probes.iter().any(|other| meets.iter().all(|at| other.meets.contains(at))) {
                continue;
            }
            let mut select = self.all_rows();
            select.column((ROWS, "_row"));
            let tests = meets.iter().filter_map(|at| self.condition(&filters[*at]));
            let Some(test) = tests.reduce(ExprTrait::and) else { continue };
            select.and_where(test.clone());
            probes.push(Probe { select, source: Source::Index(name), meets, test });
        }
        probes
    }

    /// The declared indexes and the key's, each with its columns.
    fn indexes(&self) -> impl Iterator<Item = (String, Vec<&'static str>)> {
        let key = (self.physical.key_index(), self.table.indexed_columns(&[]));
        let declared = self.table.indexes.iter().enumerate();
        std::iter::once(key).chain(
            declared.map(|(place, index)| {
                (self.physical.index(place), self.table.indexed_columns(index))
            }),
        )
    }

    /// The index whose order is the one asked for, or begins like it.
    fn index_in_order(&self, filters: &[Filter], terms: &[Term]) -> Option<String> {
        index_in_order(self.table, self.indexes(), filters, terms)
    }

    fn all_rows(&self) -> SelectStatement {
        Builder::select().from_as(Alias::new(self.physical.rows()), ROWS).take()
    }

    /// The rows of a source that meet all filters, nothing selected yet.
    fn select(&self, source: &Source, filters: &[Filter]) -> SelectStatement {
        let (mut select, met) = match source {
            Source::Candidates(Candidates { rows, met }) => {
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
                self.begin_with(&words)
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

    /// Whether each of the words begins a word of the row.
    fn begin_with(&self, words: &str) -> Expr {
        let columns = self.table.text_search.iter().map(|name| self.column_named(name));
        Func::cust("words_begin").args(std::iter::once(Expr::val(words)).chain(columns)).into()
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
    fn rows_with(&self, words: &[&str]) -> SelectStatement {
        let begins = |word: &str| format!("\"{}\"*", word.trim_start());
        let expression: Vec<String> = words.iter().map(|word| begins(word)).collect();
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

    fn any(&self, parts: &[Part]) -> Cond {
        parts.iter().fold(Cond::any(), |any, part| any.add(self.all(&part.tests)))
    }

    fn order_by(&self, select: &mut SelectStatement, term: &Term) {
        let direction = if term.descending { Direction::Desc } else { Direction::Asc };
        let column = self.value_of(term.place);
        // SQLite's nulls are smaller than everything: said only where that is not what is wanted,
        // because it keeps an index from serving the order.
        match (term.nulls, term.descending) {
            (Some(Nulls::Last), false) | (Some(Nulls::First), true) => {
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
        mut each: impl FnMut(&rusqlite::Row<'_>) -> Result<ControlFlow<()>, ReadModelError>,
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
            if each(row)?.is_break() {
                break;
            }
        }
        #[cfg(test)]
        {
            drop(found);
            let steps = statement.reset_status(rusqlite::StatementStatus::VmStep);
            tests::STEPS.set(tests::STEPS.get() + i64::from(steps));
        }
        Ok(())
    }
}

/// An index that may have few rows.
struct Probe {
    select: SelectStatement,
    source: Source,
    /// The filters that its rows meet for certain.
    meets: Vec<usize>,
    /// What its rows meet, as a condition on a row.
    test: Expr,
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::num::NonZeroU32;

    use freehold_ports::{Column, ColumnKind, Spatial};

    use super::*;
    use crate::read_models::connection::open_in_memory;
    use crate::read_models::schema;
    use crate::read_models::value::Bound;

    const fn column(name: &'static str, kind: ColumnKind) -> Column {
        Column { name, kind }
    }

    static HOME: Table = Table {
        name: "home",
        columns: &[
            column("home", ColumnKind::Integer),
            column("status", ColumnKind::Text),
            column("price", ColumnKind::Integer),
            column("published", ColumnKind::Integer),
            column("title", ColumnKind::Text),
            column("latitude", ColumnKind::Real),
            column("longitude", ColumnKind::Real),
        ],
        key_columns: 1,
        indexes: &[&["status", "published"], &["price"], &["published"]],
        text_search: &["title"],
        spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
    };
    const HOMES: i64 = 4_000;
    const SCALE: Scale =
        Scale { sample: 100, dense: 4, patience: 4, rare: 40, many: 400, sorted: 50 };

    thread_local! {
        /// The steps of SQLite's machine in the statements that this thread has run.
        pub(super) static STEPS: Cell<i64> = const { Cell::new(0) };
    }

    /// Home `n` costs `n` and lies on the equator; one of 40 is let, and these were not published.
    fn homes(number: i64) -> Connection {
        let connection = open_in_memory().unwrap();
        let physical = PhysicalTable::new(HOME.name, 1);
        connection.execute_batch(&schema::create_rows(&HOME, &physical)).unwrap();
        for step in schema::steps(&HOME, &physical) {
            if step.through.is_none() {
                connection.execute_batch(&step.sql).unwrap();
            }
        }
        for home in 0..number {
            let is_let = home % 40 == 7;
            let title =
                format!("home {} of{}", if home % 80 == 3 { "rare" } else { "usual" }, home);
            let values = [
                Value::Integer(home),
                text(if is_let { "let" } else { "open" }),
                Value::Integer(home),
                if is_let { Value::Null } else { Value::Integer(home * 7_919 % number) },
                text(&title),
                Value::Real(0.0),
                Value::Real(home as f64 / 100.0),
            ];
            let sql =
                format!("INSERT INTO \"{}\" VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", physical.rows());
            let values = rusqlite::params_from_iter(values.iter().map(Bound));
            connection.execute(&sql, values).unwrap();
        }
        connection
    }

    fn text(text: &str) -> Value {
        Value::Text(Arc::from(text))
    }

    fn scope(connection: &Connection) -> Scope<'_> {
        let present = vec![true; HOME.columns.len()];
        Scope {
            reader: connection,
            scale: SCALE,
            table: &HOME,
            physical: PhysicalTable::new(HOME.name, 1),
            layout: Arc::new(Layout { same: true, present }),
        }
    }

    fn question(filter: Filter, order: &'static str) -> Query {
        Query {
            table: &HOME,
            filters: vec![filter],
            order: vec![freehold_ports::Order { column: order, descending: false }],
            after: None,
            before: None,
            backwards: false,
            limit: NonZeroU32::new(20).unwrap(),
        }
    }

    /// The homes from `west` on, so many of them.
    fn between(west: i64, homes: i64) -> Filter {
        Filter::WithinBox {
            south: -1.0,
            west: west as f64 / 100.0,
            north: 1.0,
            east: (west + homes - 1) as f64 / 100.0,
        }
    }

    /// The index that is walked, if one is, and how many candidates it is to meet, if any.
    fn plan(
        connection: &Connection,
        filter: Filter,
        order: &'static str,
    ) -> (Option<String>, Option<usize>) {
        let query = question(filter, order);
        let filters = plain(&query.filters);
        let reading = Reading::of(&query, &filters);
        let (walk, plan) = scope(connection).choose(&filters, &reading, 21).unwrap();
        let walk = match walk {
            Source::Index(name) => Some(name),
            _ => None,
        };
        match plan {
            Plan::Candidates(candidates) => (walk, Some(candidates.rows.len())),
            Plan::Walk | Plan::Dense(..) => (walk, None),
        }
    }

    /// The steps of the machine while `read` runs, and the homes that it found.
    fn steps(read: impl FnOnce() -> Result<Vec<Row>, ReadModelError>) -> (i64, Vec<i64>) {
        STEPS.set(0);
        let rows = read().unwrap();
        let homes = rows.iter().map(|row| match row.0[0] {
            Value::Integer(home) => home,
            _ => panic!("a home is a number"),
        });
        (STEPS.get(), homes.collect())
    }

    #[test]
    fn one_status_of_a_list_is_walked_in_its_own_index_nulls_included() {
        let filter = Filter::OneOf("status", vec![text("let")]);
        let (walk, candidates) = plan(&homes(HOMES), filter, "published");
        assert_eq!((walk.as_deref(), candidates), (Some("home_g1_index0"), None));
    }

    #[test]
    fn dense_matches_are_walked_and_others_are_candidates() {
        let homes = homes(HOMES);
        // The sample is of the hundred cheapest homes.
        let by_price = |filter| plan(&homes, filter, "price");
        let walk = || Some("home_g1_index1".to_owned());
        assert_eq!(by_price(between(0, 4)), (walk(), None));
        assert_eq!(by_price(between(0, 3)), (walk(), Some(3)));
        assert_eq!(by_price(between(1_000, 400)), (walk(), Some(400)));
        assert_eq!(by_price(between(1_000, 401)), (walk(), None));
        assert_eq!(by_price(Filter::Text("usual".into())), (walk(), None));
        // Two of the sample, so 80 are expected, and two matches leave time to read as many.
        assert_eq!(by_price(Filter::Text("rare".into())), (walk(), Some(50)));
        assert_eq!(by_price(Filter::Text("usual of3999".into())), (walk(), Some(1)));
    }

    /// Matches are dense where the page begins, or were at the beginning of the order, and there
    /// are none behind: the rest of the table is not read for them.
    #[test]
    fn a_walk_that_meets_nothing_more_is_given_up() {
        let homes = homes(4 * HOMES);
        // No more than two samples and the longest dense walk, at 40 steps a row.
        let bound = 40 * (2 * SCALE.sample as i64 + SCALE.many as i64);
        // What is asked for, the home at which the page begins or ends, and its homes as read.
        let after = |home| Some((home, false));
        let before = |home| Some((home, true));
        type Case = (Filter, Option<(i64, bool)>, Vec<i64>);
        let cases: [Case; 7] = [
            (between(0, 15), None, (0..15).collect()),
            (between(90, 15), after(70), (90..105).collect()),
            (between(0, 100), after(1_000), vec![]),
            (between(1_000, 15), after(1_004), (1_005..1_015).collect()),
            (between(3_000, 15), before(3_010), (3_000..3_010).rev().collect()),
            (between(3_000, 15), before(2_990), vec![]),
            (Filter::AtLeast("published", Value::Integer(4 * HOMES)), after(10), vec![]),
        ];
        for (filter, place, expected) in cases {
            let mut query = question(filter, "price");
            query.backwards = place.is_some_and(|(_, before)| before);
            let end = if query.backwards { &mut query.before } else { &mut query.after };
            *end = place.map(|(home, _)| vec![Value::Integer(home); 2]);
            let filters = plain(&query.filters);
            let reading = Reading::of(&query, &filters);
            let scope = scope(&homes);
            let (read, found) = steps(|| scope.rows(&filters, &reading, 21));
            assert_eq!(found, expected, "{query:?}");
            let walk = Source::Index(scope.physical.index(1));
            let (walked, found) = steps(|| scope.walk(&walk, &filters, &reading, 21));
            assert_eq!(found, expected, "{query:?}");
            assert!(read < bound && bound < walked, "{read}, not {walked}: {query:?}");
        }
    }

    /// All rows at the beginning of the order lie in one town, as if all did; what comes behind
    /// says that its index has few.
    #[test]
    fn after_a_walk_given_up_indexes_are_asked_by_what_comes_behind() {
        let homes = homes(HOMES);
        let query = question(between(0, 120), "price");
        let filters = plain(&query.filters);
        let reading = Reading::of(&query, &filters);
        let (_, found) = steps(|| scope(&homes).rows(&filters, &reading, 150));
        assert_eq!(found, (0..120).collect::<Vec<_>>());
        let sample = Sample {
            index: Some(PhysicalTable::new(HOME.name, 1).index(1)),
            met: Vec::new(),
            parts: &reading.parts,
            passed: 0,
        };
        let asked = |passed| {
            let sample = Sample { index: sample.index.clone(), met: Vec::new(), passed, ..sample };
            let candidates = scope(&homes).candidates(&filters, &sample, 160).unwrap();
            candidates.map(|candidates| candidates.rows.len())
        };
        // All of the first hundred match, which would be all of the table.
        assert_eq!((asked(0), asked(400)), (None, Some(120)));
        // Nothing can be said of what is behind, and it is little.
        assert_eq!(asked(HOMES as u64 - 50), None);
    }
}
