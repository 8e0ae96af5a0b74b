//! A listing period.

use std::sync::Arc;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use freehold_domain::property::LocationVisibility as Visibility;
use freehold_domain::{ListingKey, UserId};
use freehold_projections::models::listing::{
    ListingRow, ListingTerms, cumulative_days_on_market, days_on_market,
};

use super::engagement::{Engagement, Period};
use super::enums::{CoordinatePrecision, ListingStatus, LocationVisibility, PropertyType};
use super::event::long;
use super::property::Property;
use super::user::User;
use super::values::{
    Address, Area, Concession, Coordinates, LeaseTerms, MoveInCost, OngoingFee, Price,
};
use crate::graphql::connection::{Cursor, Total};
use crate::graphql::scalars::{Date, Long, NodeKey, Position};
use crate::graphql::{Fault, caller, loaders, platform};
use crate::placeholder::photo_address;

/// One page of listings.
pub(crate) type Listings = Connection<Cursor, Listing, Total>;

/// One offer of a unit, from draft to its final state.
#[derive(Clone)]
pub struct Listing(pub(crate) Arc<ListingRow>);

impl Listing {
    /// The listing of that key, if the caller's tenant has it.
    pub(crate) async fn load(ctx: &Context<'_>, key: ListingKey) -> Result<Option<Self>, Fault> {
        let row = loaders(ctx).listings.load_one((key,)).await?;
        let tenant = caller(ctx)?.tenant.clone();
        Ok(row.filter(|row| row.tenant == tenant).map(Self))
    }
}

