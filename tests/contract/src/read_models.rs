//! What every store of read models does.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};

use chrono::{DateTime, Duration, Utc};
use freehold_ports::{
    Column, ColumnKind, Commit, Filter, GenerationId, GenerationState, GlobalPosition, Key, Mark,
    Order, Page, Query, ReadModelError, ReadModels, Row, RowChange, Spatial, Table, TableChanges,
    Value, search_words,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use uuid::Uuid;

/// Joins the suite with an expression that gives an empty store.
#[macro_export]
macro_rules! read_models_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            read_models,
            [$($attribute),*],
            $fresh,
            [
                a_new_generation_is_empty_and_answers_no_queries,
                activating_swaps_what_all_queries_read,
                a_retired_generation_can_be_activated_again,
                one_generation_is_kept_to_go_back_to,
                a_generation_behind_what_readers_see_is_not_activated,
                a_retired_generation_takes_no_commits,
                a_prepared_generation_takes_commits_and_answers_like_any_other,
                the_active_generation_is_not_dropped,
                a_dropped_generation_is_gone,
                projections_do_not_touch_each_other,
                a_commit_moves_rows_and_checkpoint_together,
                a_commit_from_another_checkpoint_stores_nothing,
                of_two_commits_from_one_checkpoint_one_is_kept,
                many_commits_at_once_are_each_kept_or_refused_whole,
                a_row_that_does_not_fit_stores_nothing,
                rows_come_back_as_they_were_put,
                an_index_holds_texts_of_2_400_bytes,
                a_put_replaces_and_a_delete_removes,
                fetching_finds_the_rows_that_exist,
                a_scan_goes_through_all_rows_in_key_order,
                any_query_and_its_pages_equal_a_plain_model,
                nulls_come_last_in_either_direction,
                a_null_meets_no_filter_but_is_null,
                text_is_found_by_the_beginnings_of_its_words,
                hostile_text_is_only_text,
                a_box_may_cross_the_antimeridian,
                a_radius_reaches_over_the_antimeridian_and_the_pole,
                a_question_that_does_not_fit_is_refused,
                queries_see_whole_commits_while_others_are_written,
            ]
        );
    };
}

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

/// A table with every kind of column, with text and places.
const HOME: Table = Table {
    name: "home",
    columns: &[
        column("home", ColumnKind::Uuid),
        column("open", ColumnKind::Bool),
        column("price", ColumnKind::Integer),
        column("rooms", ColumnKind::Integer),
        column("score", ColumnKind::Real),
        column("title", ColumnKind::Text),
        column("description", ColumnKind::Text),
        column("published_at", ColumnKind::Timestamp),
        column("owner", ColumnKind::Uuid),
        column("extra", ColumnKind::Json),
        column("latitude", ColumnKind::Real),
        column("longitude", ColumnKind::Real),
    ],
    key_columns: 1,
    indexes: &[&["open", "price"], &["price"], &["published_at"], &["rooms", "title"]],
    text_search: &["title", "description"],
    spatial: Some(Spatial { latitude: "latitude", longitude: "longitude" }),
};

/// A table with a key of two columns and nothing to search.
const VISIT: Table = Table {
    name: "visit",
    columns: &[
        column("home", ColumnKind::Text),
        column("day", ColumnKind::Integer),
        column("visits", ColumnKind::Integer),
    ],
    key_columns: 2,
    indexes: &[],
    text_search: &[],
    spatial: None,
};

static HOMES: [&Table; 2] = [&HOME, &VISIT];
static VISITS: [&Table; 1] = [&Table { name: "other_visit", ..VISIT }];

/// The name of the projection that most behaviours use.
const PROJECTION: &str = "homes";

fn homes() -> &'static Table {
    HOMES[0]
}

fn visits() -> &'static Table {
    HOMES[1]
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 64 | number)
}

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::seconds(seconds)
}

fn text(text: &str) -> Value {
    Value::Text(Arc::from(text))
}

/// A home with the named values, the others null.
fn home(number: u128, values: &[(&str, Value)]) -> Row {
    let mut row = vec![Value::Null; HOME.columns.len()];
    row[0] = Value::Uuid(id(number));
    for (name, value) in values {
        row[HOME.column(name).unwrap()] = value.clone();
    }
    Row(row)
}

fn at(number: u128, latitude: f64, longitude: f64) -> Row {
    let place = [("latitude", Value::Real(latitude)), ("longitude", Value::Real(longitude))];
    home(number, &place)
}

fn visit(home: &str, day: i64, visits: i64) -> Row {
    Row(vec![text(home), Value::Integer(day), Value::Integer(visits)])
}

fn puts(table: &'static Table, rows: impl IntoIterator<Item = Row>) -> Vec<TableChanges> {
    vec![TableChanges { table, changes: rows.into_iter().map(RowChange::Put).collect() }]
}

fn deletes(table: &'static Table, keys: impl IntoIterator<Item = Key>) -> Vec<TableChanges> {
    vec![TableChanges { table, changes: keys.into_iter().map(RowChange::Delete).collect() }]
}

const START: GlobalPosition = GlobalPosition(0);

async fn building(store: &dyn ReadModels) -> GenerationId {
    store.create_generation(PROJECTION, 1, &HOMES).await.unwrap()
}

/// The position that readers see.
async fn seen(store: &dyn ReadModels) -> GlobalPosition {
    let generations = store.generations(PROJECTION).await.unwrap();
    let active = generations.iter().find(|generation| generation.state == GenerationState::Active);
    active.map_or(START, |active| active.checkpoint)
}

/// A new active generation that holds the rows, put when it was active already; it is one position
/// further than the one before.
async fn active_with(
    store: &dyn ReadModels,
    table: &'static Table,
    rows: Vec<Row>,
) -> GenerationId {
    let generation = building(store).await;
    let before = seen(store).await;
    if before > START {
        store.commit(Commit::moving(generation.clone(), START, before, Vec::new())).await.unwrap();
    }
    store.activate(generation.clone()).await.unwrap();
    let after = GlobalPosition(before.0 + 1);
    store
        .commit(Commit::moving(generation.clone(), before, after, puts(table, rows)))
        .await
        .unwrap();
    generation
}

