//! A listing period: one offer of a unit, from draft to its final state.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::command::{
    ApproveListing, CancelListing, CloseAsLeased, DraftListing, ExpireListing, HoldListing,
    MarkPending, MarkUnderApplication, PublishListing, ReassignAgent, RecordClosing,
    ReleaseApplicationHold, RenewListing, RequestChanges, ResumeListing, ReturnToDraft,
    ScheduleListing, SubmitForReview, VoidListing, WithdrawListing,
};
use super::event::{
    ClosingRecorded, ListingAgentReassigned, ListingApproved, ListingBackOnMarket,
    ListingCancelled, ListingChangesRequested, ListingDrafted, ListingExpired, ListingHeld,
    ListingLeased, ListingPending, ListingPublished, ListingRenewed, ListingReturnedToDraft,
    ListingScheduled, ListingSubmitted, ListingUnderApplication, ListingVoided, ListingWithdrawn,
};
use super::named::named_enum;
use super::refusal::Problem;
use super::terms::{Concession, LeaseTerms, MoveInCost, OngoingFee};
use super::unit::Unit;
use super::{Decision, PropertyRefused, happened, unchanged};
use crate::{Actor, ApplicationId, ListingKey, Policy, Price, UserId};

named_enum! {
    /// Where a listing period stands; `domain.md` maps it to RESO `StandardStatus` and others.
    pub enum ListingStatus {
        /// Being written.
        Draft,
        /// Waiting for somebody's approval, or approved and not yet public.
        InReview,
        /// Sent back by the reviewer.
        ChangesRequested,
        /// Announced, not yet to be had.
        ComingSoon,
        /// On the market.
        Active,
        /// An application was accepted; still shown.
        UnderApplication,
        /// An application was accepted; no longer shown.
        Pending,
        /// Taken off for a while, expected back.
        OnHold,
        /// Taken off, not expected back.
        Withdrawn,
        /// Let or sold: final.
        Leased,
        /// Given up: final.
        Cancelled,
        /// Its time ran out: final.
        Expired,
        /// Drafted by mistake: final.
        Voided,
    }
}

named_enum! {
    /// Why a listing came back on the market.
    pub enum BackOnMarketCause {
        /// Its owner or agent put it back.
        Resumed,
        /// The application that held it was declined.
        ApplicationDeclined,
        /// The application that held it was withdrawn.
        ApplicationWithdrawn,
        /// The application that held it ran out of time.
        ApplicationExpired,
        /// The lease was not signed in time.
        LeaseNotSigned,
    }
}

impl ListingStatus {
    /// The arrows of the state machine.
    pub fn may_become(self) -> &'static [Self] {
        match self {
            Self::Draft => &[Self::InReview, Self::ComingSoon, Self::Active, Self::Voided],
            Self::InReview => {
                &[Self::ChangesRequested, Self::ComingSoon, Self::Active, Self::Draft]
            }
            Self::ChangesRequested => &[Self::InReview, Self::Draft],
            Self::ComingSoon => {
                &[Self::Active, Self::OnHold, Self::Withdrawn, Self::Cancelled, Self::Expired]
            }
            Self::Active => &[
                Self::UnderApplication,
                Self::Pending,
                Self::OnHold,
                Self::Withdrawn,
                Self::Cancelled,
                Self::Expired,
            ],
            Self::UnderApplication => {
                &[Self::Active, Self::Pending, Self::OnHold, Self::Withdrawn, Self::Cancelled]
            }
            Self::Pending => &[Self::Leased, Self::Active, Self::Cancelled],
            Self::OnHold => &[Self::Active, Self::Withdrawn, Self::Cancelled, Self::Expired],
            Self::Withdrawn => &[Self::Active, Self::Cancelled, Self::Expired],
            Self::Leased | Self::Cancelled | Self::Expired | Self::Voided => &[],
        }
    }

    /// Whether the period is over for good.
    pub fn is_final(self) -> bool {
        self.may_become().is_empty()
    }
}