/// One offer of a unit, from draft to its final state: a listing period. A relist is a new one.
///
/// What other read models know (engagement, favourites, the property) is null where they fail, so
/// that they do not take the listing with them. Shows what the public may see: where a location is
/// approximate or hidden, so are address and coordinates here. The property knows the rest.
#[Object]
impl Listing {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        NodeKey::to_id(self.0.listing)
    }

    /// Its key, as events and feeds show it.
    async fn listing_key(&self) -> String {
        self.0.listing.to_string()
    }

    /// The unit that is offered.
    async fn property(&self, ctx: &Context<'_>) -> Result<Option<Property>, Fault> {
        Property::load(ctx, self.0.property).await
    }

    /// Who sent the property.
    async fn source(&self) -> &str {
        &self.0.source
    }

    /// What the sender calls the property.
    async fn reference(&self) -> &str {
        &self.0.reference
    }

    /// Where it stands.
    async fn status(&self) -> ListingStatus {
        self.0.status.into()
    }

    /// When it came to stand there.
    async fn status_changed_at(&self) -> DateTime<Utc> {
        self.0.status_changed_at
    }

    /// The property that survives, while this listing's counts as its duplicate.
    async fn duplicate_of(&self, ctx: &Context<'_>) -> Result<Option<Property>, Fault> {
        match self.0.duplicate_of {
            Some(survivor) => Property::load(ctx, survivor).await,
            None => Ok(None),
        }
    }

    /// What kind of home it is.
    async fn property_type(&self) -> PropertyType {
        self.0.property_type.into()
    }

    /// A public headline.
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// Public text.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// Postal address; without street and postal code where the location is not shown exactly.
    async fn address(&self) -> Address {
        let row = &*self.0;
        let text = |part: &Option<Arc<str>>| part.as_deref().map(str::to_owned);
        let exact = |part: &Option<Arc<str>>| text(part).filter(|_| self.is_exact());
        Address {
            street: exact(&row.street),
            city: text(&row.city),
            region: text(&row.region),
            postal_code: exact(&row.postal_code),
            country: text(&row.country),
        }
    }

    /// Where it stands; to about a kilometre where the location is approximate, null where hidden.
    async fn coordinates(&self) -> Option<Coordinates> {
        let (latitude, longitude) = (self.0.latitude?, self.0.longitude?);
        let hundredths = |degrees: f64| (degrees * 100.0).round() / 100.0;
        match self.0.location_visibility {
            None | Some(Visibility::Exact) => Some(Coordinates { latitude, longitude }),
            Some(Visibility::Approximate) => Some(Coordinates {
                latitude: hundredths(latitude),
                longitude: hundredths(longitude),
            }),
            Some(Visibility::Hidden) => None,
        }
    }

    /// How close the coordinates are to the truth, where a geocoder said so.
    async fn location_precision(&self) -> Option<CoordinatePrecision> {
        self.0.location_precision.map(Into::into)
    }

    /// How much of the location the public may see; null where nobody said.
    async fn location_visibility(&self) -> Option<LocationVisibility> {
        self.0.location_visibility.map(Into::into)
    }

    /// Year of construction, common era.
    async fn year_built(&self) -> Option<i64> {
        self.0.year_built
    }

    /// Storeys; one and a half is 1.5.
    async fn stories(&self) -> Option<f64> {
        self.0.stories
    }

    /// Bedrooms; 0 is a studio.
    async fn bedrooms(&self) -> Option<i64> {
        self.0.bedrooms
    }

    /// Bathrooms; a half bathroom counts 0.5.
    async fn bathrooms(&self) -> Option<f64> {
        self.0.bathrooms
    }

    /// Rooms of any kind.
    async fn rooms(&self) -> Option<i64> {
        self.0.rooms
    }

    /// How many people it accommodates.
    async fn max_occupancy(&self) -> Option<i64> {
        self.0.max_occupancy
    }

    /// Living area as it was given.
    async fn living_area(&self) -> Option<Area> {
        let unit = self.0.living_area_unit?.into();
        Some(Area { value: self.0.living_area?, unit })
    }

    /// Area of the lot as it was given.
    async fn lot_area(&self) -> Option<Area> {
        let unit = self.0.lot_area_unit?.into();
        Some(Area { value: self.0.lot_area?, unit })
    }

    /// What it offers, sorted.
    async fn amenities(&self) -> Vec<String> {
        self.0.amenities.0.iter().cloned().collect()
    }

    /// The photo that is shown first.
    async fn photo(&self) -> Option<Photo> {
        let url = self.0.photo_url.as_deref()?;
        Some(Photo { url: photo_address(url).to_owned() })
    }

    /// How many photos there are.
    async fn photo_count(&self) -> i64 {
        self.0.photos
    }

    /// The rent, or the price of a sale.
    async fn price(&self) -> Option<Price> {
        self.priced(self.0.price_minor)
    }

    /// The price it was first offered at.
    async fn original_price(&self) -> Option<Price> {
        self.priced(self.0.original_price_minor)
    }

    /// The price before the last change.
    async fn previous_price(&self) -> Option<Price> {
        self.priced(self.0.previous_price_minor)
    }

    /// When the price last changed after it was public.
    async fn price_changed_at(&self) -> Option<DateTime<Utc>> {
        self.0.price_changed_at
    }

    /// Monthly rent and every mandatory fee together; null unless all are due monthly in one
    /// currency.
    async fn total_monthly_price(&self) -> Option<Price> {
        self.priced(self.0.total_monthly_minor)
    }

    /// The first day it can be had.
    async fn available_from(&self) -> Option<Date> {
        self.0.available_from.map(Date)
    }

    /// Whether it can be had today: on the market, and its first day has come.
    async fn available_now(&self, ctx: &Context<'_>) -> bool {
        let today = platform(ctx).clock.now().date_naive();
        self.0.market_since.is_some() && self.0.available_from.is_none_or(|day| day <= today)
    }

    /// What moving in costs.
    async fn move_in_costs(&self) -> Vec<MoveInCost> {
        self.terms().map_or(Vec::new(), |terms| all(&terms.move_in_costs))
    }

    /// What is due besides the rent.
    async fn ongoing_fees(&self) -> Vec<OngoingFee> {
        self.terms().map_or(Vec::new(), |terms| all(&terms.ongoing_fees))
    }

    /// What is offered on top.
    async fn concessions(&self) -> Vec<Concession> {
        self.terms().map_or(Vec::new(), |terms| all(&terms.concessions))
    }

    /// On which terms it is let; null as long as nothing was said.
    async fn lease_terms(&self) -> Option<LeaseTerms> {
        self.terms().map(|terms| (&terms.lease_terms).into())
    }

    /// Who looks after it.
    async fn agent(&self, ctx: &Context<'_>) -> Result<Option<User>, Fault> {
        let agent: Option<UserId> = self.0.agent;
        match agent {
            Some(agent) => User::load(ctx, agent).await,
            None => Ok(None),
        }
    }

    /// When it was drafted; null for a closing that became known later.
    async fn drafted_at(&self) -> Option<DateTime<Utc>> {
        self.0.drafted_at
    }

    /// The day it came on the market, UTC; before that the day it is announced for.
    async fn on_market_date(&self) -> Option<Date> {
        self.0.on_market_date.map(Date)
    }

    /// When it was first on the market.
    async fn published_at(&self) -> Option<DateTime<Utc>> {
        self.0.published_at
    }

    /// When it leaves the market by itself.
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// The day it was let or sold.
    async fn closed_on(&self) -> Option<Date> {
        self.0.closed_on.map(Date)
    }

    /// The price that was agreed.
    async fn close_price(&self) -> Option<Price> {
        let ListingRow { close_price_minor, close_currency, close_frequency, .. } = &*self.0;
        Price::of_columns(*close_price_minor, *close_currency, *close_frequency)
    }

    /// Whole days this period was on the market, until now where it still is. Counted while active
    /// or under application.
    async fn days_on_market(&self, ctx: &Context<'_>) -> Option<i64> {
        days_on_market(&self.0, platform(ctx).clock.now())
    }

    /// Whole days all periods of the property until this one were on the market together.
    async fn cumulative_days_on_market(&self, ctx: &Context<'_>) -> Option<i64> {
        cumulative_days_on_market(&self.0, platform(ctx).clock.now())
    }

    /// How many users want it at the moment.
    async fn favourite_count(&self, ctx: &Context<'_>) -> Result<Option<i64>, Fault> {
        let counted = loaders(ctx).favourites.load_one((self.0.listing,)).await?;
        Ok(Some(counted.map_or(0, |row| row.favourites)))
    }

    /// What visitors did with it, in a range of days; the last 30 when none is named, at most 366.
    #[graphql(complexity = "child_complexity + 5")]
    async fn engagement(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first day, UTC.")] from: Option<Date>,
        #[graphql(desc = "The last day, UTC.")] to: Option<Date>,
    ) -> Result<Option<Engagement>, Fault> {
        let period = Period::new(platform(ctx).clock.now(), from, to)?;
        Engagement::of_listing(ctx, self.0.listing, period).await.map(Some)
    }

    /// When its last change was recorded.
    async fn changed_at(&self) -> DateTime<Utc> {
        self.0.changed_at
    }

    /// The position of its last change in the log `DOMAIN`.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }

    /// The version of the property's stream at its last change.
    async fn version(&self) -> Long {
        long(self.0.version.0)
    }
}

impl Listing {
    fn is_exact(&self) -> bool {
        matches!(self.0.location_visibility, None | Some(Visibility::Exact))
    }

    fn priced(&self, amount_minor: Option<i64>) -> Option<Price> {
        Price::of_columns(amount_minor, self.0.currency, self.0.frequency)
    }

    fn terms(&self) -> Option<&ListingTerms> {
        self.0.terms.as_ref().map(|terms| &*terms.0)
    }
}

fn all<'a, D, N: From<&'a D>>(list: &'a [D]) -> Vec<N> {
    list.iter().map(N::from).collect()
}

/// A photo by reference.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub struct Photo {
    /// Where the file is: an address, or a path on this server.
    pub url: String,
}
