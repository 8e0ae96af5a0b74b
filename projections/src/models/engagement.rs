//! How often listings are seen and acted on, by day; after RESO `InternetTrackingSummary`.

use chrono::NaiveDate;
use freehold_domain::interaction::{ActorType, Interaction, InteractionKind};
use freehold_domain::{ListingKey, PropertyId};
use freehold_ports::{EventFilter, LogName, Table};

use super::events_of;
use crate::{ApplyError, ProjectedEvent, Projection, Rows, TypedRow, read_model};

read_model! {
    /// What visitors did with one listing on one day.
    pub struct EngagementRow in "engagement" {
        key {
            /// The listing period.
            listing: ListingKey,
            /// The day it happened, UTC.
            day: NaiveDate,
        }
        /// The property, once an interaction of the day named it; the smallest id if several did.
        property: Option<PropertyId>,
        /// How often it was shown among others.
        impressions: i64,
        /// How often it was shown by itself.
        detailed_views: i64,
        /// How often it was passed on.
        shares: i64,
        /// Contact forms sent, and clicks on an e-mail address or a phone number.
        inquiries: i64,
        /// How often it was marked as wanted; accounts know who still wants it.
        favourites: i64,
        /// Any other interaction.
        other: i64,
        /// Interactions by programs; they are in none of the other counts.
        bot_events: i64,
    }
    indexes [["property", "day"], ["day"]]
}

read_model! {
    /// What visitors did with one property on one day without naming a listing of it.
    ///
    /// An interaction is counted once: here, or in [`EngagementRow`].
    pub struct PropertyEngagementRow in "engagement_property" {
        key {
            /// The property.
            property: PropertyId,
            /// The day it happened, UTC.
            day: NaiveDate,
        }
        /// How often it was shown among others.
        impressions: i64,
        /// How often it was shown by itself.
        detailed_views: i64,
        /// How often it was passed on.
        shares: i64,
        /// Contact forms sent, and clicks on an e-mail address or a phone number.
        inquiries: i64,
        /// How often it was marked as wanted.
        favourites: i64,
        /// Any other interaction.
        other: i64,
        /// Interactions by programs; they are in none of the other counts.
        bot_events: i64,
    }
    indexes [["day"]]
}

/// The place of a counter in either row.
macro_rules! count {
    ($row:ident, $counter:expr) => {
        match $counter {
            Counter::Impressions => &mut $row.impressions,
            Counter::DetailedViews => &mut $row.detailed_views,
            Counter::Shares => &mut $row.shares,
            Counter::Inquiries => &mut $row.inquiries,
            Counter::Favourites => &mut $row.favourites,
            Counter::Other => &mut $row.other,
            Counter::BotEvents => &mut $row.bot_events,
        }
    };
}

/// Fills [`EngagementRow`] and [`PropertyEngagementRow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Engagement;

impl Projection for Engagement {
    type Event = Interaction;

    const NAME: &'static str = "engagement";
    const VERSION: u32 = 2;

    fn log(&self) -> LogName {
        LogName::INTERACTIONS
    }

    fn filter(&self) -> EventFilter {
        events_of("interactions")
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[EngagementRow::TABLE, PropertyEngagementRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, Interaction>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let Interaction { kind, details } = event.event;
        let day = details.event_timestamp.date_naive();
        let counter = Counter::of(*kind, details.actor_type);
        match (details.listing, details.property) {
            (Some(listing), property) => {
                let row = rows.get::<EngagementRow>(&(listing, day))?.cloned();
                let mut row = row.unwrap_or(EngagementRow {
                    listing,
                    day,
                    property: None,
                    impressions: 0,
                    detailed_views: 0,
                    shares: 0,
                    inquiries: 0,
                    favourites: 0,
                    other: 0,
                    bot_events: 0,
                });
                // Whoever says it first: streams come in any order.
                row.property = row.property.into_iter().chain(property).min();
                *count!(row, counter) += 1;
                rows.put(row);
            }
            (None, Some(property)) => {
                let row = rows.get::<PropertyEngagementRow>(&(property, day))?.cloned();
                let mut row = row.unwrap_or(PropertyEngagementRow {
                    property,
                    day,
                    impressions: 0,
                    detailed_views: 0,
                    shares: 0,
                    inquiries: 0,
                    favourites: 0,
                    other: 0,
                    bot_events: 0,
                });
                *count!(row, counter) += 1;
                rows.put(row);
            }
            // A search or a sign-in is about no listing; the log keeps it.
            (None, None) => {}
        }
        Ok(())
    }
}

/// The one count of a row that an interaction raises.
#[derive(Clone, Copy)]
enum Counter {
    Impressions,
    DetailedViews,
    Shares,
    Inquiries,
    Favourites,
    Other,
    BotEvents,
}

impl Counter {
    fn of(kind: InteractionKind, actor: ActorType) -> Self {
        use InteractionKind as K;
        match actor {
            ActorType::Bot => return Self::BotEvents,
            ActorType::Agent | ActorType::Client | ActorType::Consumer | ActorType::Unknown => {}
        }
        match kind {
            K::Impression => Self::Impressions,
            K::DetailedView => Self::DetailedViews,
            K::Share => Self::Shares,
            K::SubmissionOfLeadForm | K::ClickedOnEmailAddress | K::ClickedOnPhoneNumber => {
                Self::Inquiries
            }
            K::Favorited => Self::Favourites,
            K::ExitDetailedView
            | K::Maybe
            | K::Discard
            | K::Search
            | K::ScrolledDepth
            | K::PhotoGallery
            | K::VirtualTour
            | K::PropertyVideos
            | K::DrivingDirections
            | K::Printed
            | K::Comments
            | K::ClickToPrimaryHostedSite
            | K::ObjectModified
            | K::SignIn
            | K::SignOut => Self::Other,
        }
    }
}

/// Detailed views for each impression; `None` without impressions.
pub fn click_through(detailed_views: i64, impressions: i64) -> Option<f64> {
    (impressions > 0).then(|| detailed_views as f64 / impressions as f64)
}
