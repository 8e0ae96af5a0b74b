//! Which projection each table belongs to, and every projection there is.

use freehold_projections::Projection as _;
use freehold_projections::models::account::{
    AccountRow, Accounts, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use freehold_projections::models::engagement::{Engagement, EngagementRow, PropertyEngagementRow};
use freehold_projections::models::listing::{ListingRow, Listings};
use freehold_projections::models::market::{Market, MarketStatisticsRow};
use freehold_projections::models::property::{Properties, PropertyChangeRow, PropertyRow};

use super::connection::Projected;
use super::objects::event::LogName as Log;

/// Listing periods.
pub(crate) const LISTINGS: &str = Listings::NAME;
/// Properties in full, and their changes.
pub(crate) const PROPERTIES: &str = Properties::NAME;
/// Accounts with their preferences and searches.
pub(crate) const ACCOUNTS: &str = Accounts::NAME;
/// What visitors did.
pub(crate) const ENGAGEMENT: &str = Engagement::NAME;
/// What homes cost.
pub(crate) const MARKET: &str = Market::NAME;

/// Every projection, and the log it reads.
pub(crate) const ALL: [(&str, Log); 5] = [
    (PROPERTIES, Log::Domain),
    (LISTINGS, Log::Domain),
    (ACCOUNTS, Log::Domain),
    (MARKET, Log::Domain),
    (ENGAGEMENT, Log::Interactions),
];

macro_rules! projected {
    ($($row:ty = $projection:ident),+ $(,)?) => {$(
        impl Projected for $row {
            const PROJECTION: &'static str = $projection;
        }
    )+};
}

projected! {
    ListingRow = LISTINGS,
    PropertyRow = PROPERTIES,
    PropertyChangeRow = PROPERTIES,
    AccountRow = ACCOUNTS,
    ListingPreferenceRow = ACCOUNTS,
    ListingFavouritesRow = ACCOUNTS,
    SavedSearchRow = ACCOUNTS,
    EngagementRow = ENGAGEMENT,
    PropertyEngagementRow = ENGAGEMENT,
    MarketStatisticsRow = MARKET,
}
