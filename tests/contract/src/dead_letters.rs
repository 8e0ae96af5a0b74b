//! What every store of read models does with dead letters.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{
    Column, ColumnKind, Commit, DeadLetter, EventId, Fault, Generation, GenerationId,
    GlobalPosition, Hold, LetterChange, LetterFilter, LetterId, LogName, Mark, ReadModelError,
    ReadModels, RetryPace, Row, RowChange, StreamId, StreamVersion, Table, TableChanges, Tried,
    Value,
};
use uuid::Uuid;

/// Joins the suite with an expression that gives an empty store.
#[macro_export]
macro_rules! dead_letters_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            dead_letters,
            [$($attribute),*],
            $fresh,
            [
                a_letter_is_stored_as_it_was_parked,
                a_stream_is_parked_once_in_a_generation,
                what_waits_is_counted,
                a_page_may_park_and_count_for_thousands_of_streams,
                letters_that_move_no_checkpoint_move_the_revision,
                a_letter_becomes_what_trying_it_again_said,
                what_is_tried_must_stand_as_named,
                an_order_between_fold_and_commit_wins,
                an_order_names_letters_as_they_stand,
                a_retired_generation_takes_no_orders,
                orders_at_the_same_time_are_all_kept,
                who_holds_a_letter_holds_it_in_every_generation,
                a_hold_ends_by_itself_or_with_an_order,
                what_is_applied_or_not_shown_is_not_held,
                a_generation_notes_what_it_obeys,
                letters_are_gone_with_their_generation,
                lists_show_what_readers_miss,
                a_generation_that_lacks_what_readers_see_is_not_activated,
            ]
        );
    };
}

const SHELF: Table = Table {
    name: "shelf",
    columns: &[
        Column { name: "shelf", kind: ColumnKind::Integer },
        Column { name: "items", kind: ColumnKind::Integer },
    ],
    key_columns: 1,
    indexes: &[],
    text_search: &[],
    spatial: None,
};
static SHELVES: [&Table; 1] = [&SHELF];

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_000_000 + micros).unwrap()
}

fn at(position: u64) -> GlobalPosition {
    GlobalPosition(position)
}

async fn building(store: &dyn ReadModels) -> GenerationId {
    store.create_generation("shelves", 1, &SHELVES).await.unwrap()
}

async fn generation(store: &dyn ReadModels, id: &GenerationId) -> Generation {
    let generations = store.generations(&id.projection).await.unwrap();
    generations.into_iter().find(|generation| generation.id == *id).unwrap()
}

async fn mark(store: &dyn ReadModels, id: &GenerationId) -> Mark {
    generation(store, id).await.mark()
}

fn stream(name: &str) -> StreamId {
    StreamId::new("item", name).unwrap()
}

fn letter(generation: &GenerationId, name: &str, position: u64) -> DeadLetter {
    DeadLetter {
        id: LetterId {
            generation: generation.clone(),
            stream: stream(name),
            position: at(position),
        },
        log: LogName::DOMAIN,
        version: StreamVersion(4),
        event_id: EventId(Uuid::from_u128(u128::from(position) << 70 | 5)),
        event_type: "Worn".into(),
        recorded_at: moment(1),
        error: "it's \"worn\" out; näher besehen".into(),
        fault: Fault::Permanent,
        attempts: 2,
        parked_at: moment(2),
        tried_at: moment(3),
        done_through: StreamVersion(3),
        waiting: 0,
        retry_at: None,
        retry_by: None,
    }
}

fn row(shelf: i64, items: i64) -> Vec<TableChanges> {
    let row = Row(vec![Value::Integer(shelf), Value::Integer(items)]);
    vec![TableChanges { table: SHELVES[0], changes: vec![RowChange::Put(row)] }]
}

async fn rows(store: &dyn ReadModels, generation: &GenerationId) -> usize {
    let limit = NonZeroU32::new(100).unwrap();
    store.scan(generation.clone(), SHELVES[0], None, limit).await.unwrap().len()
}

/// Commits letters from where the generation stands.
async fn change(
    store: &dyn ReadModels,
    generation: &GenerationId,
    to: GlobalPosition,
    letters: Vec<LetterChange>,
) -> Result<(), ReadModelError> {
    let from = mark(store, generation).await;
    let generation = generation.clone();
    store.commit(Commit { generation, from, to, changes: Vec::new(), letters }).await
}

