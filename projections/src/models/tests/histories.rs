//! Laws for every history that the aggregates allow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use cqrs_es::Aggregate;
use freehold_domain::interaction::{
    ActorType, Interaction, InteractionDetails, InteractionKind, ObjectType,
};
use freehold_domain::property as p;
use freehold_domain::property::{Property, PropertyCommand, PropertyEvent, PropertyFacts};
use freehold_domain::user as u;
use freehold_domain::user::{
    Change, ConsentPurpose, ListingPreference, User, UserCommand, UserEvent,
};
use freehold_domain::{
    Actor, ApplicationId, Area, AreaUnit, Circumstances, Coordinates, FeeFrequency, LeaseId,
    LegalHoldId, ListingKey, Policy, Price, PropertyId, SavedSearchId, StoredEvent as _, SubjectId,
    UserId,
};
use freehold_ports::{RecordedEvent, StreamId, Value};
use freehold_test_stores::cases;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::super::account::{
    AccountRow, Accounts, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use super::super::engagement::{Engagement, EngagementRow, PropertyEngagementRow};
use super::super::listing::{ListingRow, Listings};
use super::super::market::{Market, MarketStatisticsRow, PriceBasis};
use super::super::property::{Properties, PropertyChangeRow, PropertyRow, is_change};
use super::{Log, facts, noon, photo};
use crate::blame::undecodable;
use crate::{DecodeEvent, Projection, TypedRow as _};

/// A choice of what happens next: which aggregate, which command, with what.
type Step = (u8, u8, u8);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(any::<Step>(), 0..120)
}

fn circumstances(step: i64) -> Circumstances {
    let policy = Policy { four_eyes: false, ..Policy::default() };
    Circumstances { now: moment(step), actor: Actor("agent".into()), policy }
}

/// Steps are nine hours apart.
fn moment(step: i64) -> DateTime<Utc> {
    noon(0) + TimeDelta::hours(9 * step)
}

fn place(number: u8) -> Coordinates {
    [(52.5347, 13.4197), (52.5348, 13.4198), (41.6639, -83.5552), (0.1, 179.9)]
        .map(|(latitude, longitude)| Coordinates { latitude, longitude })[usize::from(number % 4)]
}

fn area(number: u8) -> Area {
    let unit = [AreaUnit::SquareMeters, AreaUnit::SquareFeet][usize::from(number % 2)];
    Area { value: 30.1 + f64::from(number), unit }
}

fn price(number: u8) -> Price {
    let frequency = [FeeFrequency::Monthly, FeeFrequency::Weekly][usize::from(number / 200)];
    Price::from_minor_units(50_000 + i64::from(number % 7) * 1_111, "EUR", frequency).unwrap()
}

fn property_id(number: u8) -> PropertyId {
    PropertyId(Uuid::from_u128(0xa0 + u128::from(number % 3)))
}

