//! How long a GraphQL search takes over a million listings, one after the other.
//!
//! The listings are written into the tables of their projection; operations are executed against
//! the schema in this process, so HTTP is not in the figures. Every question has other values.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_graphql::{Request, Variables};
use freehold::graphql::{Limits, Schema, schema};
use freehold::platform::Caller;
use freehold_domain::property::ListingStatus;
use freehold_domain::{AreaUnit, PropertyId};
use freehold_ports::{Commit, GlobalPosition, ReadModels, RowChange, StreamVersion, TableChanges};
use freehold_projections::models::listing::{ListingRow, Listings};
use freehold_projections::{Json, Projection as _, TypedRow as _};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::made_up::{CITIES, Dice, Home, SOURCE};
use crate::output::{Fsync, Latency, Output, Row};
use crate::{Serving, Setting, TENANT, limit};

const SEARCH: &str = "query Search($filter: ListingFilter, $order: ListingOrder, $after: String) {
    listings(filter: $filter, orderBy: $order, first: 20, after: $after) {
        nodes {
            id status title bedrooms bathrooms
            price { amountMinor currency frequency }
            livingArea { value unit }
            address { street city }
            coordinates { latitude longitude }
            photo { url }
        }
        pageInfo { hasNextPage endCursor }
    }
}";

/// How many pages come before the deep one.
const PAGES_BEFORE: usize = 500;

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let (listings, questions) = if setting.quick { (100_000, 300) } else { (1_000_000, 1_000) };
    let Serving { node, folder, .. } = &setting.serve().await?;
    fill(&*node.platform.models, listings).await?;
    let asker = Asker { schema: schema(node.platform.clone(), Limits::default()) };
    for (name, question) in QUESTIONS {
        let before = limit::fsync_us(folder.path())?;
        let mut dice = Dice::new(42);
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
        let (mut found, mut after) = (0, Value::Null);
        let deep = *name == "deep page, newest";
        if deep {
            for _ in 0..PAGES_BEFORE {
                after = asker.ask(question(&mut dice), after).await?.end;
            }
        }
        let started = Instant::now();
        for _ in 0..questions {
            let (variables, cursor) = (question(&mut dice), after.clone());
            let asked = Instant::now();
            let page = asker.ask(variables, cursor).await?;
            times.record((asked.elapsed().as_micros() as u64).max(1))?;
            found += page.nodes;
            if deep {
                after = page.end;
            }
        }
        let per_second = questions as f64 / started.elapsed().as_secs_f64();
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
        let parameters = Map::from_iter([
            ("search".to_owned(), Value::from(*name)),
            ("listings".to_owned(), Value::from(listings)),
            (
                "found".to_owned(),
                json!((found as f64 * 10.0 / f64::from(questions)).round() / 10.0),
            ),
        ]);
        output.print(Row {
            bench: "search",
            store: setting.store_name(),
            parameters,
            value: per_second,
            unit: "searches/s",
            latency: Some(Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) }),
            fsync_us: Fsync { before, after: limit::fsync_us(folder.path())? },
            ..Row::default()
        })?;
    }
    node.stop().await;
    Ok(())
}

