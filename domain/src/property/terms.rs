//! What a listing costs besides the rent, and on which terms it is let.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::named::named_enum;
use crate::Price;

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
    /// How much; always [`FeeFrequency::OneTime`](crate::FeeFrequency).
    pub price: Price,
}

/// One fee besides the rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OngoingFee {
    /// What it is for; a listing has each kind at most once.
    pub kind: OngoingFeeKind,
    /// How much and how often; never [`FeeFrequency::OneTime`](crate::FeeFrequency).
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