/// One listing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Period {
    pub(super) key: ListingKey,
    pub(super) stage: Stage,
    pub(super) price: Option<Price>,
    pub(super) available_from: Option<NaiveDate>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// Whether it was on the market at some time.
    pub(super) was_published: bool,
    pub(super) agent: Option<UserId>,
    /// Sorted by kind.
    pub(super) move_in_costs: Vec<MoveInCost>,
    /// Sorted by kind.
    pub(super) ongoing_fees: Vec<OngoingFee>,
    pub(super) concessions: Vec<Concession>,
    pub(super) lease_terms: LeaseTerms,
}

/// A status with what is known only while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Draft,
    InReview { submitted_by: Actor, approved: bool },
    ChangesRequested,
    ComingSoon,
    Active,
    UnderApplication { application: ApplicationId },
    Pending { application: Option<ApplicationId> },
    OnHold,
    Withdrawn,
    Leased,
    Cancelled,
    Expired,
    Voided,
}

impl Stage {
    fn status(&self) -> ListingStatus {
        match self {
            Self::Draft => ListingStatus::Draft,
            Self::InReview { .. } => ListingStatus::InReview,
            Self::ChangesRequested => ListingStatus::ChangesRequested,
            Self::ComingSoon => ListingStatus::ComingSoon,
            Self::Active => ListingStatus::Active,
            Self::UnderApplication { .. } => ListingStatus::UnderApplication,
            Self::Pending { .. } => ListingStatus::Pending,
            Self::OnHold => ListingStatus::OnHold,
            Self::Withdrawn => ListingStatus::Withdrawn,
            Self::Leased => ListingStatus::Leased,
            Self::Cancelled => ListingStatus::Cancelled,
            Self::Expired => ListingStatus::Expired,
            Self::Voided => ListingStatus::Voided,
        }
    }

    /// The application that holds the listing, where one is known.
    fn held_by(&self) -> Option<ApplicationId> {
        match self {
            Self::UnderApplication { application } => Some(*application),
            Self::Pending { application } => *application,
            Self::Draft
            | Self::InReview { .. }
            | Self::ChangesRequested
            | Self::ComingSoon
            | Self::Active
            | Self::OnHold
            | Self::Withdrawn
            | Self::Leased
            | Self::Cancelled
            | Self::Expired
            | Self::Voided => None,
        }
    }
}

impl Period {
    pub(super) fn drafted(event: ListingDrafted) -> Self {
        Self {
            key: event.listing,
            stage: Stage::Draft,
            price: event.price,
            available_from: event.available_from,
            expires_at: None,
            was_published: false,
            agent: event.agent,
            move_in_costs: Vec::new(),
            ongoing_fees: Vec::new(),
            concessions: Vec::new(),
            lease_terms: LeaseTerms::default(),
        }
    }

    pub(super) fn status(&self) -> ListingStatus {
        self.stage.status()
    }

    fn refuse_transition(&self, to: ListingStatus) -> PropertyRefused {
        PropertyRefused::InvalidTransition { from: self.status(), to }
    }
}

impl Unit {
    /// The period that a command changes without moving it: it must be open.
    pub(super) fn period_to_change(&self, listing: ListingKey) -> Result<&Period, PropertyRefused> {
        match self.period.as_ref().filter(|period| period.key == listing) {
            Some(period) if !period.status().is_final() => Ok(period),
            Some(period) => Err(PropertyRefused::ListingClosed { status: period.status() }),
            None => match self.earlier.get(&listing) {
                Some(status) => Err(PropertyRefused::ListingClosed { status: *status }),
                None => Err(PropertyRefused::ListingNotFound { listing }),
            },
        }
    }

    /// The period that a command moves to another status: there must be an arrow.
    fn period_to_move(
        &self,
        listing: ListingKey,
        to: ListingStatus,
    ) -> Result<&Period, PropertyRefused> {
        match self.period.as_ref().filter(|period| period.key == listing) {
            Some(period) if period.status().may_become().contains(&to) => Ok(period),
            Some(period) => Err(period.refuse_transition(to)),
            None => match self.earlier.get(&listing) {
                Some(from) => Err(PropertyRefused::InvalidTransition { from: *from, to }),
                None => Err(PropertyRefused::ListingNotFound { listing }),
            },
        }
    }

