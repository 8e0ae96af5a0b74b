//! The queries.

pub(crate) mod dead_letters;
pub(crate) mod events;
pub mod listings;
pub mod market;

use std::num::NonZeroU32;
use std::sync::Arc;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, InputObject, Interface, Object, OneofObject};
use freehold_domain::{ListingKey, PropertyId, UserId};
use freehold_ports::{Filter, GlobalPosition, Query as RowQuery};
use freehold_projections::models::property::PropertyRow;
use freehold_projections::{ColumnValue as _, TypedRow as _, query};
use futures_util::future::try_join_all;

use self::dead_letters::{DeadLetterDecisions, DeadLetters, dead_letter_decisions, dead_letters};
use self::events::{Events, Wanted};
use self::listings::ListingOrder;
use self::market::MarketStatisticsFilter;
use super::connection::{Cursor, Selection, Total, Window, connection, page_size};
use super::filter::{self, ListingFilter, Unnamed};
use super::freshness::fresh;
use super::limits::weight;
use super::mutation::dead_letter::projections;
use super::objects::dead_letter::{DeadLetterFilter, DeadLetterGroup};
use super::objects::event::{Event, LogName};
use super::objects::listing::{Listing, Listings};
use super::objects::market::MarketStatistics;
use super::objects::projection::Projection;
use super::objects::property::Property;
use super::objects::user::{SavedSearch, User};
use super::projections::{ACCOUNTS, LISTINGS, MARKET, PROPERTIES};
use super::scalars::{GlobalId, NodeKey, NodeKind, Position, SavedSearchKey};
use super::{Fault, Limits, caller, platform, require};
use crate::http::Role;

/// Anything with a global id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Its global id."))]
#[allow(clippy::large_enum_variant, reason = "one at a time, for the time of a request")]
pub enum Node {
    /// A unit.
    Property(Property),
    /// A listing period.
    Listing(Listing),
    /// An account.
    User(User),
    /// A search someone keeps.
    SavedSearch(SavedSearch),
    /// An event.
    Event(Event),
    /// A generation of a projection.
    Projection(Projection),
    /// Figures of a market.
    MarketStatistics(MarketStatistics),
}

/// Names a property: exactly one of these.
#[derive(Clone, Debug, OneofObject)]
pub enum PropertyBy {
    /// Its global id, or its UUID.
    Id(ID),
    /// What its sender calls it.
    Source(SourceInput),
}

/// Who sent a property, and the sender's name for it.
#[derive(Clone, Debug, InputObject)]
pub struct SourceInput {
    /// The feed, network or client.
    pub source: String,
    /// What the sender calls the property.
    pub reference: String,
}

/// The queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query;

