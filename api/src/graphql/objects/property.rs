//! One rentable unit.

use std::sync::Arc;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object};
use chrono::{DateTime, Utc};
use freehold_domain::{ListingKey, PropertyId};
use freehold_ports::{Filter, Value};
use freehold_projections::models::property::{PropertyChangeRow, PropertyRow, is_change};
use uuid::Uuid;

use super::engagement::{Engagement, Period};
use super::enums::{CoordinatePrecision, LocationVisibility};
use super::event::long;
use super::listing::{Listing, Listings};
use super::values::{Media, PropertyFacts};
use crate::graphql::connection::{Cursor, KeyPage, Rows, Selection, Total, Window};
use crate::graphql::limits::weight;
use crate::graphql::loaders::{Part, Slice, Sliced};
use crate::graphql::scalars::{Date, Json, Long, NodeKey, Position};
use crate::graphql::{Fault, caller, loaders, platform};

/// One rentable unit.
#[derive(Clone)]
pub struct Property(pub(crate) Arc<PropertyRow>);

impl Property {
    /// The property of that id, if the caller's tenant has it.
    pub(crate) async fn load(ctx: &Context<'_>, id: PropertyId) -> Result<Option<Self>, Fault> {
        let row = loaders(ctx).properties.load_one((id,)).await?;
        let tenant = caller(ctx)?.tenant.clone();
        Ok(row.filter(|row| row.tenant == tenant).map(Self))
    }
}

/// One rentable unit: its facts, its media and its listing periods.
#[Object]
impl Property {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        NodeKey::to_id(self.0.property)
    }

    /// Its UUID, as events and ingestion show it.
    async fn property_id(&self) -> String {
        self.0.property.to_string()
    }

    /// Who sent it.
    async fn source(&self) -> &str {
        &self.0.source
    }

    /// What the sender calls it.
    async fn reference(&self) -> &str {
        &self.0.reference
    }

    /// What is known about it.
    async fn facts(&self) -> PropertyFacts {
        (&*self.0.facts.0).into()
    }

    /// What it offers, sorted.
    async fn amenities(&self) -> Vec<String> {
        self.0.amenities.0.iter().cloned().collect()
    }

    /// How close the coordinates are to the truth, where a geocoder said so.
    async fn location_precision(&self) -> Option<CoordinatePrecision> {
        self.0.location_precision.map(Into::into)
    }

    /// How much of the location the public may see; null where nobody said.
    async fn location_visibility(&self) -> Option<LocationVisibility> {
        self.0.location_visibility.map(Into::into)
    }

    /// What the geocoder said, while the address is not found.
    async fn verification_failure(&self) -> Option<&str> {
        self.0.verification_failure.as_deref()
    }

    /// Its pictures, plans and films, in order.
    async fn media(&self) -> Vec<Media> {
        let preferred = self.0.preferred_photo;
        self.0.media.0.iter().map(|media| Media::new(media, preferred)).collect()
    }

    /// The open listing period.
    async fn current_listing(&self, ctx: &Context<'_>) -> Result<Option<Listing>, Fault> {
        match self.0.current_listing {
            Some(key) => Listing::load(ctx, key).await,
            None => Ok(None),
        }
    }

    /// Every listing period, newest first; closings that became known later are among them.
    #[graphql(complexity = "weight(first, last, child_complexity)")]
    async fn listings(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Option<Listings>, Fault> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        // The row names every period, so that only those of the page are read.
        let keys: Vec<Uuid> = self.0.listings.0.iter().rev().map(|key| key.0).collect();
        let page = KeyPage::of(PERIOD, &keys, &window)?;
        let wanted = page.keys.iter().map(|key| (ListingKey(*key),));
        let mut rows = loaders(ctx).listings.load_many(wanted).await?;
        let node = |key: Uuid| rows.remove(&(ListingKey(key),)).map(Listing);
        Ok(Some(page.connection(PERIOD, keys.len(), node)))
    }

    /// Which field changed when, from what to what; newest first.
    #[graphql(complexity = "weight(first, last, child_complexity)")]
    async fn history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only these fields, named as in events: `price`, `status`, `bedrooms`.")]
        fields: Option<Vec<String>>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Cursor, PropertyChange, Total>, Fault> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        let fields = fields.unwrap_or_default();
        if let Some(at) = fields.iter().position(|field| !is_change(field)) {
            let advice = "is no field that changes; send a name as events show it: price, status";
            return Err(Fault::input(format!("fields[{at}]"), advice));
        }
        let part = Part::Changes { fields };
        let mut filters = part.filters();
        filters.push(Filter::Equals("property", Value::Uuid(self.0.property.0)));
        let selection = Selection { filters, order: part.order() };
        let rows = if window.is_first_page() {
            let slice = Slice { parent: self.0.property.0, part, size: window.size };
            loaders(ctx).changes.load_one(slice).await?.into()
        } else {
            Rows::<PropertyChangeRow>::read(ctx, &selection, &window).await?
        };
        let total = rows.total(selection, &window);
        Ok(rows.connection(total, PropertyChange))
    }

    /// What visitors did with it and with each of its listings, in a range of days; the last 30
    /// when none is named, at most 366.
    #[graphql(complexity = "child_complexity + 5")]
    async fn engagement(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first day, UTC.")] from: Option<Date>,
        #[graphql(desc = "The last day, UTC.")] to: Option<Date>,
    ) -> Result<Option<Engagement>, Fault> {
        let period = Period::new(platform(ctx).clock.now(), from, to)?;
        Engagement::of_property(ctx, self.0.property, &self.0.listings.0, period).await.map(Some)
    }

    /// The property that survives, while this one counts as its duplicate.
    async fn duplicate_of(&self, ctx: &Context<'_>) -> Result<Option<Self>, Fault> {
        match self.0.duplicate_of {
            Some(survivor) => Self::load(ctx, survivor).await,
            None => Ok(None),
        }
    }

    /// Whether it is kept for its history only.
    async fn archived(&self) -> bool {
        self.0.archived
    }

    /// When it was registered.
    async fn registered_at(&self) -> DateTime<Utc> {
        self.0.registered_at
    }

    /// When its last event was recorded.
    async fn changed_at(&self) -> DateTime<Utc> {
        self.0.changed_at
    }

    /// The position of its last event in the log `DOMAIN`.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }

    /// How many events its stream holds; what a command's `expectedVersion` is compared with.
    async fn version(&self) -> Long {
        long(self.0.version.0)
    }
}