    /// The price and the day of availability of a period that lacks nothing to be shown.
    fn complete(&self, period: &Period) -> Result<(Price, NaiveDate), PropertyRefused> {
        let mut check = Check::default();
        let price = check.present("price", period.price, Problem::RentMissing);
        let available_from =
            check.present("available_from", period.available_from, Problem::AvailabilityMissing);
        if !self.has_photo() {
            check.refuse("media", Problem::PhotoMissing);
        }
        if self.facts.address.is_none() {
            check.refuse("facts.address", Problem::AddressMissing);
        }
        check.finish()?;
        Ok((price?, available_from?))
    }

    /// A key is for one period, whatever became of it; no two periods are open at once.
    fn refuse_another_period(&self, listing: ListingKey) -> Result<(), PropertyRefused> {
        if let Some(open) = self.open_period() {
            return Err(PropertyRefused::ListingAlreadyOpen { open: open.key });
        }
        let is_latest = self.period.as_ref().is_some_and(|period| period.key == listing);
        if is_latest || self.earlier.contains_key(&listing) {
            return Err(PropertyRefused::ListingKeyUsed);
        }
        let mut check = Check::default();
        check.entries("listing", self.earlier.len() + 1, MAX_PERIODS);
        check.finish()
    }
}

/// No home changes hands this often.
const MAX_PERIODS: usize = 1_000;

/// Decides whether a listing period begins.
pub(super) fn draft(unit: &Unit, command: DraftListing) -> Decision {
    let DraftListing { listing, price, available_from, agent } = command;
    unit.refuse_another_period(listing)?;
    let mut check = Check::default();
    if let Some(price) = price {
        check.price("price", price);
    }
    if let Some(date) = available_from {
        check.date("available_from", date);
    }
    check.finish()?;
    happened(ListingDrafted { listing, price, available_from, agent })
}

/// Decides whether a listing goes to a reviewer.
pub(super) fn submit(unit: &Unit, command: SubmitForReview, actor: &Actor) -> Decision {
    let SubmitForReview { listing } = command;
    unit.period_to_move(listing, ListingStatus::InReview)?;
    happened(ListingSubmitted { listing, submitted_by: actor.clone() })
}

/// Decides whether a reviewer may agree to a listing.
pub(super) fn approve(
    unit: &Unit,
    command: ApproveListing,
    actor: &Actor,
    policy: &Policy,
) -> Decision {
    let ApproveListing { listing } = command;
    let period = unit.period_to_change(listing)?;
    match &period.stage {
        Stage::InReview { submitted_by, .. } if policy.four_eyes && submitted_by == actor => {
            Err(PropertyRefused::FourEyes)
        }
        Stage::InReview { approved: true, .. } => unchanged(),
        Stage::InReview { approved: false, .. } => {
            happened(ListingApproved { listing, approved_by: actor.clone() })
        }
        other => Err(PropertyRefused::NotInReview { status: other.status() }),
    }
}

/// Decides whether a reviewer may send a listing back.
pub(super) fn request_changes(unit: &Unit, command: RequestChanges) -> Decision {
    let RequestChanges { listing, reasons } = command;
    unit.period_to_move(listing, ListingStatus::ChangesRequested)?;
    let mut check = Check::default();
    if reasons.is_empty() {
        check.refuse("reasons", Problem::Blank);
    }
    check.entries("reasons", reasons.len(), 20);
    for (index, reason) in reasons.iter().enumerate() {
        check.lines(&format!("reasons[{index}]"), reason, 1_000);
    }
    check.finish()?;
    happened(ListingChangesRequested { listing, reasons })
}

/// Decides whether a listing leaves review.
pub(super) fn return_to_draft(unit: &Unit, command: ReturnToDraft) -> Decision {
    let ReturnToDraft { listing } = command;
    unit.period_to_move(listing, ListingStatus::Draft)?;
    happened(ListingReturnedToDraft { listing })
}

/// Decides whether a listing is announced.
pub(super) fn schedule(unit: &Unit, command: ScheduleListing, now: DateTime<Utc>) -> Decision {
    let ScheduleListing { listing, on_market_date, expires_at } = command;
    let period = unit.period_to_move(listing, ListingStatus::ComingSoon)?;
    refuse_without_approval(period)?;
    let (price, available_from) = unit.complete(period)?;

    let mut check = Check::default();
    check.not_over("on_market_date", on_market_date, now);
    check.finish()?;
    let expires_at = expires_at.or(period.expires_at);
    refuse_early_expiry(expires_at, now)?;
    if expires_at.is_some_and(|end| end.date_naive() <= on_market_date) {
        return Err(PropertyRefused::ExpiryTooEarly);
    }
    happened(ListingScheduled { listing, price, available_from, on_market_date, expires_at })
}

