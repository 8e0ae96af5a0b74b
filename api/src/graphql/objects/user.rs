//! A marketplace account, what it thinks of listings, and the searches it keeps.

use std::sync::Arc;

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use freehold_domain::user::{IdentityMethod as DomainIdentityMethod, SearchArea, SearchFilter};
use freehold_domain::{SavedSearchId, UserId};
use freehold_ports::{Filter, Value};
use freehold_projections::ColumnValue as _;
use freehold_projections::models::account::{
    AccountRow, ConsentRecord, Erasure as RowErasure, ListingPreferenceRow, SavedSearchRow,
};
use uuid::Uuid;

use super::enums::{
    AccountStanding, AlertPauseReason, AlertSchedule, ConsentMethod, ConsentPurpose,
    IdentityFailure, IdentityMethod, ListingPreference, NotificationChannel, Units,
};
use super::event::long;
use super::listing::{Listing, Listings};
use super::values::{Coordinates, Price};
use crate::graphql::connection::{Cursor, KeyPage, Rows, Selection, Total, Window, connection};
use crate::graphql::limits::weight;
use crate::graphql::loaders::{Part, Slice};
use crate::graphql::query::listings::ListingOrder;
use crate::graphql::scalars::{Date, Long, NodeKey, Position, SavedSearchKey};
use crate::graphql::{Fault, caller, filter, loaders, personal, platform};

/// A marketplace account.
#[derive(Clone)]
pub struct User(pub(crate) Arc<AccountRow>);

impl User {
    /// The account of that id, if the caller's tenant has it.
    pub(crate) async fn load(ctx: &Context<'_>, id: UserId) -> Result<Option<Self>, Fault> {
        let row = loaders(ctx).accounts.load_one((id,)).await?;
        let tenant = caller(ctx)?.tenant.clone();
        Ok(row.filter(|row| row.tenant == tenant).map(Self))
    }
}