impl<R> From<Option<Sliced<R>>> for Rows<R> {
    fn from(sliced: Option<Sliced<R>>) -> Self {
        let (rows, has_next) = sliced.map_or((Vec::new(), false), |s| (s.rows, s.has_more));
        Self { rows, has_previous: false, has_next }
    }
}

const PERIOD: &str = "PERIOD";

/// One field that one event changed.
#[derive(Clone)]
pub struct PropertyChange(pub(crate) PropertyChangeRow);

/// One field that one event changed.
#[Object]
impl PropertyChange {
    /// The field, named as in commands and events.
    async fn field(&self) -> &str {
        &self.0.field
    }

    /// What it was; null where there was nothing.
    #[graphql(name = "old")]
    async fn old_value(&self) -> Result<Option<Json>, Fault> {
        json(self.0.old.as_ref())
    }

    /// What it is; null where there is nothing now.
    #[graphql(name = "new")]
    async fn new_value(&self) -> Result<Option<Json>, Fault> {
        json(self.0.new.as_ref())
    }

    /// The listing period, if it is about one.
    async fn listing(&self, ctx: &Context<'_>) -> Result<Option<Listing>, Fault> {
        match self.0.listing {
            Some(key) => Listing::load(ctx, key).await,
            None => Ok(None),
        }
    }

    /// The name of the event.
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The position of the event in the log `DOMAIN`; several fields of one event share it.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }

    /// Who did it.
    async fn actor(&self) -> &str {
        &self.0.actor
    }

    /// When it happened.
    async fn occurred_at(&self) -> DateTime<Utc> {
        self.0.occurred_at
    }

    /// When it was recorded.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }
}

fn json(
    value: Option<&freehold_projections::Json<serde_json::Value>>,
) -> Result<Option<Json>, Fault> {
    let graphql = |value: &freehold_projections::Json<serde_json::Value>| {
        async_graphql::Value::from_json(value.0.clone()).map(Json)
    };
    value.map(graphql).transpose().map_err(|error| crate::graphql::fault::internal(&error))
}
