//! How fast listings are found: `cargo bench -p freehold-sqlite --bench search [-- <rows>]`.
//!
//! Fills a generation, prepares it, and asks the questions that a marketplace is asked, each with
//! other values every time. Rows lie in 40 cities of different size; words follow Zipf's law.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench stops at the first surprise")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::DateTime;
use freehold_ports::{
    Column, ColumnKind, Commit, Filter, GlobalPosition, Order, Query, ReadModels, Row, RowChange,
    Spatial, Table, TableChanges, Value,
};
use freehold_sqlite::SqliteReadModels;
use uuid::Uuid;

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

static LISTING: Table = Table {
    name: "listing",
    columns: &[
        column("listing", ColumnKind::Uuid),
        column("property", ColumnKind::Uuid),
        column("tenant", ColumnKind::Text),
        column("status", ColumnKind::Text),
        column("title", ColumnKind::Text),
        column("description", ColumnKind::Text),
        column("street", ColumnKind::Text),
        column("city", ColumnKind::Text),
        column("latitude", ColumnKind::Real),
        column("longitude", ColumnKind::Real),
        column("bedrooms", ColumnKind::Integer),
        column("bathrooms", ColumnKind::Real),
        column("living_area_m2", ColumnKind::Real),
        column("amenities", ColumnKind::Json),
        column("photo_url", ColumnKind::Text),
        column("price_minor", ColumnKind::Integer),
        column("currency", ColumnKind::Text),
        column("published_at", ColumnKind::Timestamp),
        column("position", ColumnKind::Integer),
    ],
    key_columns: 1,
    indexes: &[
        &["status", "price_minor"],
        &["status", "published_at"],
        &["city", "status"],
        &["price_minor"],
        &["living_area_m2"],
        &["bedrooms"],
        &["published_at"],
        &["position"],
    ],
    text_search: &["title", "description", "street", "city"],
    spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
};
static TABLES: [&Table; 1] = [&LISTING];

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small numbers are much more frequent.
    fn zipf(&mut self, end: u64) -> u64 {
        ((end as f64).powf(self.unit()) - 1.0) as u64
    }
}

const CITIES: u64 = 40;
const WORDS: u64 = 20_000;

fn city(number: u64) -> (f64, f64) {
    let mut dice = Dice(number.wrapping_mul(77));
    (35.0 + dice.unit() * 20.0, -10.0 + dice.unit() * 40.0)
}

fn word(number: u64) -> String {
    let mut rest = number + 7;
    let mut word = String::new();
    while rest > 0 {
        word.push_str(
            ["ba", "lo", "ke", "mi", "tu", "ra", "so", "ne", "fi", "gu"][(rest % 10) as usize],
        );
        rest /= 10;
    }
    word
}

fn words(dice: &mut Dice, count: usize) -> Value {
    let words: Vec<String> = (0..count).map(|_| word(dice.zipf(WORDS))).collect();
    Value::Text(Arc::from(words.join(" ")))
}

fn near(dice: &mut Dice, centre: f64) -> f64 {
    centre + (dice.unit() + dice.unit() + dice.unit() - 1.5) * 0.15
}

