//! A unit as its events tell it, as far as decisions depend on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{
    AddressGeocoded, CoordinatePrecision, ListingDrafted, LocationVisibility, PropertyEvent,
    PropertyRegistered,
};
use super::facts::PropertyFacts;
use super::listing::{ListingStatus, Period, Stage};
use super::media::{Media, MediaCategory};
use crate::{ListingKey, PropertyId};

/// A unit that is registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) facts: Box<PropertyFacts>,
    pub(super) amenities: BTreeSet<String>,
    /// What the geocoder said about the coordinates, apart from where they are.
    pub(super) geocoded: Option<(CoordinatePrecision, LocationVisibility)>,
    /// In order.
    pub(super) media: Vec<Media>,
    pub(super) preferred_photo: Option<Uuid>,
    /// The latest period that was drafted here, open or not.
    pub(super) period: Option<Period>,
    /// Every earlier period and every recorded closing, with how it ended.
    pub(super) earlier: BTreeMap<ListingKey, ListingStatus>,
    pub(super) duplicate_of: Option<PropertyId>,
    pub(super) archived: bool,
}

impl Unit {
    pub(super) fn registered(event: PropertyRegistered) -> Self {
        Self {
            facts: event.facts,
            amenities: event.amenities,
            geocoded: None,
            media: Vec::new(),
            preferred_photo: None,
            period: None,
            earlier: BTreeMap::new(),
            duplicate_of: None,
            archived: false,
        }
    }

    /// The period that has not ended, if there is one.
    pub(super) fn open_period(&self) -> Option<&Period> {
        self.period.as_ref().filter(|period| !period.status().is_final())
    }

    /// Whether there is anything to look at.
    pub(super) fn has_photo(&self) -> bool {
        self.media.iter().any(|media| media.category == MediaCategory::Photo)
    }

    pub(super) fn apply(&mut self, event: PropertyEvent) {
        use PropertyEvent as E;
        match event {
            E::PropertyRegistered(event) => *self = Self::registered(event),
            E::PropertyFactsCorrected(event) => {
                event.changes.iter().for_each(|change| self.facts.apply(change));
            }
            E::AmenitiesSet(event) => self.amenities = event.new,
            E::AddressGeocoded(AddressGeocoded { coordinates, precision, visibility }) => {
                self.facts.coordinates = Some(coordinates);
                self.geocoded = Some((precision, visibility));
            }
            // A failure changes nothing that a decision depends on.
            E::AddressVerificationFailed(_) => {}
            E::MediaAttached(event) => {
                self.media.push(event.media);
                self.media.sort_by_key(|media| media.order);
            }
            E::MediaReordered(event) => {
                for (media, order) in event.order.into_iter().zip(1..) {
                    if let Some(media) = self.media.iter_mut().find(|other| other.id == media) {
                        media.order = order;
                    }
                }
                self.media.sort_by_key(|media| media.order);
            }
            E::PreferredPhotoSet(event) => self.preferred_photo = Some(event.media),
            E::MediaRemoved(event) => {
                self.media.retain(|media| media.id != event.media);
                self.preferred_photo = self.preferred_photo.filter(|photo| *photo != event.media);
            }
            E::ListingDrafted(event) => self.begin(event),
            E::ListingSubmitted(event) => {
                let stage = Stage::InReview { submitted_by: event.submitted_by, approved: false };
                self.enter(event.listing, stage);
            }
            E::ListingApproved(event) => self.with(event.listing, |period| {
                if let Stage::InReview { approved, .. } = &mut period.stage {
                    *approved = true;
                }
            }),
            E::ListingChangesRequested(event) => {
                self.enter(event.listing, Stage::ChangesRequested);
            }
            E::ListingReturnedToDraft(event) => self.enter(event.listing, Stage::Draft),
            E::ListingScheduled(event) => self.with(event.listing, |period| {
                period.expires_at = event.expires_at;
                period.stage = Stage::ComingSoon;
            }),
            E::ListingPublished(event) => self.with(event.listing, |period| {
                period.expires_at = event.expires_at;
                period.was_published = true;
                period.stage = Stage::Active;
            }),
            E::RentChanged(event) => {
                self.with(event.listing, |period| period.price = Some(event.new));
            }
            E::MoveInCostsSet(event) => {
                self.with(event.listing, |period| period.move_in_costs = event.costs);
            }
            E::OngoingFeesSet(event) => {
                self.with(event.listing, |period| period.ongoing_fees = event.fees);
            }
            E::ConcessionOffered(event) => {
                self.with(event.listing, |period| period.concessions.push(event.concession));
            }
            E::ConcessionWithdrawn(event) => self.with(event.listing, |period| {
                period.concessions.retain(|concession| concession.id != event.concession);
            }),
            E::LeaseTermsSet(event) => {
                self.with(event.listing, |period| period.lease_terms = event.terms);
            }
            E::AvailabilityChanged(event) => {
                self.with(event.listing, |period| period.available_from = Some(event.new));
            }
            E::ListingUnderApplication(event) => {
                let stage = Stage::UnderApplication { application: event.application };
                self.enter(event.listing, stage);
            }
            E::ListingBackOnMarket(event) => self.enter(event.listing, Stage::Active),
            E::ListingPending(event) => {
                self.enter(event.listing, Stage::Pending { application: event.application });
            }
            E::ListingLeased(event) => self.enter(event.listing, Stage::Leased),
            E::ListingHeld(event) => self.enter(event.listing, Stage::OnHold),
            E::ListingWithdrawn(event) => self.enter(event.listing, Stage::Withdrawn),
            E::ListingCancelled(event) => self.enter(event.listing, Stage::Cancelled),
            E::ListingExpired(event) => self.enter(event.listing, Stage::Expired),
            E::ListingVoided(event) => self.enter(event.listing, Stage::Voided),
            E::ListingRenewed(event) => {
                self.with(event.listing, |period| period.expires_at = Some(event.new));
            }
            E::ListingAgentReassigned(event) => {
                self.with(event.listing, |period| period.agent = Some(event.new));
            }
            E::ClosingRecorded(event) => {
                self.earlier.insert(event.listing, ListingStatus::Leased);
            }
            E::MarkedDuplicateOf(event) => self.duplicate_of = Some(event.survivor),
            E::DuplicateSeparated(_) => self.duplicate_of = None,
            E::PropertyArchived(_) => self.archived = true,
        }
    }

    fn begin(&mut self, event: ListingDrafted) {
        if let Some(ended) = self.period.replace(Period::drafted(event)) {
            self.earlier.insert(ended.key, ended.status());
        }
    }

    fn enter(&mut self, listing: ListingKey, stage: Stage) {
        self.with(listing, |period| period.stage = stage);
    }

    fn with(&mut self, listing: ListingKey, change: impl FnOnce(&mut Period)) {
        if let Some(period) = self.period.as_mut().filter(|period| period.key == listing) {
            change(period);
        }
    }
}
