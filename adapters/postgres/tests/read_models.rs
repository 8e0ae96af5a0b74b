//! What read models do beyond their contract: other processes, lost connections, generations that
//! are dropped while they are read. Two stores on one schema are two processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freehold_ports::{
    Column, ColumnKind, Commit, Filter, GenerationId, GenerationState, GlobalPosition, Key, Order,
    Page, Query, ReadModelError, ReadModels, Row, RowChange, Spatial, Table, TableChanges, Value,
};
use freehold_postgres::PostgresReadModels;
use freehold_test_stores::Schema;
use sqlx::Executor as _;

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

const OLD: Table = Table {
    name: "home",
    columns: &[
        column("home", ColumnKind::Integer),
        column("price", ColumnKind::Integer),
        column("title", ColumnKind::Text),
    ],
    key_columns: 1,
    indexes: &[],
    text_search: &[],
    spatial: None,
};
static BEFORE: [&Table; 1] = [&OLD];
static AFTER: Table = Table {
    columns: &[
        column("home", ColumnKind::Integer),
        column("rooms", ColumnKind::Integer),
        column("title", ColumnKind::Text),
        column("price", ColumnKind::Real),
        column("latitude", ColumnKind::Real),
        column("longitude", ColumnKind::Real),
    ],
    indexes: &[&["rooms"], &["title"]],
    text_search: &["title"],
    spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
    ..OLD
};
static NAMES: [&Table; 1] = [&Table {
    name: "named",
    columns: &[column("name", ColumnKind::Text), column("alias", ColumnKind::Text)],
    key_columns: 1,
    indexes: &[&["alias"]],
    text_search: &["alias"],
    spatial: None,
}];

fn text(text: &str) -> Value {
    Value::Text(Arc::from(text))
}

fn home(number: i64, title: &str) -> Row {
    Row(vec![Value::Integer(number), Value::Integer(5), text(title)])
}

fn puts(table: &'static Table, rows: impl IntoIterator<Item = Row>) -> Vec<TableChanges> {
    vec![TableChanges { table, changes: rows.into_iter().map(RowChange::Put).collect() }]
}

fn all(table: &'static Table) -> Query {
    Query {
        table,
        filters: Vec::new(),
        order: Vec::new(),
        after: None,
        before: None,
        backwards: false,
        limit: NonZeroU32::new(1_000).unwrap(),
    }
}

fn by(column: &'static str, descending: bool) -> Vec<Order> {
    vec![Order { column, descending }]
}

async fn open(schema: &Schema) -> PostgresReadModels {
    PostgresReadModels::open(schema.database()).await.unwrap()
}

/// An active generation of homes.
async fn active(
    store: &PostgresReadModels,
    homes: impl IntoIterator<Item = (i64, &str)>,
) -> GenerationId {
    let generation = store.create_generation("homes", 1, &BEFORE).await.unwrap();
    let rows = homes.into_iter().map(|(number, title)| home(number, title));
    let (from, to) = (GlobalPosition(0), GlobalPosition(1));
    store.commit(Commit::moving(generation.clone(), from, to, puts(&OLD, rows))).await.unwrap();
    store.activate(generation.clone()).await.unwrap();
    generation
}