fn tried(letter: &DeadLetter, outcome: Tried) -> LetterChange {
    let LetterId { stream, position, .. } = letter.id.clone();
    LetterChange::Tried { stream, position, at: moment(9), outcome }
}

async fn parked(store: &dyn ReadModels, generation: &GenerationId) -> Vec<DeadLetter> {
    store.parked(generation).await.unwrap()
}

fn pace() -> RetryPace {
    RetryPace { first_at: moment(100), every: Duration::from_millis(20) }
}

/// Every part of it comes back, with the page that met it.
pub async fn a_letter_is_stored_as_it_was_parked(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let plain = letter(&home, "1", 7);
    let ordered = DeadLetter {
        fault: Fault::Panic,
        waiting: 3,
        retry_at: Some(moment(50)),
        retry_by: Some("cli:ann".into()),
        ..letter(&home, "2", 8)
    };
    assert_eq!(parked(store, &home).await, []);

    let letters = [plain.clone(), ordered.clone()].map(LetterChange::Park).to_vec();
    let commit = Commit { letters, ..Commit::moving(home.clone(), at(0), at(9), row(1, 1)) };
    assert_eq!(commit.mark(), Mark { position: at(9), revision: 0 });
    store.commit(commit).await.unwrap();

    assert_eq!(parked(store, &home).await, [plain, ordered]);
    assert_eq!(mark(store, &home).await, Mark { position: at(9), revision: 0 });
    assert_eq!(rows(store, &home).await, 1);
    let other = building(store).await;
    assert_eq!(parked(store, &other).await, []);
}

/// A second letter of a stream is refused with all of its commit.
pub async fn a_stream_is_parked_once_in_a_generation(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let first = letter(&home, "1", 7);
    change(store, &home, at(9), vec![LetterChange::Park(first.clone())]).await.unwrap();

    let letters = vec![LetterChange::Park(letter(&home, "1", 10))];
    let from = mark(store, &home).await;
    let again = Commit { letters, ..Commit::moving(home.clone(), from, at(12), row(1, 1)) };
    let refused = store.commit(again).await;

    let moved = ReadModelError::LetterMoved { generation: home.clone(), stream: stream("1") };
    assert_eq!(refused.unwrap_err().to_string(), moved.to_string());
    assert_eq!((mark(store, &home).await, rows(store, &home).await), (from, 0));
    assert_eq!(parked(store, &home).await, [first]);
}

/// Events behind a letter are added up; behind none they are refused with all of their commit.
pub async fn what_waits_is_counted(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let parks = ["1", "2"].map(|name| LetterChange::Park(letter(&home, name, 7))).to_vec();
    change(store, &home, at(9), parks).await.unwrap();
    let wait = |name, events| LetterChange::Wait { stream: stream(name), events };

    change(store, &home, at(20), vec![wait("1", 2), wait("2", 5)]).await.unwrap();
    change(store, &home, at(30), vec![wait("1", 40)]).await.unwrap();

    let waiting: Vec<u64> = parked(store, &home).await.iter().map(|l| l.waiting).collect();
    assert_eq!(waiting, [42, 5]);
    let from = mark(store, &home).await;
    let letters = vec![wait("1", 1), wait("3", 1)];
    let nothing = Commit { letters, ..Commit::moving(home.clone(), from, at(40), row(1, 1)) };
    let refused = store.commit(nothing).await;
    assert!(matches!(refused, Err(ReadModelError::LetterMoved { .. })), "{refused:?}");
    assert_eq!((mark(store, &home).await, rows(store, &home).await), (from, 0));
    assert_eq!(parked(store, &home).await[0].waiting, 42);
}