/// A marketplace account. Personal values are null once the person is erased, and refused
/// (`FORBIDDEN`) to callers with the role reader.
#[Object]
impl User {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        NodeKey::to_id(self.0.user)
    }

    /// Its UUID, as events and ingestion show it.
    async fn user_id(&self) -> String {
        self.0.user.to_string()
    }

    /// The feed it came from.
    async fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }

    /// What the feed calls the user.
    async fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// The name they want to be shown under. Only for callers with the role writer.
    async fn display_name(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        personal::show(ctx, self.0.display_name.as_ref()).await
    }

    /// Their e-mail address. Only for callers with the role writer.
    async fn email(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        personal::show(ctx, self.0.email.as_ref()).await
    }

    /// Whether the e-mail address is known to reach them.
    async fn email_verified(&self) -> bool {
        self.0.email_verified
    }

    /// Their phone number, E.164. Only for callers with the role writer.
    async fn phone(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        personal::show(ctx, self.0.phone.as_ref()).await
    }

    /// Whether the phone number is known to reach them.
    async fn phone_verified(&self) -> bool {
        self.0.phone_verified
    }

    /// What is known about who they are.
    async fn identity(&self) -> Identity {
        Identity {
            method: self.0.identity_method.map(|method: DomainIdentityMethod| method.into()),
            verified_at: self.0.identity_verified_at,
            expires_at: self.0.identity_expires_at,
            failure: self.0.identity_failure.map(Into::into),
        }
    }

    /// What the account may do.
    async fn standing(&self) -> AccountStanding {
        self.0.status.into()
    }

    /// Whether nothing personal about them can be read again.
    async fn erased(&self) -> bool {
        matches!(self.0.erasure, RowErasure::KeyShredded | RowErasure::Completed)
    }

    /// Where their erasure stands.
    async fn erasure(&self) -> Erasure {
        Erasure {
            state: match self.0.erasure {
                RowErasure::NotRequested => ErasureState::NotRequested,
                RowErasure::Requested => ErasureState::Requested,
                RowErasure::KeyShredded => ErasureState::KeyShredded,
                RowErasure::Completed => ErasureState::Completed,
            },
            requested_at: self.0.erasure_requested_at,
            deadline: self.0.erasure_deadline,
            certificate: self.0.erasure_certificate.as_deref().map(str::to_owned),
            legal_holds: self.0.legal_holds,
        }
    }

    /// The language they want to be spoken to in, as a BCP 47 tag.
    async fn language(&self) -> Option<&str> {
        self.0.preferences.0.language.as_deref()
    }

    /// The currency they want prices in.
    async fn currency(&self) -> Option<&str> {
        self.0.preferences.0.currency.as_ref().map(|currency| currency.code())
    }

    /// The units they want areas and distances in.
    async fn units(&self) -> Option<Units> {
        self.0.preferences.0.units.map(Into::into)
    }

    /// Every channel they may be reached on; null as long as they have not said.
    async fn channels(&self) -> Option<Vec<NotificationChannel>> {
        let channels = self.0.preferences.0.channels.as_ref()?;
        Some(channels.iter().map(|channel| (*channel).into()).collect())
    }

    /// What they said about each purpose their data may be used for.
    async fn consents(&self, ctx: &Context<'_>) -> Vec<Consent> {
        let now = platform(ctx).clock.now();
        let records = self.0.consents.0.iter();
        let consent = |record: &ConsentRecord| Consent {
            purpose: record.purpose.into(),
            notice_version: record.notice_version.clone(),
            method: record.method.into(),
            jurisdiction: record.jurisdiction.clone(),
            granted_at: record.granted_at,
            expires_at: record.expires_at,
            withdrawn_at: record.withdrawn_at,
            counts: record.withdrawn_at.is_none()
                && record.expires_at.is_none_or(|expiry| now < expiry),
        };
        records.map(consent).collect()
    }

    /// What they think of listings; newest first.
    #[graphql(complexity = "weight(first, last, child_complexity)")]
    async fn preferences(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only listings they think this of.")] preference: Option<
            ListingPreference,
        >,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Cursor, PreferredListing, Total>, Fault> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        let name =
            preference.map(|preference| {
                match freehold_domain::user::ListingPreference::from(preference).to_value() {
                    Value::Text(name) => name,
                    _ => Arc::from(""),
                }
            });
        let part = Part::Preferences { preference: name };
        let mut filters = part.filters();
        filters.push(Filter::Equals("user", Value::Uuid(self.0.user.0)));
        let selection = Selection { filters, order: part.order() };
        let rows = if window.is_first_page() {
            let slice = Slice { parent: self.0.user.0, part, size: window.size };
            loaders(ctx).preferences.load_one(slice).await?.into()
        } else {
            Rows::<ListingPreferenceRow>::read(ctx, &selection, &window).await?
        };
        let total = rows.total(selection, &window);
        Ok(rows.connection(total, PreferredListing))
    }

    /// The searches they keep, oldest first.
    #[graphql(complexity = "weight(first, last, child_complexity)")]
    async fn saved_searches(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Cursor, SavedSearch, Total>, Fault> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        let all: Vec<SavedSearchId> = self.0.saved_searches.0.clone();
        let keys: Vec<Uuid> = all.iter().map(|search| search.0).collect();
        let page = KeyPage::of(SEARCH, &keys, &window)?;
        let user = self.0.user;
        let wanted = page.keys.iter().map(|key| (SavedSearchId(*key), user));
        let mut rows = loaders(ctx).searches.load_many(wanted).await?;
        let node = |key: Uuid| rows.remove(&(SavedSearchId(key), user)).map(SavedSearch);
        Ok(page.connection(SEARCH, keys.len(), node))
    }

    /// When they last asked for a copy of their data.
    async fn export_requested_at(&self) -> Option<DateTime<Utc>> {
        self.0.export_requested_at
    }

    /// When the account was opened.
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

const SEARCH: &str = "SEARCH";

