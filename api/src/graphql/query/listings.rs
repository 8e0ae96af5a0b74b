//! In which order listings come.

use async_graphql::Enum;
use freehold_projections::models::listing::ListingOrder as Order;

use crate::graphql::connection::Ordering;

/// In which order listings come; those without the fact come last, equals by their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
pub enum ListingOrder {
    /// Published last first.
    #[default]
    Newest,
    /// Published first first.
    Oldest,
    /// Cheapest first; amounts of different currencies are not converted.
    PriceAscending,
    /// Dearest first; amounts of different currencies are not converted.
    PriceDescending,
    /// Smallest living area first.
    AreaAscending,
    /// Largest living area first.
    AreaDescending,
    /// Fewest bedrooms first.
    BedroomsAscending,
    /// Most bedrooms first.
    BedroomsDescending,
    /// Soonest to be had first.
    AvailableFirst,
    /// Let or sold last first.
    RecentlyClosed,
    /// Changed last first. A listing that changes moves to the front: pages may show it twice.
    RecentlyChanged,
}

impl ListingOrder {
    pub(crate) fn ordering(self) -> Ordering {
        let (name, order) = match self {
            Self::Newest => ("NEWEST", Order::Newest),
            Self::Oldest => ("OLDEST", Order::Oldest),
            Self::PriceAscending => ("PRICE_ASCENDING", Order::PriceAscending),
            Self::PriceDescending => ("PRICE_DESCENDING", Order::PriceDescending),
            Self::AreaAscending => ("AREA_ASCENDING", Order::AreaAscending),
            Self::AreaDescending => ("AREA_DESCENDING", Order::AreaDescending),
            Self::BedroomsAscending => ("BEDROOMS_ASCENDING", Order::BedroomsAscending),
            Self::BedroomsDescending => ("BEDROOMS_DESCENDING", Order::BedroomsDescending),
            Self::AvailableFirst => ("AVAILABLE_FIRST", Order::AvailableFirst),
            Self::RecentlyClosed => ("RECENTLY_CLOSED", Order::ClosedLast),
            Self::RecentlyChanged => ("RECENTLY_CHANGED", Order::ChangedLast),
        };
        Ordering { name, columns: order.order() }
    }
}