/// What somebody might ask of a property that stands like this.
fn property_command(
    id: PropertyId,
    property: &Property,
    (_, choice, x): Step,
    step: i64,
) -> PropertyCommand {
    // Every period of a property has a key of its own.
    let next = ListingKey(Uuid::from_u128(id.0.as_u128() << 64 | u128::from(step.unsigned_abs())));
    let listing = property.listing().map_or(next, |(listing, _)| listing);
    let media = photo(u16::from(x % 4) + 1);
    let day = moment(step).date_naive();
    let application = ApplicationId(Uuid::from_u128(u128::from(x % 2)));
    let choice = if choice < 144 { choice % 48 } else { move_on(property, x) };
    match choice {
        0 => p::SetAmenities { amenities: [format!("a{}", x % 3)].into() }.into(),
        1 | 2 => {
            let facts = PropertyFacts {
                coordinates: (x % 2 == 0).then(|| place(x / 2)),
                living_area: (x % 3 == 0).then(|| area(x)),
                bedrooms: Some(u16::from(x % 4)),
                title: Some(format!("Title {}", x % 5)),
                ..PropertyFacts::default()
            };
            let clear = (x % 5 == 0).then_some(p::FactField::Description).into_iter().collect();
            p::CorrectPropertyFacts { facts: Box::new(facts), clear }.into()
        }
        3 => p::VerifyAddress {
            outcome: p::Geocoding::Found {
                coordinates: place(x),
                precision: p::CoordinatePrecision::Street,
                visibility: p::LocationVisibility::Exact,
            },
        }
        .into(),
        4 => p::VerifyAddress { outcome: p::Geocoding::NotFound { reason: "no".into() } }.into(),
        5..=7 => p::AttachMedia {
            id: media.id,
            url: media.url,
            category: media.category,
            caption: None,
            order: None,
        }
        .into(),
        8 => {
            let order = property.media().iter().rev().map(|media| media.id).collect();
            p::ReorderMedia { order }.into()
        }
        9 => p::SetPreferredPhoto { media: media.id }.into(),
        10 => p::RemoveMedia { media: media.id }.into(),
        11..=14 => {
            let (price, available_from) = (Some(price(x)), Some(day));
            p::DraftListing { listing: next, price, available_from, agent: None }.into()
        }
        15 => p::SubmitForReview { listing }.into(),
        16 => p::ApproveListing { listing }.into(),
        17 => p::RequestChanges { listing, reasons: vec!["more".into()] }.into(),
        18 => p::ReturnToDraft { listing }.into(),
        19 => {
            let on_market_date = day + TimeDelta::days(2);
            p::ScheduleListing { listing, on_market_date, expires_at: None }.into()
        }
        20..=23 => {
            let expires_at = (x % 2 == 0).then(|| moment(step + 10));
            p::PublishListing { listing, expires_at }.into()
        }
        24..=26 => p::ChangeRent { listing, price: price(x), reason: None }.into(),
        27 => {
            let mut once = price(x % 100);
            once.frequency = FeeFrequency::OneTime;
            let costs = vec![p::MoveInCost { kind: p::MoveInCostKind::CleaningFee, price: once }];
            p::SetMoveInCosts { listing, costs }.into()
        }
        28 => {
            let (kind, mandatory) = (p::OngoingFeeKind::HoaFee, x % 2 == 0);
            let fees = vec![p::OngoingFee { kind, price: price(x), mandatory }];
            p::SetOngoingFees { listing, fees }.into()
        }
        29 => {
            let (id, description) = (Uuid::from_u128(u128::from(x % 3)), "A month free".into());
            let concession = p::Concession { id, description, ends_on: None };
            p::OfferConcession { listing, concession }.into()
        }
        30 => {
            let concession = Uuid::from_u128(u128::from(x % 3));
            p::WithdrawConcession { listing, concession }.into()
        }
        31 => {
            let min_months = Some(u16::from(x % 9) + 1);
            let terms = p::LeaseTerms { min_months, ..p::LeaseTerms::default() };
            p::SetLeaseTerms { listing, terms }.into()
        }
        32 => p::ChangeAvailability { listing, available_from: day }.into(),
        33 => p::MarkUnderApplication { listing, application }.into(),
        34 => {
            let cause = p::BackOnMarketCause::ApplicationDeclined;
            p::ReleaseApplicationHold { listing, application, cause }.into()
        }
        35 => p::MarkPending { listing, application: Some(application) }.into(),
        36 | 37 => {
            let lease = LeaseId(Uuid::from_u128(1));
            let rent_at_close = (x % 2 == 0).then(|| price(x));
            p::CloseAsLeased { listing, lease, rent_at_close, close_date: day }.into()
        }
        38 => p::HoldListing { listing }.into(),
        39 => p::ResumeListing { listing }.into(),
        40 => p::WithdrawListing { listing, reason: "away".into() }.into(),
        41 if x < 128 => p::CancelListing { listing }.into(),
        41 => p::VoidListing { listing }.into(),
        42 => p::ExpireListing { listing }.into(),
        43 => p::RenewListing { listing, expires_at: moment(step + 20) }.into(),
        44 => {
            let agent = UserId(Uuid::from_u128(u128::from(x % 3)));
            p::ReassignAgent { listing, agent, agent_active: true }.into()
        }
        45 => {
            let closed_on = day - TimeDelta::days(i64::from(x));
            p::RecordClosing { listing: next, price: price(x), closed_on }.into()
        }
        46 if x < 128 => p::MarkDuplicateOf {
            property: id,
            survivor: property_id(x),
            survivor_is_duplicate: false,
            has_open_applications: false,
        }
        .into(),
        46 => p::SeparateDuplicate.into(),
        _ if x < 32 => p::ArchiveProperty { has_current_lease: false }.into(),
        _ => p::RegisterProperty {
            source: p::SourceRef { source: "feed".into(), reference: id.to_string() },
            origin: p::Origin::Client,
            facts: Box::new(PropertyFacts { living_area: Some(area(x)), ..facts() }),
            amenities: Default::default(),
        }
        .into(),
    }
}

