//! What the log does beyond its contract: files, other processes, failing disks, full queues.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, EventFilter, EventId, EventStore,
    ExpectedVersion, Fingerprint, GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance,
    ReadError, Snapshot, SnapshotStore, StreamId, StreamVersion,
};
use freehold_sqlite::{LogOptions, OpenError, SqliteEventStore};
use uuid::Uuid;

#[tokio::test]
async fn everything_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let request = a_note("first");
    let store = open(&folder);
    let first = store.append(request.clone()).await.unwrap();
    store.save(&LogName::DOMAIN, &request.stream, a_snapshot()).await.unwrap();
    let events = all(&store).await;
    drop(store);

    let store = open(&folder);

    assert_eq!(all(&store).await, events);
    assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(1));
    assert_eq!(*store.subscribe_head(&LogName::DOMAIN).borrow(), GlobalPosition(1));
    assert_eq!(store.append(request.clone()).await.unwrap(), Appended { repeated: true, ..first });
    let loaded = store.load(&LogName::DOMAIN, &request.stream).await.unwrap();
    assert_eq!(loaded, Some(a_snapshot()));
    let other = AppendRequest { fingerprint: Fingerprint([9; 16]), ..request.clone() };
    assert!(matches!(store.append(other).await, Err(AppendError::CommandIdReused { .. })));
    let stale = AppendRequest {
        command_id: CommandId::new(),
        expected: ExpectedVersion::NoStream,
        ..request.clone()
    };
    assert!(matches!(store.append(stale).await, Err(AppendError::VersionConflict { actual, .. })
        if actual == StreamVersion(1)));
    let next = AppendRequest { expected: exactly(1), stream: request.stream, ..a_note("second") };
    assert_eq!(store.append(next).await.unwrap().position, GlobalPosition(2));
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder);

    let second = SqliteEventStore::open(folder.path(), LogOptions::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })));

    first.close().await;
    let second = open(&folder);
    second.append(a_note("second")).await.unwrap();
    let late = first.append(a_note("late")).await;
    assert!(matches!(late, Err(AppendError::Unavailable { .. })));
    assert_eq!(all(&second).await.len(), 1);
}

#[tokio::test]
async fn closing_stores_and_answers_everything_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    let busy = hold(folder.path());
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.append(a_note(&n.to_string())).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(busy);

    store.close().await;

    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
    drop(store);
    assert_eq!(all(&open(&folder)).await.len(), 100);
}

#[tokio::test]
async fn dropping_stores_what_abandoned_callers_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let busy = hold(folder.path());
    for n in 0..50 {
        let text = n.to_string();
        let append = store.append(a_note(&text));
        assert!(tokio::time::timeout(Duration::from_millis(1), append).await.is_err());
    }
    drop(busy);
    drop(store);

    assert_eq!(all(&open(&folder)).await.len(), 50);
}

#[tokio::test]
async fn a_full_queue_refuses_while_the_file_is_busy_and_takes_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { queue_requests: 5, queue_bytes: 20_000, ..LogOptions::default() };
    let store = Arc::new(SqliteEventStore::open(folder.path(), options).unwrap());
    let mut stored = 0;
    for (bytes_of_one, fit) in [(1, 5), (5_000, 3)] {
        let busy = hold(folder.path());
        let mut waiting = Vec::new();
        // The writer takes what waits once, and then waits for the file; so twice what fits is the
        // most that can be taken, and the last of these must be refused.
        let refused = loop {
            assert!(waiting.len() <= 2 * fit, "{} requests were taken", waiting.len());
            let mut append = Box::pin({
                let (store, request) = (store.clone(), a_note(&"x".repeat(bytes_of_one)));
                async move { store.append(request).await }
            });
            match futures_util::poll!(&mut append) {
                Poll::Pending => waiting.push(append),
                Poll::Ready(answer) => break answer,
            }
        };
        assert!(matches!(refused, Err(AppendError::Overloaded { retry_after })
            if retry_after > Duration::ZERO));
        assert!(waiting.len() >= fit, "{} requests were taken", waiting.len());
        drop(busy);
        stored += waiting.len();
        for taken in waiting {
            taken.await.unwrap();
        }
    }
    store.append(a_note("later")).await.unwrap();
    assert_eq!(all(&store).await.len(), stored + 1);
}

