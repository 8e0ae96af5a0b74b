//! The subscriptions: each is a place in a log that moves on as the client reads.
//!
//! Every one takes `after`, the last position the client has seen, so that a reconnect misses
//! nothing and repeats nothing. Nothing is read ahead of the client beyond one page.

mod listings;
mod tail;

use async_graphql::{Context, Enum, ID, SimpleObject, Subscription};
use chrono::{DateTime, Utc};
use freehold_ports::{EventFilter, LogName as PortLogName};
use futures_util::stream::{self, Stream, TryStreamExt as _};

use self::listings::{Changes, Interest};
use self::tail::Tail;
use super::filter::{self, ListingFilter, Unnamed};
use super::objects::enums::ListingStatus;
use super::objects::event::{Event, LogName};
use super::objects::listing::Listing;
use super::objects::user::SavedSearch;
use super::scalars::{Position, SavedSearchKey};
use super::{Fault, caller, personal, platform};

/// What happened to a listing.
#[derive(Clone, SimpleObject)]
pub struct ListingChange {
    /// The position of the event in the log `DOMAIN`; send the last one as `after` to go on.
    pub position: Position,
    /// What happened.
    pub change_type: ListingChangeType,
    /// The listing as it is now: a client that catches up sees each change with today's listing.
    pub listing: Listing,
    /// Where it stood before; null unless the event changed that.
    pub previous_status: Option<ListingStatus>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
}

/// What happened to a listing, after RESO `ChangeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ListingChangeType {
    /// It came on the market for the first time.
    NewListing,
    /// Its price changed.
    PriceChange,
    /// It is on the market again.
    BackOnMarket,
    /// It was drafted, or became a draft again.
    Draft,
    /// It was handed to a reviewer.
    InReview,
    /// A reviewer sent it back.
    ChangesRequested,
    /// It was announced.
    ComingSoon,
    /// An application was accepted; it is still shown.
    UnderApplication,
    /// An application was accepted; it is no longer shown.
    Pending,
    /// It was let or sold.
    Leased,
    /// It was taken off for a while.
    OnHold,
    /// It was taken off and is not expected back.
    Withdrawn,
    /// It was given up.
    Cancelled,
    /// Its time ran out.
    Expired,
    /// It was drafted by mistake.
    Voided,
    /// Anything else about it, or about its property, changed.
    Updated,
}

/// The subscriptions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription;

/// What can be followed. Without `after` a subscription begins with what happens next.
#[Subscription]
impl Subscription {
    /// What happens to listings. A filter without statuses leaves no status out here, so that it
    /// also tells what leaves the market; the filter looks at the listing as it is now. What
    /// changes on a property is told for its open listing.
    async fn listing_changed(
        &self,
        ctx: &Context<'_>,
        filter: Option<ListingFilter>,
        #[graphql(desc = "The last position seen.")] after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<ListingChange, Fault>> + use<>, Fault> {
        let tenant = &caller(ctx)?.tenant;
        let filters = filter::of_listings(&filter.unwrap_or_default(), tenant, Unnamed::Any)?;
        let changes = Changes::new(ctx, Interest::Filters(filters), after).await?;
        Ok(changes.stream())
    }

    /// What happens to listings that match a saved search. Ends when the search is deleted. Only
    /// for callers with the role writer, as it tells the words that its user looks for.
    async fn saved_search_matched(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The global id of the search.")] search: ID,
        #[graphql(desc = "The last position seen.")] after: Option<Position>,
    ) -> async_graphql::Result<impl Stream<Item = Result<ListingChange, Fault>> + use<>> {
        personal::allowed(ctx)?;
        let key = SavedSearchKey::parse(&search, "search")?;
        if SavedSearch::load(ctx, key).await?.is_none() {
            return Err(Fault::NotFound { field: "search" }.into());
        }
        let changes = Changes::new(ctx, Interest::Search(key), after).await?;
        Ok(changes.stream())
    }

    /// Events as they are stored.
    async fn event_appended(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "LogName::Domain")] log: LogName,
        #[graphql(desc = "Only of these types, such as `ListingPublished`.")] types: Option<
            Vec<String>,
        >,
        #[graphql(desc = "The last position seen.")] after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Event, Fault>> + use<>, Fault> {
        let types = types.unwrap_or_default();
        let filter = EventFilter {
            categories: Vec::new(),
            event_types: types.into_iter().map(Into::into).collect(),
        };
        let tail = tail(ctx, log.port(), filter, after).await?;
        let pages = stream::try_unfold(tail, async |mut tail| {
            let page = tail.next().await?;
            Ok::<_, Fault>(Some((page, tail)))
        });
        let events = pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten();
        Ok(events.map_ok(move |event| Event::new(log, event)))
    }
}

async fn tail(
    ctx: &Context<'_>,
    log: PortLogName,
    filter: EventFilter,
    after: Option<Position>,
) -> Result<Tail, Fault> {
    let (store, tenant) = (platform(ctx).store.clone(), caller(ctx)?.tenant.clone());
    Tail::new(store, log, filter, tenant, after.map(|after| after.0)).await
}
