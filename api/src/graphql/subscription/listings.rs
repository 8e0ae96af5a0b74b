//! Changes of listings: events of properties, with the listing each is about.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Context;
use freehold_domain::property::{ListingStatus, PropertyEvent};
use freehold_domain::{ListingKey, PropertyId};
use freehold_ports::{
    EventFilter, Filter, GlobalPosition, LogName, RecordedEvent, SubjectKeys, Value,
};
use freehold_projections::models::account::SavedSearchRow;
use freehold_projections::models::listing::ListingRow;
use freehold_projections::models::property::PropertyChangeRow;
use freehold_projections::{ColumnValue as _, TypedRow, find};
use futures_util::stream::{self, Stream, TryStreamExt as _};
use tracing::{error, warn};

use super::tail::Tail;
use super::{ListingChange, ListingChangeType, tail};
use crate::graphql::freshness::reached;
use crate::graphql::loaders::read_all;
use crate::graphql::objects::listing::Listing;
use crate::graphql::projections::{ACCOUNTS, LISTINGS, PROPERTIES};
use crate::graphql::scalars::{Position, SavedSearchKey};
use crate::graphql::{Fault, caller, filter, personal, platform};
use crate::platform::Platform;

/// How long to wait for a read model before saying so in the log of the process and waiting on.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which listings a client follows.
pub(super) enum Interest {
    /// Those that meet these conditions.
    Filters(Vec<Filter>),
    /// Those that a saved search finds, as the search is at the time.
    Search(SavedSearchKey),
}

/// A client's place among the changes of listings.
pub(super) struct Changes {
    platform: Arc<Platform>,
    tenant: Arc<str>,
    tail: Tail,
    interest: Interest,
    /// Whether the client asks where listings stood before.
    wants_previous_status: bool,
}

/// An event that is about a listing.
struct Concern<'a> {
    recorded: &'a RecordedEvent,
    property: PropertyId,
    about: About,
    change_type: ListingChangeType,
}

/// Which listing an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// One listing period, whether or not it is open.
    Listing(ListingKey),
    /// The open listing period of the property, if there is one.
    OpenListing,
}

impl Changes {
    pub(super) async fn new(
        ctx: &Context<'_>,
        interest: Interest,
        after: Option<Position>,
    ) -> Result<Self, Fault> {
        let filter = EventFilter { categories: vec!["property".into()], event_types: Vec::new() };
        Ok(Self {
            platform: platform(ctx).clone(),
            tenant: caller(ctx)?.tenant.clone(),
            tail: tail(ctx, LogName::DOMAIN, filter, after).await?,
            interest,
            wants_previous_status: ctx.look_ahead().field("previousStatus").exists(),
        })
    }

    /// The changes, page by page as the client reads; ends when the saved search is gone.
    pub(super) fn stream(self) -> impl Stream<Item = Result<ListingChange, Fault>> {
        let pages = stream::try_unfold(self, async |mut changes| {
            let page = changes.next_page().await?;
            Ok::<_, Fault>(page.map(|page| (page, changes)))
        });
        pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten()
    }

