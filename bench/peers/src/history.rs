//! What every driver stores: the history of one home, decided by Freehold's domain.
//!
//! It is registered, a listing is drafted, and then its rent changes: 1,000 events, nearly all of
//! about 300 bytes. It is written to a file once; the event at version *n* of any stream is the
//! file's line *n*, whichever store keeps it. Stores that decide commands get the same commands.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use cqrs_es::Aggregate as _;
use freehold_domain::property::{
    ChangeRent, DraftListing, Origin, Property, PropertyCommand, PropertyEvent, PropertyFacts,
    PropertyType, RegisterProperty, SourceRef,
};
use freehold_domain::{
    Actor, Address, Area, AreaUnit, Circumstances, Coordinates, FeeFrequency, ListingKey, Policy,
    Price, StoredEvent as _,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// How many events the file has; a longer stream goes on with its rent changes.
pub(crate) const EVENTS: u64 = 1_000;
/// Why a rent changed; sets the size of most events.
const REASON: &str =
    "adjusted to what comparable homes in the same quarter asked for last week, as agreed with you";

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    event_type: String,
    payload: Box<RawValue>,
}

/// One event as stores take it.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) event_type: Arc<str>,
    pub(crate) payload: Bytes,
}

/// The events of a stream, by version.
pub(crate) struct History(Vec<Event>);

impl History {
    /// Writes the file that all drivers read.
    pub(crate) fn write(path: &Path) -> anyhow::Result<()> {
        let mut text = String::new();
        for event in decide()? {
            let payload = event.serialize_payload(serde_json::value::Serializer)?;
            let payload = serde_json::value::to_raw_value(&payload)?;
            let line = Line { event_type: event.event_type().to_owned(), payload };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        std::fs::write(path, text).with_context(|| format!("{}", path.display()))
    }

    /// Reads it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let lines = text.lines().map(|line| {
            let Line { event_type, payload } = serde_json::from_str(line)?;
            let payload = Bytes::from(payload.get().to_owned());
            Ok(Event { event_type: event_type.into(), payload })
        });
        Ok(Self(lines.collect::<anyhow::Result<_>>()?))
    }

    /// The event at a version, which counts from 1.
    pub(crate) fn at(&self, version: u64) -> &Event {
        let line = if version <= EVENTS { version } else { 3 + (version - 3) % (EVENTS - 2) };
        &self.0[line as usize - 1]
    }
}

/// The events of one home, by the commands that lead to them.
pub(crate) fn decide() -> anyhow::Result<Vec<PropertyEvent>> {
    let stream = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let (mut property, circumstances) = (Property::default(), circumstances());
    let mut events = Vec::new();
    for version in 1..=EVENTS {
        let decided = property.decide(command(stream, version, version), &circumstances)?;
        for event in decided {
            property.apply(event.clone());
            events.push(event);
        }
    }
    anyhow::ensure!(events.len() as u64 == EVENTS, "a command is one event");
    Ok(events)
}

/// The command that leads to the event at a version; a rent must differ from the one before.
pub(crate) fn command(stream: Uuid, version: u64, rent: u64) -> PropertyCommand {
    let listing = ListingKey(stream);
    match version {
        1 => RegisterProperty {
            source: SourceRef { source: "bench".to_owned(), reference: stream.to_string() },
            origin: Origin::Client,
            facts: Box::new(facts()),
            amenities: BTreeSet::from(["balcony".to_owned(), "elevator".to_owned()]),
        }
        .into(),
        2 => DraftListing {
            listing,
            price: Some(price(0)),
            available_from: NaiveDate::from_ymd_opt(2026, 3, 1),
            agent: None,
        }
        .into(),
        _ => ChangeRent { listing, price: price(rent), reason: Some(REASON.to_owned()) }.into(),
    }
}

/// What decisions depend on.
pub(crate) fn circumstances() -> Circumstances {
    let now = DateTime::<Utc>::from_timestamp(1_770_000_000, 0).unwrap_or_default();
    Circumstances { now, actor: Actor("bench".to_owned()), policy: Policy::default() }
}

fn facts() -> PropertyFacts {
    PropertyFacts {
        property_type: Some(PropertyType::Apartment),
        address: Some(Address {
            street: Some("Karl-Marx-Allee 72".to_owned()),
            city: Some("Berlin".to_owned()),
            postal_code: Some("10243".to_owned()),
            country: Some("DE".to_owned()),
            region: None,
        }),
        coordinates: Some(Coordinates { latitude: 52.5173, longitude: 13.4353 }),
        bedrooms: Some(2),
        living_area: Some(Area { value: 68.5, unit: AreaUnit::SquareMeters }),
        ..PropertyFacts::default()
    }
}

fn price(rent: u64) -> Price {
    let cents = 100_000 + i64::try_from(rent).unwrap_or_default();
    Price::from_minor_units(cents, "EUR", FeeFrequency::Monthly)
        .expect("more than zero, and the euro is a currency")
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, History};

    #[test]
    fn the_history_is_what_the_domain_decides_and_nearly_all_of_300_bytes() {
        let file = std::env::temp_dir().join(format!("freehold-peers-{}", std::process::id()));
        History::write(&file).unwrap();
        let history = History::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();

        assert_eq!(&*history.at(1).event_type, "PropertyRegistered");
        assert_eq!(&*history.at(2).event_type, "ListingDrafted");
        for version in 3..3 * EVENTS {
            let event = history.at(version);
            assert_eq!(&*event.event_type, "RentChanged");
            assert!((280..320).contains(&event.payload.len()), "{}", event.payload.len());
        }
    }
}
