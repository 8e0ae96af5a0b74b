//! Loss and duplicates under load, cancellation and `kill -9`: every store must come out clean.
//!
//! `FREEHOLD_TORTURE_EVENTS` says how many events each writer stores (150 unless said),
//! `FREEHOLD_TORTURE_CYCLES` how often a process or server is killed (10 unless said). Each test
//! prints one line that counts what was lost, doubled and out of order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cut_off;
mod events;
mod fenced;
mod postgres;
mod process;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_memory::MemoryEventStore;
use freehold_ports::{AppendError, AppendRequest, Appended, EventStore, ExpectedVersion};
use freehold_sqlite::{LogOptions, OpenError, SqliteEventStore};
use futures_util::future::join_all;
use tokio::sync::watch;
use uuid::Uuid;

use events::{
    Dice, Findings, LOG, Ledger, Name, Tail, WRITERS, exactly, read_everything, read_on, request,
    setting,
};
use process::{Process, say};

const READERS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_loses_and_doubles_nothing() {
    torture("memory", Arc::new(MemoryEventStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_on_sqlite_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(folder.path(), LogOptions::default()).unwrap();
    let store = Arc::new(store);
    torture("sqlite", store.clone()).await;
    assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
}

async fn torture(name: &str, store: Arc<dyn EventStore>) {
    let events = setting("FREEHOLD_TORTURE_EVENTS", 150);
    let total = WRITERS * events;
    let (_sender, end) = watch::channel(total);
    let readers: Vec<_> = (0..READERS)
        .map(|reader| tokio::spawn(Tail::default().follow(store.clone(), reader, end.clone())))
        .collect();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer, events))).collect();
    let mut acknowledged = HashMap::new();
    for writer in join_all(writers).await {
        acknowledged.extend(writer.unwrap());
    }
    let log = read_everything(&*store).await;
    let mut found = Findings::of(&log, &acknowledged);
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(60), reader).await;
        let seen = seen.expect("a reader starves").unwrap();
        assert_eq!(seen.failures, 0);
        found.compare(&seen.seen, &log);
    }
    println!(
        "torture store={name} writers={WRITERS} readers={READERS} acknowledged={} {found}",
        acknowledged.len()
    );
    assert_eq!(acknowledged.len() as u64, total);
    assert_eq!(log.len() as u64, total, "what nobody was told of was not asked for either");
    assert_eq!(found, Findings::default());
}

/// Stores `events` events in the way of the writer's kind; what was acknowledged, and where.
async fn write(store: Arc<dyn EventStore>, writer: u64, events: u64) -> Vec<(Name, u64)> {
    let mut dice = Dice::new(writer);
    let mut stream = Uuid::now_v7().to_string();
    let mut version = 0;
    let mut acknowledged = Vec::new();
    for number in 0..events {
        if writer.is_multiple_of(5) {
            tokio::time::sleep(Duration::from_millis(dice.below(5))).await;
        }
        let name = (writer, number);
        let answer = match writer {
            // Two hot streams, six writers: conflicts are the rule.
            0..6 => {
                stream = format!("hot-{}", writer % 2);
                loop {
                    match store.append(request(name, &stream, exactly(version))).await {
                        Err(AppendError::VersionConflict { actual, .. }) => version = actual.0,
                        answer => break answer,
                    }
                }
            }
            // Asks three times at once.
            6..9 => {
                let request = request(name, &stream, exactly(version));
                let asked = (0..3).map(|_| store.append(request.clone()));
                let answers: Vec<_> =
                    join_all(asked).await.into_iter().map(Result::unwrap).collect();
                assert!(answers.iter().all(|answer| answer.position == answers[0].position));
                assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
                Ok(answers[0])
            }
            // Goes away in the middle, then asks again.
            9..12 => {
                let request = request(name, &stream, exactly(version));
                for _ in 0..dice.below(3) {
                    let patience = Duration::from_micros(dice.below(1_500));
                    let _ = tokio::time::timeout(patience, store.append(request.clone())).await;
                }
                store.append(request).await
            }
            _ => store.append(request(name, &stream, exactly(version))).await,
        };
        let answer = answer.unwrap();
        version = answer.version.0;
        acknowledged.push((name, answer.position.0));
    }
    acknowledged
}