/// A search by its name, with its values drawn.
type Drawn = (&'static str, fn(&mut Dice) -> Value);

const QUESTIONS: &[Drawn] = &[
    ("box, price, bedrooms, cheapest", |dice| {
        let city = dice.zipf(CITIES);
        let point = dice.point(city);
        let (latitude, longitude) = (point.latitude, point.longitude);
        let area = json!({ "box": {
            "south": latitude - 0.05, "north": latitude + 0.05,
            "west": longitude - 0.05, "east": longitude + 0.05,
        } });
        let filter = json!({
            "area": area, "price": price(dice), "bedrooms": { "min": 1 + dice.below(3) },
            "statuses": ["ACTIVE"],
        });
        json!({ "filter": filter, "order": "PRICE_ASCENDING" })
    }),
    ("5 km around, newest", |dice| {
        let city = dice.zipf(CITIES);
        let point = dice.point(city);
        let area = json!({ "radius": {
            "latitude": point.latitude, "longitude": point.longitude, "meters": 5_000,
        } });
        json!({ "filter": { "area": area }, "order": "NEWEST" })
    }),
    ("price, bedrooms, cheapest", |dice| {
        let filter = json!({ "price": price(dice), "bedrooms": { "min": 1 + dice.below(3) } });
        json!({ "filter": filter, "order": "PRICE_ASCENDING" })
    }),
    ("two words, newest", |dice| json!({ "filter": { "text": dice.words(2) }, "order": "NEWEST" })),
    ("status, newest", |dice| {
        let status = ["ACTIVE", "DRAFT", "UNDER_APPLICATION"][dice.below(3) as usize];
        json!({ "filter": { "statuses": [status] }, "order": "NEWEST" })
    }),
    ("deep page, newest", |_| json!({ "filter": { "statuses": ["ACTIVE"] }, "order": "NEWEST" })),
];

fn price(dice: &mut Dice) -> Value {
    let low = 40_000 + dice.below(150_000);
    let high = low + 30_000 + dice.below(100_000);
    json!({ "minMinor": low, "maxMinor": high, "currency": "EUR", "frequency": "MONTHLY" })
}

/// Asks as one visitor after the other.
struct Asker {
    schema: Schema,
}

struct Page {
    nodes: usize,
    end: Value,
}

impl Asker {
    async fn ask(&self, mut variables: Value, after: Value) -> anyhow::Result<Page> {
        variables["after"] = after;
        let caller =
            Caller { actor: "bench".into(), tenant: TENANT.into(), correlation_id: Uuid::now_v7() };
        let request = Request::new(SEARCH).variables(Variables::from_json(variables)).data(caller);
        let response = self.schema.execute(request).await;
        ensure!(response.errors.is_empty(), "{:?}", response.errors);
        let data = response.data.into_json()?;
        let listings = &data["listings"];
        let nodes = listings["nodes"].as_array().context("nodes are a list")?.len();
        Ok(Page { nodes, end: listings["pageInfo"]["endCursor"].clone() })
    }
}

async fn fill(models: &dyn ReadModels, listings: u64) -> anyhow::Result<()> {
    const AT_ONCE: u64 = 10_000;
    let generation =
        models.create_generation(Listings::NAME, Listings::VERSION, Listings.tables()).await?;
    for from in (0..listings).step_by(AT_ONCE as usize) {
        let to = (from + AT_ONCE).min(listings);
        let changes = (from..to).map(|number| RowChange::Put(row(number).to_row())).collect();
        let changes = vec![TableChanges { table: ListingRow::TABLE, changes }];
        let (from, to) = (GlobalPosition(from), GlobalPosition(to));
        models.commit(Commit::moving(generation.clone(), from, to, changes)).await?;
    }
    models.prepare(generation.clone()).await?;
    models.activate(generation).await?;
    Ok(())
}

fn row(number: u64) -> ListingRow {
    let home = Home::new(number);
    let (facts, at) = (home.facts, home.published_at);
    let address = facts.address.unwrap_or_default();
    let status = match number % 6 {
        0..=2 => ListingStatus::Active,
        3 => ListingStatus::UnderApplication,
        4 => ListingStatus::Leased,
        _ => ListingStatus::Draft,
    };
    let rent = home.rent.amount_minor.get() as i64;
    let area = facts.living_area.map(|area| area.value);
    let shared = |text: Option<String>| text.map(Arc::from);
    ListingRow {
        listing: home.listing,
        property: PropertyId(home.property),
        tenant: TENANT.into(),
        source: SOURCE.into(),
        reference: home.source.reference.into(),
        status,
        status_changed_at: at,
        duplicate_of: None,
        property_type: facts.property_type.expect("a made-up home has a type"),
        title: shared(facts.title),
        description: shared(facts.description),
        street: shared(address.street),
        city: shared(address.city),
        region: None,
        postal_code: shared(address.postal_code),
        country: shared(address.country),
        latitude: facts.coordinates.map(|point| point.latitude),
        longitude: facts.coordinates.map(|point| point.longitude),
        location_precision: None,
        location_visibility: None,
        year_built: None,
        stories: None,
        bedrooms: facts.bedrooms.map(i64::from),
        bathrooms: facts.bathrooms_full.map(f64::from),
        rooms: None,
        max_occupancy: None,
        living_area_m2: area,
        living_area: area,
        living_area_unit: Some(AreaUnit::SquareMeters),
        lot_area_m2: None,
        lot_area: None,
        lot_area_unit: None,
        garage_area_m2: None,
        amenities: Json(Arc::new(home.amenities)),
        photo_url: Some(home.photo.url.into()),
        photos: 1,
        price_minor: Some(rent),
        currency: Some(home.rent.currency),
        frequency: Some(home.rent.frequency),
        original_price_minor: Some(rent),
        previous_price_minor: None,
        price_changed_at: None,
        total_monthly_minor: Some(rent),
        available_from: Some(at.date_naive()),
        min_lease_months: None,
        max_lease_months: None,
        furnished: None,
        pets: None,
        terms: None,
        agent: None,
        drafted_at: Some(at),
        on_market_date: None,
        on_market_at: Some(at),
        published_at: Some(at),
        expires_at: None,
        closed_on: None,
        close_price_minor: None,
        close_currency: None,
        close_frequency: None,
        market_seconds: 0,
        market_since: Some(at),
        earlier_market_seconds: 0,
        changed_at: at,
        position: GlobalPosition(number + 1),
        version: StreamVersion(4),
    }
}