/// In one commit, which stores nothing where one of them is not as the writer believed.
pub async fn a_page_may_park_and_count_for_thousands_of_streams(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let names: Vec<String> = (0..5_000).map(|number| format!("{number:04}")).collect();
    let parks = names.iter().map(|name| LetterChange::Park(letter(&home, name, 7))).collect();
    change(store, &home, at(9), parks).await.unwrap();
    let waits = |names: &[String]| {
        let wait = |name: &String| LetterChange::Wait { stream: stream(name), events: 2 };
        names.iter().map(wait).collect::<Vec<_>>()
    };

    change(store, &home, at(10), waits(&names)).await.unwrap();

    let letters = parked(store, &home).await;
    assert_eq!(letters.len(), 5_000);
    assert!(letters.iter().all(|letter| letter.waiting == 2));
    let beside = waits(&[&names[..], &["nobody".to_owned()]].concat());
    let again = [waits(&names[1..]), vec![LetterChange::Park(letter(&home, "0000", 8))]].concat();
    for wrong in [beside, again] {
        let refused = change(store, &home, at(11), wrong).await;
        assert!(matches!(refused, Err(ReadModelError::LetterMoved { .. })), "{refused:?}");
    }
    assert_eq!(parked(store, &home).await, letters);
    assert_eq!(mark(store, &home).await.position, at(10));
}