#[tokio::test]
async fn a_failing_insert_stores_nothing_and_the_store_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder));
    let kept = a_note("kept");
    store.append(kept.clone()).await.unwrap();
    outside(
        folder.path(),
        "CREATE TRIGGER fault BEFORE INSERT ON event_domain
         WHEN new.payload = CAST('fault' AS BLOB) BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END",
    );
    let busy = hold(folder.path());
    let texts = ["a", "fault", "b"].map(a_note);
    let answers = texts.clone().map(|request| {
        let store = store.clone();
        tokio::spawn(async move { store.append(request).await })
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(busy);

    let mut failed = 0;
    for answer in answers {
        match answer.await.unwrap() {
            Ok(_) => {}
            Err(AppendError::Unavailable { .. }) => failed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }

    assert!(failed >= 1);
    outside(folder.path(), "DROP TRIGGER fault");
    for request in &texts {
        store.append(request.clone()).await.unwrap();
    }
    // What was remembered before the failure must not be believed after it.
    let next = AppendRequest { expected: exactly(1), stream: kept.stream, ..a_note("next") };
    assert_eq!(store.append(next).await.unwrap().version, StreamVersion(2));
    assert_gapless(&store, 5).await;
}

#[tokio::test]
async fn a_failing_commit_leaves_the_outcome_open_until_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    // A constraint that is checked at commit, on a row that each event brings along.
    outside(
        folder.path(),
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fault AFTER INSERT ON event_domain BEGIN INSERT INTO child VALUES (1); END",
    );
    let request = a_note("once");

    for _ in 0..3 {
        let answer = store.append(request.clone()).await;
        assert!(matches!(answer, Err(AppendError::OutcomeUnknown { .. })), "{answer:?}");
    }

    outside(folder.path(), "DROP TRIGGER fault");
    let appended = store.append(request.clone()).await.unwrap();
    assert_eq!((appended.position, appended.repeated), (GlobalPosition(1), false));
    assert!(store.append(request).await.unwrap().repeated);
    assert_gapless(&store, 1).await;
}

#[tokio::test]
async fn a_file_held_by_another_program_is_unavailable_and_then_available() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let busy = hold(folder.path());
    let request = a_note("patient");

    let answer = store.append(request.clone()).await;

    assert!(matches!(answer, Err(AppendError::Unavailable { .. })), "{answer:?}");
    assert_eq!(all(&store).await.len(), 0, "reading goes on meanwhile");
    drop(busy);
    assert!(!store.append(request).await.unwrap().repeated);
}

#[tokio::test]
async fn a_reader_in_another_process_sees_commits_and_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let logs = vec![LogName::DOMAIN];
    let missing = SqliteEventStore::open_read_only(folder.path(), logs.clone());
    assert!(matches!(missing, Err(OpenError::Unavailable { .. })));
    let writer = open(&folder);
    let reader = SqliteEventStore::open_read_only(folder.path(), logs.clone()).unwrap();

    writer.append(a_note("seen")).await.unwrap();

    assert_eq!(reader.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(1));
    assert_eq!(all(&reader).await, all(&writer).await);
    assert!(matches!(reader.append(a_note("no")).await, Err(AppendError::Unavailable { .. })));
    drop(writer);
    assert_eq!(all(&reader).await.len(), 1);
    drop(reader);
    assert_eq!(all(&SqliteEventStore::open_read_only(folder.path(), logs).unwrap()).await.len(), 1);
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    outside(folder.path(), "PRAGMA user_version = 9999");

    let opened = SqliteEventStore::open(folder.path(), LogOptions::default());

    assert!(matches!(opened, Err(OpenError::NewerSchema { found: 9999, .. })));
    let opened = SqliteEventStore::open_read_only(folder.path(), vec![LogName::DOMAIN]);
    assert!(matches!(opened, Err(OpenError::NewerSchema { found: 9999, .. })));
}

#[tokio::test]
async fn a_log_that_is_configured_later_is_added() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).append(a_note("before")).await.unwrap();
    let north: LogName = "north".parse().unwrap();
    let logs = vec![north.clone(), LogName::DOMAIN];

    let options = LogOptions { logs, ..LogOptions::default() };
    let store = SqliteEventStore::open(folder.path(), options).unwrap();

    let request = AppendRequest { log: north.clone(), ..a_note("in the new log") };
    assert_eq!(store.append(request).await.unwrap().position, GlobalPosition(1));
    assert_eq!(all(&store).await.len(), 1);
    let gone = store.head(&LogName::INTERACTIONS).await;
    assert!(matches!(gone, Err(ReadError::UnknownLog(_))), "it is not configured any more");
}

