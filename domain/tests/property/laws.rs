//! What holds whatever is asked of a property, in whichever order.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use cqrs_es::Aggregate;
use freehold_domain::property::*;
use freehold_domain::{
    Actor, Address, ApplicationId, Area, AreaUnit, Circumstances, Coordinates, Currency,
    FeeFrequency, LeaseId, ListingKey, Policy, Price, PropertyId, Refusal, StoredEvent, UserId,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use uuid::Uuid;

use crate::samples;
use crate::state_machine::ARROWS;

/// What the table of the domain says about a history, told apart from the aggregate.
#[derive(Default)]
struct Model {
    periods: BTreeMap<ListingKey, ListingStatus>,
    media: BTreeMap<Uuid, (MediaCategory, u16)>,
    preferred: Option<Uuid>,
}

impl Model {
    fn observe(&mut self, event: &PropertyEvent) {
        use PropertyEvent as E;
        match event {
            E::ListingDrafted(e) => self.begin(e.listing, ListingStatus::Draft),
            E::ClosingRecorded(e) => self.begin(e.listing, ListingStatus::Leased),
            E::ListingSubmitted(e) => self.walk(e.listing, ListingStatus::InReview),
            E::ListingChangesRequested(e) => self.walk(e.listing, ListingStatus::ChangesRequested),
            E::ListingReturnedToDraft(e) => self.walk(e.listing, ListingStatus::Draft),
            E::ListingScheduled(e) => self.walk(e.listing, ListingStatus::ComingSoon),
            E::ListingPublished(e) => {
                assert!(e.expires_at.is_none_or(|end| end > e.published_at));
                assert!(self.media.values().any(|(shows, _)| *shows == MediaCategory::Photo));
                self.walk(e.listing, ListingStatus::Active);
            }
            E::ListingBackOnMarket(e) => self.walk(e.listing, ListingStatus::Active),
            E::ListingUnderApplication(e) => self.walk(e.listing, ListingStatus::UnderApplication),
            E::ListingPending(e) => self.walk(e.listing, ListingStatus::Pending),
            E::ListingLeased(e) => self.walk(e.listing, ListingStatus::Leased),
            E::ListingHeld(e) => self.walk(e.listing, ListingStatus::OnHold),
            E::ListingWithdrawn(e) => self.walk(e.listing, ListingStatus::Withdrawn),
            E::ListingCancelled(e) => self.walk(e.listing, ListingStatus::Cancelled),
            E::ListingExpired(e) => self.walk(e.listing, ListingStatus::Expired),
            E::ListingVoided(e) => self.walk(e.listing, ListingStatus::Voided),
            E::RentChanged(e) => {
                assert_ne!(e.old, Some(e.new));
                assert_ne!(self.periods[&e.listing], ListingStatus::Pending);
                assert!(!self.is_final(e.listing));
            }
            E::MediaAttached(e) => {
                let Media { id, category, order, .. } = e.media;
                assert!(self.media.values().all(|(_, taken)| *taken != order));
                assert_eq!(self.media.insert(id, (category, order)), None);
            }
            E::MediaReordered(e) => {
                assert_eq!(e.order.len(), self.media.len());
                for (id, order) in e.order.iter().zip(1..) {
                    self.media.get_mut(id).unwrap().1 = order;
                }
            }
            E::MediaRemoved(e) => {
                assert!(self.media.remove(&e.media).is_some());
                self.preferred = self.preferred.filter(|photo| *photo != e.media);
            }
            E::PreferredPhotoSet(e) => {
                assert_eq!(self.media[&e.media].0, MediaCategory::Photo);
                assert_ne!(self.preferred.replace(e.media), Some(e.media));
            }
            _ => {}
        }
    }

    fn begin(&mut self, listing: ListingKey, status: ListingStatus) {
        assert!(self.periods.keys().all(|key| self.is_final(*key)), "two open periods");
        assert_eq!(self.periods.insert(listing, status), None, "a period began again");
    }

    fn walk(&mut self, listing: ListingKey, to: ListingStatus) {
        let from = self.periods.insert(listing, to).expect("a period begins as a draft");
        assert!(arrows(from).contains(&to), "{from:?} to {to:?} is no arrow");
    }

    fn is_final(&self, listing: ListingKey) -> bool {
        arrows(self.periods[&listing]).is_empty()
    }
}

fn arrows(from: ListingStatus) -> &'static [ListingStatus] {
    ARROWS.iter().find(|(status, _)| *status == from).unwrap().1
}