/// A commit that was folded while a stream was still parked stores nothing after its retry, though
/// the checkpoint is the same.
pub async fn letters_that_move_no_checkpoint_move_the_revision(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let letter = letter(&home, "1", 7);
    change(store, &home, at(9), vec![LetterChange::Park(letter.clone())]).await.unwrap();
    let from = mark(store, &home).await;
    let letters = vec![tried(&letter, Tried::Resolved)];
    let retry = Commit { letters, ..Commit::moving(home.clone(), from, at(9), row(1, 1)) };
    let after = retry.mark();

    store.commit(retry.clone()).await.unwrap();

    assert_eq!(after, Mark { revision: from.revision + 1, ..from });
    assert_eq!(mark(store, &home).await, after);
    let page = Commit::moving(home.clone(), from, at(20), row(2, 2));
    for stale in [page, retry] {
        let refused = store.commit(stale).await;
        let Err(ReadModelError::CheckpointMoved { expected, actual, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((expected, actual), (from, after));
    }
    assert_eq!(rows(store, &home).await, 1);
    store.commit(Commit::moving(home.clone(), after, at(20), row(2, 2))).await.unwrap();
    assert_eq!(mark(store, &home).await, Mark { position: at(20), ..after });
}

/// Each outcome leaves the letter that it says.
pub async fn a_letter_becomes_what_trying_it_again_said(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let ordered = DeadLetter {
        waiting: 9,
        retry_at: Some(moment(50)),
        retry_by: Some("cli:ann".into()),
        ..letter(&home, "1", 7)
    };
    change(store, &home, at(90), vec![LetterChange::Park(ordered.clone())]).await.unwrap();

    let onwards = Tried::Onwards { done_through: StreamVersion(8), waiting: 5 };
    change(store, &home, at(90), vec![tried(&ordered, onwards)]).await.unwrap();
    let half_way = DeadLetter {
        tried_at: moment(9),
        done_through: StreamVersion(8),
        waiting: 5,
        ..ordered.clone()
    };
    assert_eq!(parked(store, &home).await, vec![half_way.clone()]);

    let next = Some(moment(500));
    let failed = Tried::Failed { error: "worse".into(), fault: Fault::Panic, retry_at: next };
    change(store, &home, at(90), vec![tried(&ordered, failed)]).await.unwrap();
    let again = DeadLetter {
        error: "worse".into(),
        fault: Fault::Panic,
        attempts: 3,
        retry_at: next,
        ..half_way
    };
    assert_eq!(parked(store, &home).await, std::slice::from_ref(&again));
    let failed = Tried::Failed { error: "worse".into(), fault: Fault::Panic, retry_at: None };
    change(store, &home, at(90), vec![tried(&ordered, failed)]).await.unwrap();
    let given_up = DeadLetter { attempts: 4, retry_at: None, ..again };
    assert_eq!(parked(store, &home).await, [given_up]);

    let later = letter(&home, "1", 30);
    let failed_later = Tried::FailedLater(later.clone());
    change(store, &home, at(90), vec![tried(&ordered, failed_later)]).await.unwrap();
    assert_eq!(parked(store, &home).await, vec![later.clone()]);

    change(store, &home, at(90), vec![tried(&later, Tried::Resolved)]).await.unwrap();
    assert_eq!(parked(store, &home).await, []);
}

/// What is tried at another event than the letter's, or without a letter, stores nothing.
pub async fn what_is_tried_must_stand_as_named(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let stands = letter(&home, "1", 7);
    change(store, &home, at(9), vec![LetterChange::Park(stands.clone())]).await.unwrap();
    let from = mark(store, &home).await;

    for wrong in [letter(&home, "1", 8), letter(&home, "2", 7)] {
        for outcome in [
            Tried::Resolved,
            Tried::Onwards { done_through: StreamVersion(8), waiting: 5 },
            Tried::Failed { error: "worse".into(), fault: Fault::Panic, retry_at: None },
            Tried::FailedLater(letter(&home, "3", 9)),
        ] {
            let letters = vec![tried(&wrong, outcome)];
            let commit = Commit { letters, ..Commit::moving(home.clone(), from, at(9), row(1, 1)) };
            let refused = store.commit(commit).await;
            assert!(matches!(refused, Err(ReadModelError::LetterMoved { .. })), "{refused:?}");
        }
    }

    assert_eq!((mark(store, &home).await, rows(store, &home).await), (from, 0));
    assert_eq!(parked(store, &home).await, [stands]);
}

/// Who folds without having seen an order commits nothing, so an order is never overwritten.
pub async fn an_order_between_fold_and_commit_wins(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let letter = letter(&home, "1", 7);
    change(store, &home, at(9), vec![LetterChange::Park(letter.clone())]).await.unwrap();
    let before = mark(store, &home).await;
    let fault = Fault::Permanent;
    let failed = Tried::Failed { error: "again".into(), fault, retry_at: None };
    let letters = vec![tried(&letter, failed)];
    let folded = Commit { letters, ..Commit::moving(home.clone(), before, at(9), Vec::new()) };

    let ordered = store.order_retry(vec![letter.id.clone()], pace(), "cli:ann".into()).await;

    assert_eq!(ordered.unwrap(), 1);
    let refused = store.commit(folded).await;
    assert!(matches!(refused, Err(ReadModelError::CheckpointMoved { .. })), "{refused:?}");
    let stands = parked(store, &home).await.remove(0);
    assert_eq!(stands.retry_at, Some(moment(100)));
    assert_eq!(stands.retry_by.as_deref(), Some("cli:ann"));
}

/// Letters of one order follow each other at its pace; one that stands at another event by now is
/// not ordered, and where none is, nothing is refused for it.
pub async fn an_order_names_letters_as_they_stand(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let home = building(store).await;
    let named = ["1", "2", "3"].map(|name| letter(&home, name, 7));
    let parks = named.iter().cloned().map(LetterChange::Park).collect();
    change(store, &home, at(9), parks).await.unwrap();
    let before = mark(store, &home).await;
    let gone = vec![letter(&home, "1", 6).id, letter(&home, "4", 7).id];
    assert_eq!(store.order_retry(gone.clone(), pace(), "ann".into()).await.unwrap(), 0);
    assert_eq!(store.order_retry(Vec::new(), pace(), "ann".into()).await.unwrap(), 0);
    assert_eq!(mark(store, &home).await, before);

    let [_, second, third] = named;
    let order = vec![third.id, gone[0].clone(), second.id];
    assert_eq!(store.order_retry(order, pace(), "ann".into()).await.unwrap(), 2);

    let times: Vec<_> = parked(store, &home).await.iter().map(|l| l.retry_at).collect();
    assert_eq!(times, [None, Some(moment(40_100)), Some(moment(100))]);
    assert_eq!(mark(store, &home).await, Mark { revision: before.revision + 1, ..before });
}

/// Nobody would carry out an order in a generation that readers have left.
pub async fn a_retired_generation_takes_no_orders(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (old, new) = (building(store).await, building(store).await);
    for home in [&old, &new] {
        change(store, home, at(9), vec![LetterChange::Park(letter(home, "1", 7))]).await.unwrap();
        store.activate(home.clone()).await.unwrap();
    }
    let before = mark(store, &old).await;

    let order = vec![letter(&old, "1", 7).id, letter(&new, "1", 7).id];
    assert_eq!(store.order_retry(order, pace(), "ann".into()).await.unwrap(), 1);

    assert_eq!((parked(store, &old).await[0].retry_at, mark(store, &old).await), (None, before));
    assert!(parked(store, &new).await[0].retry_at.is_some());
}

/// None of many orders at once is lost, whatever is committed meanwhile.
pub async fn orders_at_the_same_time_are_all_kept(store: Arc<dyn ReadModels>) {
    let home = building(&*store).await;
    let letters: Vec<_> = (0..32).map(|n| letter(&home, &format!("{n:02}"), 7 + n)).collect();
    let parks = letters.iter().cloned().map(LetterChange::Park).collect();
    change(&*store, &home, at(90), parks).await.unwrap();
    let before = mark(&*store, &home).await;

    let orders: Vec<_> = letters
        .iter()
        .map(|letter| {
            let (store, id) = (store.clone(), letter.id.clone());
            let by: Arc<str> = letter.id.stream.as_str().into();
            tokio::spawn(async move { store.order_retry(vec![id], pace(), by).await.unwrap() })
        })
        .collect();
    for order in orders {
        assert_eq!(order.await.unwrap(), 1);
    }

    for letter in parked(&*store, &home).await {
        assert_eq!(letter.retry_at, Some(moment(100)));
        assert_eq!(letter.retry_by.as_deref(), Some(letter.id.stream.as_str()));
    }
    assert_eq!(mark(&*store, &home).await, Mark { revision: before.revision + 32, ..before });
}

fn hold(by: &str, from: i64, until: i64) -> Hold {
    Hold { by: by.into(), at: moment(from), until: moment(until) }
}

/// An active generation and one beside it, both with a letter of stream 1 at 7, and of stream 2 at
/// 8 in the active one.
async fn both_parked(store: &dyn ReadModels) -> (GenerationId, GenerationId) {
    let (home, beside) = (building(store).await, building(store).await);
    for (generation, parked) in [(&home, &[("1", 7), ("2", 8)][..]), (&beside, &[("1", 7)])] {
        let parks = parked.iter().map(|(name, at)| letter(generation, name, *at));
        let parks = parks.map(LetterChange::Park).collect();
        change(store, generation, at(9), parks).await.unwrap();
    }
    store.activate(home.clone()).await.unwrap();
    (home, beside)
}

/// When letters are tried, and by whose order.
async fn tries(store: &dyn ReadModels, of: &GenerationId) -> Vec<(Option<DateTime<Utc>>, String)> {
    let letters = parked(store, of).await;
    let by = |letter: &DeadLetter| letter.retry_by.as_deref().unwrap_or_default().to_owned();
    letters.iter().map(|letter| (letter.retry_at, by(letter))).collect()
}

/// A second person gets nothing, a page folded before is refused, and other orders wait.
pub async fn who_holds_a_letter_holds_it_in_every_generation(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (home, beside) = both_parked(store).await;
    let id = letter(&home, "1", 7).id;
    let marks = [mark(store, &home).await, mark(store, &beside).await];

    let held = store.hold(vec![id.clone()], hold("ann", 0, 60)).await.unwrap();
    assert_eq!(held, std::slice::from_ref(&id));
    let second = store.hold(vec![id.clone()], hold("bob", 59, 90)).await.unwrap();
    assert_eq!(second, []);

    for (generation, before) in [&home, &beside].into_iter().zip(marks) {
        let after = mark(store, generation).await;
        assert_eq!(after, Mark { revision: before.revision + 1, ..before });
        let page = Commit::moving(generation.clone(), before, at(20), row(1, 1));
        let refused = store.commit(page).await;
        assert!(matches!(refused, Err(ReadModelError::CheckpointMoved { .. })), "{refused:?}");
        assert_eq!(tries(store, generation).await[0], (Some(moment(60)), "ann".to_owned()));
    }
    let soon = RetryPace { first_at: moment(5), every: Duration::ZERO };
    let other = letter(&home, "2", 8).id;
    store.order_retry(vec![other, id.clone()], soon, "cli:eve".into()).await.unwrap();
    let eve = "cli:eve".to_owned();
    let expected = [(Some(moment(60)), eve.clone()), (Some(moment(5)), eve)];
    assert_eq!(tries(store, &home).await, expected, "an order waits for the end of the hold");
    assert_eq!(store.release(vec![id], hold("ann", 0, 60), soon).await.unwrap(), 1);
    assert_eq!(tries(store, &home).await[0], (Some(moment(5)), "ann".to_owned()));
}

/// A hold that is over can be taken by others, and then no longer ended by who had it.
pub async fn a_hold_ends_by_itself_or_with_an_order(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (home, beside) = both_parked(store).await;
    let ids = vec![letter(&home, "1", 7).id, letter(&home, "2", 8).id];
    let (ann, bob) = (hold("ann", 0, 60), hold("bob", 60, 120));
    assert_eq!(store.hold(ids.clone(), ann.clone()).await.unwrap(), ids);
    assert_eq!(store.hold(ids.clone(), bob.clone()).await.unwrap(), ids);

    assert_eq!(store.release(ids.clone(), ann, pace()).await.unwrap(), 0);
    assert_eq!(tries(store, &home).await[0], (Some(moment(120)), "bob".to_owned()));
    let before = mark(store, &beside).await;
    assert_eq!(store.release(ids.clone(), bob, pace()).await.unwrap(), 2);

    let by = "bob".to_owned();
    let second = Some(moment(20_100));
    let expected = [(Some(moment(100)), by.clone()), (second, by.clone())];
    assert_eq!(tries(store, &home).await, expected);
    assert_eq!(tries(store, &beside).await, [(Some(moment(100)), by)]);
    assert_eq!(mark(store, &beside).await.revision, before.revision + 1);
    assert_eq!(store.hold(ids.clone(), hold("eve", 61, 90)).await.unwrap(), ids);
}

/// Nobody decides about an event that is applied already, or is parked where nobody looks.
pub async fn what_is_applied_or_not_shown_is_not_held(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (home, beside) = both_parked(store).await;
    let (one, two) = (letter(&home, "1", 7), letter(&home, "2", 8));
    let onwards = Tried::Onwards { done_through: one.version, waiting: 3 };
    change(store, &home, at(9), vec![tried(&one, onwards)]).await.unwrap();
    let moved = LetterId { position: at(9), ..two.id.clone() };
    let unseen = LetterId { generation: beside, ..two.id.clone() };
    let before = mark(store, &home).await;

    let none = store.hold(vec![one.id, moved, unseen], hold("ann", 0, 60)).await.unwrap();
    assert_eq!(none, []);
    assert_eq!(mark(store, &home).await, before);
    assert_eq!(store.hold(vec![two.id.clone()], hold("ann", 0, 60)).await.unwrap(), [two.id]);
}

/// From a mark on, which then is another one.
pub async fn a_generation_notes_what_it_obeys(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (home, beside) = both_parked(store).await;
    let from = mark(store, &home).await;
    assert_eq!(generation(store, &home).await.decided, StreamVersion(0));

    let to = store.obey(home.clone(), from, StreamVersion(3)).await.unwrap();

    assert_eq!(to, Mark { revision: from.revision + 1, ..from });
    assert_eq!(mark(store, &home).await, to);
    assert_eq!(generation(store, &home).await.decided, StreamVersion(3));
    assert_eq!(generation(store, &beside).await.decided, StreamVersion(0));
    let stale = store.obey(home.clone(), from, StreamVersion(4)).await;
    assert!(matches!(stale, Err(ReadModelError::CheckpointMoved { .. })), "{stale:?}");
    assert_eq!(generation(store, &home).await.decided, StreamVersion(3));
}

/// Nothing of a dropped generation is left, and nothing of others goes with it.
pub async fn letters_are_gone_with_their_generation(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (gone, kept) = (building(store).await, building(store).await);
    for home in [&gone, &kept] {
        change(store, home, at(9), vec![LetterChange::Park(letter(home, "1", 7))]).await.unwrap();
    }

    store.drop_generation(gone.clone()).await.unwrap();

    assert_eq!(parked(store, &gone).await, []);
    assert_eq!(parked(store, &kept).await.len(), 1);
    let order = vec![letter(&gone, "1", 7).id];
    assert_eq!(store.order_retry(order, pace(), "ann".into()).await.unwrap(), 0);
}

/// Lists and groups are of what queries read, by the conditions asked for, page by page.
pub async fn lists_show_what_readers_miss(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let (active, hidden) = (building(store).await, building(store).await);
    let sold = |name: &str, position: u64| DeadLetter {
        event_type: "Sold".into(),
        error: "50 % of it's gone".into(),
        waiting: position,
        parked_at: moment(-(position as i64)),
        ..letter(&active, name, position)
    };
    let shown = [letter(&active, "1", 1), sold("2", 2), sold("3", 3)];
    let parks = shown.iter().cloned().map(LetterChange::Park).collect();
    change(store, &active, at(9), parks).await.unwrap();
    change(store, &hidden, at(9), vec![LetterChange::Park(letter(&hidden, "1", 1))]).await.unwrap();
    let list = async |filter: LetterFilter, after: Option<LetterId>, limit: u32| {
        store.letters(filter, after, NonZeroU32::new(limit).unwrap()).await.unwrap()
    };
    assert_eq!(list(LetterFilter::default(), None, 10).await, []);
    store.activate(active.clone()).await.unwrap();

    assert_eq!(list(LetterFilter::default(), None, 10).await, shown);
    assert_eq!(list(LetterFilter::default(), None, 2).await, shown[..2]);
    assert_eq!(list(LetterFilter::default(), Some(shown[1].id.clone()), 2).await, shown[2..]);
    let only = LetterFilter { event_type: Some("Sold".into()), ..LetterFilter::default() };
    assert_eq!(list(only.clone(), None, 10).await, shown[1..]);
    let of_stream = LetterFilter { stream: Some(stream("2")), ..LetterFilter::default() };
    assert_eq!(list(of_stream, None, 10).await, shown[1..2]);
    let saying = LetterFilter { error: Some("50 % of it's".into()), ..LetterFilter::default() };
    assert_eq!(list(saying, None, 10).await, shown[1..]);
    let wild = LetterFilter { error: Some("5_ %".into()), ..LetterFilter::default() };
    assert_eq!(list(wild, None, 10).await, []);
    let other = LetterFilter { projection: Some("others".into()), ..LetterFilter::default() };
    assert_eq!(list(other.clone(), None, 10).await, []);

    let groups = store.letter_groups(LetterFilter::default()).await.unwrap();
    let summary: Vec<_> = groups
        .iter()
        .map(|group| (&*group.event_type, group.letters, group.waiting, group.oldest))
        .collect();
    assert_eq!(summary, [("Sold", 2, 5, moment(-3)), ("Worn", 1, 0, moment(2))]);
    assert_eq!((&*groups[0].projection, groups[0].fault), ("shelves", Fault::Permanent));
    assert_eq!(groups[0].error, shown[1].error);
    assert_eq!(store.letter_groups(only).await.unwrap().len(), 1);
    assert_eq!(store.letter_groups(other).await.unwrap(), []);
}

/// Readers never lose events of a stream by a swap: what the next generation has parked must be
/// parked in the active one, no further on, or be unknown to it.
pub async fn a_generation_that_lacks_what_readers_see_is_not_activated(store: Arc<dyn ReadModels>) {
    let store = &*store;
    let active = building(store).await;
    let known = letter(&active, "known", 3);
    change(store, &active, at(5), vec![LetterChange::Park(known.clone())]).await.unwrap();
    store.activate(active.clone()).await.unwrap();
    let next = building(store).await;
    let same = letter(&next, "known", 3);
    let unseen = letter(&next, "unseen", 6);
    let lost = letter(&next, "lost", 5);
    let parks = [same.clone(), unseen, lost.clone()].map(LetterChange::Park).to_vec();
    change(store, &next, at(9), parks).await.unwrap();

    let refused = store.activate(next.clone()).await;

    let Err(ReadModelError::Lacks { generation, stream, position }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((generation, stream, position), (next.clone(), lost.id.stream.clone(), at(5)));
    change(store, &next, at(9), vec![tried(&lost, Tried::Resolved)]).await.unwrap();
    let ahead = Tried::Onwards { done_through: StreamVersion(4), waiting: 0 };
    change(store, &active, at(5), vec![tried(&known, ahead.clone())]).await.unwrap();
    let refused = store.activate(next.clone()).await;
    assert!(matches!(refused, Err(ReadModelError::Lacks { .. })), "{refused:?}");
    change(store, &next, at(9), vec![tried(&same, ahead)]).await.unwrap();
    store.activate(next.clone()).await.unwrap();
    store.activate(next).await.unwrap();
}