    /// The changes of the next page of events that concern the client; none ends the stream.
    async fn next_page(&mut self) -> Result<Option<Vec<ListingChange>>, Fault> {
        loop {
            let events = self.tail.next().await?;
            let Some(conditions) = self.conditions().await? else { return Ok(None) };
            let changes = self.changes(&events, conditions).await?;
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
    }

    /// What listings must be like at the moment; nothing once a saved search is deleted.
    async fn conditions(&self) -> Result<Option<Vec<Filter>>, Fault> {
        match &self.interest {
            Interest::Filters(filters) => Ok(Some(filters.clone())),
            Interest::Search(SavedSearchKey { user, search }) => {
                let models = &*self.platform.models;
                let row = find::<SavedSearchRow>(models, ACCOUNTS, &(*search, *user)).await?;
                let Some(row) = row else { return Ok(None) };
                let text = personal::open(&self.platform.codec, row.text.as_ref()).await?;
                Ok(Some(filter::of_search(&row, text, &self.tenant)))
            }
        }
    }

    async fn changes(
        &self,
        events: &[RecordedEvent],
        mut conditions: Vec<Filter>,
    ) -> Result<Vec<ListingChange>, Fault> {
        let concerned = self.concerned(events);
        let (Some(first), Some(last)) = (concerned.first(), concerned.last()) else {
            return Ok(Vec::new());
        };
        let positions = (first.recorded.position, last.recorded.position);
        self.wait_for(LISTINGS, positions.1).await?;
        let properties: HashSet<PropertyId> =
            concerned.iter().map(|concern| concern.property).collect();
        let ids: Vec<Value> = properties.iter().map(|id| id.to_value()).collect();
        conditions.push(Filter::OneOf("property", ids.clone()));
        let models = &*self.platform.models;
        let mut matching: HashMap<PropertyId, Vec<Arc<ListingRow>>> = HashMap::new();
        for row in read_all::<ListingRow>(models, conditions, Vec::new()).await? {
            let row = Arc::new(ListingRow::from_row(row)?);
            matching.entry(row.property).or_default().push(row);
        }
        let previous = if self.wants_previous_status && !matching.is_empty() {
            self.previous_statuses(ids, positions).await?
        } else {
            HashMap::new()
        };
        let change = |concern: &Concern<'_>| {
            let Concern { recorded, property, about, change_type } = concern;
            let listing = matching.get(property)?.iter().find(|row| match about {
                About::Listing(key) => row.listing == *key,
                About::OpenListing => !is_final(row.status),
            })?;
            Some(ListingChange {
                position: Position(recorded.position),
                change_type: *change_type,
                listing: Listing(listing.clone()),
                previous_status: previous.get(&recorded.position).map(|status| (*status).into()),
                occurred_at: recorded.occurred_at,
            })
        };
        Ok(concerned.iter().filter_map(change).collect())
    }

    /// The events that are about a listing, each with the property and what it did.
    ///
    /// An event that this program cannot read is left out, loudly: a client that stops at it would
    /// stop there again at every attempt.
    fn concerned<'a>(&self, events: &'a [RecordedEvent]) -> Vec<Concern<'a>> {
        let mut concerned = Vec::with_capacity(events.len());
        for recorded in events {
            // Events of properties hold no personal values, so no keys are needed.
            let event = self.platform.codec.decode(recorded, &SubjectKeys::default());
            match (event, recorded.stream.id().parse()) {
                (Ok(event), Ok(property)) => {
                    let concern =
                        |(about, change_type)| Concern { recorded, property, about, change_type };
                    concerned.extend(effect(&event).map(concern));
                }
                (Ok(_), Err(_)) => {
                    error!(stream = %recorded.stream, "the stream of a property has no UUID");
                }
                (Err(unreadable), _) => {
                    error!(
                        position = recorded.position.0,
                        error = %unreadable,
                        "subscribers are not told of an event"
                    );
                }
            }
        }
        concerned
    }

    async fn wait_for(
        &self,
        projection: &'static str,
        position: GlobalPosition,
    ) -> Result<(), Fault> {
        while reached(&self.platform, projection, position, PATIENCE).await? < position {
            warn!(projection, position = position.0, "subscribers wait for a projection");
        }
        Ok(())
    }

    /// Where listings stood before each event that changed it, by the event's position.
    async fn previous_statuses(
        &self,
        properties: Vec<Value>,
        (first, last): (GlobalPosition, GlobalPosition),
    ) -> Result<HashMap<GlobalPosition, ListingStatus>, Fault> {
        self.wait_for(PROPERTIES, last).await?;
        let filters = vec![
            Filter::OneOf("property", properties),
            Filter::AtLeast("position", first.to_value()),
            Filter::AtMost("position", last.to_value()),
            Filter::Equals("field", "status".to_owned().to_value()),
        ];
        let mut previous = HashMap::new();
        let rows = read_all::<PropertyChangeRow>(&*self.platform.models, filters, Vec::new());
        for row in rows.await? {
            let row = PropertyChangeRow::from_row(row)?;
            let name = row.old.as_ref().and_then(|old| old.0.as_str());
            if let Some(status) = name.and_then(ListingStatus::from_name) {
                previous.insert(row.position, status);
            }
        }
        Ok(previous)
    }
}