#[test]
fn a_killed_process_loses_and_doubles_nothing() {
    let cycles = setting("FREEHOLD_TORTURE_CYCLES", 10);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut dice = Dice::new(7);
    let (mut ledger, mut seen) = (Ledger::default(), Vec::new());
    for cycle in 0..cycles {
        let process = start_writing_process(folder.path(), &ledger);
        assert_eq!(process.next(Duration::from_secs(30)).unwrap().text, "ready");
        if cycle == 0 {
            let second = SqliteEventStore::open(folder.path(), LogOptions::default());
            assert!(matches!(second, Err(OpenError::InUse { .. })), "two processes write");
        }
        let until = Instant::now() + Duration::from_millis(20 + dice.below(300));
        let reader = SqliteEventStore::open_read_only(folder.path(), vec![LOG]).unwrap();
        while Instant::now() < until {
            seen.extend(runtime.block_on(read_on(&reader, seen.len() as u64)));
        }
        process.kill().iter().for_each(|said| ledger.note(said));
    }
    runtime.block_on(async {
        let store = SqliteEventStore::open(folder.path(), LogOptions::default()).unwrap();
        // Whatever was on its way at the last kill is asked for again, as in every cycle.
        for writer in 0..WRITERS {
            let name = (writer, ledger.next_of(writer));
            let answer = store.append(killed_request(name)).await.unwrap();
            ledger.resent += u64::from(answer.repeated);
            ledger.acknowledged.insert(name, answer.position.0);
        }
        let log = read_everything(&store).await;
        let mut found = Findings::of(&log, &ledger.acknowledged);
        found.out_of_order += seen.iter().zip(&log).filter(|(seen, event)| seen != event).count();
        println!(
            "torture store=sqlite kills={cycles} writers={WRITERS} acknowledged={} \
             stored_unacknowledged_and_resent={} {found}",
            ledger.acknowledged.len(),
            ledger.resent
        );
        let answered = ledger.acknowledged.len();
        assert_eq!(log.len(), answered, "all that is stored was asked for and answered");
        assert_eq!(found, Findings::default());
        assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
    });
}

fn start_writing_process(folder: &Path, ledger: &Ledger) -> Process {
    let next: Vec<_> = (0..WRITERS).map(|writer| ledger.next_of(writer).to_string()).collect();
    Process::start(
        "the_process_that_is_killed",
        &[
            ("FREEHOLD_TORTURE_FOLDER", folder.to_str().unwrap()),
            ("FREEHOLD_TORTURE_NEXT", &next.join(",")),
        ],
    )
}

#[test]
#[ignore = "started by a_killed_process_loses_and_doubles_nothing, in a process of its own"]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os("FREEHOLD_TORTURE_FOLDER") else { return };
    let next = std::env::var("FREEHOLD_TORTURE_NEXT").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteEventStore::open(folder.as_ref(), LogOptions::default()).unwrap();
        let store = Arc::new(store);
        say("ready");
        let writers = next.split(',').zip(0..).map(|(next, writer)| {
            let (store, next) = (store.clone(), next.parse::<u64>().unwrap());
            tokio::spawn(async move {
                for number in next.. {
                    let answer = store.append(killed_request((writer, number))).await.unwrap();
                    let Appended { position, repeated, .. } = answer;
                    say(&format!("stored {writer} {number} {position} {}", u8::from(repeated)));
                }
            })
        });
        join_all(writers).await;
    });
}

/// Half of the writers have streams of their own and say which version they expect, so that a
/// request sent again is a stale one too; the others share a stream.
fn killed_request((writer, number): Name) -> AppendRequest {
    match writer % 2 {
        0 => request((writer, number), &format!("own-{writer}"), exactly(number)),
        _ => request((writer, number), "shared", ExpectedVersion::Any),
    }
}