/// A choice that the state of the last period allows: most are refused, and no random walk would
/// come to a lease.
fn move_on(property: &Property, x: u8) -> u8 {
    use p::ListingStatus as S;
    let choices: &[u8] = match property.listing().map(|(_, status)| status) {
        None | Some(S::Leased | S::Cancelled | S::Expired | S::Voided) => &[11],
        Some(S::Draft | S::ChangesRequested) if property.media().is_empty() => &[5],
        Some(S::Draft | S::ChangesRequested) => &[15, 19, 20, 20],
        Some(S::InReview) => &[16, 17, 18, 20],
        Some(S::ComingSoon) => &[20, 20, 38, 40],
        Some(S::Active) => &[24, 33, 35, 38, 40, 42, 41],
        Some(S::UnderApplication) => &[24, 34, 35, 38],
        Some(S::Pending) => &[34, 36, 36],
        Some(S::OnHold | S::Withdrawn) => &[39, 39, 39, 40, 41],
    };
    choices[usize::from(x) % choices.len()]
}

/// A log of a few properties, and how the aggregates stand after it.
fn properties(steps: &[Step]) -> (Log, BTreeMap<PropertyId, Property>) {
    let mut log = Log::new();
    let mut all: BTreeMap<PropertyId, Property> = BTreeMap::new();
    let first = (0..3).map(|number| (number, 47, 40 + number));
    for (step, number) in first.chain(steps.iter().copied()).zip(0..) {
        let id = property_id(step.0);
        let property = all.entry(id).or_default();
        let command = property_command(id, property, step, number);
        // A refusal is an answer too, only not one that a log holds.
        for event in property.decide(command, &circumstances(number)).unwrap_or_default() {
            property.apply(event.clone());
            log.append("property", id.0, moment(number), event);
        }
    }
    (log, all)
}

fn user_id(number: u8) -> UserId {
    UserId(Uuid::from_u128(0xf0 + u128::from(number % 3)))
}

/// What somebody might ask of an account.
fn user_command(user: UserId, (_, choice, x): Step, step: i64) -> UserCommand {
    let listing = ListingKey(Uuid::from_u128(u128::from(x % 3)));
    let search = SavedSearchId(Uuid::from_u128(u128::from(x % 3)));
    let (email, phone) = (format!("u{}-{}@example.com", user.0, x % 2), "+49301234567".to_owned());
    let hold = LegalHoldId(Uuid::from_u128(u128::from(x % 2)));
    let purpose = [ConsentPurpose::Alerts, ConsentPurpose::Marketing][usize::from(x % 2)];
    match choice % 32 {
        0 => u::VerifyEmail { email }.into(),
        1 => u::VerifyPhone { phone }.into(),
        2 => {
            let outcome = if x % 2 == 0 {
                u::IdentityOutcome::Verified { expires_at: None }
            } else {
                u::IdentityOutcome::Failed { reason: u::IdentityFailure::NameMismatch }
            };
            u::VerifyIdentity { method: u::IdentityMethod::Bank, outcome }.into()
        }
        3 | 4 => u::UpdateProfile {
            display_name: Change::Set(format!("Name {}", x % 4)),
            email: if x % 3 == 0 { Change::Set(email) } else { Change::Keep },
            phone: if x % 5 == 0 { Change::Clear } else { Change::Set(phone) },
        }
        .into(),
        5 => {
            let language = Some(["de", "en"][usize::from(x % 2)].to_owned());
            u::ChangePreferences { language, ..u::ChangePreferences::default() }.into()
        }
        6 => u::GrantConsent {
            purpose,
            notice_version: format!("{}", x % 3),
            method: u::ConsentMethod::WebForm,
            jurisdiction: "DE".into(),
            expires_at: None,
        }
        .into(),
        7 => u::WithdrawConsent { purpose }.into(),
        8 | 9 => u::FavouriteListing { listing }.into(),
        10 => u::PossibleListing { listing }.into(),
        11 => u::DiscardListing { listing }.into(),
        12 => u::ClearPreference { listing }.into(),
        13..=15 => u::SaveSearch {
            search,
            name: format!("Search {x}"),
            text: (x % 2 == 0).then(|| "garden".to_owned()),
            filter: u::SearchFilter { bedrooms_min: Some(1), ..u::SearchFilter::default() },
            schedule: u::AlertSchedule::Daily,
        }
        .into(),
        16 => u::RenameSearch { search, name: format!("Renamed {x}") }.into(),
        17 => u::ChangeSchedule { search, schedule: u::AlertSchedule::Asap }.into(),
        18 => u::PauseAlert { search, reason: u::AlertPauseReason::Ignored }.into(),
        19 => u::DeleteSearch { search }.into(),
        20 => u::SuspendUser { reason: "spam".into() }.into(),
        21 => u::ReinstateUser {}.into(),
        22 if x < 64 => u::CloseAccount { reason: Some("moved".into()) }.into(),
        22 | 23 => u::RequestDataExport { format: u::ExportFormat::Json }.into(),
        24 if x < 128 => u::RequestErasure { live_lease: None }.into(),
        24 => u::CancelErasure {}.into(),
        25 => u::PlaceLegalHold { hold, reason: "lawsuit".into() }.into(),
        26 => u::ReleaseLegalHold { hold }.into(),
        27 => u::RecordKeyShredded {}.into(),
        28 => u::CompleteErasure { certificate: format!("c-{step}") }.into(),
        _ => u::RegisterUser {
            user,
            origin: u::Origin::Client,
            display_name: Some("Somebody".into()),
            email: Some(email),
            phone: Some(phone),
        }
        .into(),
    }
}