/// What can be read. `minPosition` waits until the answer shows everything up to a position, such
/// as the one a mutation answered with; where that takes too long, the error has the code `STALE`.
#[Object]
impl Query {
    /// Anything by its global id; null if there is nothing with it.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Node>, Fault> {
        node(ctx, &id, "id").await
    }

    /// Many things by their global ids, in their order; null where there is nothing.
    #[graphql(complexity = "ids.len() * child_complexity + 1")]
    async fn nodes(&self, ctx: &Context<'_>, ids: Vec<ID>) -> Result<Vec<Option<Node>>, Fault> {
        let cap = ctx.data_unchecked::<Limits>().page_cap;
        if ids.len() > cap as usize {
            return Err(Fault::input("ids", format!("must not have more than {cap} entries")));
        }
        let one = async |(index, id): (usize, &ID)| node(ctx, id, &format!("ids[{index}]")).await;
        try_join_all(ids.iter().enumerate().map(one)).await
    }

    /// One property; null if there is none.
    async fn property(
        &self,
        ctx: &Context<'_>,
        by: PropertyBy,
        #[graphql(desc = "Wait until the answer shows this position.")] min_position: Option<
            Position,
        >,
    ) -> Result<Option<Property>, Fault> {
        fresh(platform(ctx), PROPERTIES, min_position).await?;
        match by {
            PropertyBy::Id(id) => {
                let id = <PropertyId as NodeKey>::parse(&id, "by.id")?;
                Property::load(ctx, id).await
            }
            PropertyBy::Source(source) => by_source(ctx, source).await,
        }
    }

    /// One listing period by its global id or its key; null if there is none.
    async fn listing(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Wait until the answer shows this position.")] min_position: Option<
            Position,
        >,
    ) -> Result<Option<Listing>, Fault> {
        let key = <ListingKey as NodeKey>::parse(&id, "id")?;
        fresh(platform(ctx), LISTINGS, min_position).await?;
        Listing::load(ctx, key).await
    }

    /// Listings that match a filter; without one, what is on the market.
    #[graphql(complexity = "weight(first, last, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "the arguments that Relay and clients name")]
    async fn listings(
        &self,
        ctx: &Context<'_>,
        filter: Option<ListingFilter>,
        #[graphql(desc = "In which order; `NEWEST` if absent.")] order_by: Option<ListingOrder>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        #[graphql(desc = "Wait until the answer shows this position.")] min_position: Option<
            Position,
        >,
    ) -> Result<Listings, Fault> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        let tenant = &caller(ctx)?.tenant;
        let filter = filter.unwrap_or_default();
        let filters = filter::of_listings(&filter, tenant, Unnamed::OnTheMarket)?;
        fresh(platform(ctx), LISTINGS, min_position).await?;
        let selection = Selection { filters, order: order_by.unwrap_or_default().ordering() };
        connection(ctx, selection, window, |row| Listing(Arc::new(row))).await
    }

    /// What homes cost, by place and month; earliest month first.
    #[graphql(complexity = "weight(first, None, child_complexity)")]
    async fn market_statistics(
        &self,
        ctx: &Context<'_>,
        filter: MarketStatisticsFilter,
        first: Option<i32>,
        after: Option<String>,
        #[graphql(desc = "Wait until the answer shows this position.")] min_position: Option<
            Position,
        >,
    ) -> Result<Connection<Cursor, MarketStatistics, Total>, Fault> {
        let window = Window::new(ctx, (first, after), (None, None))?;
        let selection = filter.selection(&caller(ctx)?.tenant)?;
        fresh(platform(ctx), MARKET, min_position).await?;
        connection(ctx, selection, window, MarketStatistics).await
    }

    /// One account by its global id or its UUID; null if there is none.
    async fn user(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Wait until the answer shows this position.")] min_position: Option<
            Position,
        >,
    ) -> Result<Option<User>, Fault> {
        let id = <UserId as NodeKey>::parse(&id, "id")?;
        fresh(platform(ctx), ACCOUNTS, min_position).await?;
        User::load(ctx, id).await
    }

    /// Events as they are stored, oldest first: of a log, or of one of its streams. A cursor is the
    /// event's position, so `pageInfo.endCursor` is the next page's `after`.
    #[graphql(complexity = "weight(first, None, child_complexity)")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "LogName::Domain")] log: LogName,
        #[graphql(desc = "Only of this stream, such as `property-<uuid>`.")] stream: Option<String>,
        #[graphql(desc = "Only of these types, such as `ListingPublished`.")] types: Option<
            Vec<String>,
        >,
        #[graphql(desc = "Only later than this.")] after: Option<Position>,
        first: Option<i32>,
    ) -> Result<Events, Fault> {
        let first = page_size(ctx, "first", first)?;
        let bad_stream = |_| Fault::input("stream", "send a stream such as property-<uuid>");
        let stream = stream.map(|name| name.parse()).transpose().map_err(bad_stream)?;
        let tenant = &caller(ctx)?.tenant;
        let wanted = Wanted { log, stream, types: types.unwrap_or_default(), tenant };
        let after = after.map_or(GlobalPosition(0), |after| after.0);
        events::events(&*platform(ctx).store, wanted, after, first).await
    }

    /// Every projection, and how far it is.
    async fn projections(&self, ctx: &Context<'_>) -> Result<Vec<Projection>, Fault> {
        Projection::all(ctx).await
    }

    /// What readers miss: streams that wait behind an event that a projection could not handle, by
    /// projection and stream. For operators.
    #[graphql(complexity = "weight(first, None, child_complexity)")]
    async fn dead_letters(
        &self,
        ctx: &Context<'_>,
        filter: Option<DeadLetterFilter>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<DeadLetters> {
        require(ctx, Role::Operator)?;
        let first = page_size(ctx, "first", first)?;
        let filter = filter.unwrap_or_default().port()?;
        Ok(dead_letters(&*platform(ctx).models, filter, first, after).await?)
    }

    /// The same, counted by projection, event type, fault and error; most first. For operators.
    async fn dead_letter_groups(
        &self,
        ctx: &Context<'_>,
        filter: Option<DeadLetterFilter>,
    ) -> async_graphql::Result<Vec<DeadLetterGroup>> {
        require(ctx, Role::Operator)?;
        let filter = filter.unwrap_or_default().port()?;
        let groups = platform(ctx).models.letter_groups(filter).await.map_err(Fault::from)?;
        Ok(groups.into_iter().map(Into::into).collect())
    }

    /// Who decided what about events that a projection could not handle, oldest first. For operators.
    #[graphql(complexity = "weight(first, None, child_complexity)")]
    async fn dead_letter_decisions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The projection.")] subscription: String,
        #[graphql(desc = "Only about events of this stream.")] stream: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<DeadLetterDecisions> {
        require(ctx, Role::Operator)?;
        let first = page_size(ctx, "first", first)?;
        let bad_stream = |_| Fault::input("stream", "send a stream such as property-<uuid>");
        let stream = stream.map(|name| name.parse()).transpose().map_err(bad_stream)?;
        let projections = projections(platform(ctx));
        Ok(dead_letter_decisions(&projections, &subscription, stream, first, after).await?)
    }
}