// Values: mostly sound, sometimes absurd, from pools so small that commands meet.

fn a_uuid(pool: u128) -> impl Strategy<Value = Uuid> {
    (1..=3_u128).prop_map(move |n| Uuid::from_u128(pool + n))
}

fn a_listing() -> impl Strategy<Value = ListingKey> {
    prop_oneof![8 => Just(samples::LISTING), 1 => a_uuid(0x100).prop_map(ListingKey)]
}

fn an_application() -> impl Strategy<Value = ApplicationId> {
    select(vec![samples::APPLICATION, samples::OTHER_APPLICATION])
}

fn a_text() -> impl Strategy<Value = String> {
    prop_oneof![32 => "[a-z]{1,8}", 1 => any::<String>(), 1 => Just("x".repeat(30_000))]
}

fn some_words() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(a_text(), 0..4)
}

fn a_price() -> impl Strategy<Value = Price> {
    let amount = prop_oneof![8 => 1..=3_u64, 1 => 1..=u64::MAX];
    let frequency = prop_oneof![
        4 => Just(FeeFrequency::Monthly),
        4 => Just(FeeFrequency::OneTime),
        1 => Just(FeeFrequency::Weekly),
    ];
    let currency = prop_oneof![8 => Just("EUR"), 1 => Just("JPY")];
    (amount, currency, frequency).prop_map(|(amount, currency, frequency)| Price {
        amount_minor: NonZeroU64::new(amount).unwrap(),
        currency: Currency::from_code(currency).unwrap(),
        frequency,
    })
}

fn a_date() -> impl Strategy<Value = NaiveDate> {
    prop_oneof![
        16 => (-3..=3_i64).prop_map(|days| samples::today() + TimeDelta::days(days)),
        1 => Just(NaiveDate::MIN),
        1 => Just(NaiveDate::MAX),
    ]
}

fn a_moment() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![
        16 => (-3..=300_i64).prop_map(samples::in_days),
        1 => Just(DateTime::<Utc>::MIN_UTC),
        1 => Just(DateTime::<Utc>::MAX_UTC),
    ]
}

fn a_number() -> impl Strategy<Value = f64> {
    prop_oneof![32 => (1..9_u8).prop_map(|n| f64::from(n) / 2.0), 1 => proptest::num::f64::ANY]
}

fn an_area() -> impl Strategy<Value = Area> {
    let units = vec![AreaUnit::SquareFeet, AreaUnit::SquareMeters, AreaUnit::Hectares];
    (a_number(), select(units)).prop_map(|(value, unit)| Area { value, unit })
}

fn some_coordinates() -> impl Strategy<Value = Coordinates> {
    (a_number(), a_number()).prop_map(|(latitude, longitude)| Coordinates { latitude, longitude })
}

fn an_address() -> impl Strategy<Value = Address> {
    (
        option::of(a_text()),
        option::of(a_text()),
        option::of(prop_oneof![32 => "DE|US|JP", 1 => ".{0,3}"]),
    )
        .prop_map(|(street, city, country)| Address {
            street,
            city,
            country,
            ..Address::default()
        })
}

fn some_facts() -> impl Strategy<Value = Box<PropertyFacts>> {
    let texts = (option::of(a_text()), option::of(a_text()));
    let place = (option::of(an_address()), option::of(some_coordinates()));
    let count = || option::of(prop_oneof![32 => 1..4_u16, 1 => any::<u16>()]);
    let counts = (count(), count(), count(), count(), count());
    let year = option::of(prop_oneof![32 => 1950..1953_u16, 1 => any::<u16>()]);
    let areas = (option::of(an_area()), option::of(an_area()), option::of(an_area()));
    let kind = option::of(select(PropertyType::ALL));
    (kind, texts, place, counts, year, option::of(a_number()), areas).prop_map(
        |(property_type, texts, place, counts, year_built, stories, areas)| {
            Box::new(PropertyFacts {
                property_type,
                title: texts.0,
                description: texts.1,
                address: place.0,
                coordinates: place.1,
                year_built,
                stories,
                bedrooms: counts.0,
                bathrooms_full: counts.1,
                bathrooms_half: counts.2,
                rooms: counts.3,
                max_occupancy: counts.4,
                living_area: areas.0,
                lot_area: areas.1,
                garage_area: areas.2,
            })
        },
    )
}