/// What is known about who someone is; all null as long as nobody checked.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Identity {
    /// How it was verified.
    pub method: Option<IdentityMethod>,
    /// When it was verified.
    pub verified_at: Option<DateTime<Utc>>,
    /// Until when that counts; null when it does not lapse.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why the last check failed, if it did.
    pub failure: Option<IdentityFailure>,
}

/// Where the erasure of a user stands.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Erasure {
    /// How far it is.
    pub state: ErasureState,
    /// When they asked to be forgotten.
    pub requested_at: Option<DateTime<Utc>>,
    /// By when that must be done.
    pub deadline: Option<DateTime<Utc>>,
    /// The certificate that says it is done.
    pub certificate: Option<String>,
    /// How many legal holds forbid it.
    pub legal_holds: i64,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ErasureState {
    /// Nobody asked for it.
    NotRequested,
    /// They asked for it.
    Requested,
    /// Their data key is gone: no personal value of theirs can be read again.
    KeyShredded,
    /// Every place that held their data confirmed that it is gone.
    Completed,
}

/// What a user said about one purpose, after ISO/IEC TS 27560.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Consent {
    /// What the data may be used for.
    pub purpose: ConsentPurpose,
    /// Which version of the privacy notice they were shown.
    pub notice_version: String,
    /// How the consent was collected.
    pub method: ConsentMethod,
    /// Whose law applies: ISO 3166-1 or 3166-2.
    pub jurisdiction: String,
    /// When they agreed.
    pub granted_at: DateTime<Utc>,
    /// From when it no longer counts; null when it lasts until withdrawn.
    pub expires_at: Option<DateTime<Utc>>,
    /// When they took it back.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// Whether it counts now: neither withdrawn nor expired.
    pub counts: bool,
}

/// What a user thinks of a listing.
#[derive(Clone)]
pub struct PreferredListing(ListingPreferenceRow);

/// What a user thinks of a listing.
#[Object]
impl PreferredListing {
    /// The listing; null while it is not known here.
    async fn listing(&self, ctx: &Context<'_>) -> Result<Option<Listing>, Fault> {
        Listing::load(ctx, self.0.listing).await
    }

    /// What they think of it.
    async fn preference(&self) -> ListingPreference {
        self.0.preference.into()
    }

    /// Since when.
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }
}

/// A search that a user keeps.
#[derive(Clone)]
pub struct SavedSearch(pub(crate) Arc<SavedSearchRow>);

impl SavedSearch {
    /// The search of that key, if the caller's tenant has its user.
    pub(crate) async fn load(
        ctx: &Context<'_>,
        key: SavedSearchKey,
    ) -> Result<Option<Self>, Fault> {
        if User::load(ctx, key.user).await?.is_none() {
            return Ok(None);
        }
        let row = loaders(ctx).searches.load_one((key.search, key.user)).await?;
        Ok(row.map(Self))
    }
}

/// A search that a user keeps. Its name and words are null once the person is erased, and refused
/// (`FORBIDDEN`) to callers with the role reader.
#[Object]
impl SavedSearch {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        SavedSearchKey { user: self.0.user, search: self.0.search }.to_id()
    }

    /// Its UUID, unique among the searches of its user.
    async fn search_id(&self) -> String {
        self.0.search.to_string()
    }

    /// Who keeps it.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>, Fault> {
        User::load(ctx, self.0.user).await
    }

    /// What they call it. Only for callers with the role writer.
    async fn name(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        personal::show(ctx, self.0.name.as_ref()).await
    }

    /// The words they look for. Only for callers with the role writer.
    async fn text(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        personal::show(ctx, self.0.text.as_ref()).await
    }

    /// What a listing must be like.
    async fn filter(&self) -> SavedSearchFilter {
        (&self.0.filter.0).into()
    }

    /// How often matches are sent.
    async fn schedule(&self) -> AlertSchedule {
        self.0.schedule.into()
    }

    /// Why matches are not sent at the moment, if they are not.
    async fn paused(&self) -> Option<AlertPauseReason> {
        self.0.paused.map(Into::into)
    }

    /// The listings that match now; without statuses in the filter, those on the market. Only for
    /// callers with the role writer, as it tells the words they look for.
    #[graphql(complexity = "weight(first, last, child_complexity) + 20")]
    async fn matches(
        &self,
        ctx: &Context<'_>,
        #[graphql(default)] order_by: ListingOrder,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> async_graphql::Result<Option<Listings>> {
        let window = Window::new(ctx, (first, after), (last, before))?;
        let text = personal::show(ctx, self.0.text.as_ref()).await?;
        let filters = filter::of_search(&self.0, text, &caller(ctx)?.tenant);
        let selection = Selection { filters, order: order_by.ordering() };
        Ok(Some(connection(ctx, selection, window, |row| Listing(Arc::new(row))).await?))
    }

    /// When it was saved.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// The position of its last event in the log `DOMAIN`.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }
}

