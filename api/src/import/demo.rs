//! The demo's data: house sales, flats to rent, and what visitors did; see `api/data/README.md`.
//!
//! Each row of a property is one append whose stream has an id made of tenant and reference, so a
//! row that is there already changes nothing. The last row of a set is stored when all others are:
//! it tells that the set is complete, for as long as the log lasts.
//!
//! What the sets do not say is not made up, with two exceptions that publishing a listing needs:
//! a placeholder stands for the photo and says so, and the flats are free from the day on which
//! the impressions begin.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use flate2::read::GzDecoder;
use freehold_commands::{CommandContext, CommandError, Outcome, RecordError, record_interaction};
use freehold_domain::interaction::{
    ActorType, EventSource, Interaction, InteractionDetails, InteractionKind, ObjectType,
};
use freehold_domain::property::{
    AttachMedia, DraftListing, MediaCategory, Origin, Property, PropertyCommand, PropertyFacts,
    PropertyRefused, PropertyType, PublishListing, RecordClosing, RegisterProperty, SourceRef,
};
use freehold_domain::{
    Address, Area, AreaUnit, Claim, ClaimKey, Coordinates, FeeFrequency, ListingKey, Price,
    PropertyId, Uniqueness,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{Counted, IN_FLIGHT, ImportError, Progress, Setback, patiently};
use crate::placeholder::PLACEHOLDER_URL;
use crate::platform::Platform;

const SALES: &[u8] = include_bytes!("../../data/lucas_county_sales.csv.gz");
const RENTALS: &[u8] = include_bytes!("../../data/berlin_prenzlauer_berg_rentals.csv.gz");
const IMPRESSIONS: &[u8] = include_bytes!("../../data/listing_impressions.csv.gz");

/// Who stores the demo's events.
const ACTOR: &str = "demo";
/// The items of the impressions are the first so many flats.
const ITEMS: usize = 80;

/// How many rows of each set are imported, from its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) sales: usize,
    pub(super) rentals: usize,
    pub(super) impressions: usize,
}

impl Extent {
    /// All there are.
    pub(super) const ALL: Self = Self { sales: 25_357, rentals: 2_203, impressions: 30_000 };
}

/// What an import of the demo's data found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemoReport {
    /// Properties stored now.
    pub properties: u64,
    /// Views and impressions stored now.
    pub interactions: u64,
    /// Rows that were there already, among those that were looked at.
    pub known: u64,
    /// Rows whose reference another property has: left alone.
    pub taken: u64,
}

/// Imports the demo's data for a tenant; again it changes nothing, and says so within a moment.
pub async fn import_demo(
    platform: &Platform,
    tenant: Arc<str>,
    progress: &dyn Progress,
) -> Result<DemoReport, ImportError> {
    import(platform, tenant, progress, Extent::ALL).await
}

pub(super) async fn import(
    platform: &Platform,
    tenant: Arc<str>,
    progress: &dyn Progress,
    extent: Extent,
) -> Result<DemoReport, ImportError> {
    let mut demo = Demo { platform, tenant, progress, report: DemoReport::default() };
    if !demo.is_complete(&sale_reference(extent.sales)).await? {
        demo.sales(extent.sales).await?;
    }
    if !demo.is_complete(&rental_reference(extent.rentals)).await? {
        demo.rentals(extent).await?;
    }
    progress.finish();
    Ok(demo.report)
}

#[derive(Clone, Deserialize)]
struct Sale {
    source_ref: String,
    sale_date: NaiveDate,
    sale_price_usd: i64,
    year_built: u16,
    stories: String,
    living_area_sqft: f64,
    wall: String,
    beds: u16,
    baths: u16,
    half_baths: u16,
    rooms: u16,
    garage: String,
    garage_sqft: f64,
    lot_size_sqft: f64,
    latitude: f64,
    longitude: f64,
}

#[derive(Clone, Deserialize)]
struct Rental {
    source_ref: String,
    accommodates: u16,
    bedrooms: u16,
    bathrooms: f64,
    nightly_price_eur: i64,
    longitude: f64,
    latitude: f64,
}

#[derive(Clone, Deserialize)]
struct Impression {
    timestamp: String,
    visitor_id: String,
    item_id: usize,
    position: u32,
    click: u8,
}

/// A property of the demo, ready to be stored.
struct Row {
    property: PropertyId,
    occurred_at: DateTime<Utc>,
    commands: Vec<PropertyCommand>,
}

