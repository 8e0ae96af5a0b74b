//! What a question reads, as consecutive parts that an index serves, and which index that is.
//!
//! Engines differ in how they say this, not in what is to be read.

use super::{Filter, Query, Table, Value};

/// What a question reads, in the direction of reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The order of its rows, total.
    pub terms: Vec<Term>,
    /// Whether it begins at the first row.
    pub whole: bool,
    /// The rows in the order of reading, part after part; none if no row can be an answer.
    pub parts: Vec<Part>,
    /// Every row is in one of these parts, if the reading ends before the last row.
    pub bound: Option<Vec<Part>>,
}

/// One sort column, in the direction of reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The column's place in a row.
    pub place: usize,
    /// Largest first.
    pub descending: bool,
    /// Where its nulls are; nothing if there are none among the rows.
    pub nulls: Option<Nulls>,
}

/// Where the nulls of a sort column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

/// Consecutive rows in the order of reading.
///
/// "After (a, b, key)" as one condition is a chain of ORs that no index serves. Taken apart, each
/// part is some equalities and one range, and the parts follow one another in the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What its rows meet, by the places of columns.
    pub tests: Vec<(usize, Test)>,
    /// The terms in which its rows differ.
    pub order: Vec<Term>,
}

/// A condition on one column of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// It equals the value.
    Is(Value),
    /// It is larger.
    Above(Value),
    /// It is smaller.
    Below(Value),
    /// It is null.
    Null,
    /// It is not null.
    Present,
}

impl Reading {
    /// What a checked question with these filters, its own made [`plain`](Filter::plain), reads.
    pub fn of(query: &Query, filters: &[Filter]) -> Self {
        let (start, end) = match query.backwards {
            false => (&query.after, &query.before),
            true => (&query.before, &query.after),
        };
        // The rows before the far end are those that a reading from there back to here meets.
        let back = terms(query, !query.backwards);
        let bound = end.as_ref().map(|values| parts_after(&back, values));
        let terms = terms(query, query.backwards);
        let mut parts = match start {
            Some(values) => parts_after(&terms, values),
            None => parts_from(Vec::new(), &terms),
        };
        // A column that a filter compares is not null in any row of the answer.
        let compared = |place| filters.iter().any(|f| f.compares(query.table, place));
        parts.retain(|part| {
            !part.tests.iter().any(|(place, test)| *test == Test::Null && compared(*place))
        });
        Self { terms, whole: start.is_none(), parts, bound }
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
    let nulls = if backwards { Nulls::First } else { Nulls::Last };
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
        Nulls::First => vec![null, present],
        Nulls::Last => vec![present, null],
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
            Value::Null if term.nulls == Some(Nulls::First) => {
                parts.push(Part { tests: with(Test::Present), order: present_first(term, rest) });
            }
            Value::Null => {}
            value => {
                let beyond = if term.descending { Test::Below } else { Test::Above };
                let tests = with(beyond(value.clone()));
                parts.push(Part { tests, order: present_first(term, rest) });
                if term.nulls == Some(Nulls::Last) {
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

impl Filter {
    /// The filter, with one of one value as the equality that it is.
    #[must_use]
    pub fn plain(&self) -> Self {
        match self {
            Self::OneOf(name, values) if values.len() == 1 => Self::Equals(name, values[0].clone()),
            filter => filter.clone(),
        }
    }

    /// The column, if the filter lists what it is.
    pub fn equality_on(&self) -> Option<&'static str> {
        match self {
            Self::Equals(name, _) | Self::OneOf(name, _) | Self::IsNull(name) => Some(name),
            _ => None,
        }
    }

    /// The column, if the filter bounds it.
    pub fn range_on(&self) -> Option<&'static str> {
        match self {
            Self::AtLeast(name, _) | Self::AtMost(name, _) => Some(name),
            _ => None,
        }
    }

    /// The column that is the same in all rows the filter admits.
    pub fn fixes(&self) -> Option<&'static str> {
        match self {
            Self::Equals(name, _) | Self::IsNull(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the filter holds for no row with a null in that column.
    fn compares(&self, table: &Table, place: usize) -> bool {
        match self {
            Self::Equals(name, _)
            | Self::OneOf(name, _)
            | Self::AtLeast(name, _)
            | Self::AtMost(name, _) => table.column(name) == Some(place),
            _ => false,
        }
    }
}

/// The filters, by their places, that narrow an index over these columns: equalities on its first
/// ones, then one range.
pub fn usable_filters(columns: &[&str], filters: &[Filter]) -> Vec<usize> {
    let mut usable = Vec::new();
    for column in columns {
        let on = |pick: fn(&Filter) -> Option<&'static str>| {
            filters.iter().enumerate().filter(move |(_, f)| pick(f) == Some(*column))
        };
        if let Some((at, _)) = on(Filter::equality_on).next() {
            usable.push(at);
            continue;
        }
        usable.extend(on(Filter::range_on).map(|(at, _)| at));
        break;
    }
    usable
}

/// The index whose order is the one asked for, or begins like it, among indexes of a table, each
/// with its columns.
pub fn index_in_order<I>(
    table: &Table,
    indexes: impl Iterator<Item = (I, Vec<&'static str>)>,
    filters: &[Filter],
    terms: &[Term],
) -> Option<I> {
    let fixed = |name: &str| filters.iter().any(|filter| filter.fixes() == Some(name));
    let name_of = |term: &Term| table.columns[term.place].name;
    let asked: Vec<&Term> = terms.iter().filter(|term| !fixed(name_of(term))).collect();
    let score = |columns: &[&str]| {
        let mut sorted = asked.iter().peekable();
        let (mut matched, mut narrowed) = (0, 0);
        let direction = asked.first().map(|term| term.descending);
        for column in columns {
            match sorted.peek() {
                Some(term) if name_of(term) == *column && Some(term.descending) == direction => {
                    matched += 1;
                    sorted.next();
                }
                _ if fixed(column) => narrowed += 1,
                _ => break,
            }
        }
        let covered = filters
            .iter()
            .filter(|f| f.equality_on().or(f.range_on()).is_some_and(|c| columns.contains(&c)))
            .count();
        (matched > 0).then_some((matched, narrowed, covered))
    };
    let scored = indexes.filter_map(|(index, columns)| Some((score(&columns)?, index)));
    scored.max_by_key(|(score, _)| *score).map(|(_, index)| index)
}
