//! Pictures, plans and films of a unit.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::named::named_enum;

/// A picture, plan or film, by reference: the file itself lives elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Names it within its property.
    pub id: Uuid,
    /// Where the file is, http or https.
    pub url: String,
    /// What it shows.
    pub category: MediaCategory,
    /// A public line of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Its place among the property's media, smallest first; no two are equal.
    pub order: u16,
}

named_enum! {
    /// What a medium shows, after RESO `MediaCategory`.
    pub enum MediaCategory {
        /// A photograph.
        Photo,
        /// A floor plan.
        FloorPlan,
        /// A film.
        Video,
        /// A walk-through on a page of its own.
        VirtualTour,
        /// A paper about the unit.
        Document,
    }
}
