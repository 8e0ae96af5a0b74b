//! Data loaders: what the fields of many objects need is read in one query.
//!
//! Loaders know no tenants: who asks checks what comes back.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest,
};
use async_graphql::{Request, Response, ServerResult};
use chrono::NaiveDate;
use freehold_ports::{Filter, Order, Query, ReadModels, Row, Table, Value};
use freehold_projections::ColumnValue as _;
use freehold_projections::models::account::{
    AccountRow, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use freehold_projections::models::engagement::{EngagementRow, PropertyEngagementRow};
use freehold_projections::models::listing::ListingRow;
use freehold_projections::models::property::{PropertyChangeRow, PropertyRow};
use uuid::Uuid;

use super::Fault;
use super::batches::{Batches, Load, Rounds};
use super::connection::{Cursor, Ordering, Projected, with_cursors};

/// How many rows one query of a loader reads at most; it asks again for more.
const PAGE: u32 = 5_000;

/// A loader of rows by their keys.
pub(crate) type ByKey<R> = Batches<RowLoader<R>>;

/// A loader of the first rows that belong to each of many parents.
pub(crate) type ByParent<R> = Batches<SliceLoader<R>>;

/// Every loader of one request.
pub(crate) struct Loaders {
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) properties: ByKey<PropertyRow>,
    pub(crate) listings: ByKey<ListingRow>,
    pub(crate) accounts: ByKey<AccountRow>,
    pub(crate) searches: ByKey<SavedSearchRow>,
    pub(crate) favourites: ByKey<ListingFavouritesRow>,
    pub(crate) changes: ByParent<PropertyChangeRow>,
    pub(crate) preferences: ByParent<ListingPreferenceRow>,
    pub(crate) engagement: ByParent<EngagementRow>,
    pub(crate) property_engagement: ByParent<PropertyEngagementRow>,
}

impl Loaders {
    fn new(models: &Arc<dyn ReadModels>) -> Self {
        let rounds = Arc::default();
        Self {
            properties: by_key(models, &rounds),
            listings: by_key(models, &rounds),
            accounts: by_key(models, &rounds),
            searches: by_key(models, &rounds),
            favourites: by_key(models, &rounds),
            changes: by_parent(models, &rounds),
            preferences: by_parent(models, &rounds),
            engagement: by_parent(models, &rounds),
            property_engagement: by_parent(models, &rounds),
            rounds,
        }
    }
}

fn by_key<R: Projected>(models: &Arc<dyn ReadModels>, rounds: &Arc<Rounds>) -> ByKey<R> {
    Batches::new(RowLoader { models: models.clone(), row: PhantomData }, rounds.clone())
}

fn by_parent<R: Projected>(models: &Arc<dyn ReadModels>, rounds: &Arc<Rounds>) -> ByParent<R> {
    Batches::new(SliceLoader { models: models.clone(), row: PhantomData }, rounds.clone())
}

/// Gives each request loaders of its own, and resolves it in their rounds. Loaders are not shared:
/// nobody waits for an answer to a request that nobody runs on.
pub(crate) struct Loading(pub(crate) Arc<dyn ReadModels>);

impl ExtensionFactory for Loading {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self(self.0.clone()))
    }
}

#[async_trait::async_trait]
impl Extension for Loading {
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        next.run(ctx, request.data(Loaders::new(&self.0))).await
    }

    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let loaders: &Loaders = ctx.data_unchecked();
        loaders.rounds.drive(next.run(ctx, operation_name)).await
    }
}

pub(crate) struct RowLoader<R> {
    models: Arc<dyn ReadModels>,
    row: PhantomData<fn() -> R>,
}

impl<R: Projected> Load for RowLoader<R> {
    type Key = R::Key;
    type Value = Arc<R>;

    async fn load(&self, keys: &[R::Key]) -> Result<HashMap<R::Key, Arc<R>>, Fault> {
        let stored: Vec<Vec<Value>> = keys.iter().map(|key| R::key_values(key).0).collect();
        // A key of several columns is asked for column by column; what else fits is left out.
        let column = |place: usize| {
            let mut values: Vec<Value> = stored.iter().map(|key| key[place].clone()).collect();
            values.dedup();
            Filter::OneOf(R::TABLE.columns[place].name, values)
        };
        let filters = (0..R::TABLE.key_columns).map(column).collect();
        let rows = read_all::<R>(&*self.models, filters, Vec::new()).await?;
        let keyed = |row: Row| R::from_row(row).map(|row| (row.key(), Arc::new(row)));
        Ok(rows.into_iter().map(keyed).collect::<Result<_, _>>()?)
    }
}

/// Reads every row that matches, in pages.
pub(crate) async fn read_all<R: Projected>(
    models: &dyn ReadModels,
    filters: Vec<Filter>,
    order: Vec<Order>,
) -> Result<Vec<Row>, Fault> {
    let limit = NonZeroU32::new(PAGE).expect("a page is not empty");
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|row| place_of(row, R::TABLE, &order));
        let (filters, order) = (filters.clone(), order.clone());
        let backwards = false;
        let query =
            Query { table: R::TABLE, filters, order, after, before: None, backwards, limit };
        let page = models.query(R::PROJECTION, query).await?;
        let has_more = page.has_more && !page.rows.is_empty();
        rows.extend(page.rows);
        if !has_more {
            return Ok(rows);
        }
    }
}