fn some_terms() -> impl Strategy<Value = LeaseTerms> {
    let months = || option::of(prop_oneof![4 => 1..4_u16, 1 => any::<u16>()]);
    let options = btree_set(select(LeaseTermOption::ALL), 0..3);
    let furnished = option::of(select(Furnished::ALL));
    let pets = (option::of(select(PetsAllowed::ALL)), months());
    (months(), months(), options, furnished, pets, some_words(), some_words()).prop_map(
        |(min_months, max_months, options, furnished, pets, rent_includes, tenant_pays)| {
            LeaseTerms {
                min_months,
                max_months,
                options,
                furnished,
                pets: pets.0,
                max_pets: pets.1,
                rent_includes,
                tenant_pays,
            }
        },
    )
}

fn boxed<C: Into<PropertyCommand> + std::fmt::Debug + 'static>(
    command: impl Strategy<Value = C> + 'static,
) -> BoxedStrategy<PropertyCommand> {
    command.prop_map(Into::into).boxed()
}

fn a_command_on_the_unit() -> impl Strategy<Value = PropertyCommand> {
    let source =
        (a_text(), a_text()).prop_map(|(source, reference)| SourceRef { source, reference });
    let origin = select(vec![Origin::Client, Origin::Feed]);
    let media = || prop_oneof![4 => Just(samples::PHOTO), 1 => a_uuid(0xB0)];
    let url = prop_oneof![
        8 => Just("https://media.example/1.jpg".to_owned()),
        1 => any::<String>(),
    ];
    let order = option::of(prop_oneof![4 => 0..4_u16, 1 => any::<u16>()]);
    let all_media = [0xB1, 0xB2, 0xB3].map(Uuid::from_u128).to_vec();
    let order_of_media = subsequence(all_media, 0..=3).prop_shuffle();
    let outcome = prop_oneof![
        (some_coordinates(), select(CoordinatePrecision::ALL), select(LocationVisibility::ALL))
            .prop_map(|(coordinates, precision, visibility)| {
                Geocoding::Found { coordinates, precision, visibility }
            }),
        a_text().prop_map(|reason| Geocoding::NotFound { reason }),
    ];
    let property = || a_uuid(0x50).prop_map(PropertyId);
    prop_oneof![
        boxed((source, origin, some_facts(), some_words()).prop_map(
            |(source, origin, facts, amenities)| {
                RegisterProperty { source, origin, facts, amenities }
            }
        )),
        boxed(
            (some_facts(), btree_set(select(FactField::ALL), 0..3))
                .prop_map(|(facts, clear)| CorrectPropertyFacts { facts, clear })
        ),
        boxed(some_words().prop_map(|amenities| SetAmenities { amenities })),
        boxed(outcome.prop_map(|outcome| VerifyAddress { outcome })),
        boxed((media(), url, select(MediaCategory::ALL), option::of(a_text()), order).prop_map(
            |(id, url, category, caption, order)| {
                AttachMedia { id, url, category, caption, order }
            }
        )),
        boxed(order_of_media.prop_map(|order| ReorderMedia { order })),
        boxed(media().prop_map(|media| SetPreferredPhoto { media })),
        boxed(a_uuid(0xB0).prop_map(|media| RemoveMedia { media })),
        boxed((property(), property(), any::<bool>(), any::<bool>()).prop_map(
            |(property, survivor, survivor_is_duplicate, has_open_applications)| {
                MarkDuplicateOf { property, survivor, survivor_is_duplicate, has_open_applications }
            }
        )),
        boxed(Just(SeparateDuplicate)),
    ]
}

