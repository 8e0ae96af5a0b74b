//! A property is one rentable unit: its facts, its media and at most one open listing period.
//!
//! [`Property::decide`] asks the decisions, which are grouped by concept: `facts`, `media`,
//! `listing` (the state machine of a period), `terms` (rent, costs, lease), `standing` (duplicates,
//! archive). `unit` folds their outcome into state and keeps only what they need.
//! Absent on purpose: days on market and other figures, which are read models; and whether a
//! sender's reference is taken, which no single stream can know (see [`StoredEvent::claims`]).
//!
//! [`StoredEvent::claims`]: crate::StoredEvent::claims

mod check;
mod command;
mod event;
mod facts;
mod listing;
mod media;
mod named;
mod refusal;
mod standing;
mod terms;
mod unit;
mod upcast;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use command::*;
pub use event::*;
pub use facts::{Changed, FactChange, FactField, PropertyFacts, PropertyType};
pub use listing::{BackOnMarketCause, ListingStatus};
pub use media::{Media, MediaCategory};
pub use refusal::{InvalidField, Problem, PropertyRefused};
pub use terms::{
    Concession, Furnished, LeaseTermOption, LeaseTerms, MoveInCost, MoveInCostKind, OngoingFee,
    OngoingFeeKind, PetsAllowed,
};

use unit::Unit;

use crate::{Circumstances, ListingKey, Price, PropertyId};

/// What is known about one property; nothing before it is registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Property {
    unit: Option<Unit>,
}

/// What a decision says: these events, which may be none, or no.
type Decision = Result<Vec<PropertyEvent>, PropertyRefused>;

/// Decides that one thing happened.
fn happened(event: impl Into<PropertyEvent>) -> Decision {
    Ok(vec![event.into()])
}

/// Decides that everything is as the command wants it already.
fn unchanged() -> Decision {
    Ok(Vec::new())
}

impl Property {
    /// Its facts, once it is registered.
    pub fn facts(&self) -> Option<&PropertyFacts> {
        self.unit.as_ref().map(|unit| &*unit.facts)
    }

    /// Its latest listing period and where that stands.
    pub fn listing(&self) -> Option<(ListingKey, ListingStatus)> {
        let period = self.unit.as_ref()?.period.as_ref()?;
        Some((period.key, period.status()))
    }

    /// What its latest listing period asks for.
    pub fn price(&self) -> Option<Price> {
        self.unit.as_ref()?.period.as_ref()?.price
    }

    /// Its media in order.
    pub fn media(&self) -> &[Media] {
        self.unit.as_ref().map_or(&[], |unit| &unit.media)
    }

    /// The property that it is a duplicate of.
    pub fn survivor(&self) -> Option<PropertyId> {
        self.unit.as_ref()?.duplicate_of
    }

    /// Decides a command: what happens, or why nothing does.
    pub fn decide(&self, command: PropertyCommand, circumstances: &Circumstances) -> Decision {
        match (&self.unit, command) {
            (None, PropertyCommand::RegisterProperty(command)) => facts::register(command),
            (None, _) => Err(PropertyRefused::NotRegistered),
            (Some(_), PropertyCommand::RegisterProperty(_)) => {
                Err(PropertyRefused::AlreadyRegistered)
            }
            (Some(unit), _) if unit.archived => Err(PropertyRefused::Archived),
            (Some(unit), command) => decide(unit, command, circumstances),
        }
    }
}

/// Decides a command on a unit that is known and not archived.
fn decide(unit: &Unit, command: PropertyCommand, circumstances: &Circumstances) -> Decision {
    use PropertyCommand as C;
    let Circumstances { now, actor, policy } = circumstances;
    match command {
        C::RegisterProperty(_) => Err(PropertyRefused::AlreadyRegistered),
        C::CorrectPropertyFacts(command) => facts::correct(unit, command),
        C::SetAmenities(command) => facts::set_amenities(unit, command),
        C::VerifyAddress(command) => facts::verify_address(unit, command),
        C::AttachMedia(command) => media::attach(unit, command),
        C::ReorderMedia(command) => media::reorder(unit, command),
        C::SetPreferredPhoto(command) => media::set_preferred(unit, command),
        C::RemoveMedia(command) => media::remove(unit, command),
        C::DraftListing(command) => listing::draft(unit, command),
        C::SubmitForReview(command) => listing::submit(unit, command, actor),
        C::ApproveListing(command) => listing::approve(unit, command, actor, policy),
        C::RequestChanges(command) => listing::request_changes(unit, command),
        C::ReturnToDraft(command) => listing::return_to_draft(unit, command),
        C::ScheduleListing(command) => listing::schedule(unit, command, *now),
        C::PublishListing(command) => listing::publish(unit, command, *now),
        C::ChangeRent(command) => terms::change_rent(unit, command),
        C::SetMoveInCosts(command) => terms::set_move_in_costs(unit, command),
        C::SetOngoingFees(command) => terms::set_ongoing_fees(unit, command),
        C::OfferConcession(command) => terms::offer_concession(unit, command),
        C::WithdrawConcession(command) => terms::withdraw_concession(unit, command),
        C::SetLeaseTerms(command) => terms::set_lease_terms(unit, command),
        C::ChangeAvailability(command) => terms::change_availability(unit, command),
        C::MarkUnderApplication(command) => listing::mark_under_application(unit, command),
        C::ReleaseApplicationHold(command) => listing::release_application_hold(unit, command),
        C::MarkPending(command) => listing::mark_pending(unit, command),
        C::CloseAsLeased(command) => listing::close_as_leased(unit, command, *now),
        C::HoldListing(command) => listing::hold(unit, command),
        C::ResumeListing(command) => listing::resume(unit, command, *now),
        C::WithdrawListing(command) => listing::withdraw(unit, command),
        C::CancelListing(command) => listing::cancel(unit, command),
        C::ExpireListing(command) => listing::expire(unit, command, *now),
        C::VoidListing(command) => listing::void(unit, command),
        C::RenewListing(command) => listing::renew(unit, command, *now),
        C::ReassignAgent(command) => listing::reassign_agent(unit, command),
        C::RecordClosing(command) => listing::record_closing(unit, command, *now),
        C::MarkDuplicateOf(command) => standing::mark_duplicate(unit, command),
        C::SeparateDuplicate(SeparateDuplicate) => standing::separate_duplicate(unit),
        C::ArchiveProperty(command) => standing::archive(unit, command),
    }
}

impl Aggregate for Property {
    const TYPE: &'static str = "property";
    type Command = PropertyCommand;
    type Event = PropertyEvent;
    type Error = PropertyRefused;
    type Services = Circumstances;

    async fn handle(
        &mut self,
        command: PropertyCommand,
        circumstances: &Circumstances,
        sink: &EventSink<Self>,
    ) -> Result<(), PropertyRefused> {
        for event in self.decide(command, circumstances)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: PropertyEvent) {
        match (&mut self.unit, event) {
            (unit, PropertyEvent::PropertyRegistered(event)) => {
                *unit = Some(Unit::registered(event));
            }
            (Some(unit), event) => unit.apply(event),
            // Nothing can happen to a property before it is registered, and no decision says so.
            (None, _) => {}
        }
    }
}