#[tokio::test]
async fn the_time_of_recording_never_goes_back_though_the_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(2_000_000)));
    let store = open_at(&folder, &clock);
    store.append(a_note("now")).await.unwrap();
    clock.0.store(1_000_000, Ordering::Relaxed);
    store.append(a_note("set back")).await.unwrap();
    drop(store);
    let store = open_at(&folder, &clock);
    store.append(a_note("set back, opened again")).await.unwrap();
    clock.0.store(3_000_000, Ordering::Relaxed);
    store.append(a_note("caught up")).await.unwrap();

    let times: Vec<_> =
        all(&store).await.iter().map(|event| event.recorded_at.timestamp_micros()).collect();

    assert_eq!(times, [2_000_000, 2_000_000, 2_000_000, 3_000_000]);
}

#[tokio::test]
async fn a_command_id_is_forgotten_after_its_retention_and_not_before() {
    const DAY: i64 = 24 * 3_600 * 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(0)));
    let store = open_at(&folder, &clock);
    // More than one step of the sweep, in any order of ids.
    let requests: Vec<_> = (0..5_000)
        .map(|n| {
            let command_id = CommandId::from_key("test", &n.to_string());
            AppendRequest { command_id, events: Vec::new(), ..a_note("") }
        })
        .collect();
    append_all(&store, &requests).await;
    clock.0.store(DAY * 3, Ordering::Relaxed);
    let young = a_note("young");
    store.append(young.clone()).await.unwrap();
    drop(store);
    clock.0.store(DAY * 8, Ordering::Relaxed);

    let store = open_at(&folder, &clock);

    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut remembered = 0;
        for request in requests.iter().step_by(500) {
            let found = store.find_command(&LogName::DOMAIN, request.command_id).await.unwrap();
            remembered += usize::from(found.is_some());
        }
        if remembered == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{remembered} are still remembered");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(store.append(young).await.unwrap().repeated);
}

