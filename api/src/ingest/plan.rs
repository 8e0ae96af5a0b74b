//! From what a feed wishes and what is known already to the commands that lead from one to the
//! other. Pure: the executor plans again when another writer came first.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use freehold_domain::property::{
    AttachMedia, CancelListing, ChangeAvailability, ChangeRent, CloseAsLeased,
    CorrectPropertyFacts, DraftListing, HoldListing, ListingStatus, MarkPending, Media,
    MediaCategory, Origin, Property, PropertyCommand, PropertyFacts, PublishListing, RecordClosing,
    RegisterProperty, RemoveMedia, RenewListing, ReorderMedia, ResumeListing, ReturnToDraft,
    ScheduleListing, SetAmenities, SourceRef, SubmitForReview, VoidListing, WithdrawListing,
};
use freehold_domain::{
    Address, Area, AreaUnit, Currency, FeeFrequency, InvalidPrice, LeaseId, ListingKey, Price,
    PropertyId,
};
use uuid::Uuid;

use super::answer::{Notice, Notices};
use super::names::PropertyEventType;
use super::property::{Covers, WishedArea, WishedMedia, WishedPrice, Wishes};
use super::quality;
use super::read::NumberFault;

/// What a bare price or area means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestDefaults {
    /// The currency of a price that names none, on a listing that has none yet.
    pub currency: Currency,
    /// How often such a price is due.
    pub frequency: FeeFrequency,
    /// The unit of an area that names none, of a property that has none yet.
    pub area_unit: AreaUnit,
}

impl Default for IngestDefaults {
    fn default() -> Self {
        Self {
            currency: Currency::from_code("EUR").expect("EUR is in ISO 4217"),
            frequency: FeeFrequency::Monthly,
            area_unit: AreaUnit::SquareMeters,
        }
    }
}

/// What a plan is made for.
pub(super) struct Planning<'a> {
    pub(super) source: &'a SourceRef,
    pub(super) property: PropertyId,
    pub(super) event_type: PropertyEventType,
    pub(super) wishes: &'a Wishes,
    pub(super) defaults: IngestDefaults,
    /// The key of a listing period that the plan may begin.
    pub(super) new_listing: ListingKey,
    /// The lease that closed a listing elsewhere.
    pub(super) new_lease: LeaseId,
    pub(super) now: DateTime<Utc>,
    /// When it happened, by the sender's clock.
    pub(super) occurred_at: DateTime<Utc>,
}

/// The commands, in an order in which each may follow the one before it.
pub(super) fn plan(
    state: &Property,
    planning: &Planning<'_>,
    notices: &mut Notices,
) -> Vec<PropertyCommand> {
    let open = state.listing().filter(|(_, status)| !status.is_final());
    let mut plan = Plan { state, planning, notices, commands: Vec::new(), open };
    if planning.event_type == PropertyEventType::Remove {
        plan.leave_the_market(ListingStatus::Withdrawn);
    } else {
        plan.facts();
        plan.listing();
        plan.media();
        plan.status();
    }
    plan.commands
}

struct Plan<'a, 'n> {
    state: &'a Property,
    planning: &'a Planning<'a>,
    notices: &'n mut Notices,
    commands: Vec<PropertyCommand>,
    /// The open listing period, also one that the plan drafts.
    open: Option<(ListingKey, ListingStatus)>,
}

impl Plan<'_, '_> {
    fn add(&mut self, command: impl Into<PropertyCommand>) {
        self.commands.push(command.into());
    }

