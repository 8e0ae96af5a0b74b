//! What a listing costs, and on which terms it is let.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::check::Check;
use super::command::{
    ChangeAvailability, ChangeRent, OfferConcession, SetLeaseTerms, SetMoveInCosts, SetOngoingFees,
    WithdrawConcession,
};
use super::event::{
    AvailabilityChanged, ConcessionOffered, ConcessionWithdrawn, LeaseTermsSet, MoveInCostsSet,
    OngoingFeesSet, RentChanged,
};
use super::listing::Stage;
use super::named::named_enum;
use super::refusal::Problem;
use super::unit::Unit;
use super::{Decision, PropertyRefused, happened, unchanged};
use crate::{FeeFrequency, Price};

named_enum! {
    /// What is paid once, when moving in, after RESO `MoveInCosts`.
    pub enum MoveInCostKind {
        /// For the paperwork.
        AdministrationFee,
        /// For handling an application.
        ApplicationFee,
        /// Held by the association.
        AssociationDeposit,
        /// For cleaning after the tenancy.
        CleaningFee,
        /// The first rent, in advance.
        FirstMonthRent,
        /// The last rent, in advance.
        LastMonthRent,
        /// Held against damage by pets.
        PetDeposit,
        /// Held against damage and arrears.
        SecurityDeposit,
    }
}

named_enum! {
    /// What is paid again and again besides the rent, after RESO `OngoingFees`.
    pub enum OngoingFeeKind {
        /// Of the owners' association.
        HoaFee,
        /// For a parking place.
        ParkingFee,
        /// For keeping a pet.
        PetFee,
    }
}

/// One cost of moving in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInCost {
    /// What it is for; a listing has each kind at most once.
    pub kind: MoveInCostKind,
    /// How much; always [`FeeFrequency::OneTime`].
    pub price: Price,
}

/// One fee besides the rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OngoingFee {
    /// What it is for; a listing has each kind at most once.
    pub kind: OngoingFeeKind,
    /// How much and how often; never [`FeeFrequency::OneTime`].
    pub price: Price,
    /// Whether every tenant pays it: then it belongs to the total price of leasing.
    pub mandatory: bool,
}

/// Something offered on top: a month free, a gift card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concession {
    /// Names it within its listing.
    pub id: Uuid,
    /// Public text.
    pub description: String,
    /// The last day it is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_on: Option<NaiveDate>,
}

/// On which terms a listing is let; an absent part was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseTerms {
    /// Shortest lease, in months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_months: Option<u16>,
    /// Longest lease, in months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_months: Option<u16>,
    /// Terms to choose from.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub options: BTreeSet<LeaseTermOption>,
    /// Whether furniture comes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub furnished: Option<Furnished>,
    /// Which pets may move in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pets: Option<PetsAllowed>,
    /// How many pets may move in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pets: Option<u16>,
    /// What the rent covers: `water`, `heating`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub rent_includes: BTreeSet<String>,
    /// What the tenant pays besides; nothing is in both lists.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tenant_pays: BTreeSet<String>,
}

named_enum! {
    /// A length of lease to choose, after RESO `LeaseTerm`.
    pub enum LeaseTermOption {
        /// From week to week.
        Weekly,
        /// From month to month.
        MonthToMonth,
        /// Less than six months.
        ShortTerm,
        /// Six months.
        SixMonths,
        /// A year.
        TwelveMonths,
        /// Two years.
        TwentyFourMonths,
        /// With a right to renew.
        RenewalOption,
        /// To be agreed.
        Negotiable,
    }
}

named_enum! {
    /// Whether furniture comes with it, after RESO `Furnished`.
    pub enum Furnished {
        /// All of it.
        Furnished,
        /// Some of it.
        Partially,
        /// None.
        Unfurnished,
        /// To be agreed.
        Negotiable,
    }
}

named_enum! {
    /// Which pets may move in, after RESO `PetsAllowed`.
    pub enum PetsAllowed {
        /// Any.
        Yes,
        /// None.
        No,
        /// Cats only.
        CatsOnly,
        /// Dogs only.
        DogsOnly,
        /// To be agreed.
        Negotiable,
    }
}

const MAX_CONCESSIONS: usize = 20;
const MAX_LEASE_ITEMS: usize = 50;

/// Decides whether the rent changes.
pub(super) fn change_rent(unit: &Unit, command: ChangeRent) -> Decision {
    let ChangeRent { listing, price, reason } = command;
    let period = unit.period_to_change(listing)?;
    if let Stage::Pending { .. } = period.stage {
        return Err(PropertyRefused::RentFixed);
    }
    let mut check = Check::default();
    check.price("price", price);
    if let Some(reason) = &reason {
        check.line("reason", reason, 1_000);
    }
    let others = period.move_in_costs.iter().map(|cost| cost.price);
    let others = others.chain(period.ongoing_fees.iter().map(|fee| fee.price));
    same_currency("price", price, others, &mut check);
    check.finish()?;
    // Not refused, because feeds send everything again.
    if period.price == Some(price) {
        return unchanged();
    }
    happened(RentChanged { listing, old: period.price, new: price, reason })
}