#[tokio::test]
async fn what_does_not_decode_is_damage_and_never_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for text in ["a", "b", "c"] {
        store.append(a_note(text)).await.unwrap();
    }
    for damage in ["codec = 99", "event_id = x'00'", "type_id = 77", "subjects = x'0102'"] {
        let column = damage.split(' ').next().unwrap();
        outside(folder.path(), "CREATE TABLE good AS SELECT * FROM event_domain");
        outside(folder.path(), &format!("UPDATE event_domain SET {damage} WHERE position = 2"));

        let read = read_all(&store).await;

        let Err(ReadError::Damaged { position, what }) = read else { panic!("{damage}: {read:?}") };
        assert_eq!(position, GlobalPosition(2));
        assert!(what.contains(column), "{what}");
        outside(
            folder.path(),
            &format!(
                "UPDATE event_domain SET {column} = (SELECT {column} FROM good
                 WHERE good.position = event_domain.position);
             DROP TABLE good"
            ),
        );
        assert_eq!(all(&store).await.len(), 3);
    }
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_nothing_in_a_sound_log() {
    for (damage, finding) in [
        ("SELECT 1", None),
        ("DELETE FROM event_domain WHERE position = 3", Some("positions are not gapless")),
        ("UPDATE log SET position = 9 WHERE name = 'domain'", Some("positions are not gapless")),
        ("UPDATE event_domain SET version = 9 WHERE position = 3", Some("versions")),
        ("UPDATE event_domain SET recorded_at = 1 WHERE position = 3", Some("time of recording")),
        ("DELETE FROM name WHERE text = 'Noted'", Some("has no name at position")),
        ("DELETE FROM tag_domain", Some("not in the index")),
        ("UPDATE event_domain SET tags = NULL", Some("not on its event")),
        (
            "UPDATE event_domain SET version = -1 WHERE position = 1;
          UPDATE event_domain SET version = 1 WHERE position = 2;
          UPDATE event_domain SET version = 2 WHERE position = 1",
            Some("not in order"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let first = a_note("1");
        for n in 0..4 {
            let mut request = AppendRequest { stream: first.stream.clone(), ..a_note("") };
            request.expected = exactly(n);
            request.events[0].tags = vec!["a".parse().unwrap(), "b".parse().unwrap()];
            store.append(request).await.unwrap();
        }
        outside(folder.path(), damage);

        let found = store.check_integrity().await.unwrap();

        match finding {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(finding) => {
                assert!(found.iter().any(|f| f.contains(finding)), "{damage}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_does_not_end_where_it_says_is_not_opened_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.append(a_note("a")).await.unwrap();
    drop(store);
    outside(folder.path(), "UPDATE log SET position = 0 WHERE name = 'domain'");

    let opened = SqliteEventStore::open(folder.path(), LogOptions::default());

    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_filtered_read_looks_a_bounded_way_and_says_how_far() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for _ in 0..70 {
        let mut request = a_note("");
        request.events = (0..1_000).map(|_| request.events[0].clone()).collect();
        store.append(request).await.unwrap();
    }
    let mut rare = a_note("rare");
    rare.events[0].event_type = "Rare".into();
    store.append(rare).await.unwrap();
    let filter = EventFilter { event_types: vec!["Rare".into()], ..EventFilter::all() };
    let (mut after, mut found, mut calls) = (GlobalPosition(0), 0, 0);

    while after < GlobalPosition(70_001) {
        let limit = NonZeroU32::new(10).unwrap();
        let page = store.read_all(&LogName::DOMAIN, &filter, after, limit).await.unwrap();
        assert!(page.through > after);
        after = page.through;
        found += page.events.len();
        calls += 1;
    }

    assert_eq!((found, calls), (1, 2));
}

#[tokio::test]
async fn an_idle_writer_copies_the_write_ahead_log_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.append(a_note(&"x".repeat(500_000))).await.unwrap();
    let size = || std::fs::metadata(folder.path().join("log.sqlite")).unwrap().len();
    assert!(size() < 500_000);

    let deadline = Instant::now() + Duration::from_secs(10);
    while size() < 500_000 {
        assert!(Instant::now() < deadline, "the file has {} bytes", size());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

fn open(folder: &tempfile::TempDir) -> SqliteEventStore {
    SqliteEventStore::open(folder.path(), LogOptions::default()).unwrap()
}

fn open_at(folder: &tempfile::TempDir, clock: &Arc<SetClock>) -> SqliteEventStore {
    let options = LogOptions { clock: clock.clone(), ..LogOptions::default() };
    SqliteEventStore::open(folder.path(), options).unwrap()
}

/// Does something to the file that the store knows nothing about.
fn outside(folder: &Path, sql: &str) {
    rusqlite::Connection::open(folder.join("log.sqlite")).unwrap().execute_batch(sql).unwrap();
}

/// Keeps the writer waiting until dropped, at most as long as it is patient.
fn hold(folder: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(folder.join("log.sqlite")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

fn a_note(text: &str) -> AppendRequest {
    AppendRequest {
        log: LogName::DOMAIN,
        stream: StreamId::new("property", Uuid::now_v7()).unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([1; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "north".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: vec![NewEvent {
            event_id: EventId::new(),
            event_type: "Noted".into(),
            schema_version: 1,
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: text.as_bytes().to_vec().into(),
        }],
    }
}

fn a_snapshot() -> Snapshot {
    Snapshot { version: StreamVersion(1), shape: 1, state: "{}".into() }
}

fn exactly(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exactly(StreamVersion(version))
}

async fn append_all(store: &SqliteEventStore, requests: &[AppendRequest]) {
    for some in requests.chunks(1_000) {
        let appends = some.iter().map(|request| store.append(request.clone()));
        futures_util::future::try_join_all(appends).await.unwrap();
    }
}

async fn read_all(
    store: &SqliteEventStore,
) -> Result<Vec<freehold_ports::RecordedEvent>, ReadError> {
    let (filter, start) = (EventFilter::all(), GlobalPosition(0));
    Ok(store.read_all(&LogName::DOMAIN, &filter, start, NonZeroU32::MAX).await?.events)
}

async fn all(store: &SqliteEventStore) -> Vec<freehold_ports::RecordedEvent> {
    read_all(store).await.unwrap()
}

async fn assert_gapless(store: &SqliteEventStore, events: u64) {
    let positions: Vec<_> = all(store).await.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=events).collect::<Vec<_>>());
    assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
}