    fn facts(&mut self) {
        let wishes = self.planning.wishes;
        let known = self.state.facts();
        let mut facts = wishes.facts.clone();
        if wishes.address != Address::default() {
            let address = known.and_then(|facts| facts.address.as_ref());
            facts.address = Some(completed(&wishes.address, address));
        }
        let unit_of = |area: fn(&PropertyFacts) -> Option<Area>| Some(known.and_then(area)?.unit);
        let living = unit_of(|facts| facts.living_area);
        facts.living_area = self.area(wishes.living_area, living, "living_area");
        let lot = unit_of(|facts| facts.lot_area).or(living);
        facts.lot_area = self.area(wishes.lot_area, lot, "lot_area");
        let garage = unit_of(|facts| facts.garage_area).or(living);
        facts.garage_area = self.area(wishes.garage_area, garage, "garage_area");
        quality::check_facts(&facts, known, self.planning.now, self.notices);

        let amenities = wishes.amenities.clone();
        if known.is_none() {
            let source = self.planning.source.clone();
            let (facts, amenities) = (Box::new(facts), amenities.unwrap_or_default());
            self.add(RegisterProperty { source, origin: Origin::Feed, facts, amenities });
            return;
        }
        let says_nothing = facts == PropertyFacts::default() && wishes.clear.is_empty();
        if !says_nothing {
            let clear = wishes.clear.iter().filter(|field| !facts.says(**field)).copied();
            let clear: BTreeSet<_> = clear.collect();
            self.add(CorrectPropertyFacts { facts: Box::new(facts), clear });
        }
        if let Some(amenities) = amenities {
            self.add(SetAmenities { amenities });
        }
    }

    fn area(
        &mut self,
        wished: Option<WishedArea>,
        known: Option<AreaUnit>,
        field: &str,
    ) -> Option<Area> {
        let wished = wished?;
        let unit = wished.unit.unwrap_or_else(|| {
            let unit = known.unwrap_or(self.planning.defaults.area_unit);
            let message = format!("has no unit; taken as {unit:?}, send area_unit");
            let field = format!("data.{field}");
            self.notices.warn(Notice::new("AREA_UNIT_ASSUMED", message).at(field));
            unit
        });
        // What is no area is refused by the command, which names the field.
        Some(Area { value: wished.value, unit })
    }

    fn price(&mut self) -> Option<Price> {
        let wishes = self.planning.wishes;
        let wished = wishes.price?;
        // Of a period that has ended too: one home is rarely let in two currencies.
        let known = self.state.price();
        let defaults = self.planning.defaults;
        let currency = wishes.currency.unwrap_or_else(|| {
            let currency = known.map_or(defaults.currency, |price| price.currency);
            let message = format!("has no currency; taken as {}, send currency", currency.code());
            self.notices.warn(Notice::new("CURRENCY_ASSUMED", message).at("data.price"));
            currency
        });
        let frequency = wishes.frequency.unwrap_or_else(|| {
            let frequency = known.map_or(defaults.frequency, |price| price.frequency);
            let message = format!("has no frequency; taken as {}", frequency.name());
            self.notices.warn(Notice::new("FREQUENCY_ASSUMED", message).at("data.price"));
            frequency
        });
        let minor = match wished {
            WishedPrice::Major(amount) => amount.to_minor(currency.minor_digits()),
            WishedPrice::Minor(amount) => amount.to_minor(0),
        };
        let price = match minor {
            Ok(minor) => Price::from_minor_units(minor, currency.code(), frequency),
            Err(fault) => {
                let (code, message) = match fault {
                    NumberFault::TooPrecise => (
                        "TOO_PRECISE",
                        format!("{} has no smaller unit than that", currency.code()),
                    ),
                    NumberFault::TooLarge | NumberFault::NotANumber => {
                        ("OUT_OF_RANGE", "is more money than there is".to_owned())
                    }
                };
                self.notices.refuse(Notice::new(code, message).at("data.price"));
                return None;
            }
        };
        match price {
            Ok(price) => {
                quality::check_price(price, known, self.notices);
                Some(price)
            }
            Err(error) => {
                let message = match error {
                    InvalidPrice::NotPositive => "must be greater than zero".to_owned(),
                    InvalidPrice::UnknownCurrency => error.to_string(),
                };
                self.notices.refuse(Notice::new("PRICE_INVALID", message).at("data.price"));
                None
            }
        }
    }

    /// Begins a listing period when the feed offers the property, else changes the open one.
    fn listing(&mut self) {
        let wishes = self.planning.wishes;
        let price = self.price();
        let available_from = wishes.available_from;
        quality::check_availability(available_from, self.planning.now, self.notices);
        if let Some((listing, _)) = self.open {
            if let Some(price) = price {
                let reason = wishes.price_reason.clone();
                self.add(ChangeRent { listing, price, reason });
            }
            if let Some(available_from) = available_from {
                self.add(ChangeAvailability { listing, available_from });
            }
            return;
        }
        let offered = match self.target() {
            None => price.is_some() || available_from.is_some(),
            Some(ListingStatus::Leased) => return self.closed_elsewhere(price),
            Some(target) => !leaves_the_market(target),
        };
        if offered {
            let listing = self.planning.new_listing;
            self.add(DraftListing { listing, price, available_from, agent: None });
            self.open = Some((listing, ListingStatus::Draft));
        }
    }