/// What became of a row.
enum Stored {
    Now,
    Before,
    /// Another property has the reference.
    Taken(PropertyId),
}

/// What an item of the impressions is.
#[derive(Clone, Copy)]
struct Item {
    property: PropertyId,
    listing: Option<ListingKey>,
}

struct Demo<'a> {
    platform: &'a Platform,
    tenant: Arc<str>,
    progress: &'a dyn Progress,
    report: DemoReport,
}

impl Demo<'_> {
    /// Whether the last row of a set is there, which is stored after all others.
    async fn is_complete(&self, last: &SourceRef) -> Result<bool, ImportError> {
        let claim = Claim {
            namespace: "source",
            uniqueness: Uniqueness::Taken,
            key: ClaimKey::Clear(last.key()),
        };
        Ok(self.platform.executor.holder_of(&self.tenant, &claim).await?.is_some())
    }

    async fn sales(&mut self, rows: usize) -> Result<(), ImportError> {
        let sales: Vec<Sale> = table(SALES, rows)?;
        let rows: Vec<Row> = sales.iter().map(|sale| self.sale(sale)).collect::<Result<_, _>>()?;
        self.progress.begin("house sales", rows.len() as u64, Counted::Rows);
        self.properties(rows).await?;
        Ok(())
    }

    /// The flats, then what visitors did, then the last flat.
    async fn rentals(&mut self, extent: Extent) -> Result<(), ImportError> {
        let rentals: Vec<Rental> = table(RENTALS, extent.rentals)?;
        let mut rows: Vec<Row> =
            rentals.iter().map(|rental| self.rental(rental)).collect::<Result<_, _>>()?;
        let last = rows.pop();
        self.progress.begin("flats to rent", rows.len() as u64, Counted::Rows);
        let items = self.properties(rows).await?;
        self.impressions(extent.impressions, &items).await?;
        self.progress.begin("the last flat", 1, Counted::Rows);
        self.properties(last.into_iter().collect()).await?;
        Ok(())
    }

    /// Stores rows, the last one after all others; says which listings the first of them have.
    async fn properties(&mut self, mut rows: Vec<Row>) -> Result<Vec<Item>, ImportError> {
        let last = rows.pop();
        let mut items = Vec::with_capacity(ITEMS);
        for rows in [rows, last.into_iter().collect()] {
            let this = &*self;
            let stores = stream::iter(0..rows.len()).map(|at| this.property(&rows[at]));
            let stored = stores.buffered(IN_FLIGHT).try_collect::<Vec<_>>().await?;
            for (row, stored) in rows.iter().zip(stored) {
                let listing = Some(listing_of(row.property));
                let report = &mut self.report;
                let (count, property, listing) = match stored {
                    Stored::Now => (&mut report.properties, row.property, listing),
                    Stored::Before => (&mut report.known, row.property, listing),
                    Stored::Taken(property) => (&mut report.taken, property, None),
                };
                *count += 1;
                let item = Item { property, listing };
                if items.len() < ITEMS {
                    items.push(item);
                }
            }
        }
        Ok(items)
    }

    async fn property(&self, row: &Row) -> Result<Stored, ImportError> {
        let mut context = CommandContext::new(self.tenant.clone(), ACTOR);
        context.occurred_at = Some(row.occurred_at);
        let stored = patiently(|| async {
            let plan = |state: &Property| {
                let known = state.facts().is_some();
                Ok::<_, CommandError<PropertyRefused>>(if known {
                    Vec::new()
                } else {
                    row.commands.clone()
                })
            };
            let executor = &self.platform.executor;
            let id = row.property.0;
            match executor.execute_planned::<Property, _>(id, &(), plan, &context).await {
                Ok(executed) if executed.outcome == Outcome::Stored => Ok(Stored::Now),
                Ok(_) => Ok(Stored::Before),
                Err(CommandError::Taken { by, .. }) => {
                    let holder = by.id().parse().map(PropertyId);
                    Ok(holder.map_or(Stored::Before, Stored::Taken))
                }
                Err(error) => Err(Setback::from(error)),
            }
        });
        let stored = stored.await?;
        self.progress.advance(1);
        Ok(stored)
    }

    async fn impressions(&mut self, rows: usize, items: &[Item]) -> Result<(), ImportError> {
        let impressions: Vec<Impression> = table(IMPRESSIONS, rows)?;
        self.progress.begin("views and impressions", impressions.len() as u64, Counted::Rows);
        let this = &*self;
        let known = (0..impressions.len()).filter(|row| impressions[*row].item_id < items.len());
        let stores = stream::iter(known).map(|row| {
            let impression = &impressions[row];
            this.impression(row, impression, items[impression.item_id])
        });
        let counts = stores.buffered(IN_FLIGHT).try_collect::<Vec<_>>().await?;
        for (stored, known) in counts {
            self.report.interactions += stored;
            self.report.known += known;
        }
        Ok(())
    }

    /// Stores what one row says; says how many interactions are stored now and were before.
    async fn impression(
        &self,
        row: usize,
        impression: &Impression,
        item: Item,
    ) -> Result<(u64, u64), ImportError> {
        let seen: DateTime<Utc> = impression.timestamp.parse().map_err(|_| {
            let what = format!("{:?} is no moment", impression.timestamp);
            ImportError::Malformed { row: row as u64 + 1, what }
        })?;
        let codec = &self.platform.codec;
        let visitor = format!("{}\nberlin\n{}", self.tenant, impression.visitor_id);
        let session = codec.keyed_hash("session", visitor.as_bytes()).to_hex();
        let mut interaction = Interaction {
            kind: InteractionKind::Impression,
            details: InteractionDetails {
                actor_type: ActorType::Unknown,
                object_type: ObjectType::Listing,
                property: Some(item.property),
                listing: item.listing,
                reference: None,
                device_type: None,
                event_source: Some(EventSource::List),
                session: Some(session.clone()),
                page_position: Some(impression.position),
                event_timestamp: seen,
                reported_timestamp: seen,
            },
        };
        let context = CommandContext::new(self.tenant.clone(), ACTOR);
        let mut key = format!("demo/impressions/{row}");
        let (mut stored, mut known) = (0, 0);
        loop {
            let recorded = patiently(|| async {
                let store = &*self.platform.store;
                let key = Some(&*key);
                record_interaction(store, codec, &interaction, key, &session, &context)
                    .await
                    .map_err(|error| match error {
                        RecordError::Append(error) => Setback::from(error),
                        RecordError::Codec(error) => Setback::Final(error.to_string()),
                    })
            });
            if recorded.await?.appended.repeated {
                known += 1
            } else {
                stored += 1
            }
            if impression.click == 0 || interaction.kind == InteractionKind::DetailedView {
                break;
            }
            // The set has one moment for both.
            interaction.kind = InteractionKind::DetailedView;
            key.push_str("/click");
        }
        self.progress.advance(1);
        Ok((stored, known))
    }

    fn sale(&self, sale: &Sale) -> Result<Row, ImportError> {
        let area = |value| Area::new(value, AreaUnit::SquareFeet).ok();
        let facts = PropertyFacts {
            property_type: Some(PropertyType::SingleFamilyResidence),
            address: Some(Address {
                region: Some("Lucas County, Ohio".to_owned()),
                country: Some("US".to_owned()),
                ..Address::default()
            }),
            coordinates: Coordinates::new(sale.latitude, sale.longitude).ok(),
            year_built: Some(sale.year_built),
            stories: stories(&sale.stories),
            bedrooms: Some(sale.beds),
            bathrooms_full: Some(sale.baths),
            bathrooms_half: Some(sale.half_baths),
            rooms: Some(sale.rooms),
            living_area: area(sale.living_area_sqft),
            lot_area: area(sale.lot_size_sqft),
            garage_area: area(sale.garage_sqft),
            ..PropertyFacts::default()
        };
        let garage = (sale.garage != "no garage").then(|| format!("garage: {}", sale.garage));
        let walls = format!("walls: {}", walls(&sale.wall));
        let price = price(sale.sale_price_usd, "USD", FeeFrequency::OneTime)?;
        let source = SourceRef { source: "lucas".to_owned(), reference: sale.source_ref.clone() };
        let property = self.property_of(&source);
        let closing =
            RecordClosing { listing: listing_of(property), price, closed_on: sale.sale_date };
        let amenities = garage.into_iter().chain([walls]).collect();
        let commands = vec![registration(&source, facts, amenities), closing.into()];
        let noon = NaiveTime::from_hms_opt(12, 0, 0).expect("noon is a time of day");
        let occurred_at = sale.sale_date.and_time(noon).and_utc();
        Ok(Row { property, occurred_at, commands })
    }

    fn rental(&self, rental: &Rental) -> Result<Row, ImportError> {
        let facts = PropertyFacts {
            property_type: Some(PropertyType::Apartment),
            title: Some(format!("Flat for {} in Prenzlauer Berg", rental.accommodates)),
            address: Some(Address {
                city: Some("Berlin".to_owned()),
                region: Some("Prenzlauer Berg".to_owned()),
                country: Some("DE".to_owned()),
                ..Address::default()
            }),
            coordinates: Coordinates::new(rental.latitude, rental.longitude).ok(),
            bedrooms: Some(rental.bedrooms),
            // The set counts halves: one and a half are one with a bath and one without.
            bathrooms_full: Some(rental.bathrooms.floor() as u16),
            bathrooms_half: Some(u16::from(rental.bathrooms.fract() > 0.0)),
            max_occupancy: Some(rental.accommodates),
            ..PropertyFacts::default()
        };
        let source =
            SourceRef { source: "berlin".to_owned(), reference: rental.source_ref.clone() };
        let property = self.property_of(&source);
        let listing = listing_of(property);
        let photo = AttachMedia {
            id: Uuid::new_v5(&property.0, PLACEHOLDER_URL.as_bytes()),
            url: PLACEHOLDER_URL.to_owned(),
            category: MediaCategory::Photo,
            caption: Some("Placeholder: the data set has no photos".to_owned()),
            order: None,
        };
        let price = price(rental.nightly_price_eur, "EUR", FeeFrequency::Daily)?;
        let available_from = NaiveDate::from_ymd_opt(2019, 11, 24);
        let draft = DraftListing { listing, price: Some(price), available_from, agent: None };
        let commands = vec![
            registration(&source, facts, BTreeSet::new()),
            photo.into(),
            draft.into(),
            PublishListing { listing, expires_at: None }.into(),
        ];
        let before =
            NaiveDate::from_ymd_opt(2019, 11, 23).and_then(|day| day.and_hms_opt(12, 0, 0));
        let occurred_at = before.expect("the day before the impressions has a noon").and_utc();
        Ok(Row { property, occurred_at, commands })
    }

    /// The same for a reference whenever it is imported, and another for each tenant.
    fn property_of(&self, source: &SourceRef) -> PropertyId {
        let name = format!("freehold:demo/{}/{}", self.tenant, source.key());
        PropertyId(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

fn listing_of(property: PropertyId) -> ListingKey {
    ListingKey(Uuid::new_v5(&property.0, b"listing"))
}

fn sale_reference(row: usize) -> SourceRef {
    SourceRef { source: "lucas".to_owned(), reference: format!("lucas-{row:05}") }
}

fn rental_reference(row: usize) -> SourceRef {
    SourceRef { source: "berlin".to_owned(), reference: format!("berlin-{row:04}") }
}

fn registration(
    source: &SourceRef,
    facts: PropertyFacts,
    amenities: BTreeSet<String>,
) -> PropertyCommand {
    let (source, facts) = (source.clone(), Box::new(facts));
    RegisterProperty { source, origin: Origin::Feed, facts, amenities }.into()
}

fn price(major: i64, currency: &str, frequency: FeeFrequency) -> Result<Price, ImportError> {
    let price = Price::from_minor_units(major.saturating_mul(100), currency, frequency);
    price.map_err(|error| ImportError::Malformed { row: 0, what: error.to_string() })
}

/// Storeys, where the set's word for them is a number of them.
fn stories(word: &str) -> Option<f64> {
    match word {
        "one" => Some(1.0),
        "one+half" => Some(1.5),
        "two" => Some(2.0),
        "two+half" => Some(2.5),
        "three" => Some(3.0),
        _ => None,
    }
}

/// What the set's codes for walls stand for.
fn walls(code: &str) -> &str {
    match code {
        "partbrk" => "part brick",
        "metlvnyl" => "metal or vinyl",
        "stucdrvt" => "stucco or drivit",
        "ccbtile" => "concrete block or tile",
        other => other,
    }
}

/// The first rows of a compressed table.
fn table<T: DeserializeOwned>(bytes: &[u8], rows: usize) -> Result<Vec<T>, ImportError> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text)?;
    let mut reader = csv::Reader::from_reader(&*text);
    let row = |(row, parsed): (usize, csv::Result<T>)| {
        let malformed = |error: csv::Error| ImportError::Malformed {
            row: row as u64 + 1,
            what: error.to_string(),
        };
        parsed.map_err(malformed)
    };
    reader.deserialize().take(rows).enumerate().map(row).collect()
}