fn users(steps: &[Step]) -> Log {
    let mut log = Log::new();
    let mut all: BTreeMap<UserId, User> = BTreeMap::new();
    let first = (0..3).map(|number| (number, 31, number));
    for (step, number) in first.chain(steps.iter().copied()).zip(0..) {
        let id = user_id(step.0);
        let user = all.entry(id).or_default();
        let command = user_command(id, step, number);
        for event in user.decide(command, &circumstances(number)).unwrap_or_default() {
            user.apply(event.clone());
            log.append("user", id.0, moment(number), event);
        }
    }
    log
}

/// Two of the users ask to be forgotten in the end; a random walk seldom comes so far.
fn and_be_forgotten(steps: Vec<Step>) -> Vec<Step> {
    let last = |number| {
        // Both holds are released, then it is asked for, closed, shredded and, once, completed.
        [(26, 0), (26, 1), (24, 0), (22, 0), (27, 0), (28 + number, 0)]
            .map(|(choice, x)| (number, choice, x))
    };
    steps.into_iter().chain((0..2).flat_map(last)).collect()
}

fn interactions(steps: &[Step]) -> Log {
    let mut log = Log::new();
    for ((kind, actor, x), number) in steps.iter().copied().zip(0..) {
        let actors = [ActorType::Bot, ActorType::Consumer, ActorType::Client];
        let details = InteractionDetails {
            actor_type: actors[usize::from(actor % 3)],
            object_type: ObjectType::Listing,
            property: (x % 4 < 2).then(|| property_id(x)),
            listing: (x % 8 < 5).then(|| ListingKey(Uuid::from_u128(u128::from(x % 3)))),
            reference: None,
            device_type: None,
            event_source: None,
            session: None,
            page_position: None,
            event_timestamp: moment(number),
            reported_timestamp: moment(number),
        };
        let kinds = InteractionKind::ALL;
        let kind = kinds[usize::from(kind) % kinds.len()];
        log.append_named(
            "interactions",
            ["2026-03-01-00", "2026-03-01-01"][usize::from(x % 16 / 8)],
            moment(number),
            Interaction { kind, details },
        );
    }
    log
}

/// The rows do not depend on the pages, nor on what stayed in memory between them.
fn same_in_pages<P: Projection + Copy>(
    log: &Log,
    projection: P,
    page: usize,
) -> Result<(), TestCaseError> {
    let once = log.fold(projection).everything();
    let kept = log.fold_in_pages(projection, page, false);
    prop_assert_eq!(&once, &kept.everything(), "{} in pages of {}", P::NAME, page);
    let forgotten = log.fold_in_pages(projection, page, true);
    prop_assert_eq!(&once, &forgotten.everything(), "{} anew each {}", P::NAME, page);
    Ok(())
}