fn is_final(status: ListingStatus) -> bool {
    match status {
        ListingStatus::Leased
        | ListingStatus::Cancelled
        | ListingStatus::Expired
        | ListingStatus::Voided => true,
        ListingStatus::Draft
        | ListingStatus::InReview
        | ListingStatus::ChangesRequested
        | ListingStatus::ComingSoon
        | ListingStatus::Active
        | ListingStatus::UnderApplication
        | ListingStatus::Pending
        | ListingStatus::OnHold
        | ListingStatus::Withdrawn => false,
    }
}

/// Which listing an event is about, and what it did to it; none for what no listing shows.
fn effect(event: &PropertyEvent) -> Option<(About, ListingChangeType)> {
    use ListingChangeType as Change;
    use PropertyEvent as Event;
    let (listing, change) = match event {
        Event::PropertyFactsCorrected(_)
        | Event::AmenitiesSet(_)
        | Event::AddressGeocoded(_)
        | Event::MediaAttached(_)
        | Event::MediaReordered(_)
        | Event::PreferredPhotoSet(_)
        | Event::MediaRemoved(_)
        | Event::MarkedDuplicateOf(_)
        | Event::DuplicateSeparated(_) => return Some((About::OpenListing, Change::Updated)),
        Event::PropertyRegistered(_)
        | Event::AddressVerificationFailed(_)
        | Event::PropertyArchived(_) => return None,
        Event::ListingDrafted(event) => (event.listing, Change::Draft),
        Event::ListingSubmitted(event) => (event.listing, Change::InReview),
        Event::ListingApproved(event) => (event.listing, Change::Updated),
        Event::ListingChangesRequested(event) => (event.listing, Change::ChangesRequested),
        Event::ListingReturnedToDraft(event) => (event.listing, Change::Draft),
        Event::ListingScheduled(event) => (event.listing, Change::ComingSoon),
        Event::ListingPublished(event) => (event.listing, Change::NewListing),
        Event::RentChanged(event) => (event.listing, Change::PriceChange),
        Event::MoveInCostsSet(event) => (event.listing, Change::Updated),
        Event::OngoingFeesSet(event) => (event.listing, Change::Updated),
        Event::ConcessionOffered(event) => (event.listing, Change::Updated),
        Event::ConcessionWithdrawn(event) => (event.listing, Change::Updated),
        Event::LeaseTermsSet(event) => (event.listing, Change::Updated),
        Event::AvailabilityChanged(event) => (event.listing, Change::Updated),
        Event::ListingUnderApplication(event) => (event.listing, Change::UnderApplication),
        Event::ListingBackOnMarket(event) => (event.listing, Change::BackOnMarket),
        Event::ListingPending(event) => (event.listing, Change::Pending),
        Event::ListingLeased(event) => (event.listing, Change::Leased),
        Event::ListingHeld(event) => (event.listing, Change::OnHold),
        Event::ListingWithdrawn(event) => (event.listing, Change::Withdrawn),
        Event::ListingCancelled(event) => (event.listing, Change::Cancelled),
        Event::ListingExpired(event) => (event.listing, Change::Expired),
        Event::ListingVoided(event) => (event.listing, Change::Voided),
        Event::ListingRenewed(event) => (event.listing, Change::Updated),
        Event::ListingAgentReassigned(event) => (event.listing, Change::Updated),
        Event::ClosingRecorded(event) => (event.listing, Change::Leased),
    };
    Some((About::Listing(listing), change))
}