    /// A listing that was never open here and is over there becomes a closing, with its price.
    fn closed_elsewhere(&mut self, price: Option<Price>) {
        let over_already = matches!(self.state.listing(), Some((_, ListingStatus::Leased)));
        let Some(price) = price else {
            if !over_already {
                self.status_left_out("has no listing here to close; send the price it closed at");
            }
            return;
        };
        if !over_already {
            let day = self.planning.wishes.close_date;
            let closed_on = day.unwrap_or_else(|| self.planning.occurred_at.date_naive());
            let listing = self.planning.new_listing;
            self.add(RecordClosing { listing, price, closed_on });
        }
    }

    fn media(&mut self) {
        let Some(WishedMedia { list, covers }) = &self.planning.wishes.media else { return };
        let known = self.state.media();
        let id_of = |url: &str| Uuid::new_v5(&self.planning.property.0, url.as_bytes());
        let covered = |medium: &&Media| match covers {
            Covers::Everything => true,
            Covers::Photos => medium.category == MediaCategory::Photo,
            Covers::Nothing => false,
        };
        let same = |medium: &Media, id: Uuid| medium.id == id;
        let mut commands: Vec<PropertyCommand> = Vec::new();
        let mut shown: Vec<Uuid> = known.iter().map(|medium| medium.id).collect();
        for medium in known.iter().filter(covered) {
            if list.iter().all(|wished| !same(medium, id_of(&wished.url))) {
                commands.push(RemoveMedia { media: medium.id }.into());
                shown.retain(|id| *id != medium.id);
            }
        }
        for wished in list {
            let id = id_of(&wished.url);
            match known.iter().find(|medium| same(medium, id)) {
                Some(medium)
                    if medium.category == wished.category && medium.caption == wished.caption =>
                {
                    continue;
                }
                // A medium is replaced where more than its place changes.
                Some(_) => {
                    commands.push(RemoveMedia { media: id }.into());
                    shown.retain(|other| *other != id);
                }
                None => {}
            }
            let (url, caption) = (wished.url.clone(), wished.caption.clone());
            let category = wished.category;
            commands.push(AttachMedia { id, url, category, caption, order: None }.into());
            shown.push(id);
        }
        if *covers != Covers::Nothing {
            let listed: Vec<Uuid> = list.iter().map(|wished| id_of(&wished.url)).collect();
            let others = shown.iter().filter(|id| !listed.contains(id));
            let order: Vec<Uuid> = listed.iter().chain(others).copied().collect();
            if order != shown {
                commands.push(ReorderMedia { order }.into());
            }
        }
        let frozen = self.open.is_none() && self.state.listing().is_some();
        if frozen && !commands.is_empty() {
            let message = "the listing is closed: what it showed stays; changed media left out";
            self.notices.warn(Notice::new("LISTING_CLOSED", message).at("data.media"));
            return;
        }
        self.commands.extend(commands);
    }

    /// The status that the sender wants.
    fn target(&self) -> Option<ListingStatus> {
        match self.planning.event_type {
            PropertyEventType::Publish => Some(ListingStatus::Active),
            _ => self.planning.wishes.status,
        }
    }

