//! What visitors did with a listing.

use async_graphql::{Context, SimpleObject};
use chrono::{DateTime, Days, NaiveDate, Utc};
use freehold_domain::ListingKey;
use freehold_projections::models::engagement::{EngagementRow, click_through};

use crate::graphql::loaders::{Part, Slice};
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

impl Engagement {
    pub(crate) async fn load(
        ctx: &Context<'_>,
        listing: ListingKey,
        Period { from, to }: Period,
    ) -> Result<Self, Fault> {
        let slice = Slice { parent: listing.0, part: Part::Days { from, to }, size: MAX_DAYS };
        let days = loaders(ctx).engagement.load_one(slice).await?;
        let rows = days.map_or(Vec::new(), |days| days.rows);
        Ok(Self::sum(rows.into_iter().map(|(_, row)| row)))
    }

    fn sum(rows: impl Iterator<Item = EngagementRow>) -> Self {
        let mut sum = Self::default();
        for row in rows {
            sum.impressions += row.impressions;
            sum.detailed_views += row.detailed_views;
            sum.favourites += row.favourites;
            sum.shares += row.shares;
            sum.inquiries += row.inquiries;
            sum.other += row.other;
            sum.bot_events += row.bot_events;
            sum.by_day.push(EngagementDay {
                day: Date(row.day),
                impressions: row.impressions,
                detailed_views: row.detailed_views,
                favourites: row.favourites,
                shares: row.shares,
                inquiries: row.inquiries,
                other: row.other,
                bot_events: row.bot_events,
                click_through_rate: click_through(row.detailed_views, row.impressions),
            });
        }
        sum.click_through_rate = click_through(sum.detailed_views, sum.impressions);
        sum
    }
}