/// What a saved search asks of a listing; null and empty parts ask for nothing.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct SavedSearchFilter {
    /// Where it must stand: in this box.
    pub bounding_box: Option<SearchBox>,
    /// Where it must stand: in this circle.
    pub circle: Option<SearchCircle>,
    /// The lowest price.
    pub price_min: Option<Price>,
    /// The highest price.
    pub price_max: Option<Price>,
    /// The fewest bedrooms.
    pub bedrooms_min: Option<u32>,
    /// The most bedrooms.
    pub bedrooms_max: Option<u32>,
    /// The fewest bathrooms.
    pub bathrooms_min: Option<f64>,
    /// The smallest floor area, in square metres.
    pub floor_area_min_square_meters: Option<f64>,
    /// The largest floor area, in square metres.
    pub floor_area_max_square_meters: Option<f64>,
    /// Listing statuses, any of which will do, as they were saved.
    pub statuses: Vec<String>,
    /// Property types, any of which will do, as they were saved.
    pub property_types: Vec<String>,
    /// The last day on which it may become available.
    pub available_by: Option<Date>,
}

/// Between two parallels and two meridians.
#[derive(Clone, Copy, Debug, PartialEq, SimpleObject)]
pub struct SearchBox {
    /// The southern border, degrees.
    pub south: f64,
    /// The western border, degrees; more than `east` where the box crosses the date line.
    pub west: f64,
    /// The northern border, degrees.
    pub north: f64,
    /// The eastern border, degrees.
    pub east: f64,
}

/// Within a distance of a point.
#[derive(Clone, Copy, Debug, PartialEq, SimpleObject)]
pub struct SearchCircle {
    /// The point.
    pub center: Coordinates,
    /// The distance.
    pub radius_meters: u32,
}

impl From<&SearchFilter> for SavedSearchFilter {
    fn from(filter: &SearchFilter) -> Self {
        let (bounding_box, circle) = match &filter.area {
            None => (None, None),
            Some(SearchArea::BoundingBox { south, west, north, east }) => {
                let (south, west, north, east) = (*south, *west, *north, *east);
                (Some(SearchBox { south, west, north, east }), None)
            }
            Some(SearchArea::Circle { center, radius_m }) => {
                (None, Some(SearchCircle { center: center.into(), radius_meters: *radius_m }))
            }
        };
        let price = |minor: Option<u64>| {
            let range = filter.price.as_ref()?;
            let minor = i64::try_from(minor?).ok();
            Price::of_columns(minor, Some(range.currency), Some(range.frequency))
        };
        let range = filter.price.as_ref();
        Self {
            bounding_box,
            circle,
            price_min: price(range.and_then(|range| range.min_minor)),
            price_max: price(range.and_then(|range| range.max_minor)),
            bedrooms_min: filter.bedrooms_min,
            bedrooms_max: filter.bedrooms_max,
            bathrooms_min: filter.bathrooms_min,
            floor_area_min_square_meters: filter.floor_area_min_m2,
            floor_area_max_square_meters: filter.floor_area_max_m2,
            statuses: filter.statuses.clone(),
            property_types: filter.property_types.clone(),
            available_by: filter.available_by.map(Date),
        }
    }
}