    fn status(&mut self) {
        use ListingStatus as S;
        let wishes = self.planning.wishes;
        let expires_at = wishes.expires_at;
        let Some((listing, status)) = self.open else {
            match (self.target(), self.state.listing()) {
                (None | Some(S::Leased), _) => {}
                (Some(target), Some((_, last))) if target == last => {}
                (Some(target), None) if leaves_the_market(target) => {}
                (Some(_), _) => self.status_left_out("has no open listing here to move"),
            }
            return;
        };
        let Some(target) = self.target() else {
            if let Some(expires_at) = expires_at {
                self.add(RenewListing { listing, expires_at });
            }
            return;
        };
        match (status, target) {
            (S::Active, S::Active) => {
                if let Some(expires_at) = expires_at {
                    self.add(RenewListing { listing, expires_at });
                }
            }
            (from, to) if from == to => {}
            (S::Draft | S::InReview | S::ComingSoon, S::Active) => {
                self.add(PublishListing { listing, expires_at });
            }
            (S::OnHold | S::Withdrawn, S::Active) => self.add(ResumeListing { listing }),
            // The process that holds it knows more than the feed.
            (S::UnderApplication, S::Active) => {}
            (S::Pending, S::Active | S::UnderApplication) => {
                self.status_left_out("the listing is held by an application, which decides");
            }
            (_, S::Active) => self.add(PublishListing { listing, expires_at }),
            (_, S::ComingSoon) => match wishes.on_market_date.or(wishes.available_from) {
                Some(on_market_date) => {
                    self.add(ScheduleListing { listing, on_market_date, expires_at });
                }
                None => {
                    let notice = Notice::new("FIELD_MISSING", "coming soon needs its date");
                    self.notices.refuse(notice.at("data.on_market_date"));
                }
            },
            (_, S::UnderApplication | S::Pending) => {
                self.add(MarkPending { listing, application: None });
            }
            (_, S::Leased) => {
                if matches!(status, S::Active | S::UnderApplication) {
                    self.add(MarkPending { listing, application: None });
                }
                let day = wishes.close_date;
                let close_date = day.unwrap_or_else(|| self.planning.occurred_at.date_naive());
                let lease = self.planning.new_lease;
                self.add(CloseAsLeased { listing, lease, rent_at_close: None, close_date });
            }
            (_, S::OnHold) => self.add(HoldListing { listing }),
            (_, S::InReview) => self.add(SubmitForReview { listing }),
            (_, S::Draft) => self.add(ReturnToDraft { listing }),
            (_, S::ChangesRequested) => {
                self.status_left_out("is a reviewer's answer, which no feed gives");
            }
            (_, S::Withdrawn | S::Cancelled | S::Expired | S::Voided) => {
                self.leave_the_market(target);
            }
        }
    }

    /// Ends the offer in the way that is open to a listing where it stands.
    fn leave_the_market(&mut self, target: ListingStatus) {
        use ListingStatus as S;
        let Some((listing, status)) = self.open else { return };
        let reason = self.planning.wishes.status_reason.clone();
        match (status, target) {
            (S::Withdrawn, S::Cancelled) => self.add(CancelListing { listing }),
            (S::Withdrawn, _) => {}
            (S::Draft, _) => self.add(VoidListing { listing }),
            (S::InReview | S::ChangesRequested, _) => {
                self.add(ReturnToDraft { listing });
                self.add(VoidListing { listing });
            }
            (S::Pending, _) | (_, S::Cancelled) => self.add(CancelListing { listing }),
            _ => {
                let by_itself = match target {
                    S::Expired => "expired at the sender",
                    _ => "removed by the sender",
                };
                let reason = reason.unwrap_or_else(|| by_itself.to_owned());
                self.add(WithdrawListing { listing, reason });
            }
        }
    }

    fn status_left_out(&mut self, message: &str) {
        let notice = Notice::new("STATUS_LEFT_OUT", message);
        self.notices.warn(notice.at("data.status"));
    }
}

fn leaves_the_market(status: ListingStatus) -> bool {
    use ListingStatus as S;
    matches!(
        status,
        S::OnHold
            | S::Withdrawn
            | S::Cancelled
            | S::Expired
            | S::Voided
            | S::Leased
            | S::ChangesRequested
    )
}

/// An address whose unsaid parts are as they were: feeds also send parts of it alone.
fn completed(wished: &Address, known: Option<&Address>) -> Address {
    let part = |of: fn(&Address) -> &Option<String>| {
        of(wished).clone().or_else(|| known.and_then(|known| of(known).clone()))
    };
    Address {
        street: part(|address| &address.street),
        city: part(|address| &address.city),
        region: part(|address| &address.region),
        postal_code: part(|address| &address.postal_code),
        country: part(|address| &address.country),
    }
}