fn listing(number: u64) -> Row {
    let mut dice = Dice(number);
    let town = dice.zipf(CITIES);
    let (latitude, longitude) = city(town);
    let status =
        ["active", "active", "active", "leased", "leased", "draft"][dice.below(6) as usize];
    let price = 30_000 + (dice.unit() * dice.unit() * 500_000.0) as i64 + town as i64 * 500;
    let text = |text: &str| Value::Text(Arc::from(text));
    Row(vec![
        Value::Uuid(Uuid::from_u64_pair(dice.next(), number)),
        Value::Uuid(Uuid::from_u64_pair(dice.next(), number)),
        text("demo"),
        text(status),
        words(&mut dice, 6),
        words(&mut dice, 30),
        words(&mut dice, 2),
        text(&format!("city{town}")),
        Value::Real(near(&mut dice, latitude)),
        Value::Real(near(&mut dice, longitude)),
        Value::Integer(dice.zipf(7) as i64),
        Value::Real(1.0 + dice.below(3) as f64),
        Value::Real(20.0 + (dice.unit() * 150.0).round()),
        text(r#"["balcony","elevator","kitchen"]"#),
        text("https://photos.example/0123456789abcdef.jpg"),
        Value::Integer(price),
        text("EUR"),
        Value::Timestamp(DateTime::from_timestamp(1_600_000_000 + number as i64 * 60, 0).unwrap()),
        Value::Integer(number as i64),
    ])
}

fn by(column: &'static str, descending: bool) -> Vec<Order> {
    vec![Order { column, descending }]
}

fn active() -> Filter {
    Filter::Equals("status", Value::Text(Arc::from("active")))
}

fn prices(dice: &mut Dice) -> [Filter; 2] {
    let low = 40_000 + dice.below(150_000) as i64;
    let high = low + 30_000 + dice.below(100_000) as i64;
    [
        Filter::AtLeast("price_minor", Value::Integer(low)),
        Filter::AtMost("price_minor", Value::Integer(high)),
    ]
}

fn bedrooms(dice: &mut Dice) -> Filter {
    Filter::AtLeast("bedrooms", Value::Integer(1 + dice.below(3) as i64))
}

fn around(dice: &mut Dice, degrees: f64) -> Filter {
    let (latitude, longitude) = city(dice.zipf(CITIES));
    let (latitude, longitude) = (near(dice, latitude), near(dice, longitude));
    Filter::WithinBox {
        south: latitude - degrees,
        west: longitude - degrees,
        north: latitude + degrees,
        east: longitude + degrees,
    }
}

fn within(dice: &mut Dice, meters: f64) -> Filter {
    let (latitude, longitude) = city(dice.zipf(CITIES));
    Filter::WithinRadius { latitude, longitude, meters }
}

fn text(dice: &mut Dice, count: usize) -> Filter {
    let words: Vec<String> = (0..count).map(|_| word(dice.zipf(WORDS))).collect();
    Filter::Text(words.join(" "))
}

type Question = (Vec<Filter>, Vec<Order>);

/// A question by its name, with its values drawn.
type Drawn = (&'static str, fn(&mut Dice) -> Question);

const QUESTIONS: &[Drawn] = &[
    ("newest active", |_| (vec![active()], by("published_at", true))),
    ("price range, cheapest", |dice| {
        ([vec![active()], prices(dice).to_vec()].concat(), by("price_minor", false))
    }),
    ("price range, bedrooms, newest", |dice| {
        let filters = [vec![active(), bedrooms(dice)], prices(dice).to_vec()].concat();
        (filters, by("published_at", true))
    }),
    ("quarter of a city, price range, bedrooms, cheapest", |dice| {
        let filters =
            [vec![active(), bedrooms(dice), around(dice, 0.02)], prices(dice).to_vec()].concat();
        (filters, by("price_minor", false))
    }),
    ("whole city, price range, bedrooms, cheapest", |dice| {
        let filters =
            [vec![active(), bedrooms(dice), around(dice, 0.2)], prices(dice).to_vec()].concat();
        (filters, by("price_minor", false))
    }),
    ("whole city, price range, bedrooms, newest", |dice| {
        let filters =
            [vec![active(), bedrooms(dice), around(dice, 0.2)], prices(dice).to_vec()].concat();
        (filters, by("published_at", true))
    }),
    ("5 km around, price range, newest", |dice| {
        let filters = [vec![active(), within(dice, 5_000.0)], prices(dice).to_vec()].concat();
        (filters, by("published_at", true))
    }),
    ("country, price range, cheapest", |dice| {
        let filters = [vec![active(), around(dice, 4.0)], prices(dice).to_vec()].concat();
        (filters, by("price_minor", false))
    }),
    ("one word, newest", |dice| (vec![active(), text(dice, 1)], by("published_at", true))),
    ("two words, cheapest", |dice| (vec![active(), text(dice, 2)], by("price_minor", false))),
    ("two letters, newest", |dice| {
        let Filter::Text(word) = text(dice, 1) else { unreachable!() };
        (vec![active(), Filter::Text(word[..2].to_owned())], by("published_at", true))
    }),
    ("two words, quarter of a city, price range", |dice| {
        let filters =
            [vec![active(), text(dice, 2), around(dice, 0.05)], prices(dice).to_vec()].concat();
        (filters, by("price_minor", false))
    }),
    ("by city name, largest", |dice| {
        let name = format!("city{}", dice.zipf(CITIES));
        let city = Filter::Equals("city", Value::Text(Arc::from(name)));
        (vec![active(), city], by("living_area_m2", true))
    }),
];

#[tokio::main]
async fn main() {
    let began = Instant::now();
    (0..100_000).for_each(|number| drop(std::hint::black_box(listing(number))));
    println!("made up 100,000 rows in {:.1?}", began.elapsed());
    let rows: u64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteReadModels::open(folder.path()).unwrap();
    let generation = store.create_generation("listings", 1, &TABLES).await.unwrap();
    let began = Instant::now();
    for from in (0..rows).step_by(10_000) {
        let to = (from + 10_000).min(rows);
        let changes = (from..to).map(|number| RowChange::Put(listing(number))).collect();
        let changes = vec![TableChanges { table: &LISTING, changes }];
        let (from, to) = (GlobalPosition(from), GlobalPosition(to));
        store.commit(Commit::moving(generation.clone(), from, to, changes)).await.unwrap();
    }
    println!("{rows} rows put in {:.1?}: {:.0}/s", began.elapsed(), rate(rows, began));
    let began = Instant::now();
    store.activate(generation.clone()).await.unwrap();
    println!("prepared and activated in {:.1?}", began.elapsed());
    let file = std::fs::metadata(folder.path().join("read_models.sqlite")).unwrap();
    println!("{} MB", file.len() / 1_000_000);

    println!("{:<52} {:>8} {:>8} {:>8} {:>8} {:>6}", "ms", "p50", "p95", "p99", "max", "rows");
    for (name, question) in QUESTIONS {
        let mut dice = Dice(42);
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..300 {
            let (filters, order) = question(&mut dice);
            let query = Query {
                table: &LISTING,
                filters,
                order,
                after: None,
                before: None,
                backwards: false,
                limit: NonZeroU32::new(20).unwrap(),
            };
            let began = Instant::now();
            found += store.query("listings", query).await.unwrap().rows.len();
            times.push(began.elapsed());
        }
        times.sort();
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
        let (p50, p95, p99, max) = (at(0.5), at(0.95), at(0.99), at(1.0));
        println!(
            "{name:<52} {p50:>8.2} {p95:>8.2} {p99:>8.2} {max:>8.2} {:>6.1}",
            found as f64 / 300.0
        );
    }

    let began = Instant::now();
    let updates = 20_000.min(rows);
    for from in (0..updates).step_by(100) {
        let changes = (from..from + 100)
            .map(|number| {
                let mut row = listing(number * (rows / updates));
                row.0[15] = Value::Integer(1);
                RowChange::Put(row)
            })
            .collect();
        let changes = vec![TableChanges { table: &LISTING, changes }];
        let (from, to) = (GlobalPosition(rows + from), GlobalPosition(rows + from + 100));
        store.commit(Commit::moving(generation.clone(), from, to, changes)).await.unwrap();
    }
    println!("live: {:.0} changed rows/s, 100 a commit", rate(updates, began));
}

fn rate(count: u64, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
