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
    /// Lowest amount first; only means something within one currency and frequency.
    PriceAscending,
    /// Highest amount first; only means something within one currency and frequency.
    PriceDescending,
    /// Largest living area first.
    Largest,
    /// Most bedrooms first.
    MostBedrooms,
    /// Available first first.
    AvailableSoonest,
    /// Changed last first. A listing that changes moves to the front: pages may show it twice.
    RecentlyChanged,
    /// Let or sold last first.
    RecentlyClosed,
}

impl ListingOrder {
    pub(crate) fn ordering(self) -> Ordering {
        match self {
            Self::Newest => Ordering::by("NEWEST", "published_at", true),
            Self::Oldest => Ordering::by("OLDEST", "published_at", false),
            Self::PriceAscending => Ordering::by("PRICE_ASCENDING", "price_minor", false),
            Self::PriceDescending => Ordering::by("PRICE_DESCENDING", "price_minor", true),
            Self::Largest => Ordering::by("LARGEST", "living_area_m2", true),
            Self::MostBedrooms => Ordering::by("MOST_BEDROOMS", "bedrooms", true),
            Self::AvailableSoonest => Ordering::by("AVAILABLE_SOONEST", "available_from", false),
            Self::RecentlyChanged => Ordering::by("RECENTLY_CHANGED", "position", true),
            Self::RecentlyClosed => Ordering::by("RECENTLY_CLOSED", "closed_on", true),
        }
    }
}
