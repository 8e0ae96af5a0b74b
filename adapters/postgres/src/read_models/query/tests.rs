//! Which plans answer questions, at any size of a table.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::Arc;

use freehold_ports::{
    Column, ColumnKind, Filter, GlobalPosition, Order, Query, ReadModels, Spatial, Table, Value,
};
use freehold_test_stores::Schema;
use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _, query_with};
use uuid::Uuid;

use super::Statement;
use crate::{Database, PostgresReadModels};

tokio::task_local! {
    /// The indexes that each statement of this task used, and whether it read a whole table.
    static PLANS: RefCell<Vec<Vec<String>>>;
}

/// Notes the plan of a statement before it runs, if the task wants to know.
pub(super) async fn note_plan(statement: &Statement, reader: &mut PgConnection) {
    if PLANS.try_with(|_| ()).is_err() || statement.sql.starts_with("EXPLAIN") {
        return;
    }
    let sql = format!("EXPLAIN (FORMAT JSON) {}", statement.sql);
    let rows = query_with(&sql, statement.arguments.clone()).fetch_all(reader).await.unwrap();
    let plan: serde_json::Value =
        serde_json::from_str(rows[0].try_get_unchecked(0).unwrap()).unwrap();
    let mut used = Vec::new();
    note_scans(&plan[0]["Plan"], &mut used);
    PLANS.with(|plans| plans.borrow_mut().push(used));
}

fn note_scans(node: &serde_json::Value, used: &mut Vec<String>) {
    if let Some(index) = node["Index Name"].as_str() {
        let alone = if node["Node Type"] == "Index Only Scan" { " alone" } else { "" };
        used.push(format!("{}{alone}", index.trim_start_matches("listing_g1_")));
    }
    if node["Node Type"] == "Seq Scan" {
        used.push("all".to_owned());
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        note_scans(child, used);
    }
}

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

static LISTING: Table = Table {
    name: "listing",
    columns: &[
        column("listing", ColumnKind::Uuid),
        column("status", ColumnKind::Text),
        column("title", ColumnKind::Text),
        column("city", ColumnKind::Text),
        column("latitude", ColumnKind::Real),
        column("longitude", ColumnKind::Real),
        column("bedrooms", ColumnKind::Integer),
        column("price", ColumnKind::Integer),
        column("published_at", ColumnKind::Integer),
    ],
    key_columns: 1,
    indexes: &[
        &["status", "price"],
        &["status", "published_at"],
        &["city", "status"],
        &["price"],
        &["published_at"],
    ],
    text_search: &["title"],
    spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
};
static TABLES: [&Table; 1] = [&LISTING];

/// 400 cities of ten kilometres on a map of 20 by 20 degrees; words and prices are spread evenly,
/// one word in a thousand rows is `rare`; of a hundred listings one is a draft. There are 200 words,
/// because the planner guesses what begins with something where it knows fewer than a hundred.
const FILL: &str = "INSERT INTO listing_g1
    SELECT md5(n::text)::uuid, CASE n % 100 WHEN 7 THEN 'draft' ELSE 'active' END, title,
        'city' || n % 400, n % 20 + h / 10000.0, n / 20 % 20 + h2 / 10000.0, n % 5,
        n * 7919 % 1000003, n * 104729 % 1000033,
        array_to_tsvector(string_to_array(title, ' '))
    FROM generate_series(1, $1::bigint) AS n,
    LATERAL (SELECT hashint8(n) & 1023 AS h, hashint8(n + 7) & 1023 AS h2) AS hashes,
    LATERAL (SELECT 'home w' || n % 200 || CASE n % 1000 WHEN 3 THEN ' rare' ELSE '' END AS title)
        AS titles";

fn text(text: &str) -> Value {
    Value::Text(Arc::from(text))
}

fn is(status: &str) -> Filter {
    Filter::Equals("status", text(status))
}

/// A box in the first city, of so many degrees.
fn area(degrees: f64) -> Filter {
    Filter::WithinBox { south: 1.0, west: 0.0, north: 1.0 + degrees, east: degrees }
}

struct Case {
    what: &'static str,
    filters: Vec<Filter>,
    order: Option<(&'static str, bool)>,
    after: Option<Value>,
    /// What its statements may use.
    may: &'static [&'static str],
    /// What one of them must use where there are many rows.
    must: &'static str,
}