async fn node(ctx: &Context<'_>, id: &ID, field: &str) -> Result<Option<Node>, Fault> {
    let GlobalId { kind, key } = GlobalId::parse(id, field)?;
    let bad_key = || Fault::input(field, "send an id as this service gave it");
    Ok(match kind {
        NodeKind::Property => {
            let id = key.parse().map_err(|_| bad_key())?;
            Property::load(ctx, id).await?.map(Node::Property)
        }
        NodeKind::Listing => {
            let key = key.parse().map_err(|_| bad_key())?;
            Listing::load(ctx, key).await?.map(Node::Listing)
        }
        NodeKind::User => {
            let id = key.parse().map_err(|_| bad_key())?;
            User::load(ctx, id).await?.map(Node::User)
        }
        NodeKind::SavedSearch => {
            let key = SavedSearchKey::parse_key(&key).ok_or_else(bad_key)?;
            SavedSearch::load(ctx, key).await?.map(Node::SavedSearch)
        }
        NodeKind::Event => {
            let (log, position) = Event::parse_key(&key).ok_or_else(bad_key)?;
            let tenant = &caller(ctx)?.tenant;
            let event = events::event_at(&*platform(ctx).store, log, position, tenant).await?;
            event.map(Node::Event)
        }
        NodeKind::Projection => Projection::load(ctx, &key).await?.map(Node::Projection),
        NodeKind::MarketStatistics => {
            MarketStatistics::load(ctx, &key).await?.map(Node::MarketStatistics)
        }
    })
}

async fn by_source(ctx: &Context<'_>, source: SourceInput) -> Result<Option<Property>, Fault> {
    let named = RowQuery {
        table: PropertyRow::TABLE,
        filters: vec![
            Filter::Equals("tenant", caller(ctx)?.tenant.to_value()),
            Filter::Equals("source", source.source.to_value()),
            Filter::Equals("reference", source.reference.to_value()),
        ],
        order: Vec::new(),
        after: None,
        before: None,
        backwards: false,
        limit: NonZeroU32::MIN,
    };
    let mut page = query::<PropertyRow>(&*platform(ctx).models, PROPERTIES, named).await?;
    Ok(page.rows.pop().map(|row| Property(Arc::new(row))))
}
