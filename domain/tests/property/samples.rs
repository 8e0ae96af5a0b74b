//! Events and commands that tests begin with, and the words tests are written in.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, TimeZone, Utc};
use cqrs_es::Aggregate;
use freehold_domain::property::*;
use freehold_domain::{
    Actor, Address, ApplicationId, Area, AreaUnit, Circumstances, Coordinates, Currency,
    FeeFrequency, LeaseId, ListingKey, Policy, Price, PropertyId, Refusal, UserId,
};
use uuid::Uuid;

pub(crate) const LISTING: ListingKey = ListingKey(Uuid::from_u128(0xA1));
pub(crate) const NEXT_LISTING: ListingKey = ListingKey(Uuid::from_u128(0xA2));
pub(crate) const PHOTO: Uuid = Uuid::from_u128(0xB1);
pub(crate) const PLAN: Uuid = Uuid::from_u128(0xB2);
pub(crate) const APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(0xC1));
pub(crate) const OTHER_APPLICATION: ApplicationId = ApplicationId(Uuid::from_u128(0xC2));
pub(crate) const LEASE: LeaseId = LeaseId(Uuid::from_u128(0xD1));
pub(crate) const CONCESSION: Uuid = Uuid::from_u128(0xE1);
pub(crate) const AGENT: UserId = UserId(Uuid::from_u128(0xF1));
pub(crate) const OTHER_AGENT: UserId = UserId(Uuid::from_u128(0xF2));
pub(crate) const PROPERTY: PropertyId = PropertyId(Uuid::from_u128(0x51));
pub(crate) const SURVIVOR: PropertyId = PropertyId(Uuid::from_u128(0x52));
pub(crate) const OTHER_SURVIVOR: PropertyId = PropertyId(Uuid::from_u128(0x53));

pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 5, 1, 12, 0, 0).unwrap()
}

pub(crate) fn today() -> NaiveDate {
    noon().date_naive()
}

pub(crate) fn in_days(days: i64) -> DateTime<Utc> {
    noon() + TimeDelta::days(days)
}

pub(crate) fn next_month() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, 1).unwrap()
}

pub(crate) fn circumstances() -> Circumstances {
    Circumstances { now: noon(), actor: Actor("mara".into()), policy: Policy::default() }
}

fn euros(cents: u64, frequency: FeeFrequency) -> Price {
    let amount_minor = NonZeroU64::new(cents).unwrap();
    Price { amount_minor, currency: Currency::from_code("EUR").unwrap(), frequency }
}

pub(crate) fn rent() -> Price {
    euros(120_000, FeeFrequency::Monthly)
}

pub(crate) fn higher_rent() -> Price {
    euros(125_000, FeeFrequency::Monthly)
}

pub(crate) fn once() -> Price {
    euros(240_000, FeeFrequency::OneTime)
}

pub(crate) fn in_dollars(price: Price) -> Price {
    Price { currency: Currency::from_code("USD").unwrap(), ..price }
}

pub(crate) fn more_than_money() -> Price {
    Price { amount_minor: NonZeroU64::MAX, ..rent() }
}

pub(crate) fn source() -> SourceRef {
    SourceRef { source: "berlin".into(), reference: "berlin-0001".into() }
}

pub(crate) fn address() -> Address {
    Address {
        street: Some("Kastanienallee 1".into()),
        city: Some("Berlin".into()),
        postal_code: Some("10435".into()),
        country: Some("DE".into()),
        region: None,
    }
}

pub(crate) fn point() -> Coordinates {
    Coordinates::new(52.54, 13.42).unwrap()
}

pub(crate) fn square_meters(value: f64) -> Area {
    Area { value, unit: AreaUnit::SquareMeters }
}

pub(crate) fn facts() -> Box<PropertyFacts> {
    Box::new(PropertyFacts {
        property_type: Some(PropertyType::Apartment),
        address: Some(address()),
        bedrooms: Some(2),
        living_area: Some(square_meters(68.5)),
        ..PropertyFacts::default()
    })
}