/// A new release queries what the old one built until its own generation is ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_generation_that_is_dropped_while_it_is_activated_retires_no_other() {
    let schema = Schema::new();
    let models = Arc::new(PostgresReadModels::open(schema.database()).await.unwrap());
    let old = models.create_generation("listings", 1, &[]).await.unwrap();
    models.activate(old).await.unwrap();
    let new = models.create_generation("listings", 2, &[]).await.unwrap();
    // Another process in the middle of dropping it.
    let mut operator = schema.operator().await;
    let drop = "BEGIN; DELETE FROM generation WHERE projection = 'listings' AND number = 2";
    sqlx::raw_sql(drop).execute(&mut operator).await.unwrap();

    let activating = tokio::spawn({
        let models = models.clone();
        async move { models.activate(new).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    sqlx::raw_sql("COMMIT").execute(&mut operator).await.unwrap();

    let activated = activating.await.unwrap();
    assert!(matches!(activated, Err(ReadModelError::NoGeneration(_))), "{activated:?}");
    let left = models.generations("listings").await.unwrap();
    let left: Vec<_> = left.iter().map(|one| (one.id.number, one.state)).collect();
    assert_eq!(left, [(1, GenerationState::Active)]);
}

/// Indexes of one projection take long; another one is up meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_generation_is_prepared_while_another_projections_indexes_are_made() {
    let schema = Schema::new();
    let models = Arc::new(open(&schema).await);
    let homes = models.create_generation("names", 1, &NAMES).await.unwrap();
    let mut writer = schema.operator().await;
    // Whoever makes an index waits for what is being written.
    writer.execute("BEGIN; INSERT INTO named_g1 VALUES ('', '', '')").await.unwrap();
    let slow = tokio::spawn({
        let models = models.clone();
        async move { models.prepare(homes).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let quick = tokio::time::timeout(Duration::from_secs(3), active(&models, [(1, "")])).await;

    assert!(quick.is_ok() && !slow.is_finished());
    writer.execute("COMMIT").await.unwrap();
    slow.await.unwrap().unwrap();
}

/// What readers are about to see counts as seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn activating_waits_for_a_commit_that_moves_what_readers_see() {
    let schema = Schema::new();
    let models = Arc::new(open(&schema).await);
    active(&models, [(1, "")]).await;
    let new = models.create_generation("homes", 1, &BEFORE).await.unwrap();
    let (from, to) = (GlobalPosition(0), GlobalPosition(1));
    models.commit(Commit::moving(new.clone(), from, to, Vec::new())).await.unwrap();
    let mut other = schema.operator().await;
    let commit = "BEGIN; UPDATE generation SET checkpoint = 2 WHERE number = 1";
    other.execute(commit).await.unwrap();

    let activating = tokio::spawn({
        let models = models.clone();
        async move { models.activate(new).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    other.execute("COMMIT").await.unwrap();

    let refused = activating.await.unwrap();
    let active = GlobalPosition(2);
    let Err(ReadModelError::Behind { active: seen, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(seen, active);
    let left = models.generations("homes").await.unwrap();
    let left: Vec<_> = left.iter().map(|one| one.state).collect();
    assert_eq!(left, [GenerationState::Active, GenerationState::Building]);
}

#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_generation_of_another_declaration_answers_with_nulls_for_what_it_lacks() {
    let schema = Schema::new();
    let store = open(&schema).await;
    active(&store, [(1, "red brick"), (2, "blue")]).await;
    let query = |filters| Query { filters, order: by("rooms", true), ..all(&AFTER) };

    let found = store.query("homes", query(vec![Filter::Text("BRICK".into())])).await.unwrap();

    let nothing = Value::Null;
    let brick = Row(vec![
        Value::Integer(1),
        nothing.clone(),
        text("red brick"),
        nothing.clone(),
        nothing.clone(),
        nothing,
    ]);
    assert_eq!(found.rows, [brick]);
    let words = vec![Filter::Text("b".into())];
    assert_eq!(store.count("homes", &AFTER, words).await.unwrap(), 2);
    let priced = Filter::AtLeast("price", Value::Real(0.0));
    assert_eq!(store.query("homes", query(vec![priced])).await.unwrap().rows, []);
    let anywhere = Filter::WithinBox { south: -90.0, west: -180.0, north: 90.0, east: 180.0 };
    assert_eq!(store.query("homes", query(vec![anywhere])).await.unwrap().rows, []);
    assert_eq!(store.query("homes", query(Vec::new())).await.unwrap().rows.len(), 2);
}

/// Words that a generation was not made with are looked for page after page.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn words_are_found_among_many_rows_of_another_declaration() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let title = |number| if number % 100 == 0 { "rare" } else { "usual" };
    active(&store, (0..3_000).map(|number| (number, title(number)))).await;
    let rare = vec![Filter::Text("rare".into())];
    let first = Query { filters: rare.clone(), limit: NonZeroU32::new(20).unwrap(), ..all(&AFTER) };

    let Page { rows, has_more, .. } = store.query("homes", first.clone()).await.unwrap();

    assert_eq!((rows.len(), has_more), (20, true));
    let after = Some(AFTER.key_of(rows.last().unwrap()).0);
    let rest = store.query("homes", Query { after, ..first }).await.unwrap();
    assert_eq!((rest.rows.len(), rest.has_more), (10, false));
    assert_eq!(store.count("homes", &AFTER, rare).await.unwrap(), 30);
}

/// A second process sees what the first has committed, and may write too.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "set TEST_POSTGRES_URL"]
async fn two_processes_may_write_one_generation() {
    let schema = Schema::new();
    let (one, other) = tokio::join!(open(&schema), open(&schema));
    let generation = one.create_generation("homes", 1, &BEFORE).await.unwrap();
    for at in 0..20 {
        let (from, to) = (GlobalPosition(at), GlobalPosition(at + 1));
        let row = || puts(&OLD, [home(i64::try_from(at).unwrap(), "")]);
        let (store, stale) = if at % 2 == 0 { (&one, &other) } else { (&other, &one) };
        store.commit(Commit::moving(generation.clone(), from, to, row())).await.unwrap();
        let late = stale.commit(Commit::moving(generation.clone(), from, to, row())).await;
        assert!(matches!(late, Err(ReadModelError::CheckpointMoved { .. })));
    }
    let (prepared, activated) =
        tokio::join!(one.prepare(generation.clone()), other.activate(generation.clone()));
    prepared.unwrap();
    activated.unwrap();
    assert_eq!(one.count("homes", &OLD, Vec::new()).await.unwrap(), 20);
}

/// Readers hold on to nothing: they see one generation whole, or the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn generations_are_dropped_while_readers_query_them() {
    let schema = Schema::new();
    let store = Arc::new(open(&schema).await);
    let mut last = active(&store, [(1, "")]).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while !done.load(Ordering::Relaxed) {
                    let page = store.query("homes", all(&OLD)).await.unwrap();
                    assert_eq!(page.rows.len(), 1);
                    assert_eq!(store.count("homes", &OLD, Vec::new()).await.unwrap(), 1);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    for number in 2..40 {
        let next = active(&store, [(number, "")]).await;
        store.drop_generation(last).await.unwrap();
        last = next;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 10);
    }
}

/// A backup reads every table to its end: a generation is dropped all the same, at once for whoever
/// asks, and its rows when nobody reads them any more.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn dropping_a_generation_does_not_wait_for_a_backup() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let old = active(&store, [(1, "")]).await;
    active(&store, [(2, "")]).await;
    let mut backup = schema.operator().await;
    backup.execute("BEGIN; LOCK TABLE home_g1 IN ACCESS SHARE MODE").await.unwrap();

    let dropping = store.drop_generation(old.clone());
    tokio::time::timeout(Duration::from_secs(2), dropping).await.unwrap().unwrap();

    assert_eq!(store.generations("homes").await.unwrap().len(), 1);
    let gone = store.scan(old, &OLD, None, NonZeroU32::MIN).await;
    assert!(matches!(gone, Err(ReadModelError::NoGeneration(_))));
    let mut operator = schema.operator().await;
    let left = "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename LIKE 'home_g%'";
    let tables = sqlx::query_scalar::<_, i64>(left).bind(schema.name());
    assert_eq!(tables.fetch_one(&mut operator).await.unwrap(), 2);
    backup.execute("COMMIT").await.unwrap();
    store.create_generation("homes", 1, &BEFORE).await.unwrap();
    let tables = sqlx::query_scalar::<_, i64>(left).bind(schema.name());
    assert_eq!(tables.fetch_one(&mut operator).await.unwrap(), 2, "the active and the new one");
}

/// A commit whose connection is cut is stored whole or not at all; its checkpoint says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn commits_that_are_cut_are_whole_or_nothing() {
    let schema = Schema::new();
    let store = Arc::new(open(&schema).await);
    let generation = active(&store, []).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut operator = schema.operator().await;
    let cutter = {
        let (done, name) = (done.clone(), schema.name().to_owned());
        tokio::spawn(async move {
            let mut cuts = 0;
            while !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(15)).await;
                // Those that wait for nothing but their client are between two statements.
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE application_name = $1 AND backend_xid IS NOT NULL";
                let ended = sqlx::query_scalar::<_, i64>(cut).bind(&name);
                cuts += ended.fetch_one(&mut operator).await.unwrap();
            }
            cuts
        })
    };
    let state = |round: u64| (0..700).map(move |n| home(n, &format!("round {round}")));
    let (mut round, mut failed) = (1, 0);
    while round < 150 {
        let (from, to) = (GlobalPosition(round), GlobalPosition(round + 1));
        match store
            .commit(Commit::moving(generation.clone(), from, to, puts(&OLD, state(round))))
            .await
        {
            Ok(()) => round += 1,
            Err(ReadModelError::Unavailable { .. }) => failed += 1,
            Err(other) => panic!("{other}"),
        }
        let shown = loop {
            match store.query("homes", all(&OLD)).await {
                Ok(shown) => break shown,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        assert!(shown.checkpoint.0 == round || shown.checkpoint.0 == round + 1);
        round = shown.checkpoint.0;
        let expected: Vec<Row> = if round == 1 { vec![] } else { state(round - 1).collect() };
        assert!(shown.rows == expected, "rows of round {round}");
    }
    done.store(true, Ordering::Relaxed);
    let cuts = cutter.await.unwrap();
    println!("{cuts} connections cut, {failed} commits failed");
    assert!(cuts > 3 && failed > 0, "the test cut nothing");
}

/// PostgreSQL keeps no NUL in a text, which JSON can say.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn any_character_is_kept_found_and_sorted() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let generation = store.create_generation("names", 1, &NAMES).await.unwrap();
    let mut names =
        ["", "\0", "\0\0", "\0\u{1}", "\u{1}", "\u{1}\0", "\u{1}\u{1}", "\u{2}", "a\0b"];
    let rows = names.iter().map(|name| Row(vec![text(name), text(name)]));
    let (from, to) = (GlobalPosition(0), GlobalPosition(1));
    store.commit(Commit::moving(generation.clone(), from, to, puts(NAMES[0], rows))).await.unwrap();
    store.activate(generation.clone()).await.unwrap();
    names.sort_unstable();
    let expected: Vec<Row> = names.iter().map(|name| Row(vec![text(name), text(name)])).collect();

    let limit = NonZeroU32::new(2).unwrap();
    let (mut forwards, mut after) = (Vec::new(), None);
    loop {
        let query = Query { order: by("alias", false), after, limit, ..all(NAMES[0]) };
        let page = store.query("names", query).await.unwrap();
        after = page.rows.last().map(|row| vec![row.0[1].clone(), row.0[0].clone()]);
        forwards.extend(page.rows);
        if !page.has_more {
            break;
        }
    }

    assert_eq!(forwards, expected);
    for name in names {
        let equal = Query { filters: vec![Filter::Equals("alias", text(name))], ..all(NAMES[0]) };
        assert_eq!(store.query("names", equal).await.unwrap().rows.len(), 1);
        let key = vec![Key(vec![text(name)])];
        assert_eq!(store.fetch(generation.clone(), NAMES[0], key).await.unwrap().len(), 1);
    }
    let least = vec![Filter::AtLeast("alias", text("\u{1}"))];
    assert_eq!(store.count("names", NAMES[0], least).await.unwrap(), 5);
}

/// Languages without spaces make one word of a whole text.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn long_words_and_long_texts_are_kept_and_found_by_their_beginnings() {
    let schema = Schema::new();
    let store = open(&schema).await;
    let generation = store.create_generation("names", 1, &NAMES).await.unwrap();
    store.activate(generation.clone()).await.unwrap();
    let one_word = "บ้าน".repeat(150);
    let many_words: String = (0..200).map(|number| format!("w{number} ")).collect();
    let rows =
        [Row(vec![text("one"), text(&one_word)]), Row(vec![text("many"), text(&many_words)])];
    let (from, to) = (GlobalPosition(0), GlobalPosition(1));
    store.commit(Commit::moving(generation, from, to, puts(NAMES[0], rows.clone()))).await.unwrap();
    let found = async |asked: &str| {
        let query = Query { filters: vec![Filter::Text(asked.into())], ..all(NAMES[0]) };
        store.query("names", query).await.map(|page| page.rows)
    };

    assert_eq!(found("บ้านบ้าน").await.unwrap(), [rows[0].clone()]);
    assert_eq!(found("w199 w7").await.unwrap(), [rows[1].clone()]);
    assert!(matches!(found(&one_word).await, Err(ReadModelError::Unfit { .. })));
}

/// No row makes a question fail, wherever it says that it is.
#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn points_that_are_nowhere_are_in_no_circle() {
    static PLACES: [&Table; 1] = [&Table { name: "place", ..PLACE }];
    const PLACE: Table = Table {
        columns: &[
            column("home", ColumnKind::Integer),
            column("latitude", ColumnKind::Real),
            column("longitude", ColumnKind::Real),
        ],
        spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
        ..OLD
    };
    let schema = Schema::new();
    let store = open(&schema).await;
    let generation = store.create_generation("places", 1, &PLACES).await.unwrap();
    let infinity = f64::INFINITY;
    let points = [(-0.0, -0.0), (infinity, 0.0), (0.0, -infinity), (91.0, 0.0), (0.0, 190.0)];
    let rows = (0..).zip(points).map(|(number, (latitude, longitude))| {
        Row(vec![Value::Integer(number), Value::Real(latitude), Value::Real(longitude)])
    });
    let (from, to) = (GlobalPosition(0), GlobalPosition(1));
    store
        .commit(Commit::moving(generation.clone(), from, to, puts(PLACES[0], rows)))
        .await
        .unwrap();
    store.activate(generation).await.unwrap();
    let around = Filter::WithinRadius { latitude: 0.0, longitude: 0.0, meters: 3e7 };

    let found = store.query("places", Query { filters: vec![around], ..all(PLACES[0]) }).await;

    let found = found.unwrap().rows;
    assert!(matches!(found[0].0[1], Value::Real(zero) if zero.is_sign_positive()));
    assert!(!found.iter().any(|row| matches!(row.0[0], Value::Integer(1 | 2))), "{found:?}");
}