fn a_command_on_a_listing() -> impl Strategy<Value = PropertyCommand> {
    let key = a_listing;
    let costs = vec(
        (select(MoveInCostKind::ALL), a_price())
            .prop_map(|(kind, price)| MoveInCost { kind, price }),
        0..4,
    );
    let fees = vec(
        (select(OngoingFeeKind::ALL), a_price(), any::<bool>())
            .prop_map(|(kind, price, mandatory)| OngoingFee { kind, price, mandatory }),
        0..4,
    );
    let concession = (a_uuid(0xE0), a_text(), option::of(a_date()))
        .prop_map(|(id, description, ends_on)| Concession { id, description, ends_on });
    let causes = select(BackOnMarketCause::ALL);
    let agent = || a_uuid(0xF0).prop_map(UserId);
    let terms = prop_oneof![
        boxed(
            (key(), a_price(), option::of(a_text()))
                .prop_map(|(listing, price, reason)| ChangeRent { listing, price, reason })
        ),
        boxed((key(), costs).prop_map(|(listing, costs)| SetMoveInCosts { listing, costs })),
        boxed((key(), fees).prop_map(|(listing, fees)| SetOngoingFees { listing, fees })),
        boxed(
            (key(), concession)
                .prop_map(|(listing, concession)| OfferConcession { listing, concession })
        ),
        boxed(
            (key(), a_uuid(0xE0))
                .prop_map(|(listing, concession)| WithdrawConcession { listing, concession })
        ),
        boxed((key(), some_terms()).prop_map(|(listing, terms)| SetLeaseTerms { listing, terms })),
        boxed(
            (key(), a_date()).prop_map(|(listing, available_from)| ChangeAvailability {
                listing,
                available_from
            })
        ),
        boxed(
            (key(), a_moment())
                .prop_map(|(listing, expires_at)| RenewListing { listing, expires_at })
        ),
        boxed((key(), agent(), any::<bool>()).prop_map(|(listing, agent, agent_active)| {
            ReassignAgent { listing, agent, agent_active }
        })),
    ];
    let review = prop_oneof![
        boxed(key().prop_map(|listing| SubmitForReview { listing })),
        boxed(key().prop_map(|listing| ApproveListing { listing })),
        boxed(
            (key(), vec(a_text(), 0..3))
                .prop_map(|(listing, reasons)| RequestChanges { listing, reasons })
        ),
        boxed(key().prop_map(|listing| ReturnToDraft { listing })),
    ];
    let market = prop_oneof![
        boxed((key(), a_date(), option::of(a_moment())).prop_map(
            |(listing, on_market_date, expires_at)| {
                ScheduleListing { listing, on_market_date, expires_at }
            }
        )),
        boxed(
            (key(), option::of(a_moment()))
                .prop_map(|(listing, expires_at)| PublishListing { listing, expires_at })
        ),
        boxed(
            (key(), an_application())
                .prop_map(|(listing, application)| MarkUnderApplication { listing, application })
        ),
        boxed((key(), an_application(), causes).prop_map(|(listing, application, cause)| {
            ReleaseApplicationHold { listing, application, cause }
        })),
        boxed(
            (key(), option::of(an_application()))
                .prop_map(|(listing, application)| MarkPending { listing, application })
        ),
        boxed((key(), a_uuid(0xD0), option::of(a_price()), a_date()).prop_map(
            |(listing, lease, rent_at_close, close_date)| CloseAsLeased {
                listing,
                lease: LeaseId(lease),
                rent_at_close,
                close_date,
            }
        )),
        boxed(key().prop_map(|listing| HoldListing { listing })),
        boxed(key().prop_map(|listing| ResumeListing { listing })),
        boxed((key(), a_text()).prop_map(|(listing, reason)| WithdrawListing { listing, reason })),
        boxed(key().prop_map(|listing| ExpireListing { listing })),
    ];
    let ends = prop_oneof![
        boxed(key().prop_map(|listing| CancelListing { listing })),
        boxed(key().prop_map(|listing| VoidListing { listing })),
        boxed((key(), a_price(), a_date()).prop_map(|(listing, price, closed_on)| RecordClosing {
            listing,
            price,
            closed_on
        })),
        boxed((key(), option::of(a_price()), option::of(a_date()), option::of(agent())).prop_map(
            |(listing, price, available_from, agent)| {
                DraftListing { listing, price, available_from, agent }
            }
        )),
    ];
    prop_oneof![3 => terms, 3 => review, 8 => market, 1 => ends]
}