/// Facts with one more, or one different.
pub(crate) fn facts_with(change: impl FnOnce(&mut PropertyFacts)) -> Box<PropertyFacts> {
    let mut facts = facts();
    change(&mut facts);
    facts
}

/// Facts that say one thing only.
pub(crate) fn only(say: impl FnOnce(&mut PropertyFacts)) -> Box<PropertyFacts> {
    let mut facts = Box::<PropertyFacts>::default();
    say(&mut facts);
    facts
}

pub(crate) fn words(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

// Events.

pub(crate) fn registered() -> PropertyRegistered {
    PropertyRegistered { source: source(), facts: facts(), amenities: words(&["balcony"]) }
}

pub(crate) fn photo() -> Media {
    Media {
        id: PHOTO,
        url: "https://media.example/front.jpg".into(),
        category: MediaCategory::Photo,
        caption: None,
        order: 1,
    }
}

pub(crate) fn plan() -> Media {
    Media {
        id: PLAN,
        url: "https://media.example/plan.png".into(),
        category: MediaCategory::FloorPlan,
        caption: Some("Ground floor".into()),
        order: 2,
    }
}

pub(crate) fn drafted(listing: ListingKey) -> ListingDrafted {
    ListingDrafted {
        listing,
        price: Some(rent()),
        available_from: Some(next_month()),
        agent: Some(AGENT),
    }
}

pub(crate) fn published() -> ListingPublished {
    ListingPublished {
        listing: LISTING,
        price: rent(),
        available_from: next_month(),
        expires_at: Some(in_days(90)),
        published_at: noon(),
    }
}

pub(crate) fn scheduled() -> ListingScheduled {
    ListingScheduled {
        listing: LISTING,
        price: rent(),
        available_from: next_month(),
        on_market_date: today() + Days::new(7),
        expires_at: Some(in_days(90)),
    }
}

pub(crate) fn costs() -> Vec<MoveInCost> {
    vec![
        MoveInCost { kind: MoveInCostKind::CleaningFee, price: once() },
        MoveInCost { kind: MoveInCostKind::SecurityDeposit, price: once() },
    ]
}

pub(crate) fn fees() -> Vec<OngoingFee> {
    vec![OngoingFee {
        kind: OngoingFeeKind::ParkingFee,
        price: euros(9_000, FeeFrequency::Monthly),
        mandatory: false,
    }]
}

pub(crate) fn concession() -> Concession {
    Concession {
        id: CONCESSION,
        description: "First month free".into(),
        ends_on: Some(next_month()),
    }
}

pub(crate) fn terms() -> LeaseTerms {
    LeaseTerms {
        min_months: Some(12),
        max_months: Some(24),
        options: BTreeSet::from([LeaseTermOption::TwelveMonths]),
        furnished: Some(Furnished::Partially),
        pets: Some(PetsAllowed::CatsOnly),
        max_pets: Some(2),
        rent_includes: words(&["heating", "water"]),
        tenant_pays: words(&["electricity"]),
    }
}

// Histories.

pub(crate) type History = Vec<PropertyEvent>;

pub(crate) fn nothing() -> History {
    Vec::new()
}

pub(crate) fn after(mut history: History, event: impl Into<PropertyEvent>) -> History {
    history.push(event.into());
    history
}

pub(crate) fn a_property() -> History {
    after(nothing(), registered())
}

pub(crate) fn a_property_with_a_photo() -> History {
    after(a_property(), MediaAttached { media: photo() })
}

pub(crate) fn a_property_with_media() -> History {
    after(a_property_with_a_photo(), MediaAttached { media: plan() })
}

pub(crate) fn a_bare_draft() -> History {
    let facts = facts_with(|facts| (facts.address, facts.coordinates) = (None, Some(point())));
    let registered = PropertyRegistered { facts, ..registered() };
    let drafted =
        ListingDrafted { listing: LISTING, price: None, available_from: None, agent: None };
    after(after(nothing(), registered), drafted)
}

/// A complete listing at a status, by the shortest way there.
pub(crate) fn a_listing(status: ListingStatus) -> History {
    let listing = LISTING;
    let active = || a_listing(ListingStatus::Active);
    match status {
        ListingStatus::Draft => after(a_property_with_a_photo(), drafted(LISTING)),
        ListingStatus::InReview => after(
            a_listing(ListingStatus::Draft),
            ListingSubmitted { listing, submitted_by: Actor("mara".into()) },
        ),
        ListingStatus::ChangesRequested => after(
            a_listing(ListingStatus::InReview),
            ListingChangesRequested { listing, reasons: vec!["a better photo".into()] },
        ),
        ListingStatus::ComingSoon => after(a_listing(ListingStatus::Draft), scheduled()),
        ListingStatus::Active => after(a_listing(ListingStatus::Draft), published()),
        ListingStatus::UnderApplication => {
            after(active(), ListingUnderApplication { listing, application: APPLICATION })
        }
        ListingStatus::Pending => {
            after(active(), ListingPending { listing, application: Some(APPLICATION) })
        }
        ListingStatus::OnHold => after(active(), ListingHeld { listing }),
        ListingStatus::Withdrawn => {
            after(active(), ListingWithdrawn { listing, reason: "sold".into() })
        }
        ListingStatus::Leased => after(
            a_listing(ListingStatus::Pending),
            ListingLeased { listing, lease: LEASE, rent_at_close: rent(), close_date: today() },
        ),
        ListingStatus::Cancelled => after(active(), ListingCancelled { listing }),
        ListingStatus::Expired => after(active(), ListingExpired { listing }),
        ListingStatus::Voided => after(a_listing(ListingStatus::Draft), ListingVoided { listing }),
    }
}

pub(crate) fn an_approved_listing() -> History {
    let approved_by = Actor("noor".into());
    after(a_listing(ListingStatus::InReview), ListingApproved { listing: LISTING, approved_by })
}

// Given, when, then.

pub(crate) struct Given {
    property: Property,
    circumstances: Circumstances,
}

pub(crate) struct Then(Result<Vec<PropertyEvent>, PropertyRefused>);

pub(crate) fn fold(history: impl IntoIterator<Item = PropertyEvent>) -> Property {
    let mut property = Property::default();
    history.into_iter().for_each(|event| property.apply(event));
    property
}

pub(crate) fn given(history: History) -> Given {
    Given { property: fold(history), circumstances: circumstances() }
}

impl Given {
    pub(crate) fn at(mut self, now: DateTime<Utc>) -> Self {
        self.circumstances.now = now;
        self
    }

    pub(crate) fn by(mut self, actor: &str) -> Self {
        self.circumstances.actor = Actor(actor.to_owned());
        self
    }

    pub(crate) fn without_four_eyes(mut self) -> Self {
        self.circumstances.policy.four_eyes = false;
        self
    }

    pub(crate) fn when(self, command: impl Into<PropertyCommand>) -> Then {
        Then(self.property.decide(command.into(), &self.circumstances))
    }
}

impl Then {
    pub(crate) fn then(self, event: impl Into<PropertyEvent>) {
        assert_eq!(self.0, Ok(vec![event.into()]));
    }

    pub(crate) fn then_nothing(self) {
        assert_eq!(self.0, Ok(Vec::new()));
    }

    /// Compares every complaint by its code and field; no field is written as an empty text.
    pub(crate) fn then_refused(self, expected: &[(&str, &str)]) {
        let refused = self.0.expect_err("the command must be refused");
        let complaints = refused.complaints();
        let found: Vec<_> = complaints
            .iter()
            .map(|complaint| (complaint.code, complaint.field.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(found, expected, "{refused}");
        assert_eq!(refused.code(), expected[0].0);
        assert_eq!(refused.field().unwrap_or_default(), expected[0].1);
    }
}
