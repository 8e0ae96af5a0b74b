//! How often listings are seen and acted on, by day; after RESO `InternetTrackingSummary`.

use chrono::NaiveDate;
use freehold_domain::{ListingKey, PropertyId};

use crate::read_model;

read_model! {
    /// What visitors did with one listing on one day.
    pub struct EngagementRow in "engagement" {
        key {
            /// The listing period.
            listing: ListingKey,
            /// The day it happened, UTC.
            day: NaiveDate,
        }
        /// The property, once an interaction of the day named it.
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