fn a_command() -> impl Strategy<Value = PropertyCommand> {
    let archive =
        any::<bool>().prop_map(|has_current_lease| ArchiveProperty { has_current_lease }.into());
    prop_oneof![
        60 => a_command_on_the_unit(),
        120 => a_command_on_a_listing(),
        1 => archive,
    ]
}

/// Who asks and how many minutes later than the last command.
fn an_asker() -> impl Strategy<Value = (&'static str, i64)> {
    let minutes = prop_oneof![8 => 0..90_i64, 1 => 0..200_000_i64];
    (select(vec!["mara", "noor"]), minutes)
}

fn stored_and_read(event: &PropertyEvent) -> PropertyEvent {
    let mut bytes = Vec::new();
    event.serialize_payload(&mut serde_json::Serializer::new(&mut bytes)).unwrap();
    let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
    let (name, version) = (event.event_type(), event.schema_version());
    PropertyEvent::deserialize_payload(name, version, &mut deserializer).unwrap()
}

/// Feeds send such commands again and again: once accepted, they change nothing twice.
fn says_how_it_should_be(command: &PropertyCommand) -> bool {
    use PropertyCommand as C;
    matches!(
        command,
        C::CorrectPropertyFacts(_)
            | C::SetAmenities(_)
            | C::AttachMedia(_)
            | C::ReorderMedia(_)
            | C::SetPreferredPhoto(_)
            | C::ChangeRent(_)
            | C::SetMoveInCosts(_)
            | C::SetOngoingFees(_)
            | C::OfferConcession(_)
            | C::SetLeaseTerms(_)
            | C::ChangeAvailability(_)
            | C::RenewListing(_)
            | C::ReassignAgent(_)
            | C::MarkUnderApplication(_)
            | C::ReleaseApplicationHold(_)
            | C::MarkDuplicateOf(_)
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any commands, at a property that is new or listed at any status.
    #[test]
    fn whatever_is_asked_the_rules_hold_and_the_log_tells_the_state(
        begins_at in option::weighted(0.9, select(ListingStatus::ALL)),
        commands in vec((a_command(), an_asker()), 0..100),
    ) {
        let mut log = begins_at.map_or_else(samples::nothing, samples::a_listing);
        let mut model = Model::default();
        log.iter().for_each(|event| model.observe(event));
        let mut property = samples::fold(log.clone());
        let mut now = samples::noon();

        for (command, (actor, minutes)) in commands {
            now += TimeDelta::minutes(minutes);
            let circumstances =
                Circumstances { now, actor: Actor(actor.into()), policy: Policy::default() };
            match property.decide(command.clone(), &circumstances) {
                Ok(events) => {
                    for event in events {
                        model.observe(&event);
                        prop_assert_eq!(&stored_and_read(&event), &event);
                        property.apply(event.clone());
                        log.push(event);
                    }
                    if says_how_it_should_be(&command) {
                        let again = property.decide(command, &circumstances);
                        prop_assert_eq!(again, Ok(Vec::new()));
                    }
                }
                Err(refused) => {
                    for complaint in refused.complaints() {
                        prop_assert!(PropertyRefused::ALL_CODES.contains(&complaint.code));
                        prop_assert!(!complaint.message.is_empty());
                    }
                    // A refusal leaves no trace, so asking again is refused again.
                    prop_assert_eq!(property.decide(command, &circumstances), Err(refused));
                }
            }
            let snapshot = serde_json::to_vec(&property).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Property>(&snapshot).unwrap(), &property);
        }

        prop_assert_eq!(samples::fold(log), property.clone());
        if let Some((listing, status)) = property.listing() {
            prop_assert_eq!(model.periods[&listing], status);
        }
        let mut orders: Vec<u16> = model.media.values().map(|(_, order)| *order).collect();
        orders.sort_unstable();
        let kept: Vec<u16> = property.media().iter().map(|media| media.order).collect();
        prop_assert_eq!(orders, kept);
    }
}