fn cases() -> Vec<Case> {
    let case =
        |what, filters, order, may, must| Case { what, filters, order, after: None, may, must };
    let newest = Some(("published_at", true));
    let cheapest = Some(("price", false));
    let prices = || {
        let bounds = [Value::Integer(400_000), Value::Integer(600_000)];
        let [least, most] = bounds;
        [Filter::AtLeast("price", least), Filter::AtMost("price", most)]
    };
    let keys = || {
        let keys = (1..50).map(|n| Value::Uuid(Uuid::from_u128(n)));
        Filter::OneOf("listing", keys.collect())
    };
    vec![
        case("active, newest", vec![is("active")], newest, &["index1", "index4"], "index"),
        case("drafts, newest", vec![is("draft")], newest, &["index1", "index4"], "index1"),
        case("drafts, cheapest", vec![is("draft")], cheapest, &["index0", "index3"], "index0"),
        Case {
            after: Some(Value::Integer(500_000)),
            ..case("drafts, deep page", vec![is("draft")], newest, &["index1", "index4"], "index1")
        },
        case("all, newest", vec![], newest, &["index4"], "index4"),
        case("by key", vec![], None, &["key"], "key"),
        case("some keys", vec![keys()], None, &["key"], "key"),
        case(
            "a key",
            vec![Filter::Equals("listing", Value::Uuid(Uuid::nil()))],
            newest,
            &["key"],
            "key",
        ),
        case(
            "prices, newest",
            [vec![is("active")], prices().to_vec()].concat(),
            newest,
            &["index1", "index4", "index0", "index3"],
            "index",
        ),
        case(
            "a quarter, prices, cheapest",
            [vec![is("active"), area(0.02)], prices().to_vec()].concat(),
            cheapest,
            &["index0", "index3", "place", "place alone"],
            "place",
        ),
        case(
            "a quarter, newest",
            vec![area(0.02)],
            newest,
            &["index4", "place", "place alone"],
            "place alone",
        ),
        case("the country, newest", vec![area(15.0)], newest, &["index4"], "index4"),
        case(
            "the country, rare word, newest",
            vec![area(15.0), Filter::Text("rar".into())],
            newest,
            &["index4", "word", "place", "place alone"],
            "word",
        ),
        case(
            "rare word, newest",
            vec![Filter::Text("rare".into())],
            newest,
            &["index4", "word"],
            "word",
        ),
        case(
            "frequent word",
            vec![Filter::Text("home".into())],
            newest,
            &["index4", "word"],
            "index4",
        ),
        case(
            "absent word",
            vec![is("active"), Filter::Text("nowhere".into())],
            cheapest,
            &["index0", "index3", "word"],
            "word",
        ),
    ]
}

/// Rows are there that no statistics know of, as in a table that was empty when it was activated.
async fn answers(rows: i64, analysed: bool) {
    let schema = Schema::new();
    // The crate of this test is another than that of the schema.
    let store = PostgresReadModels::open(Database::at(&schema.url()).unwrap()).await.unwrap();
    let generation = store.create_generation("listings", 1, &TABLES).await.unwrap();
    let mut operator = schema.operator().await;
    if !analysed {
        operator.execute("ALTER TABLE listing_g1 SET (autovacuum_enabled = off)").await.unwrap();
        store.activate(generation.clone()).await.unwrap();
    }
    sqlx::query(FILL).bind(rows).execute(&mut operator).await.unwrap();
    store.activate(generation.clone()).await.unwrap();
    for case in cases() {
        let order = case.order.into_iter();
        let query = Query {
            table: &LISTING,
            filters: case.filters,
            order: order.map(|(column, descending)| Order { column, descending }).collect(),
            after: case.after.map(|value| vec![value, Value::Uuid(Uuid::nil())]),
            before: None,
            backwards: false,
            limit: NonZeroU32::new(20).unwrap(),
        };
        let began = std::time::Instant::now();
        let used = PLANS
            .scope(RefCell::default(), async {
                let page = store.query("listings", query).await.unwrap();
                assert_eq!(page.checkpoint, GlobalPosition(0));
                PLANS.with(|plans| plans.take())
            })
            .await;
        println!("{rows} {:<32} {:?} {used:?}", case.what, began.elapsed());
        assert!(used.iter().all(|plan| !plan.is_empty()), "{} {used:?}", case.what);
        let mut indexes = used.iter().flatten();
        assert!(indexes.all(|index| index != "all"), "{} {used:?}", case.what);
        // In an empty table all indexes are alike, and each plan is made when it is needed.
        let mut indexes = used.iter().flatten();
        let suits = |index: &String| case.may.contains(&&**index);
        assert!(rows == 0 || !analysed || indexes.all(suits), "{} {used:?}", case.what);
        let mut indexes = used.iter().flatten();
        let must = |index: &String| index.starts_with(case.must);
        assert!(rows == 0 || !analysed || indexes.any(must), "{} {used:?}", case.what);
    }
}

#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn questions_to_an_empty_table_are_answered_by_indexes() {
    answers(0, true).await;
}

#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn questions_to_a_table_that_was_never_analysed_are_answered_by_indexes() {
    answers(50_000, false).await;
}

/// `FREEHOLD_PLAN_ROWS=10000000` is the documented run.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn questions_to_a_large_table_are_answered_by_the_indexes_that_suit_them() {
    let rows = std::env::var("FREEHOLD_PLAN_ROWS");
    answers(rows.map_or(1_000_000, |rows| rows.parse().unwrap()), true).await;
}
