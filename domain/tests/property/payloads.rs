//! What is stored: a changed byte here is a changed promise.
//!
//! `UPDATE_GOLDEN=1 cargo test -p freehold-domain` writes the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chrono::Days;
use freehold_domain::property::*;
use freehold_domain::{
    Actor, Area, AreaUnit, ClaimKey, ListingKey, PayloadError, StoredEvent, Uniqueness,
};

use crate::samples::*;

fn one_of_each() -> Vec<PropertyEvent> {
    let listing = LISTING;
    vec![
        PropertyRegistered {
            facts: Box::new(PropertyFacts {
                property_type: Some(PropertyType::SingleFamilyResidence),
                title: Some("House with a garden".into()),
                description: Some("Quiet.\nNear the river.".into()),
                address: Some(address()),
                coordinates: Some(point()),
                year_built: Some(1978),
                stories: Some(1.5),
                bedrooms: Some(4),
                bathrooms_full: Some(3),
                bathrooms_half: Some(1),
                rooms: Some(12),
                max_occupancy: Some(6),
                living_area: Area::new(3_273.0, AreaUnit::SquareFeet).ok(),
                lot_area: Area::new(0.5, AreaUnit::Acres).ok(),
                garage_area: Area::new(58.0, AreaUnit::SquareMeters).ok(),
            }),
            ..registered()
        }
        .into(),
        PropertyFactsCorrected {
            changes: vec![
                FactChange::Title(Changed { old: Some("House".into()), new: None }),
                FactChange::YearBuilt(Changed { old: None, new: Some(1978) }),
                FactChange::LivingArea(Changed {
                    old: Some(square_meters(60.0)),
                    new: Some(square_meters(68.5)),
                }),
            ],
        }
        .into(),
        AmenitiesSet { old: words(&["balcony"]), new: words(&["balcony", "lift"]) }.into(),
        AddressGeocoded {
            coordinates: point(),
            precision: CoordinatePrecision::Rooftop,
            visibility: LocationVisibility::Approximate,
        }
        .into(),
        AddressVerificationFailed { reason: "no such street".into() }.into(),
        MediaAttached { media: plan() }.into(),
        MediaReordered { order: vec![PLAN, PHOTO] }.into(),
        PreferredPhotoSet { media: PHOTO }.into(),
        MediaRemoved { media: PHOTO }.into(),
        drafted(LISTING).into(),
        ListingSubmitted { listing, submitted_by: Actor("mara".into()) }.into(),
        ListingApproved { listing, approved_by: Actor("noor".into()) }.into(),
        ListingChangesRequested { listing, reasons: vec!["a better photo".into()] }.into(),
        ListingReturnedToDraft { listing }.into(),
        scheduled().into(),
        published().into(),
        RentChanged {
            listing,
            old: Some(rent()),
            new: higher_rent(),
            reason: Some("index".into()),
        }
        .into(),
        MoveInCostsSet { listing, costs: costs() }.into(),
        OngoingFeesSet { listing, fees: fees() }.into(),
        ConcessionOffered { listing, concession: concession() }.into(),
        ConcessionWithdrawn { listing, concession: CONCESSION }.into(),
        LeaseTermsSet { listing, terms: terms() }.into(),
        AvailabilityChanged { listing, old: Some(next_month()), new: next_month() + Days::new(14) }
            .into(),
        ListingUnderApplication { listing, application: APPLICATION }.into(),
        ListingBackOnMarket {
            listing,
            cause: BackOnMarketCause::ApplicationDeclined,
            application: Some(APPLICATION),
        }
        .into(),
        ListingPending { listing, application: Some(APPLICATION) }.into(),
        ListingLeased { listing, lease: LEASE, rent_at_close: rent(), close_date: today() }.into(),
        ListingHeld { listing }.into(),
        ListingWithdrawn { listing, reason: "the owner moves in".into() }.into(),
        ListingCancelled { listing }.into(),
        ListingExpired { listing }.into(),
        ListingVoided { listing }.into(),
        ListingRenewed { listing, old: Some(in_days(90)), new: in_days(180) }.into(),
        ListingAgentReassigned { listing, old: Some(AGENT), new: OTHER_AGENT }.into(),
        ClosingRecorded { listing, price: once(), closed_on: today() }.into(),
        MarkedDuplicateOf { survivor: SURVIVOR }.into(),
        DuplicateSeparated { survivor: SURVIVOR }.into(),
        PropertyArchived {}.into(),
    ]
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/property")
}

fn payload(event: &PropertyEvent) -> String {
    let mut bytes = Vec::new();
    event.serialize_payload(&mut serde_json::Serializer::pretty(&mut bytes)).unwrap();
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap()
}

fn read(
    event_type: &str,
    version: u16,
    payload: &str,
) -> Result<PropertyEvent, PayloadError<serde_json::Error>> {
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    PropertyEvent::deserialize_payload(event_type, version, &mut deserializer)
}