fn everything(table: &'static Table) -> Query {
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

fn filtered(filter: Filter) -> Query {
    Query { filters: vec![filter], ..everything(homes()) }
}

async fn page(store: &dyn ReadModels, query: Query) -> Page {
    store.query(PROJECTION, query).await.unwrap()
}

/// The numbers of the homes that a query gives, in its order.
async fn numbers(store: &dyn ReadModels, query: Query) -> Vec<u128> {
    let number = |row: &Row| match row.0[0] {
        Value::Uuid(id) => id.as_u128() >> 64,
        _ => panic!("a home's key is a UUID"),
    };
    page(store, query).await.rows.iter().map(number).collect()
}

async fn state_of(store: &dyn ReadModels, id: &GenerationId) -> GenerationState {
    let generations = store.generations(&id.projection).await.unwrap();
    generations.iter().find(|generation| generation.id == *id).unwrap().state
}

async fn checkpoint_of(store: &dyn ReadModels, id: &GenerationId) -> GlobalPosition {
    let generations = store.generations(&id.projection).await.unwrap();
    generations.iter().find(|generation| generation.id == *id).unwrap().checkpoint
}

/// A generation starts as building, at position 0; nobody reads it before it is activated.
pub async fn a_new_generation_is_empty_and_answers_no_queries(store: Arc<dyn ReadModels>) {
    assert_eq!(store.generations(PROJECTION).await.unwrap(), []);

    let first = store.create_generation(PROJECTION, 7, &HOMES).await.unwrap();

    let generations = store.generations(PROJECTION).await.unwrap();
    assert_eq!(generations.len(), 1);
    assert_eq!((&generations[0].id, generations[0].version), (&first, 7));
    assert_eq!(generations[0].state, GenerationState::Building);
    assert_eq!(generations[0].checkpoint, START);
    assert_eq!((&*first.projection, first.number), (PROJECTION, 1));
    let asked = store.query(PROJECTION, everything(homes())).await;
    assert!(matches!(asked, Err(ReadModelError::NotBuilt(name)) if &*name == PROJECTION));
    let counted = store.count(PROJECTION, homes(), Vec::new()).await;
    assert!(matches!(counted, Err(ReadModelError::NotBuilt(_))));
}

/// Readers see the old generation until the new one is activated, then only the new one.
pub async fn activating_swaps_what_all_queries_read(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let old = active_with(store, homes(), vec![home(1, &[])]).await;
    let new = building(store).await;
    let rows = puts(homes(), [home(2, &[]), home(3, &[])]);
    store.commit(Commit::moving(new.clone(), START, GlobalPosition(9), rows)).await.unwrap();
    assert_eq!(numbers(store, everything(homes())).await, [1]);

    store.activate(new.clone()).await.unwrap();

    let shown = page(store, everything(homes())).await;
    assert_eq!((shown.rows.len(), shown.checkpoint), (2, GlobalPosition(9)));
    assert_eq!(state_of(store, &old).await, GenerationState::Retired);
    assert_eq!(state_of(store, &new).await, GenerationState::Active);
    let numbers: Vec<u32> =
        store.generations(PROJECTION).await.unwrap().iter().map(|g| g.id.number).collect();
    assert_eq!(numbers, [1, 2]);
}

/// Rolling back is activating the generation before, which takes commits once it is reopened.
pub async fn a_retired_generation_can_be_activated_again(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let old = active_with(store, homes(), vec![home(1, &[])]).await;
    let new = active_with(store, homes(), vec![home(2, &[])]).await;
    store.reopen(old.clone()).await.unwrap();
    assert_eq!(state_of(store, &old).await, GenerationState::Building);
    let late = puts(homes(), [home(4, &[])]);
    store
        .commit(Commit::moving(old.clone(), GlobalPosition(1), GlobalPosition(2), late))
        .await
        .unwrap();
    assert_eq!(numbers(store, everything(homes())).await, [2]);

    store.activate(old.clone()).await.unwrap();
    store.activate(old.clone()).await.unwrap();

    assert_eq!(numbers(store, everything(homes())).await, [1, 4]);
    assert_eq!(state_of(store, &old).await, GenerationState::Active);
    assert_eq!(state_of(store, &new).await, GenerationState::Retired);
}

/// What answered last is kept; what was kept until then goes with the swap, and stays if that is
/// refused or has been done already.
pub async fn one_generation_is_kept_to_go_back_to(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let first = active_with(store, homes(), vec![home(1, &[])]).await;
    let second = active_with(store, homes(), vec![home(2, &[])]).await;
    let third = building(store).await;
    let unfinished = building(store).await;
    let numbers_of = async || {
        let generations = store.generations(PROJECTION).await.unwrap();
        generations.iter().map(|generation| generation.id.number).collect::<Vec<_>>()
    };

    let refused = store.activate(third.clone()).await;
    assert!(matches!(refused, Err(ReadModelError::Behind { .. })), "{refused:?}");
    assert_eq!(state_of(store, &first).await, GenerationState::Retired);
    store.activate(second.clone()).await.unwrap();
    assert_eq!(numbers_of().await, [1, 2, 3, 4], "it was active already");
    let rows = puts(homes(), [home(3, &[])]);
    store.commit(Commit::moving(third.clone(), START, GlobalPosition(9), rows)).await.unwrap();
    for _ in 0..2 {
        store.activate(third.clone()).await.unwrap();
        assert_eq!(numbers_of().await, [2, 3, 4]);
    }

    assert_eq!(state_of(store, &second).await, GenerationState::Retired);
    assert_eq!(state_of(store, &unfinished).await, GenerationState::Building);
    let gone = store.scan(first, homes(), None, NonZeroU32::MIN).await;
    assert!(matches!(gone, Err(ReadModelError::NoGeneration(_))), "{gone:?}");
    assert_eq!(numbers(store, everything(homes())).await, [3]);
}

/// Readers never go back in time: who swaps has caught up, or is told that it has not.
pub async fn a_generation_behind_what_readers_see_is_not_activated(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let old = active_with(store, homes(), vec![home(1, &[])]).await;
    let new = building(store).await;

    let refused = store.activate(new.clone()).await;

    let Err(ReadModelError::Behind { generation, checkpoint, active }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((&generation, checkpoint, active), (&new, START, GlobalPosition(1)));
    assert_eq!(state_of(store, &old).await, GenerationState::Active);
    assert_eq!(state_of(store, &new).await, GenerationState::Building);
    assert_eq!(numbers(store, everything(homes())).await, [1]);
    let more = puts(homes(), [home(1, &[]), home(2, &[])]);
    store.commit(Commit::moving(new.clone(), START, GlobalPosition(1), more)).await.unwrap();
    store.activate(new).await.unwrap();
    assert_eq!(numbers(store, everything(homes())).await, [1, 2]);
}

/// A process that does not know of a swap is told so: what it writes would be seen by nobody.
pub async fn a_retired_generation_takes_no_commits(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let old = active_with(store, homes(), vec![home(1, &[])]).await;
    let new = active_with(store, homes(), vec![home(2, &[])]).await;

    let late = puts(homes(), [home(4, &[])]);
    let refused =
        store.commit(Commit::moving(old.clone(), GlobalPosition(1), GlobalPosition(2), late)).await;

    assert!(matches!(refused, Err(ReadModelError::Retired(id)) if id == old));
    assert_eq!(checkpoint_of(store, &old).await, GlobalPosition(1));
    store.reopen(new.clone()).await.unwrap();
    assert_eq!(state_of(store, &new).await, GenerationState::Active);
    store.reopen(old.clone()).await.unwrap();
    let (from, to) = (GlobalPosition(1), GlobalPosition(2));
    store.commit(Commit::moving(old.clone(), from, to, Vec::new())).await.unwrap();
    store.activate(old).await.unwrap();
    assert_eq!(numbers(store, everything(homes())).await, [1]);
}

/// What is committed between preparing and activating is found by every filter and order.
pub async fn a_prepared_generation_takes_commits_and_answers_like_any_other(
    store: Arc<dyn ReadModels>,
) {
    let store = &*store;
    let generation = building(store).await;
    let named = |number, title| {
        let mut row = at(number, 10.0, 10.0);
        row.0[HOME.column("title").unwrap()] = text(title);
        row.0[HOME.column("price").unwrap()] = Value::Integer(100);
        row
    };
    let before = puts(homes(), [named(1, "red"), named(2, "red"), named(3, "red")]);
    store
        .commit(Commit::moving(generation.clone(), START, GlobalPosition(1), before))
        .await
        .unwrap();
    store.prepare(generation.clone()).await.unwrap();
    assert_eq!(state_of(store, &generation).await, GenerationState::Building);
    let after = vec![TableChanges {
        table: homes(),
        changes: vec![
            RowChange::Put(named(4, "red")),
            RowChange::Put(named(2, "blue")),
            RowChange::Delete(Key(vec![Value::Uuid(id(3))])),
        ],
    }];
    store
        .commit(Commit::moving(generation.clone(), GlobalPosition(1), GlobalPosition(2), after))
        .await
        .unwrap();

    store.activate(generation).await.unwrap();

    assert_eq!(numbers(store, filtered(Filter::Text("red".into()))).await, [1, 4]);
    assert_eq!(numbers(store, filtered(Filter::Text("blue".into()))).await, [2]);
    let around = Filter::WithinRadius { latitude: 10.0, longitude: 10.0, meters: 10.0 };
    assert_eq!(numbers(store, filtered(around)).await, [1, 2, 4]);
    let priced = Filter::Equals("price", Value::Integer(100));
    assert_eq!(numbers(store, filtered(priced)).await, [1, 2, 4]);
}

/// What answers queries is not dropped by mistake.
pub async fn the_active_generation_is_not_dropped(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let active = active_with(store, homes(), vec![home(1, &[])]).await;

    let refused = store.drop_generation(active.clone()).await;

    assert!(matches!(refused, Err(ReadModelError::Active(id)) if id == active));
    assert_eq!(numbers(store, everything(homes())).await, [1]);
}

/// Building and retired generations can be dropped; nothing of them is left.
pub async fn a_dropped_generation_is_gone(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let retired = active_with(store, homes(), vec![home(1, &[])]).await;
    let active = active_with(store, homes(), vec![home(2, &[])]).await;
    let unfinished = building(store).await;

    store.drop_generation(retired.clone()).await.unwrap();
    store.drop_generation(unfinished.clone()).await.unwrap();

    let left = store.generations(PROJECTION).await.unwrap();
    assert_eq!(left.iter().map(|g| &g.id).collect::<Vec<_>>(), [&active]);
    for gone in [retired, unfinished] {
        let no = |result: Result<(), ReadModelError>| {
            assert!(matches!(result, Err(ReadModelError::NoGeneration(id)) if id == gone));
        };
        no(store.drop_generation(gone.clone()).await);
        no(store.prepare(gone.clone()).await);
        no(store.activate(gone.clone()).await);
        no(store.reopen(gone.clone()).await);
        no(store.commit(Commit::moving(gone.clone(), START, GlobalPosition(1), Vec::new())).await);
        no(store.fetch(gone.clone(), homes(), Vec::new()).await.map(|_| ()));
        let limit = NonZeroU32::new(1).unwrap();
        no(store.scan(gone.clone(), homes(), None, limit).await.map(|_| ()));
    }
    assert_eq!(numbers(store, everything(homes())).await, [2]);
    let next = building(store).await;
    assert!(next.number > 3, "a number names one generation for ever");
}

/// Each projection has its own generations and its own swap.
pub async fn projections_do_not_touch_each_other(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let ours = active_with(store, homes(), vec![home(1, &[])]).await;

    let theirs = store.create_generation("others", 1, &VISITS).await.unwrap();
    store.activate(theirs.clone()).await.unwrap();

    assert_eq!(state_of(store, &ours).await, GenerationState::Active);
    assert_eq!(state_of(store, &theirs).await, GenerationState::Active);
    assert_eq!(store.generations(PROJECTION).await.unwrap().len(), 1);
    let shown = store.query("others", everything(VISITS[0])).await.unwrap();
    assert_eq!((shown.rows, shown.checkpoint), (Vec::new(), START));
}

/// Several tables and the checkpoint change as one.
pub async fn a_commit_moves_rows_and_checkpoint_together(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let generation = active_with(store, homes(), vec![home(1, &[])]).await;
    let mut changes = puts(homes(), [home(2, &[])]);
    changes.extend(puts(visits(), [visit("a", 1, 5)]));

    store
        .commit(Commit::moving(generation.clone(), GlobalPosition(1), GlobalPosition(5), changes))
        .await
        .unwrap();

    let shown = page(store, everything(homes())).await;
    assert_eq!((shown.rows.len(), shown.checkpoint), (2, GlobalPosition(5)));
    assert_eq!(page(store, everything(visits())).await.rows, [visit("a", 1, 5)]);
    assert_eq!(checkpoint_of(store, &generation).await, GlobalPosition(5));
    let nothing = Vec::new();
    store
        .commit(Commit::moving(generation.clone(), GlobalPosition(5), GlobalPosition(8), nothing))
        .await
        .unwrap();
    assert_eq!(checkpoint_of(store, &generation).await, GlobalPosition(8));
}

/// A process that believes in an older checkpoint is told so, and changes nothing.
pub async fn a_commit_from_another_checkpoint_stores_nothing(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let generation = active_with(store, homes(), vec![home(1, &[])]).await;

    let stale = puts(homes(), [home(2, &[])]);
    let refused =
        store.commit(Commit::moving(generation.clone(), START, GlobalPosition(2), stale)).await;

    assert!(matches!(
        refused,
        Err(ReadModelError::CheckpointMoved { generation: id, expected, actual })
            if id == generation
                && expected == Mark::from(START)
                && actual == Mark::from(GlobalPosition(1))
    ));
    assert_eq!(numbers(store, everything(homes())).await, [1]);
    assert_eq!(checkpoint_of(store, &generation).await, GlobalPosition(1));
}

/// Two processes that do the same work cannot both store it.
pub async fn of_two_commits_from_one_checkpoint_one_is_kept(store: Arc<dyn ReadModels>) {
    let generation = active_with(&*store, homes(), Vec::new()).await;
    for round in 1..20 {
        let (from, to) = (GlobalPosition(round), GlobalPosition(round + 1));
        let race = (0..4).map(|racer| {
            let (store, generation) = (store.clone(), generation.clone());
            let day = i64::try_from(round).unwrap();
            let rows = puts(visits(), [visit("race", day, racer)]);
            tokio::spawn(async move {
                store.commit(Commit::moving(generation, from, to, rows)).await.is_ok()
            })
        });
        let mut kept = Vec::new();
        for racer in race.collect::<Vec<_>>() {
            kept.push(racer.await.unwrap());
        }
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 1);
        let winner = i64::try_from(kept.iter().position(|kept| *kept).unwrap()).unwrap();
        let rows = page(&*store, everything(visits())).await.rows;
        assert_eq!(rows.last().unwrap().0[2], Value::Integer(winner));
    }
}

/// Commits that share a transaction inside do not share their fate.
pub async fn many_commits_at_once_are_each_kept_or_refused_whole(store: Arc<dyn ReadModels>) {
    let mut waiting = Vec::new();
    let mut ours = Vec::new();
    for number in 0..32 {
        let generation = store.create_generation(PROJECTION, 1, &HOMES).await.unwrap();
        ours.push(generation.clone());
        let stale = number % 3 == 0;
        let from = GlobalPosition(u64::from(stale));
        let rows = puts(visits(), (0..50).map(|day| visit("a", day, number)));
        let store = store.clone();
        waiting.push(tokio::spawn(async move {
            let outcome =
                store.commit(Commit::moving(generation, from, GlobalPosition(7), rows)).await;
            assert_eq!(outcome.is_err(), stale);
        }));
    }
    for commit in waiting {
        commit.await.unwrap();
    }
    for (number, generation) in ours.iter().enumerate() {
        let limit = NonZeroU32::new(1_000).unwrap();
        let rows = store.scan(generation.clone(), visits(), None, limit).await.unwrap();
        let kept = number % 3 != 0;
        assert_eq!(rows.len(), if kept { 50 } else { 0 });
        let checkpoint = GlobalPosition(if kept { 7 } else { 0 });
        assert_eq!(checkpoint_of(&*store, generation).await, checkpoint);
    }
}

/// A row of another shape is refused before anything is stored.
pub async fn a_row_that_does_not_fit_stores_nothing(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let generation = active_with(store, homes(), Vec::new()).await;
    let mut short = home(1, &[]);
    short.0.pop();
    let mut without_key = home(1, &[]);
    without_key.0[0] = Value::Null;
    let misfits = [
        short,
        without_key,
        home(1, &[("price", text("5"))]),
        home(1, &[("score", Value::Integer(5))]),
        home(1, &[("score", Value::Real(f64::NAN))]),
        home(1, &[("published_at", Value::Integer(5))]),
    ];
    for misfit in misfits {
        let rows = puts(homes(), [home(2, &[]), misfit.clone()]);
        let (from, to) = (GlobalPosition(1), GlobalPosition(2));
        let refused = store.commit(Commit::moving(generation.clone(), from, to, rows)).await;
        assert!(matches!(refused, Err(ReadModelError::Unfit { table: "home", .. })), "{misfit:?}");
    }
    let (from, to) = (GlobalPosition(1), GlobalPosition(2));
    let no_key = deletes(homes(), [Key(Vec::new())]);
    let refused = store.commit(Commit::moving(generation, from, to, no_key)).await;
    assert!(matches!(refused, Err(ReadModelError::Unfit { .. })));
    assert_eq!(page(store, everything(homes())).await.rows, []);
}

/// Every kind of value survives, also at its limits.
pub async fn rows_come_back_as_they_were_put(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let full = home(
        1,
        &[
            ("open", Value::Bool(true)),
            ("price", Value::Integer(i64::MAX)),
            ("rooms", Value::Integer(i64::MIN)),
            ("score", Value::Real(-1.5e300)),
            ("title", text("It's \"quoted\" \\ – ž 🏠\n\t%_")),
            ("description", text("")),
            ("published_at", Value::Timestamp(moment(-3_600) + Duration::microseconds(123_456))),
            ("owner", Value::Uuid(Uuid::max())),
            ("extra", text(r#"{"a":[1,null,"b"]}"#)),
            ("latitude", Value::Real(-90.0)),
            ("longitude", Value::Real(180.0)),
        ],
    );
    let other = home(
        2,
        &[
            ("open", Value::Bool(false)),
            ("score", Value::Real(3.0)),
            ("owner", Value::Uuid(Uuid::nil())),
            ("published_at", Value::Timestamp(moment(4_000_000_000))),
        ],
    );
    let rows = vec![full, other, home(3, &[])];
    let generation = active_with(store, homes(), rows.clone()).await;

    assert_eq!(page(store, everything(homes())).await.rows, rows);
    let keys = rows.iter().map(|row| HOME.key_of(row)).collect();
    let mut fetched = store.fetch(generation.clone(), homes(), keys).await.unwrap();
    fetched.sort_by(|a, b| compare(&a.0[0], &b.0[0]));
    assert_eq!(fetched, rows);
    let limit = NonZeroU32::new(10).unwrap();
    assert_eq!(store.scan(generation, homes(), None, limit).await.unwrap(), rows);
}

/// Texts that cannot be made shorter, in characters of four bytes.
pub async fn an_index_holds_texts_of_2_400_bytes(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let long = |number: u32| -> String {
        let code = |at: u32| 0x1_0000 + ((at * 8 + number) * 104_729) % 0x8_0000;
        (0..600).map(|at| char::from_u32(code(at)).unwrap()).collect()
    };
    let with_title = |number: u32| home(number.into(), &[("title", text(&long(number)))]);
    let rows: Vec<Row> = (1..=3).map(with_title).collect();
    active_with(store, homes(), rows.clone()).await;

    let equal = Filter::Equals("title", text(&long(2)));
    let found = page(store, Query { filters: vec![equal], ..everything(homes()) }).await;

    assert_eq!(found.rows, [rows[1].clone()]);
    let order = ["rooms", "title"].map(|column| Order { column, descending: false }).to_vec();
    let sorted = page(store, Query { order, ..everything(homes()) }).await;
    let mut expected = rows;
    expected.sort_by(|a, b| compare(&a.0[5], &b.0[5]));
    assert_eq!(sorted.rows, expected);
    let visits = vec![visit(&long(1), 1, 1), visit(&long(1), 2, 1)];
    let generation = building(store).await;
    let (from, to) = (START, GlobalPosition(1));
    store
        .commit(Commit::moving(generation.clone(), from, to, puts(HOMES[1], visits.clone())))
        .await
        .unwrap();
    let limit = NonZeroU32::new(10).unwrap();
    assert_eq!(store.scan(generation, HOMES[1], None, limit).await.unwrap(), visits);
}

/// The last word on a key counts; deleting what is not there is no error.
pub async fn a_put_replaces_and_a_delete_removes(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let first = vec![visit("a", 1, 1), visit("a", 2, 1), visit("b", 1, 1)];
    let generation = active_with(store, visits(), first).await;
    let key = |home: &str, day| Key(vec![text(home), Value::Integer(day)]);
    let changes = vec![TableChanges {
        table: visits(),
        changes: vec![
            RowChange::Put(visit("a", 1, 9)),
            RowChange::Delete(key("a", 2)),
            RowChange::Delete(key("c", 3)),
        ],
    }];

    store
        .commit(Commit::moving(generation, GlobalPosition(1), GlobalPosition(2), changes))
        .await
        .unwrap();

    assert_eq!(page(store, everything(visits())).await.rows, [visit("a", 1, 9), visit("b", 1, 1)]);
    assert_eq!(store.count(PROJECTION, visits(), Vec::new()).await.unwrap(), 2);
}

/// Missing keys are simply not in the answer; a generation that is being built is fetched from too.
pub async fn fetching_finds_the_rows_that_exist(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let generation = building(store).await;
    let rows = puts(visits(), (0..10).map(|day| visit("a", day, day)));
    store.commit(Commit::moving(generation.clone(), START, GlobalPosition(1), rows)).await.unwrap();
    let keys = (8..2_000).map(|day| Key(vec![text("a"), Value::Integer(day)])).collect();

    let mut found = store.fetch(generation.clone(), visits(), keys).await.unwrap();

    found.sort_by(|a, b| compare(&a.0[1], &b.0[1]));
    assert_eq!(found, [visit("a", 8, 8), visit("a", 9, 9)]);
    let misfit = store.fetch(generation, visits(), vec![Key(vec![text("a")])]).await;
    assert!(matches!(misfit, Err(ReadModelError::Unfit { .. })));
}

/// Also of a generation that is being built; page after page gives every row once.
pub async fn a_scan_goes_through_all_rows_in_key_order(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let generation = building(store).await;
    let all: Vec<Row> =
        ["a", "b", "c"].iter().flat_map(|home| (-5..5).map(|day| visit(home, day, 1))).collect();
    let rows = puts(visits(), all.iter().rev().cloned());
    store.commit(Commit::moving(generation.clone(), START, GlobalPosition(1), rows)).await.unwrap();

    let (mut scanned, mut after) = (Vec::new(), None);
    loop {
        let limit = NonZeroU32::new(7).unwrap();
        let page = store.scan(generation.clone(), visits(), after, limit).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(VISIT.key_of(last));
        scanned.extend(page);
    }

    assert_eq!(scanned, all);
}

/// Random rows, filters and orders: the whole answer, every page forwards and backwards, and the
/// count equal what a plain loop over the rows gives.
pub async fn any_query_and_its_pages_equal_a_plain_model(store: Arc<dyn ReadModels>) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let case = (
        prop::collection::vec(any_home(), 0..60),
        prop::collection::vec((0_usize..60, prop::option::of(any_home())), 0..20),
        prop::collection::vec((any_filters(), any_order(), 1_u32..8, any::<[u8; 2]>()), 8),
    );
    tokio::task::block_in_place(|| {
        runner
            .run(&case, |(rows, later, questions)| {
                Handle::current().block_on(check_case(&*store, rows, later, questions));
                Ok(())
            })
            .unwrap();
    });
}

type Question = (Vec<Filter>, Vec<Order>, u32, [u8; 2]);

async fn check_case(
    store: &dyn ReadModels,
    rows: Vec<Row>,
    later: Vec<(usize, Option<Row>)>,
    questions: Vec<Question>,
) {
    let mut model: BTreeMap<u128, Row> = BTreeMap::new();
    let numbered = |number: usize, row: Row| {
        let mut row = row;
        row.0[0] = Value::Uuid(id(number as u128));
        row
    };
    let generation = building(store).await;
    let first: Vec<Row> = rows.into_iter().enumerate().map(|(n, row)| numbered(n, row)).collect();
    model.extend(first.iter().enumerate().map(|(n, row)| (n as u128, row.clone())));
    let first = puts(homes(), first);
    let begun = seen(store).await.0 + 1;
    store
        .commit(Commit::moving(generation.clone(), START, GlobalPosition(begun), first))
        .await
        .unwrap();
    store.activate(generation.clone()).await.unwrap();
    for (step, (number, row)) in (begun..).zip(later) {
        let change = match row {
            Some(row) => {
                let row = numbered(number, row);
                model.insert(number as u128, row.clone());
                puts(homes(), [row])
            }
            None => {
                model.remove(&(number as u128));
                deletes(homes(), [Key(vec![Value::Uuid(id(number as u128))])])
            }
        };
        let (from, to) = (GlobalPosition(step), GlobalPosition(step + 1));
        store.commit(Commit::moving(generation.clone(), from, to, change)).await.unwrap();
    }
    for question in questions {
        check_question(store, &model, question).await;
    }
    for other in store.generations(PROJECTION).await.unwrap() {
        if other.state != GenerationState::Active {
            store.drop_generation(other.id).await.unwrap();
        }
    }
}

async fn check_question(
    store: &dyn ReadModels,
    model: &BTreeMap<u128, Row>,
    (filters, order, limit, window): Question,
) {
    let mut expected: Vec<Row> =
        model.values().filter(|row| filters.iter().all(|f| meets(row, f))).cloned().collect();
    expected.sort_by(|a, b| compare_rows(a, b, &order));
    let asked = Query { filters: filters.clone(), order: order.clone(), ..everything(homes()) };
    let whole = page(store, asked.clone()).await;
    assert_eq!(whole.rows, expected, "{filters:?} {order:?}");
    assert!(!whole.has_more);
    let count = store.count(PROJECTION, homes(), filters.clone()).await.unwrap();
    assert_eq!(count, expected.len() as u64, "{filters:?}");

    let limit = NonZeroU32::new(limit).unwrap();
    let (mut forwards, mut after) = (Vec::new(), None);
    loop {
        let part = page(store, Query { after, limit, ..asked.clone() }).await;
        assert!(part.rows.len() == limit.get() as usize || !part.has_more);
        after = part.rows.last().map(|row| place_of(row, &order));
        forwards.extend(part.rows);
        assert_eq!(part.has_more, forwards.len() < expected.len());
        if !part.has_more {
            break;
        }
    }
    assert_eq!(forwards, expected, "{filters:?} {order:?} by {limit}");

    let (mut backwards, mut before) = (Vec::new(), None);
    loop {
        let part = page(store, Query { before, limit, backwards: true, ..asked.clone() }).await;
        before = part.rows.first().map(|row| place_of(row, &order));
        backwards.splice(0..0, part.rows);
        assert_eq!(part.has_more, backwards.len() < expected.len());
        if !part.has_more {
            break;
        }
    }
    assert_eq!(backwards, expected, "{filters:?} {order:?} backwards by {limit}");

    if expected.is_empty() {
        return;
    }
    let [from, to] = window.map(|byte| usize::from(byte) % expected.len());
    let between = expected.get(from + 1..to).unwrap_or_default();
    let window = Query {
        after: Some(place_of(&expected[from], &order)),
        before: Some(place_of(&expected[to], &order)),
        ..asked
    };
    assert_eq!(page(store, window.clone()).await.rows, between);
    assert_eq!(page(store, Query { backwards: true, ..window }).await.rows, between);
}

fn place_of(row: &Row, order: &[Order]) -> Vec<Value> {
    let value = |name: &str| row.0[HOME.column(name).unwrap()].clone();
    let mut place: Vec<Value> = order.iter().map(|order| value(order.column)).collect();
    place.extend(HOME.key_of(row).0);
    place
}

/// The order of two values of one kind.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (a, b) => panic!("{a:?} and {b:?} are not compared"),
    }
}

