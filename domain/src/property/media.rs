//! Pictures, plans and films of a unit.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::check::Check;
use super::command::{AttachMedia, RemoveMedia, ReorderMedia, SetPreferredPhoto};
use super::event::{MediaAttached, MediaRemoved, MediaReordered, PreferredPhotoSet};
use super::named::named_enum;
use super::unit::Unit;
use super::{Decision, PropertyRefused, happened, unchanged};

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

const MAX_MEDIA: usize = 100;

impl Media {
    /// Whether a medium may have this address and this caption.
    pub fn check(url: &str, caption: Option<&str>) -> Result<(), PropertyRefused> {
        let mut check = Check::default();
        check_parts(&mut check, url, caption);
        check.finish()
    }
}

fn check_parts(check: &mut Check, url: &str, caption: Option<&str>) {
    check.url("url", url);
    if let Some(caption) = caption {
        check.line("caption", caption, 500);
    }
}

/// Decides whether a medium is added.
pub(super) fn attach(unit: &Unit, command: AttachMedia) -> Decision {
    let AttachMedia { id, url, category, caption, order } = command;
    refuse_after_the_end(unit)?;
    let known = unit.media.iter().find(|media| media.id == id);
    let last = unit.media.last().map_or(0, |media| media.order);
    let order = order.unwrap_or(known.map_or(last.saturating_add(1), |media| media.order));
    let media = Media { id, url, category, caption, order };
    if let Some(known) = known {
        return if *known == media {
            unchanged()
        } else {
            Err(PropertyRefused::IdTaken { field: "id" })
        };
    }

    let mut check = Check::default();
    check_parts(&mut check, &media.url, media.caption.as_deref());
    check.entries("media", unit.media.len() + 1, MAX_MEDIA);
    check.finish()?;
    if unit.media.iter().any(|media| media.order == order) {
        return Err(PropertyRefused::MediaOrderTaken);
    }
    happened(MediaAttached { media })
}

/// Decides whether all media stand in a new order.
pub(super) fn reorder(unit: &Unit, command: ReorderMedia) -> Decision {
    let ReorderMedia { order } = command;
    refuse_after_the_end(unit)?;
    let stranger = |id: &Uuid| unit.media.iter().all(|media| media.id != *id);
    if let Some(index) = order.iter().position(stranger) {
        return Err(PropertyRefused::MediaNotFound { field: format!("order[{index}]") });
    }
    let every_medium_is_named = unit.media.iter().all(|media| order.contains(&media.id));
    if !every_medium_is_named || order.len() != unit.media.len() {
        return Err(PropertyRefused::MediaOrderIncomplete);
    }
    if unit.media.iter().map(|media| media.id).eq(order.iter().copied()) {
        return unchanged();
    }
    happened(MediaReordered { order })
}

/// Decides whether a photo becomes the one that is shown first.
pub(super) fn set_preferred(unit: &Unit, command: SetPreferredPhoto) -> Decision {
    refuse_after_the_end(unit)?;
    let media = find(unit, command.media)?;
    if media.category != MediaCategory::Photo {
        return Err(PropertyRefused::NotAPhoto);
    }
    if unit.preferred_photo == Some(media.id) {
        return unchanged();
    }
    happened(PreferredPhotoSet { media: media.id })
}

/// Decides whether a medium is taken away.
pub(super) fn remove(unit: &Unit, command: RemoveMedia) -> Decision {
    refuse_after_the_end(unit)?;
    let media = find(unit, command.media)?;
    happened(MediaRemoved { media: media.id })
}

fn find(unit: &Unit, id: Uuid) -> Result<&Media, PropertyRefused> {
    let found = unit.media.iter().find(|media| media.id == id);
    found.ok_or_else(|| PropertyRefused::MediaNotFound { field: "media".to_owned() })
}

/// What was shown when a period ended stays as evidence until the next one is drafted.
fn refuse_after_the_end(unit: &Unit) -> Result<(), PropertyRefused> {
    match unit.period.as_ref().map(|period| period.status()) {
        Some(status) if status.is_final() => Err(PropertyRefused::ListingClosed { status }),
        Some(_) | None => Ok(()),
    }
}