/// Values that say whose they are.
fn secrets() -> [serde_json::Value; 5] {
    let said = "Ann ` \"Li\" 7654321";
    [
        said.into(),
        7_654_321.into(),
        7_654_321.5.into(),
        serde_json::json!([said]),
        serde_json::json!({ said: said }),
    ]
}

/// Puts a value in each place of a payload in turn.
fn broken(payload: &serde_json::Value, secret: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut all = vec![secret.clone()];
    let places: Vec<String> = match payload {
        serde_json::Value::Object(fields) => fields.keys().cloned().collect(),
        serde_json::Value::Array(items) => (0..items.len()).map(|at| at.to_string()).collect(),
        _ => Vec::new(),
    };
    for place in places {
        let pointer = format!("/{}", place.replace('~', "~0").replace('/', "~1"));
        for inner in broken(payload.pointer(&pointer).unwrap(), secret) {
            let mut whole = payload.clone();
            *whole.pointer_mut(&pointer).unwrap() = inner;
            all.push(whole);
        }
    }
    all
}

/// What is said of an event that cannot be read holds nothing of it, whichever part is broken.
fn says_nothing_of_it<E: DecodeEvent>(log: &Log) {
    let mut errors = BTreeSet::new();
    for event in &log.events {
        let payload = serde_json::from_slice(&event.payload).unwrap();
        for secret in secrets() {
            for payload in broken(&payload, &secret) {
                let payload = serde_json::to_vec(&payload).unwrap().into();
                let event = RecordedEvent { payload, ..event.clone() };
                if let Err(error) = E::decode(&log.codec, &event) {
                    let said = undecodable(&error);
                    assert!(
                        !["Ann", "Li", "7654321"].iter().any(|word| said.contains(word)),
                        "{}: {said}",
                        event.event_type
                    );
                    errors.insert(said);
                }
            }
        }
    }
    assert!(errors.len() > 10, "{errors:?}");
}

#[test]
fn an_error_holds_nothing_of_a_payload() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..3 {
        let steps = vec(any::<Step>(), 60).new_tree(&mut runner).unwrap().current();
        says_nothing_of_it::<UserEvent>(&users(&and_be_forgotten(steps.clone())));
        says_nothing_of_it::<PropertyEvent>(&properties(&steps).0);
    }
}