fn compare_rows(a: &Row, b: &Row, order: &[Order]) -> Ordering {
    let towards = |ordering: Ordering, descending| match descending {
        true => ordering.reverse(),
        false => ordering,
    };
    for order in order {
        let place = HOME.column(order.column).unwrap();
        let ordering = match (&a.0[place], &b.0[place]) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            (a, b) => towards(compare(a, b), order.descending),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    let last = order.last().is_some_and(|order| order.descending);
    towards(compare(&a.0[0], &b.0[0]), last)
}

fn meets(row: &Row, filter: &Filter) -> bool {
    let value = |name: &str| &row.0[HOME.column(name).unwrap()];
    let present =
        |name: &str, against: &Value| *value(name) != Value::Null && *against != Value::Null;
    let real = |name: &str| match value(name) {
        Value::Real(number) => Some(*number),
        _ => None,
    };
    let point = || Some((real("latitude")?, real("longitude")?));
    match filter {
        Filter::Equals(name, wanted) => present(name, wanted) && value(name) == wanted,
        Filter::OneOf(name, wanted) => {
            wanted.iter().any(|wanted| present(name, wanted) && value(name) == wanted)
        }
        Filter::AtLeast(name, least) => present(name, least) && compare(value(name), least).is_ge(),
        Filter::AtMost(name, most) => present(name, most) && compare(value(name), most).is_le(),
        Filter::IsNull(name) => *value(name) == Value::Null,
        Filter::Text(wanted) => {
            let words: String = ["title", "description"]
                .iter()
                .filter_map(|name| match value(name) {
                    Value::Text(text) => Some(search_words(text)),
                    _ => None,
                })
                .collect();
            let wanted = search_words(wanted);
            wanted.split_whitespace().all(|word| words.contains(&format!(" {word}")))
        }
        Filter::WithinBox { south, west, north, east } => {
            point().is_some_and(|(latitude, longitude)| {
                let between = match west <= east {
                    true => *west <= longitude && longitude <= *east,
                    false => *west <= longitude || longitude <= *east,
                };
                *south <= latitude && latitude <= *north && between
            })
        }
        Filter::WithinRadius { latitude, longitude, meters } => {
            point().is_some_and(|place| meters_between((*latitude, *longitude), place) <= *meters)
        }
    }
}

/// By the spherical law of cosines, another way than adapters take.
fn meters_between(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (a, b) = (from.0.to_radians(), to.0.to_radians());
    let turn = (to.1 - from.1).to_radians();
    let cosine = a.sin() * b.sin() + a.cos() * b.cos() * turn.cos();
    6_371_008.8 * cosine.clamp(-1.0, 1.0).acos()
}

/// Few different values, so that ties, nulls and matches are common.
fn any_home() -> impl Strategy<Value = Row> {
    let value = |value: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 4 => value];
    let whole = |range: std::ops::Range<i64>| value(range.prop_map(Value::Integer).boxed());
    let words = || prop::collection::vec(any_word(), 0..4).prop_map(|words| text(&words.join(" ")));
    let columns = (
        value(any::<bool>().prop_map(Value::Bool).boxed()),
        whole(0..5),
        whole(0..3),
        value((0..3).prop_map(|n| Value::Real(f64::from(n) / 2.0)).boxed()),
        value(words().boxed()),
        value(words().boxed()),
        value((0_i64..4).prop_map(|n| Value::Timestamp(moment(n))).boxed()),
        value((0_u128..3).prop_map(|n| Value::Uuid(id(n))).boxed()),
        value(any_latitude().prop_map(Value::Real).boxed()),
        value(any_longitude().prop_map(Value::Real).boxed()),
    );
    columns.prop_map(|(open, price, rooms, score, title, description, at, owner, north, east)| {
        let json = Value::Null;
        let key = Value::Null;
        Row(vec![key, open, price, rooms, score, title, description, at, owner, json, north, east])
    })
}