fn place_of(row: &Row, table: &Table, order: &[Order]) -> Vec<Value> {
    let columns = order.iter().filter_map(|order| table.column(order.column));
    columns.chain(0..table.key_columns).map(|place| row.0[place].clone()).collect()
}

/// The rows of one parent that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slice {
    /// The value of the table's first key column.
    pub(crate) parent: Uuid,
    /// What else the rows must be like, and in which order they come.
    pub(crate) part: Part,
    /// How many at most.
    pub(crate) size: u32,
}

/// Which rows of a parent, in which order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// Changes of a property, newest first; of these fields, or of all.
    Changes { fields: Vec<String> },
    /// What a user thinks of listings, newest first; of one kind, or of all.
    Preferences { preference: Option<Arc<str>> },
    /// Days, first to last.
    Days { from: NaiveDate, to: NaiveDate },
}

impl Part {
    pub(crate) fn filters(&self) -> Vec<Filter> {
        match self {
            Self::Changes { fields } if fields.is_empty() => Vec::new(),
            Self::Changes { fields } => {
                let names = fields.iter().map(|name| Value::Text(name.as_str().into()));
                vec![Filter::OneOf("field", names.collect())]
            }
            Self::Preferences { preference } => {
                let name = preference.iter().map(|name| Value::Text(name.clone()));
                name.map(|name| Filter::Equals("preference", name)).collect()
            }
            Self::Days { from, to } => {
                vec![Filter::AtLeast("day", from.to_value()), Filter::AtMost("day", to.to_value())]
            }
        }
    }

    pub(crate) fn order(&self) -> Ordering {
        match self {
            Self::Changes { .. } => Ordering::by("NEWEST", "position", true),
            Self::Preferences { .. } => Ordering::by("NEWEST", "since", true),
            Self::Days { .. } => Ordering::by("DAY", "day", false),
        }
    }
}

/// The rows of one parent, and whether there are more of them.
#[derive(Clone, Debug)]
pub(crate) struct Sliced<R> {
    pub(crate) rows: Vec<(Cursor, R)>,
    pub(crate) has_more: bool,
}

pub(crate) struct SliceLoader<R> {
    models: Arc<dyn ReadModels>,
    row: PhantomData<fn() -> R>,
}

impl<R: Projected> Load for SliceLoader<R> {
    type Key = Slice;
    type Value = Sliced<R>;

    async fn load(&self, slices: &[Slice]) -> Result<HashMap<Slice, Sliced<R>>, Fault> {
        let mut alike: HashMap<(&Part, u32), Vec<Uuid>> = HashMap::new();
        for Slice { parent, part, size } in slices {
            alike.entry((part, *size)).or_default().push(*parent);
        }
        let mut found = HashMap::with_capacity(slices.len());
        for ((part, size), parents) in alike {
            for (parent, sliced) in self.load_alike(part, size as usize, parents).await? {
                let slice = Slice { parent, part: part.clone(), size };
                found.insert(slice, sliced);
            }
        }
        Ok(found)
    }
}

impl<R: Projected> SliceLoader<R> {
    /// Reads the first `size` rows of each parent.
    ///
    /// Rows come parent by parent. A page that ends before a parent's rows do is followed by one
    /// of the parents still open, so what a parent has beyond its slice is mostly not read.
    async fn load_alike(
        &self,
        part: &Part,
        size: usize,
        mut open: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, Sliced<R>>, Fault> {
        let order = part.order();
        let parent = R::TABLE.columns[0].name;
        let descending = order.columns.first().is_some_and(|order| order.descending);
        let mut whole = vec![Order { column: parent, descending }];
        whole.extend(order.columns.iter().cloned());
        let mut found: HashMap<Uuid, Vec<Row>> = HashMap::new();
        while !open.is_empty() {
            let needed = open.len().saturating_mul(size + 1);
            let limit = u32::try_from(needed).unwrap_or(PAGE).min(PAGE);
            let mut filters = part.filters();
            let parents = open.iter().map(|parent| Value::Uuid(*parent)).collect();
            filters.push(Filter::OneOf(parent, parents));
            let query = Query {
                table: R::TABLE,
                filters,
                order: whole.clone(),
                after: None,
                before: None,
                backwards: false,
                limit: NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN),
            };
            let page = self.models.query(R::PROJECTION, query).await?;
            let last = page.rows.last().and_then(parent_of);
            let mut read: HashMap<Uuid, Vec<Row>> = HashMap::new();
            for row in page.rows {
                let Some(parent) = parent_of(&row) else { continue };
                read.entry(parent).or_default().push(row);
            }
            let is_open = |parent: &Uuid| {
                let passed = last.is_none_or(|last| match descending {
                    false => *parent < last,
                    true => *parent > last,
                });
                let full = read.get(parent).is_some_and(|rows| rows.len() > size);
                page.has_more && !passed && !full
            };
            open.retain(is_open);
            for parent in &open {
                read.remove(parent);
            }
            found.extend(read);
        }
        let sliced = |(parent, mut rows): (Uuid, Vec<Row>)| {
            let has_more = rows.len() > size;
            rows.truncate(size);
            Ok((parent, Sliced { rows: with_cursors(rows, &order)?, has_more }))
        };
        found.into_iter().map(sliced).collect()
    }
}

fn parent_of(row: &Row) -> Option<Uuid> {
    match row.0.first() {
        Some(Value::Uuid(parent)) => Some(*parent),
        _ => None,
    }
}
