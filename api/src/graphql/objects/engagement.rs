//! What visitors did with a listing, or with a property.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use async_graphql::{Context, SimpleObject};
use chrono::{DateTime, Days, NaiveDate, Utc};
use freehold_domain::{ListingKey, PropertyId};
use freehold_projections::models::engagement::{
    EngagementRow, PropertyEngagementRow, click_through,
};
use futures_util::future::try_join;
use uuid::Uuid;

use crate::graphql::loaders::{Part, Slice, Sliced};
use crate::graphql::scalars::Date;
use crate::graphql::{Fault, loaders};

/// The most days one request may sum up.
const MAX_DAYS: u32 = 366;

/// A range of days, first and last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    from: NaiveDate,
    to: NaiveDate,
}

impl Period {
    /// The days a client asks for; the last 30 where it names none.
    pub(crate) fn new(
        now: DateTime<Utc>,
        from: Option<Date>,
        to: Option<Date>,
    ) -> Result<Self, Fault> {
        let to = to.map_or_else(|| now.date_naive(), |day| day.0);
        let month_ago = to.checked_sub_days(Days::new(29)).unwrap_or(NaiveDate::MIN);
        let from = from.map_or(month_ago, |day| day.0);
        if to < from {
            return Err(Fault::input("to", "must not be before from"));
        }
        if (to - from).num_days() >= i64::from(MAX_DAYS) {
            return Err(Fault::input("from", format!("ask for at most {MAX_DAYS} days")));
        }
        Ok(Self { from, to })
    }

    /// The days of one parent.
    fn slice(self, parent: Uuid) -> Slice {
        let Self { from, to } = self;
        Slice { parent, part: Part::Days { from, to }, size: MAX_DAYS }
    }
}

/// What visitors did, summed up and by day. Programs are in `botEvents` and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, SimpleObject)]
pub struct Engagement {
    /// How often it was shown among others.
    pub impressions: i64,
    /// How often it was shown by itself.
    pub detailed_views: i64,
    /// How often it was marked as wanted.
    pub favourites: i64,
    /// How often it was passed on.
    pub shares: i64,
    /// Contact forms sent, and clicks on an e-mail address or a phone number.
    pub inquiries: i64,
    /// Any other interaction.
    pub other: i64,
    /// Interactions by programs.
    pub bot_events: i64,
    /// Detailed views for each impression; null without impressions.
    pub click_through_rate: Option<f64>,
    /// Each day on which something happened.
    pub by_day: Vec<EngagementDay>,
}

/// What visitors did on one day.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct EngagementDay {
    /// The day, UTC.
    pub day: Date,
    /// How often it was shown among others.
    pub impressions: i64,
    /// How often it was shown by itself.
    pub detailed_views: i64,
    /// How often it was marked as wanted.
    pub favourites: i64,
    /// How often it was passed on.
    pub shares: i64,
    /// Contact forms sent, and clicks on an e-mail address or a phone number.
    pub inquiries: i64,
    /// Any other interaction.
    pub other: i64,
    /// Interactions by programs.
    pub bot_events: i64,
    /// Detailed views for each impression; null without impressions.
    pub click_through_rate: Option<f64>,
}

macro_rules! days {
    ($($row:ty),+) => {$(
        impl From<$row> for EngagementDay {
            fn from(row: $row) -> Self {
                Self {
                    day: Date(row.day),
                    impressions: row.impressions,
                    detailed_views: row.detailed_views,
                    favourites: row.favourites,
                    shares: row.shares,
                    inquiries: row.inquiries,
                    other: row.other,
                    bot_events: row.bot_events,
                    click_through_rate: click_through(row.detailed_views, row.impressions),
                }
            }
        }
    )+};
}

days!(EngagementRow, PropertyEngagementRow);

/// Adds the counters of one to those of another.
macro_rules! add {
    ($of:expr, $to:expr) => {{
        $to.impressions += $of.impressions;
        $to.detailed_views += $of.detailed_views;
        $to.favourites += $of.favourites;
        $to.shares += $of.shares;
        $to.inquiries += $of.inquiries;
        $to.other += $of.other;
        $to.bot_events += $of.bot_events;
        $to.click_through_rate = click_through($to.detailed_views, $to.impressions);
    }};
}

impl Engagement {
    /// What named the listing.
    pub(crate) async fn of_listing(
        ctx: &Context<'_>,
        listing: ListingKey,
        period: Period,
    ) -> Result<Self, Fault> {
        let days = loaders(ctx).engagement.load_one(period.slice(listing.0)).await?;
        Ok(Self::sum(days.into_iter().flat_map(days_of)))
    }

    /// What named the property or one of its listings; an interaction counts once.
    pub(crate) async fn of_property(
        ctx: &Context<'_>,
        property: PropertyId,
        listings: &[ListingKey],
        period: Period,
    ) -> Result<Self, Fault> {
        let of_listings = listings.iter().map(|listing| period.slice(listing.0));
        let (own, of_listings) = try_join(
            loaders(ctx).property_engagement.load_one(period.slice(property.0)),
            loaders(ctx).engagement.load_many(of_listings),
        )
        .await?;
        let of_listings = of_listings.into_values().flat_map(days_of);
        Ok(Self::sum(own.into_iter().flat_map(days_of).chain(of_listings)))
    }

    fn sum(days: impl Iterator<Item = EngagementDay>) -> Self {
        let mut sum = Self::default();
        let mut by_day: BTreeMap<NaiveDate, EngagementDay> = BTreeMap::new();
        for day in days {
            add!(day, sum);
            match by_day.entry(day.day.0) {
                Entry::Vacant(entry) => {
                    entry.insert(day);
                }
                Entry::Occupied(mut entry) => add!(day, entry.get_mut()),
            }
        }
        sum.by_day = by_day.into_values().collect();
        sum
    }
}

fn days_of<R: Into<EngagementDay>>(days: Sliced<R>) -> impl Iterator<Item = EngagementDay> {
    days.rows.into_iter().map(|(_, row)| row.into())
}