fn any_word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "bright", "Brick", "BR", "loft", "größe", "Grosse", "5b", "x-ray", "*",
    ])
}

fn any_latitude() -> impl Strategy<Value = f64> {
    prop_oneof![-90.0..90.0_f64, Just(0.0), Just(-90.0), Just(52.5)]
}

fn any_longitude() -> impl Strategy<Value = f64> {
    prop_oneof![-180.0..180.0_f64, Just(180.0), Just(-180.0), Just(13.4)]
}

fn any_filters() -> impl Strategy<Value = Vec<Filter>> {
    let price = || (0_i64..5).prop_map(Value::Integer);
    let title = || any_word().prop_map(text);
    let filter = prop_oneof![
        any::<bool>().prop_map(|open| Filter::Equals("open", Value::Bool(open))),
        price().prop_map(|price| Filter::Equals("price", price)),
        (0_u128..3).prop_map(|n| Filter::Equals("owner", Value::Uuid(id(n)))),
        (0_u128..60).prop_map(|n| Filter::Equals("home", Value::Uuid(id(n)))),
        prop::collection::vec(price(), 0..3).prop_map(|prices| Filter::OneOf("price", prices)),
        prop::collection::vec(title(), 0..3).prop_map(|titles| Filter::OneOf("title", titles)),
        price().prop_map(|price| Filter::AtLeast("price", price)),
        price().prop_map(|price| Filter::AtMost("price", price)),
        (0_i64..4).prop_map(|n| Filter::AtLeast("published_at", Value::Timestamp(moment(n)))),
        (0..3).prop_map(|n| Filter::AtMost("score", Value::Real(f64::from(n) / 2.0))),
        title().prop_map(|title| Filter::AtLeast("title", title)),
        prop::sample::select(vec!["price", "title", "latitude", "extra", "open"])
            .prop_map(Filter::IsNull),
        prop::collection::vec(any_word(), 0..3).prop_map(|words| Filter::Text(words.join(" "))),
        "[bBgxl5 ]{1,3}".prop_map(Filter::Text),
        (any_latitude(), any_longitude(), any_latitude(), any_longitude())
            .prop_map(|(south, west, north, east)| Filter::WithinBox { south, west, north, east }),
        (any_latitude(), any_longitude(), 0.0..2e7_f64).prop_map(
            |(latitude, longitude, meters)| Filter::WithinRadius { latitude, longitude, meters }
        ),
    ];
    prop::collection::vec(filter, 0..4)
}

