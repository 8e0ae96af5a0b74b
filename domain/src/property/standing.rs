//! Whether a property stands for itself: duplicates and the archive.

use super::command::{ArchiveProperty, MarkDuplicateOf};
use super::event::{DuplicateSeparated, MarkedDuplicateOf, PropertyArchived};
use super::listing::ListingStatus;
use super::unit::Unit;
use super::{Decision, PropertyRefused, happened, unchanged};

/// Decides whether the property counts as another one.
///
/// No chain and no circle can form: a survivor is never a duplicate when it is chosen.
pub(super) fn mark_duplicate(unit: &Unit, command: MarkDuplicateOf) -> Decision {
    let MarkDuplicateOf { property, survivor, survivor_is_duplicate, has_open_applications } =
        command;
    if survivor == property {
        return Err(PropertyRefused::SelfDuplicate);
    }
    match unit.duplicate_of {
        Some(known) if known == survivor => return unchanged(),
        Some(known) => return Err(PropertyRefused::AlreadyDuplicate { survivor: known }),
        None => {}
    }
    if survivor_is_duplicate {
        return Err(PropertyRefused::SurvivorIsDuplicate);
    }
    match unit.open_period().map(|period| period.status()) {
        Some(ListingStatus::UnderApplication | ListingStatus::Pending) => {
            Err(PropertyRefused::MergeBlocked)
        }
        Some(ListingStatus::Active) if has_open_applications => Err(PropertyRefused::MergeBlocked),
        _ => happened(MarkedDuplicateOf { survivor }),
    }
}

/// Decides whether the property counts as one of its own again.
pub(super) fn separate_duplicate(unit: &Unit) -> Decision {
    let survivor = unit.duplicate_of.ok_or(PropertyRefused::NotADuplicate)?;
    happened(DuplicateSeparated { survivor })
}

/// Decides whether the property is kept for its history only.
pub(super) fn archive(unit: &Unit, command: ArchiveProperty) -> Decision {
    if let Some(open) = unit.open_period() {
        return Err(PropertyRefused::ListingStillOpen { open: open.key });
    }
    if command.has_current_lease {
        return Err(PropertyRefused::LeaseStillCurrent);
    }
    happened(PropertyArchived {})
}
