//! Which projection each table belongs to, and every projection there is.

use freehold_projections::models::account::{
    AccountRow, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use freehold_projections::models::engagement::EngagementRow;
use freehold_projections::models::listing::ListingRow;
use freehold_projections::models::market::MarketStatisticsRow;
use freehold_projections::models::property::{PropertyChangeRow, PropertyRow};

use super::connection::Projected;
use super::objects::event::LogName as Log;

/// Listing periods.
pub(crate) const LISTINGS: &str = "listings";
/// Properties in full, and their changes.
pub(crate) const PROPERTIES: &str = "properties";
/// Accounts with their preferences and searches.
pub(crate) const ACCOUNTS: &str = "accounts";
/// What visitors did.
pub(crate) const ENGAGEMENT: &str = "engagement";
/// What homes cost.
pub(crate) const MARKET: &str = "market";

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
    MarketStatisticsRow = MARKET,
}