fn any_order() -> impl Strategy<Value = Vec<Order>> {
    let columns = ["price", "rooms", "title", "published_at", "open", "score", "owner"];
    prop::sample::subsequence(columns.to_vec(), 0..=3).prop_shuffle().prop_flat_map(|columns| {
        let directions = prop::collection::vec(any::<bool>(), columns.len());
        directions.prop_map(move |directions| {
            let ordered = columns.iter().zip(directions);
            ordered.map(|(column, descending)| Order { column, descending }).collect()
        })
    })
}

/// "Cheapest first" and "dearest first" both show what has no price at the end.
pub async fn nulls_come_last_in_either_direction(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let priced = |number, price| home(number, &[("price", Value::Integer(price))]);
    let rows = vec![home(1, &[]), priced(2, 20), priced(3, 10), home(4, &[]), priced(5, 20)];
    active_with(store, homes(), rows).await;
    let by_price = |descending| Query {
        order: vec![Order { column: "price", descending }],
        ..everything(homes())
    };

    assert_eq!(numbers(store, by_price(false)).await, [3, 2, 5, 1, 4]);
    assert_eq!(numbers(store, by_price(true)).await, [5, 2, 3, 4, 1]);
    let last = Query { backwards: true, limit: NonZeroU32::new(2).unwrap(), ..by_price(false) };
    assert_eq!(numbers(store, last).await, [1, 4]);
}

