//! In which order listings come.

use async_graphql::Enum;

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
        match self {
            Self::Newest => Ordering::by("NEWEST", "published_at", true),
            Self::Oldest => Ordering::by("OLDEST", "published_at", false),
            Self::PriceAscending => Ordering::by("PRICE_ASCENDING", "price_minor", false),
            Self::PriceDescending => Ordering::by("PRICE_DESCENDING", "price_minor", true),
            Self::AreaAscending => Ordering::by("AREA_ASCENDING", "living_area_m2", false),
            Self::AreaDescending => Ordering::by("AREA_DESCENDING", "living_area_m2", true),
            Self::BedroomsAscending => Ordering::by("BEDROOMS_ASCENDING", "bedrooms", false),
            Self::BedroomsDescending => Ordering::by("BEDROOMS_DESCENDING", "bedrooms", true),
            Self::AvailableFirst => Ordering::by("AVAILABLE_FIRST", "available_from", false),
            Self::RecentlyClosed => Ordering::by("RECENTLY_CLOSED", "closed_on", true),
            Self::RecentlyChanged => Ordering::by("RECENTLY_CHANGED", "position", true),
        }
    }
}