/// Decides whether a listing comes on the market at `now`, for the first time.
pub(super) fn publish(unit: &Unit, command: PublishListing, now: DateTime<Utc>) -> Decision {
    let PublishListing { listing, expires_at } = command;
    let period = unit.period_to_move(listing, ListingStatus::Active)?;
    match period.stage {
        Stage::Draft | Stage::InReview { .. } | Stage::ComingSoon => {}
        _ => return Err(period.refuse_transition(ListingStatus::Active)),
    }
    refuse_without_approval(period)?;
    go_live(unit, period, expires_at.or(period.expires_at), now)
}

fn go_live(
    unit: &Unit,
    period: &Period,
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Decision {
    let (price, available_from) = unit.complete(period)?;
    refuse_early_expiry(expires_at, now)?;
    let listing = period.key;
    happened(ListingPublished { listing, price, available_from, expires_at, published_at: now })
}

fn refuse_without_approval(period: &Period) -> Result<(), PropertyRefused> {
    match period.stage {
        Stage::InReview { approved: false, .. } => Err(PropertyRefused::NotApproved),
        _ => Ok(()),
    }
}

fn refuse_early_expiry(
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), PropertyRefused> {
    let Some(expires_at) = expires_at else { return Ok(()) };
    let mut check = Check::default();
    check.moment("expires_at", expires_at);
    check.finish()?;
    if expires_at > now { Ok(()) } else { Err(PropertyRefused::ExpiryTooEarly) }
}

/// Decides whether an application holds the listing.
pub(super) fn mark_under_application(unit: &Unit, command: MarkUnderApplication) -> Decision {
    let MarkUnderApplication { listing, application } = command;
    let open = unit.open_period().filter(|period| period.key == listing);
    match open.and_then(|period| period.stage.held_by()) {
        Some(holder) if holder == application => return unchanged(),
        held_by @ Some(_) => return Err(PropertyRefused::ApplicationMismatch { held_by }),
        None => {}
    }
    unit.period_to_move(listing, ListingStatus::UnderApplication)?;
    happened(ListingUnderApplication { listing, application })
}

/// Decides whether a listing is back on the market because an application fell through.
pub(super) fn release_application_hold(unit: &Unit, command: ReleaseApplicationHold) -> Decision {
    let ReleaseApplicationHold { listing, application, cause } = command;
    let period = unit.period_to_change(listing)?;
    match &period.stage {
        Stage::UnderApplication { .. } | Stage::Pending { .. } => {
            let held_by = period.stage.held_by();
            if held_by.is_some_and(|holder| holder != application) {
                return Err(PropertyRefused::ApplicationMismatch { held_by });
            }
            happened(ListingBackOnMarket { listing, cause, application: Some(application) })
        }
        Stage::Active => unchanged(),
        _ => Err(PropertyRefused::ApplicationMismatch { held_by: None }),
    }
}

/// Decides whether a listing is shown no longer, because an application was accepted.
pub(super) fn mark_pending(unit: &Unit, command: MarkPending) -> Decision {
    let MarkPending { listing, application } = command;
    let period = unit.period_to_move(listing, ListingStatus::Pending)?;
    let held_by = period.stage.held_by();
    if held_by.is_some() && application.is_some() && held_by != application {
        return Err(PropertyRefused::ApplicationMismatch { held_by });
    }
    happened(ListingPending { listing, application: application.or(held_by) })
}

/// Decides whether a lease closes the listing period.
pub(super) fn close_as_leased(unit: &Unit, command: CloseAsLeased, now: DateTime<Utc>) -> Decision {
    let CloseAsLeased { listing, lease, rent_at_close, close_date } = command;
    let period = unit.period_to_move(listing, ListingStatus::Leased)?;
    let mut check = Check::default();
    check.come("close_date", close_date, now);
    let rent = rent_at_close.or(period.price);
    let rent_at_close = check.present("rent_at_close", rent, Problem::RentMissing);
    if let Ok(rent) = rent_at_close {
        check.price("rent_at_close", rent);
    }
    check.finish()?;
    happened(ListingLeased { listing, lease, rent_at_close: rent_at_close?, close_date })
}

/// Decides whether a listing leaves the market for a while.
pub(super) fn hold(unit: &Unit, command: HoldListing) -> Decision {
    let HoldListing { listing } = command;
    unit.period_to_move(listing, ListingStatus::OnHold)?;
    happened(ListingHeld { listing })
}

/// Decides whether a held or withdrawn listing is on the market at `now`.
///
/// One that was held before it ever was on the market is published by this.
pub(super) fn resume(unit: &Unit, command: ResumeListing, now: DateTime<Utc>) -> Decision {
    let ResumeListing { listing } = command;
    let period = unit.period_to_move(listing, ListingStatus::Active)?;
    match period.stage {
        Stage::OnHold | Stage::Withdrawn => {}
        _ => return Err(period.refuse_transition(ListingStatus::Active)),
    }
    let published = go_live(unit, period, period.expires_at, now)?;
    if !period.was_published {
        return Ok(published);
    }
    let cause = BackOnMarketCause::Resumed;
    happened(ListingBackOnMarket { listing, cause, application: None })
}

/// Decides whether a listing leaves the market, not to return.
pub(super) fn withdraw(unit: &Unit, command: WithdrawListing) -> Decision {
    let WithdrawListing { listing, reason } = command;
    unit.period_to_move(listing, ListingStatus::Withdrawn)?;
    let mut check = Check::default();
    check.line("reason", &reason, 1_000);
    check.finish()?;
    happened(ListingWithdrawn { listing, reason })
}

/// Decides whether a listing period is given up.
pub(super) fn cancel(unit: &Unit, command: CancelListing) -> Decision {
    let CancelListing { listing } = command;
    unit.period_to_move(listing, ListingStatus::Cancelled)?;
    happened(ListingCancelled { listing })
}

/// Decides whether the time of a listing period has run out at `now`.
pub(super) fn expire(unit: &Unit, command: ExpireListing, now: DateTime<Utc>) -> Decision {
    let ExpireListing { listing } = command;
    let period = unit.period_to_move(listing, ListingStatus::Expired)?;
    match period.expires_at {
        Some(expires_at) if now >= expires_at => happened(ListingExpired { listing }),
        expires_at => Err(PropertyRefused::NotYetExpired { expires_at }),
    }
}

/// Decides whether a draft is thrown away.
pub(super) fn void(unit: &Unit, command: VoidListing) -> Decision {
    let VoidListing { listing } = command;
    unit.period_to_move(listing, ListingStatus::Voided)?;
    happened(ListingVoided { listing })
}

/// Decides whether a listing period gets another end.
pub(super) fn renew(unit: &Unit, command: RenewListing, now: DateTime<Utc>) -> Decision {
    let RenewListing { listing, expires_at } = command;
    let period = unit.period_to_change(listing)?;
    refuse_early_expiry(Some(expires_at), now)?;
    if period.expires_at == Some(expires_at) {
        return unchanged();
    }
    happened(ListingRenewed { listing, old: period.expires_at, new: expires_at })
}

/// Decides whether somebody else looks after a listing.
pub(super) fn reassign_agent(unit: &Unit, command: ReassignAgent) -> Decision {
    let ReassignAgent { listing, agent, agent_active } = command;
    let period = unit.period_to_change(listing)?;
    if !agent_active {
        return Err(PropertyRefused::AgentInactive);
    }
    if period.agent == Some(agent) {
        return unchanged();
    }
    happened(ListingAgentReassigned { listing, old: period.agent, new: agent })
}

/// Decides whether a period that ended elsewhere becomes known.
pub(super) fn record_closing(unit: &Unit, command: RecordClosing, now: DateTime<Utc>) -> Decision {
    let RecordClosing { listing, price, closed_on } = command;
    unit.refuse_another_period(listing)?;
    let mut check = Check::default();
    check.price("price", price);
    check.come("closed_on", closed_on, now);
    check.finish()?;
    happened(ClosingRecorded { listing, price, closed_on })
}