/// "Unknown" is neither equal to, below nor above anything.
pub async fn a_null_meets_no_filter_but_is_null(store: Arc<dyn ReadModels>) {
    let store = &*store;
    active_with(store, homes(), vec![home(1, &[]), home(2, &[("price", Value::Integer(0))])]).await;

    for filter in [
        Filter::Equals("price", Value::Null),
        Filter::OneOf("price", vec![Value::Null]),
        Filter::OneOf("price", Vec::new()),
        Filter::AtLeast("price", Value::Null),
        Filter::AtMost("price", Value::Null),
        Filter::WithinBox { south: -90.0, west: -180.0, north: 90.0, east: 180.0 },
        Filter::WithinRadius { latitude: 0.0, longitude: 0.0, meters: 1e8 },
    ] {
        assert_eq!(numbers(store, filtered(filter.clone())).await, [], "{filter:?}");
    }
    let at_most = Filter::AtMost("price", Value::Integer(5));
    assert_eq!(numbers(store, filtered(at_most)).await, [2]);
    assert_eq!(numbers(store, filtered(Filter::IsNull("price"))).await, [1]);
}

/// Words in any order and any text column, by their beginnings, whatever their case and accents.
pub async fn text_is_found_by_the_beginnings_of_its_words(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let titled = |number, title, description| {
        home(number, &[("title", text(title)), ("description", text(description))])
    };
    let rows = vec![
        titled(1, "Bright loft in Zürich", "near the lake"),
        titled(2, "Dark cellar, STRASSE 5b", "no lake"),
        home(3, &[]),
    ];
    active_with(store, homes(), rows).await;

    for (asked, found) in [
        ("lake", vec![1, 2]),
        ("LAK", vec![1, 2]),
        ("lake loft", vec![1]),
        ("zurich", vec![1]),
        ("Zür", vec![1]),
        ("straße", vec![2]),
        ("5B", vec![2]),
        ("ake", vec![]),
        ("loft cellar", vec![]),
        ("", vec![1, 2, 3]),
        (" -- ", vec![1, 2, 3]),
    ] {
        let query = filtered(Filter::Text(asked.into()));
        assert_eq!(numbers(store, query).await, found, "{asked:?}");
    }
}