/// Decides whether what moving in costs changes.
pub(super) fn set_move_in_costs(unit: &Unit, command: SetMoveInCosts) -> Decision {
    let SetMoveInCosts { listing, mut costs } = command;
    let period = unit.period_to_change(listing)?;
    let mut check = Check::default();
    for (index, cost) in costs.iter().enumerate() {
        let field = format!("costs[{index}].price");
        check.price(&field, cost.price);
        if cost.price.frequency != FeeFrequency::OneTime {
            check.refuse(&field, Problem::NotOneTime);
        }
        if costs[..index].iter().any(|earlier| earlier.kind == cost.kind) {
            check.refuse(format!("costs[{index}].kind"), Problem::Repeated);
        }
        let others = costs[..index].iter().map(|earlier| earlier.price).chain(period.price);
        let others = others.chain(period.ongoing_fees.iter().map(|fee| fee.price));
        same_currency(&field, cost.price, others, &mut check);
    }
    check.finish()?;
    costs.sort_by_key(|cost| cost.kind);
    if period.move_in_costs == costs {
        return unchanged();
    }
    happened(MoveInCostsSet { listing, costs })
}

/// Decides whether what is due besides the rent changes.
pub(super) fn set_ongoing_fees(unit: &Unit, command: SetOngoingFees) -> Decision {
    let SetOngoingFees { listing, mut fees } = command;
    let period = unit.period_to_change(listing)?;
    let mut check = Check::default();
    for (index, fee) in fees.iter().enumerate() {
        let field = format!("fees[{index}].price");
        check.price(&field, fee.price);
        if fee.price.frequency == FeeFrequency::OneTime {
            check.refuse(&field, Problem::NotRecurring);
        }
        if fees[..index].iter().any(|earlier| earlier.kind == fee.kind) {
            check.refuse(format!("fees[{index}].kind"), Problem::Repeated);
        }
        let others = fees[..index].iter().map(|earlier| earlier.price).chain(period.price);
        let others = others.chain(period.move_in_costs.iter().map(|cost| cost.price));
        same_currency(&field, fee.price, others, &mut check);
    }
    check.finish()?;
    fees.sort_by_key(|fee| fee.kind);
    if period.ongoing_fees == fees {
        return unchanged();
    }
    happened(OngoingFeesSet { listing, fees })
}

/// Rent, costs and fees add up only in one currency.
fn same_currency(
    field: &str,
    price: Price,
    mut others: impl Iterator<Item = Price>,
    check: &mut Check,
) {
    if others.any(|other| other.currency != price.currency) {
        check.refuse(field, Problem::CurrencyMismatch);
    }
}

/// Decides whether something is offered on top.
pub(super) fn offer_concession(unit: &Unit, command: OfferConcession) -> Decision {
    let OfferConcession { listing, concession } = command;
    let period = unit.period_to_change(listing)?;
    if let Some(known) = period.concessions.iter().find(|known| known.id == concession.id) {
        return if *known == concession {
            unchanged()
        } else {
            Err(PropertyRefused::IdTaken { field: "concession.id" })
        };
    }
    let mut check = Check::default();
    check.line("concession.description", &concession.description, 1_000);
    if let Some(ends_on) = concession.ends_on {
        check.date("concession.ends_on", ends_on);
    }
    check.entries("concession", period.concessions.len() + 1, MAX_CONCESSIONS);
    check.finish()?;
    happened(ConcessionOffered { listing, concession })
}

/// Decides whether an offer on top ends.
pub(super) fn withdraw_concession(unit: &Unit, command: WithdrawConcession) -> Decision {
    let WithdrawConcession { listing, concession } = command;
    let period = unit.period_to_change(listing)?;
    if period.concessions.iter().all(|known| known.id != concession) {
        return Err(PropertyRefused::ConcessionNotFound);
    }
    happened(ConcessionWithdrawn { listing, concession })
}

/// Decides whether the terms of the lease change.
pub(super) fn set_lease_terms(unit: &Unit, command: SetLeaseTerms) -> Decision {
    let SetLeaseTerms { listing, terms } = command;
    let period = unit.period_to_change(listing)?;
    terms.check()?;
    if period.lease_terms == terms {
        return unchanged();
    }
    happened(LeaseTermsSet { listing, terms })
}

impl LeaseTerms {
    fn check(&self) -> Result<(), PropertyRefused> {
        let mut check = Check::default();
        let numbers = [
            ("terms.min_months", self.min_months, 1..=1_200),
            ("terms.max_months", self.max_months, 1..=1_200),
            ("terms.max_pets", self.max_pets, 0..=100),
        ];
        for (field, number, allowed) in numbers {
            if let Some(number) = number {
                check.number(field, number, allowed);
            }
        }
        if let (Some(min), Some(max)) = (self.min_months, self.max_months)
            && min > max
        {
            check.refuse("terms.min_months", Problem::MinAboveMax);
        }
        check.words("terms.rent_includes", &self.rent_includes, MAX_LEASE_ITEMS);
        check.words("terms.tenant_pays", &self.tenant_pays, MAX_LEASE_ITEMS);
        for (index, item) in self.tenant_pays.iter().enumerate() {
            if self.rent_includes.iter().any(|included| included.eq_ignore_ascii_case(item)) {
                check.refuse(format!("terms.tenant_pays[{index}]"), Problem::PaidTwice);
            }
        }
        check.finish()
    }
}

/// Decides whether the first day it can be had changes.
pub(super) fn change_availability(unit: &Unit, command: ChangeAvailability) -> Decision {
    let ChangeAvailability { listing, available_from } = command;
    let period = unit.period_to_change(listing)?;
    let mut check = Check::default();
    check.date("available_from", available_from);
    check.finish()?;
    if period.available_from == Some(available_from) {
        return unchanged();
    }
    happened(AvailabilityChanged { listing, old: period.available_from, new: available_from })
}