/// The rows do not depend on the order in which different streams come: one that is parked is folded
/// later than others, and the rows must be as if it never was.
fn same_in_any_order<P: Projection + Copy>(
    log: &Log,
    projection: P,
    picks: &[u8],
) -> Result<(), TestCaseError> {
    let mut streams: BTreeMap<&StreamId, VecDeque<&RecordedEvent>> = BTreeMap::new();
    for event in &log.events {
        streams.entry(&event.stream).or_default().push_back(event);
    }
    let mut streams: Vec<_> = streams.into_values().collect();
    let mut other_order = Vec::new();
    for pick in picks.iter().cycle() {
        if streams.is_empty() {
            break;
        }
        let at = usize::from(*pick) % streams.len();
        other_order.extend(streams[at].pop_front().cloned());
        streams.retain(|events| !events.is_empty());
    }
    prop_assert_eq!(other_order.len(), log.events.len());
    let once = log.fold(projection).everything();
    let other = log.fold_events(projection, &other_order).everything();
    prop_assert_eq!(&once, &other, "{} in another order of its streams", P::NAME);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn properties_are_the_same_in_any_order_of_streams(
        steps in steps(),
        picks in vec(any::<u8>(), 1..100),
    ) {
        let (log, _) = properties(&steps);
        same_in_any_order(&log, Listings, &picks)?;
        same_in_any_order(&log, Properties, &picks)?;
        same_in_any_order(&log, Market, &picks)?;
    }

    #[test]
    fn accounts_are_the_same_in_any_order_of_streams(
        steps in steps(),
        picks in vec(any::<u8>(), 1..100),
    ) {
        same_in_any_order(&users(&and_be_forgotten(steps)), Accounts, &picks)?;
    }

    #[test]
    fn engagement_is_the_same_in_any_order_of_streams(
        steps in steps(),
        picks in vec(any::<u8>(), 1..100),
    ) {
        same_in_any_order(&interactions(&steps), Engagement, &picks)?;
    }

    #[test]
    fn properties_are_the_same_in_pages_of_any_size(steps in steps(), page in 1..40_usize) {
        let (log, _) = properties(&steps);
        same_in_pages(&log, Listings, page)?;
        same_in_pages(&log, Properties, page)?;
        same_in_pages(&log, Market, page)?;
    }

    #[test]
    fn accounts_are_the_same_in_pages_of_any_size(steps in steps(), page in 1..40_usize) {
        same_in_pages(&users(&steps), Accounts, page)?;
    }

    #[test]
    fn engagement_is_the_same_in_pages_of_any_size(steps in steps(), page in 1..40_usize) {
        same_in_pages(&interactions(&steps), Engagement, page)?;
    }

    #[test]
    fn rows_say_what_the_aggregates_say(steps in steps()) {
        let (log, aggregates) = properties(&steps);
        let (listings, properties) = (log.fold(Listings), log.fold(Properties));
        for (id, aggregate) in aggregates {
            let row: PropertyRow = properties.row((id,));
            prop_assert_eq!(Some(&*row.facts.0), aggregate.facts());
            prop_assert_eq!(&**row.media.0, aggregate.media());
            prop_assert_eq!(row.duplicate_of, aggregate.survivor());
            let last = row.last_period.map(|period| (period.0.listing, period.0.status));
            prop_assert_eq!(last, aggregate.listing());
            let open = aggregate.listing().filter(|(_, status)| !status.is_final());
            prop_assert_eq!(row.current_listing, open.map(|(listing, _)| listing));
            let events = log.events.iter().filter(|event| event.stream.id() == id.to_string());
            prop_assert_eq!(Some(row.version), events.last().map(|event| event.version));

            let mut earlier = 0;
            for listing in row.listings.0 {
                let shown: ListingRow = listings.row((listing,));
                let facts = aggregate.facts().unwrap();
                prop_assert_eq!(shown.property, id);
                prop_assert_eq!(shown.title.as_deref(), facts.title.as_deref());
                prop_assert_eq!(shown.latitude, facts.coordinates.map(|point| point.latitude));
                prop_assert_eq!(shown.living_area_m2, facts.living_area.map(Area::square_meters));
                prop_assert_eq!(shown.photos, aggregate.media().len() as i64);
                prop_assert_eq!(shown.duplicate_of, aggregate.survivor());
                match aggregate.listing() {
                    Some((last, status)) if last == listing => prop_assert_eq!(shown.status, status),
                    _ => prop_assert!(shown.status.is_final()),
                }
                if shown.drafted_at.is_some() {
                    prop_assert_eq!(shown.earlier_market_seconds, earlier);
                    earlier += shown.market_seconds;
                }
                let counts = super::super::counts_as_on_market(shown.status);
                prop_assert_eq!(shown.market_since.is_some(), counts);
            }
        }
    }

    #[test]
    fn every_event_leaves_a_trace_in_the_history(steps in steps()) {
        let (log, _) = properties(&steps);
        let changes: Vec<PropertyChangeRow> = log.fold(Properties).rows();
        for change in &changes {
            prop_assert!(is_change(&change.field), "{} is not among the names", change.field);
        }
        for RecordedEvent { position, event_type, .. } in &log.events {
            let traces = changes.iter().filter(|change| change.position == *position);
            let named = traces.filter(|change| change.event_type == *event_type).count();
            prop_assert!(named > 0, "{} at {}", event_type, position);
        }
    }

    #[test]
    fn statistics_are_those_of_the_listings(steps in steps()) {
        let (log, aggregates) = properties(&steps);
        let (listings, market) = (log.fold(Listings), log.fold(Market));
        let mut expected: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        let rows = listings.rows::<ListingRow>();
        for row in rows.iter().filter(|row| row.duplicate_of.is_none()) {
            let Some((latitude, longitude)) = row.latitude.zip(row.longitude) else { continue };
            let point = h3o::LatLng::new(latitude, longitude).unwrap();
            let asking = row.on_market_at.map(|at| {
                (PriceBasis::Asking, at.date_naive(), row.price_minor, row.frequency)
            });
            let closed = row.closed_on.map(|day| {
                (PriceBasis::Closed, day, row.close_price_minor, row.close_frequency)
            });
            for (basis, day, price, frequency) in asking.into_iter().chain(closed) {
                for resolution in [h3o::Resolution::Six, h3o::Resolution::Eight] {
                    let cell = point.to_cell(resolution).to_string();
                    let month = day.with_day(1).unwrap();
                    let prices = expected.entry((cell, month, basis, frequency.unwrap()));
                    prices.or_default().push(price.unwrap());
                }
            }
        }
        expected.values_mut().for_each(|prices| prices.sort_unstable());
        let found: BTreeMap<_, Vec<i64>> = market
            .rows::<MarketStatisticsRow>()
            .into_iter()
            .map(|row| {
                let key = (row.cell.to_string(), row.month, row.basis, row.frequency);
                (key, row.observations.0.prices)
            })
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert!(aggregates.len() == 3);
    }

    #[test]
    fn favourites_are_those_of_the_users(steps in steps()) {
        let accounts = users(&steps);
        let accounts = accounts.fold(Accounts);
        let preferences: Vec<ListingPreferenceRow> = accounts.rows();
        for row in accounts.rows::<ListingFavouritesRow>() {
            let count = |preference| {
                let same = preferences.iter().filter(|other| other.listing == row.listing);
                same.filter(|other| other.preference == preference).count() as i64
            };
            prop_assert_eq!(row.favourites, count(ListingPreference::Favorite));
            prop_assert_eq!(row.possibilities, count(ListingPreference::Possibility));
            prop_assert_eq!(row.discards, count(ListingPreference::Discard));
        }
        for account in accounts.rows::<AccountRow>() {
            for search in account.saved_searches.0 {
                prop_assert!(accounts.find::<SavedSearchRow>(&(search, account.user)).is_some());
            }
        }
    }

    #[test]
    fn every_interaction_with_a_listing_or_property_is_counted_once(steps in steps()) {
        let engagement = interactions(&steps);
        let engagement = engagement.fold(Engagement);
        let listings = engagement.rows::<EngagementRow>().into_iter().map(|row| row.to_row());
        let properties = engagement.rows::<PropertyEngagementRow>();
        let rows = listings.chain(properties.into_iter().map(|row| row.to_row()));
        let counted: i64 = rows
            .flat_map(|row| row.0)
            .map(|value| if let Value::Integer(count) = value { count } else { 0 })
            .sum();
        let about_something = steps.iter().filter(|(_, _, x)| x % 4 < 2 || x % 8 < 5);
        prop_assert_eq!(counted, about_something.count() as i64);
    }

    /// Keys are destroyed at any time after the event that says so; the rows do not depend on it.
    #[test]
    fn a_replay_after_an_erasure_ends_with_the_same_rows(steps in steps(), page in 1..40_usize) {
        let log = users(&and_be_forgotten(steps));
        let live = log.fold(Accounts).everything();
        let shredded: Vec<SubjectId> = log
            .events
            .iter()
            .filter(|event| &*event.event_type == "SubjectKeyShredded")
            .map(|event| SubjectId(event.stream.id().parse().unwrap()))
            .collect();
        prop_assert!(shredded.len() >= 2);
        for subject in &shredded {
            log.destroy_key(*subject);
        }
        let replayed = log.fold_in_pages(Accounts, page, true);
        prop_assert_eq!(live, replayed.everything());
        for subject in shredded {
            let account: AccountRow = replayed.row((UserId(subject.0),));
            prop_assert_eq!((&account.display_name, &account.email), (&None, &None));
            prop_assert_eq!(account.phone, None);
            for search in account.saved_searches.0 {
                let search: SavedSearchRow = replayed.row((search, account.user));
                prop_assert_eq!((search.name, search.text), (None, None));
            }
        }
    }
}

#[test]
fn histories_hold_every_event() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..300 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        for log in [properties(&steps).0, users(&and_be_forgotten(steps))] {
            met.extend(log.events.iter().map(|event| event.event_type.to_string()));
        }
    }
    let every = PropertyEvent::TYPES.iter().chain(UserEvent::TYPES);
    let missing: Vec<_> = every.filter(|(name, _)| !met.contains(*name)).collect();

    assert!(missing.is_empty(), "{missing:?}");
}