#[test]
fn the_stored_payload_of_every_event_type_is_the_golden_one() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for event in one_of_each() {
        let (name, version) = (event.event_type(), event.schema_version());
        let path = golden_folder().join(format!("{name}.v{version}.json"));
        if update {
            fs::create_dir_all(golden_folder()).unwrap();
            fs::write(&path, payload(&event)).unwrap();
        }
        let golden =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(payload(&event), golden, "{name} is stored in another shape");
    }
}

#[test]
fn every_event_type_and_every_version_ever_written_has_a_golden_file_that_is_read() {
    let samples = one_of_each();
    let mut files = BTreeSet::new();
    for file in fs::read_dir(golden_folder()).unwrap() {
        files.insert(file.unwrap().file_name().into_string().unwrap());
    }
    for (name, newest) in PropertyEvent::TYPES {
        let sample = samples.iter().find(|event| event.event_type() == *name);
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample"));
        for version in 1..=*newest {
            let file = format!("{name}.v{version}.json");
            assert!(files.remove(&file), "{file} is missing");
            let golden = fs::read_to_string(golden_folder().join(&file)).unwrap();
            let read = read(name, version, &golden).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert_eq!(&read, sample, "{file}");
        }
    }
    assert_eq!(files, BTreeSet::new(), "golden files of no event type");
}

#[test]
fn a_registration_in_square_feet_reads_as_one_with_a_unit() {
    let stored = r#"{"source":{"source":"lucas","reference":"lucas-00001"},
        "facts":{"property_type":"SingleFamilyResidence","bedrooms":4,"living_area_sqft":3273}}"#;
    let facts = PropertyFacts {
        property_type: Some(PropertyType::SingleFamilyResidence),
        bedrooms: Some(4),
        living_area: Area::new(3_273.0, AreaUnit::SquareFeet).ok(),
        ..PropertyFacts::default()
    };

    let read = read("PropertyRegistered", 1, stored).unwrap();

    let source = SourceRef { source: "lucas".into(), reference: "lucas-00001".into() };
    let today = PropertyRegistered { source, facts: facts.into(), amenities: words(&[]) };
    assert_eq!(read, today.into());
    assert_eq!(read.schema_version(), 2);
}

#[test]
fn a_registration_of_zero_square_feet_reads_as_one_of_unknown_area() {
    let stored = r#"{"source":{"source":"lucas","reference":"1"},"facts":{"living_area_sqft":0}}"#;

    let read = read("PropertyRegistered", 1, stored).unwrap();

    let PropertyEvent::PropertyRegistered(registered) = read else { panic!("{read:?}") };
    assert_eq!(*registered.facts, PropertyFacts::default());
}

#[test]
fn an_unknown_type_or_version_asks_for_a_newer_program_and_a_bad_payload_for_a_repair() {
    assert!(matches!(read("PropertyBurned", 1, "{}"), Err(PayloadError::UnknownType)));
    assert!(matches!(read("ListingHeld", 7, "{}"), Err(PayloadError::UnknownVersion(7))));
    assert!(matches!(read("ListingHeld", 1, "{}"), Err(PayloadError::Malformed(_))));
}

#[test]
fn a_registration_claims_the_senders_reference_and_a_new_period_its_key() {
    for event in one_of_each() {
        let claims = event.claims();
        let claimed: Vec<_> = claims.iter().map(|c| (c.namespace, &c.key)).collect();
        let listing = |key: ListingKey| ClaimKey::Clear(key.to_string());
        match &event {
            PropertyEvent::PropertyRegistered(_) => {
                let reference = ClaimKey::Clear("berlin/berlin-0001".into());
                assert_eq!(claimed, [("source", &reference)]);
            }
            PropertyEvent::ListingDrafted(e) => {
                assert_eq!(claimed, [("listing", &listing(e.listing))]);
            }
            PropertyEvent::ClosingRecorded(e) => {
                assert_eq!(claimed, [("listing", &listing(e.listing))]);
            }
            _ => assert_eq!(claimed, []),
        }
        assert!(claims.iter().all(|claim| claim.uniqueness == Uniqueness::Taken));
    }
}

#[test]
fn names_of_values_are_found_whatever_their_case() {
    assert_eq!(PropertyType::from_name("apartment"), Some(PropertyType::Apartment));
    assert_eq!(PropertyType::from_name("castle"), None);
    for status in ListingStatus::ALL {
        assert_eq!(ListingStatus::from_name(status.name()), Some(*status));
        let stored = serde_json::to_string(status).unwrap();
        assert_eq!(stored, format!("{:?}", status.name()));
    }
}

#[test]
fn a_snapshot_reads_back_as_the_state_it_was_taken_of() {
    for until in 1..=one_of_each().len() {
        let property = fold(one_of_each().into_iter().take(until));

        let snapshot = serde_json::to_string(&property).unwrap();

        assert_eq!(serde_json::from_str::<Property>(&snapshot).unwrap(), property);
    }
}