/// No character of a caller's text has a meaning to the machine below.
pub async fn hostile_text_is_only_text(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let title = "O'Neil \"quoted\" AND near title:loft";
    let rows = vec![home(1, &[("title", text(title))]), home(2, &[("title", text("plain"))])];
    active_with(store, homes(), rows).await;

    for asked in [
        "\"",
        "\"\"",
        "'",
        "o'neil",
        "\"quoted",
        "quoted\"",
        "AND",
        "and and",
        "NEAR",
        "near(",
        "title:loft",
        "title : loft",
        "loft*",
        "*",
        "^loft",
        "-loft",
        "+loft",
        "(loft",
        "loft)",
        "loft\0",
        "\0",
        "o neil AND",
        "NOT plain near",
        "{loft}",
        "loft\u{301}",
        "%",
        "_",
        "\\",
        ":*",
        "!loft & near",
        "loft <-> near",
        "; DROP TABLE home; --loft",
    ] {
        let query = filtered(Filter::Text(asked.into()));
        let wanted = search_words(asked);
        let words = search_words(title);
        let mut expected = Vec::new();
        for (number, words) in [(1, words), (2, search_words("plain"))] {
            if wanted.split_whitespace().all(|word| words.contains(&format!(" {word}"))) {
                expected.push(number);
            }
        }
        assert_eq!(numbers(store, query).await, expected, "{asked:?}");
    }
    let many: String = (0..10_000).map(|number| format!("w{number} ")).collect();
    match store.query(PROJECTION, filtered(Filter::Text(many))).await {
        Ok(page) => assert_eq!(page.rows, []),
        Err(error) => assert!(matches!(error, ReadModelError::Unfit { .. }), "{error:?}"),
    }
    let quoted = Filter::Equals("title", text("'; DROP TABLE home; --"));
    assert_eq!(numbers(store, filtered(quoted)).await, []);
    let same = Filter::Equals("title", text(title));
    assert_eq!(numbers(store, filtered(same)).await, [1]);
}

/// West of Fiji and east of it are neighbours.
pub async fn a_box_may_cross_the_antimeridian(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let rows = vec![
        at(1, -17.0, 179.5),
        at(2, -17.0, -179.5),
        at(3, -17.0, 0.0),
        at(4, 17.0, 179.5),
        at(5, -17.0, 180.0),
        at(6, -17.0, -180.0),
    ];
    active_with(store, homes(), rows).await;
    let inside = |west, east| Filter::WithinBox { south: -20.0, west, north: -10.0, east };

    assert_eq!(numbers(store, filtered(inside(179.0, -179.0))).await, [1, 2, 5, 6]);
    assert_eq!(numbers(store, filtered(inside(-179.0, 179.0))).await, [3]);
    assert_eq!(numbers(store, filtered(inside(-180.0, 180.0))).await, [1, 2, 3, 5, 6]);
    assert_eq!(numbers(store, filtered(inside(179.5, 179.5))).await, [1]);
    let upside_down = Filter::WithinBox { south: 10.0, west: -180.0, north: -10.0, east: 180.0 };
    assert_eq!(numbers(store, filtered(upside_down)).await, []);
}

/// A circle knows no edge of the map.
pub async fn a_radius_reaches_over_the_antimeridian_and_the_pole(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let rows = vec![
        at(1, 0.0, 179.9),
        at(2, 0.0, -179.9),
        at(3, 0.0, 179.0),
        at(4, 89.9, 0.0),
        at(5, 89.9, 180.0),
        at(6, 52.520_008, 13.404_954),
        at(7, 52.529_0, 13.404_954),
    ];
    active_with(store, homes(), rows).await;
    let around = |latitude, longitude, meters| {
        filtered(Filter::WithinRadius { latitude, longitude, meters })
    };

    assert_eq!(numbers(store, around(0.0, 180.0, 20_000.0)).await, [1, 2]);
    assert_eq!(numbers(store, around(0.0, -180.0, 112_000.0)).await, [1, 2, 3]);
    assert_eq!(numbers(store, around(89.95, 90.0, 20_000.0)).await, [4, 5]);
    assert_eq!(numbers(store, around(52.520_008, 13.404_954, 999.0)).await, [6]);
    assert_eq!(numbers(store, around(52.520_008, 13.404_954, 1_001.0)).await, [6, 7]);
    assert_eq!(numbers(store, around(52.520_008, 13.404_954, 0.0)).await, [6]);
    assert_eq!(numbers(store, around(52.520_008, 13.404_954, -1.0)).await, []);
}

/// The caller is told what is wrong, instead of getting an answer to another question.
pub async fn a_question_that_does_not_fit_is_refused(store: Arc<dyn ReadModels>) {
    let store = &*store;
    active_with(store, homes(), vec![home(1, &[])]).await;
    let ordered =
        |column| Query { order: vec![Order { column, descending: false }], ..everything(homes()) };
    let after = |after| Query { after: Some(after), ..ordered("price") };
    let text_of_visits = Query { filters: vec![Filter::Text("a".into())], ..everything(visits()) };
    for misfit in [
        filtered(Filter::Equals("nothing", Value::Integer(1))),
        filtered(Filter::Equals("price", text("1"))),
        filtered(Filter::OneOf("price", vec![Value::Integer(1), Value::Bool(true)])),
        filtered(Filter::AtLeast("score", Value::Real(f64::NAN))),
        filtered(Filter::AtMost("published_at", Value::Integer(1))),
        filtered(Filter::Equals("extra", text("{}"))),
        filtered(Filter::IsNull("price\" IS NULL --")),
        filtered(Filter::WithinRadius { latitude: f64::NAN, longitude: 0.0, meters: 1.0 }),
        ordered("nothing"),
        ordered("extra"),
        after(vec![]),
        after(vec![Value::Integer(1)]),
        after(vec![text("1"), Value::Uuid(id(1))]),
        after(vec![Value::Integer(1), Value::Null]),
        text_of_visits,
    ] {
        let refused = store.query(PROJECTION, misfit.clone()).await;
        assert!(matches!(refused, Err(ReadModelError::Unfit { .. })), "{misfit:?} {refused:?}");
    }
    let place = vec![Filter::WithinBox { south: 0.0, west: 0.0, north: 1.0, east: 1.0 }];
    let refused = store.count(PROJECTION, visits(), place).await;
    assert!(matches!(refused, Err(ReadModelError::Unfit { table: "visit", .. })));
}

/// Every answer is the state after one commit: all rows of it, none of the next, its checkpoint.
pub async fn queries_see_whole_commits_while_others_are_written(store: Arc<dyn ReadModels>) {
    let state = |round: i64| (0..200).map(move |day| visit("a", day, round));
    let generation = active_with(&*store, visits(), state(1).collect()).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                let mut last = GlobalPosition(0);
                while !done.load(atomic::Ordering::Relaxed) {
                    let shown = page(&*store, everything(visits())).await;
                    let round = i64::try_from(shown.checkpoint.0).unwrap();
                    assert_eq!(shown.rows, state(round).collect::<Vec<_>>());
                    assert!(last <= shown.checkpoint, "an answer older than the one before");
                    last = shown.checkpoint;
                }
            })
        })
        .collect();
    for round in 1..60 {
        let (from, to) = (GlobalPosition(round), GlobalPosition(round + 1));
        let rows = puts(visits(), state(i64::try_from(to.0).unwrap()));
        store.commit(Commit::moving(generation.clone(), from, to, rows)).await.unwrap();
    }
    done.store(true, atomic::Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}
