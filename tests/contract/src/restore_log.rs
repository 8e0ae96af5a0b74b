//! What every [`RestoreLog`] does.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use freehold_domain::SubjectId;
use freehold_ports::{
    AppendError, AppendRequest, Appended, Boundary, CommandId, EventFilter, EventId, EventStore,
    ExpectedVersion, Fingerprint, GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance,
    RecordedAnswer, RecordedEvent, RestoreBatch, RestoreError, RestoreLog, StreamId, StreamVersion,
};
use futures_util::future::join_all;
use uuid::Uuid;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn Restorable>`](crate::restore_log::Restorable).
#[macro_export]
macro_rules! restore_log_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            restore_log,
            [$($attribute),*],
            $fresh,
            [
                restored_events_are_read_as_they_were_recorded,
                a_restored_command_gets_its_first_answer,
                appends_go_on_behind_what_was_restored,
                what_was_appended_comes_out_with_its_answers,
                answers_without_events_come_out_in_pages,
                only_the_next_event_is_restored,
                nothing_of_a_batch_with_one_wrong_event_is_stored,
                an_answer_is_restored_once,
                another_answer_to_a_command_is_refused,
                one_of_many_that_restore_the_same_wins,
                a_log_that_is_not_there_cannot_be_restored,
                a_long_log_of_few_and_many_streams_is_restored_in_batches,
                the_head_moves_with_what_is_restored,
            ]
        );
    };
}

/// A store of events that can be restored; every such store is one.
pub trait Restorable: EventStore + RestoreLog {}

impl<S: EventStore + RestoreLog> Restorable for S {}

type Store = Arc<dyn Restorable>;

const LOG: LogName = LogName::DOMAIN;

fn recorded(position: u64, stream: &str, version: u64) -> RecordedEvent {
    RecordedEvent {
        position: GlobalPosition(position),
        stream: stream.parse().unwrap(),
        version: StreamVersion(version),
        event_id: EventId(Uuid::from_u128(u128::from(position) << 64)),
        event_type: "Noted".into(),
        schema_version: 1,
        command_id: CommandId(Uuid::from_u128(u128::from(position))),
        provenance: Provenance {
            tenant: "north".into(),
            actor: "feed".into(),
            correlation_id: None,
            causation_id: None,
        },
        occurred_at: at(0),
        recorded_at: at(position as i64),
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: Bytes::from_static(b"{}"),
    }
}

/// A moment some days ago, to the microsecond.
fn at(second: i64) -> DateTime<Utc> {
    let today = Utc::now().timestamp() / 86_400 * 86_400;
    let start = DateTime::from_timestamp(today, 123_456_000).unwrap();
    start - TimeDelta::days(2) + TimeDelta::seconds(second)
}

/// The answer that the last event of a command of one event got.
fn answer_to(event: &RecordedEvent) -> RecordedAnswer {
    RecordedAnswer {
        command_id: event.command_id,
        answer: Appended {
            version: event.version,
            position: event.position,
            events: 1,
            repeated: false,
        },
        fingerprint: Fingerprint([7; 16]),
        answered_at: event.recorded_at,
    }
}

fn batch(events: &[RecordedEvent]) -> RestoreBatch {
    RestoreBatch { answers: events.iter().map(answer_to).collect(), events: events.to_vec() }
}

async fn all(store: &Store) -> Vec<RecordedEvent> {
    let (mut events, mut after) = (Vec::new(), GlobalPosition(0));
    loop {
        let limit = NonZeroU32::new(1_000).unwrap();
        let page = store.read_all(&LOG, &EventFilter::all(), after, limit).await.unwrap();
        if page.events.is_empty() {
            return events;
        }
        after = page.through;
        events.extend(page.events);
    }
}

fn append_to(stream: &str, expected: ExpectedVersion, events: usize) -> AppendRequest {
    let note = |_| NewEvent {
        event_id: EventId::new(),
        event_type: "Noted".into(),
        schema_version: 1,
        occurred_at: Utc::now(),
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: Bytes::from_static(b"{}"),
    };
    AppendRequest {
        log: LOG,
        stream: stream.parse().unwrap(),
        expected,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([9; 16]),
        boundaries: Vec::new(),
        provenance: recorded(1, "note-1", 1).provenance,
        events: (0..events).map(note).collect(),
    }
}

/// Every field is as it was, by log, by stream and by tag.
pub async fn restored_events_are_read_as_they_were_recorded(store: Store) {
    let rich = RecordedEvent {
        schema_version: u16::MAX,
        event_type: "Ümgezogen".into(),
        provenance: Provenance {
            tenant: "süd".into(),
            actor: "repair: it's \"odd\"\n".into(),
            correlation_id: Some(Uuid::now_v7()),
            causation_id: Some(Uuid::new_v4()),
        },
        occurred_at: DateTime::from_timestamp_micros(-1_234_567_890_123_457).unwrap(),
        subjects: vec![SubjectId(Uuid::now_v7()), SubjectId(Uuid::new_v4())],
        tags: vec!["b".parse().unwrap(), "a/ö 1".parse().unwrap(), "b".parse().unwrap()],
        payload: Bytes::from_static(b" {\"a\":\n1.0}\0\xff "),
        ..recorded(2, "other-1-2", 1)
    };
    let bare = RecordedEvent { payload: Bytes::new(), ..recorded(3, "note-1", 2) };
    let events = [recorded(1, "note-1", 1), rich.clone(), bare.clone()];

    store.restore(&LOG, batch(&events)).await.unwrap();

    assert_eq!(all(&store).await, events);
    let limit = NonZeroU32::new(10).unwrap();
    let of_stream = store.read_stream(&LOG, &bare.stream, StreamVersion(1), limit).await.unwrap();
    assert_eq!(of_stream, [bare]);
    let tagged = store.last_tagged(&LOG, "süd", &rich.tags[0]).await.unwrap().unwrap();
    assert_eq!((tagged.stream, tagged.position), (rich.stream, rich.position));
    assert_eq!(store.last_tagged(&LOG, "north", &rich.tags[0]).await.unwrap(), None);
}

/// Sending a command again after a move is answered as before it.
pub async fn a_restored_command_gets_its_first_answer(store: Store) {
    let events = [recorded(1, "note-1", 1), recorded(2, "note-2", 1)];
    store.restore(&LOG, batch(&events)).await.unwrap();
    let again = AppendRequest {
        command_id: events[0].command_id,
        fingerprint: Fingerprint([7; 16]),
        ..append_to("note-1", ExpectedVersion::NoStream, 1)
    };

    let first = store.append(again.clone()).await.unwrap();
    let other = AppendRequest { fingerprint: Fingerprint([8; 16]), ..again };
    let refused = store.append(other).await;

    assert_eq!(first, Appended { repeated: true, ..answer_to(&events[0]).answer });
    assert!(matches!(refused, Err(AppendError::CommandIdReused { .. })), "{refused:?}");
    assert_eq!(all(&store).await, events);
}

/// Versions, positions, times and tags go on from what was restored.
pub async fn appends_go_on_behind_what_was_restored(store: Store) {
    let tagged = RecordedEvent { tags: vec!["taken".parse().unwrap()], ..recorded(2, "note-2", 1) };
    let events = [recorded(1, "note-1", 1), tagged, recorded(3, "note-1", 2)];
    store.restore(&LOG, batch(&events)).await.unwrap();

    let stale = store.append(append_to("note-1", ExpectedVersion::NoStream, 1)).await;
    let claim = AppendRequest {
        boundaries: vec![Boundary { tag: "taken".parse().unwrap(), after: GlobalPosition(0) }],
        ..append_to("note-3", ExpectedVersion::NoStream, 1)
    };
    let claimed = store.append(claim).await;
    let unchanged = ExpectedVersion::Exactly(StreamVersion(2));
    let appended = store.append(append_to("note-1", unchanged, 2)).await.unwrap();

    assert!(
        matches!(stale, Err(AppendError::VersionConflict { actual: StreamVersion(2), .. })),
        "{stale:?}"
    );
    assert!(matches!(claimed, Err(AppendError::BoundaryConflict { .. })), "{claimed:?}");
    assert_eq!((appended.version.0, appended.position.0), (4, 5));
    let stored = all(&store).await;
    assert_eq!(stored.len(), 5);
    assert!(stored[3].recorded_at >= stored[2].recorded_at);
}

/// What a store recorded itself can be taken out of it.
pub async fn what_was_appended_comes_out_with_its_answers(store: Store) {
    let (one, two) = (
        append_to("note-1", ExpectedVersion::NoStream, 1),
        append_to("note-2", ExpectedVersion::NoStream, 3),
    );
    let before = Utc::now() - TimeDelta::seconds(1);
    let first = store.append(one.clone()).await.unwrap();
    let second = store.append(two.clone()).await.unwrap();

    let asked = [two.command_id, CommandId::new(), one.command_id];
    let mut answers = store.answers(&LOG, &asked).await.unwrap();

    answers.sort_by_key(|answer| answer.answer.position);
    assert_eq!(answers.iter().map(|one| one.answer).collect::<Vec<_>>(), [first, second]);
    assert_eq!(answers[1].command_id, two.command_id);
    assert_eq!(answers[1].fingerprint, two.fingerprint);
    assert!(answers.iter().all(|one| one.answered_at > before && one.answered_at <= Utc::now()));
    assert_eq!(store.answers(&LogName::INTERACTIONS, &asked).await.unwrap(), []);
}

/// Requests that stored nothing are answered too, and so move along.
pub async fn answers_without_events_come_out_in_pages(store: Store) {
    store.append(append_to("note-1", ExpectedVersion::NoStream, 1)).await.unwrap();
    let mut sent = Vec::new();
    for _ in 0..5 {
        let request = append_to("note-1", ExpectedVersion::Any, 0);
        sent.push(request.command_id);
        store.append(request).await.unwrap();
    }
    store.append(append_to("note-2", ExpectedVersion::NoStream, 1)).await.unwrap();
    sent.sort_unstable();

    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let limit = NonZeroU32::new(2).unwrap();
        let page = store.answers_without_events(&LOG, after, limit).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.command_id);
        assert!(page.len() <= 2);
        found.extend(page);
    }

    assert_eq!(found.iter().map(|one| one.command_id).collect::<Vec<_>>(), sent);
    assert!(found.iter().all(|one| one.answer.events == 0 && one.answer.position.0 == 1));
}

/// A gap, a repetition or a log that holds more is refused.
pub async fn only_the_next_event_is_restored(store: Store) {
    store.restore(&LOG, batch(&[recorded(1, "note-1", 1)])).await.unwrap();
    let gap = [recorded(2, "note-1", 2), recorded(4, "note-1", 3)];
    for events in [&[recorded(3, "note-1", 2)][..], &[recorded(1, "note-1", 1)], &gap] {
        let refused = store.restore(&LOG, batch(events)).await;
        assert!(matches!(refused, Err(RestoreError::NotNext { .. })), "{refused:?}");
    }
    assert_eq!(store.head(&LOG).await.unwrap().0, 1);
}

/// All or none, answers included.
pub async fn nothing_of_a_batch_with_one_wrong_event_is_stored(store: Store) {
    let first = recorded(1, "note-1", 1);
    let earlier = RecordedEvent { recorded_at: at(0), ..recorded(2, "note-1", 2) };
    for wrong in [recorded(2, "note-1", 3), recorded(2, "note-2", 2), earlier] {
        let refused = store.restore(&LOG, batch(&[first.clone(), wrong])).await;
        assert!(
            matches!(&refused, Err(RestoreError::Invalid { position, .. }) if position.0 == 2),
            "{refused:?}"
        );
    }
    let mut unborn = batch(std::slice::from_ref(&first));
    unborn.answers[0].answer.position = GlobalPosition(2);
    let refused = store.restore(&LOG, unborn).await;
    assert!(matches!(refused, Err(RestoreError::Invalid { .. })), "{refused:?}");

    assert_eq!(store.head(&LOG).await.unwrap().0, 0);
    assert_eq!(store.answers(&LOG, &[first.command_id]).await.unwrap(), []);
    store.restore(&LOG, batch(&[first.clone(), recorded(2, "note-1", 2)])).await.unwrap();
    assert_eq!(all(&store).await.len(), 2);
}

/// Going on after an interruption sends answers that are there already.
pub async fn an_answer_is_restored_once(store: Store) {
    let first = recorded(1, "note-1", 1);
    let answers = vec![answer_to(&first)];
    store.restore(&LOG, batch(std::slice::from_ref(&first))).await.unwrap();

    store
        .restore(&LOG, RestoreBatch { events: Vec::new(), answers: answers.clone() })
        .await
        .unwrap();

    assert_eq!(store.answers(&LOG, &[first.command_id]).await.unwrap(), answers);
}

/// Two histories are not mixed.
pub async fn another_answer_to_a_command_is_refused(store: Store) {
    let first = recorded(1, "note-1", 1);
    store.restore(&LOG, batch(std::slice::from_ref(&first))).await.unwrap();
    let other = RecordedAnswer { fingerprint: Fingerprint([1; 16]), ..answer_to(&first) };
    let mixed = RestoreBatch { events: vec![recorded(2, "note-1", 2)], answers: vec![other] };

    let refused = store.restore(&LOG, mixed).await;

    assert!(matches!(refused, Err(RestoreError::OtherAnswer { .. })), "{refused:?}");
    assert_eq!(store.head(&LOG).await.unwrap().0, 1);
}

/// Two imports at the same time do not double anything.
pub async fn one_of_many_that_restore_the_same_wins(store: Store) {
    let events: Vec<_> =
        (1..=50).map(|n| recorded(n, &format!("note-{}", n % 7), n.div_ceil(7))).collect();
    let racing = (0..10).map(|_| store.restore(&LOG, batch(&events)));

    let results = join_all(racing).await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in results.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, RestoreError::NotNext { .. }), "{refused:?}");
    }
    assert_eq!(all(&store).await, events);
}

/// A log must be one that the store keeps.
pub async fn a_log_that_is_not_there_cannot_be_restored(store: Store) {
    let log: LogName = "nowhere".parse().unwrap();
    let refused = store.restore(&log, batch(&[recorded(1, "note-1", 1)])).await;
    assert!(matches!(refused, Err(RestoreError::UnknownLog(_))), "{refused:?}");
    assert!(store.answers(&log, &[]).await.is_err());
}

/// Streams that begin, go on and end in any batch.
pub async fn a_long_log_of_few_and_many_streams_is_restored_in_batches(store: Store) {
    let mut versions = std::collections::HashMap::<u64, u64>::new();
    let events = (1..=5_000).map(|position| {
        // One stream has a third of the events, others one or a few.
        let stream = if position % 3 == 0 { 0 } else { 1 + position * 7_919 % 2_500 };
        let version = versions.entry(stream).or_default();
        *version += 1;
        recorded(position, &format!("note-{stream}"), *version)
    });
    let events: Vec<_> = events.collect();

    for part in events.chunks(700) {
        store.restore(&LOG, batch(part)).await.unwrap();
    }

    assert_eq!(all(&store).await, events);
    let stream: StreamId = "note-0".parse().unwrap();
    let limit = NonZeroU32::new(10).unwrap();
    let last = store.read_stream(&LOG, &stream, StreamVersion(1_660), limit).await.unwrap();
    assert_eq!(last.len(), 6);
    let commands: Vec<_> = events.iter().map(|event| event.command_id).collect();
    assert_eq!(store.answers(&LOG, &commands).await.unwrap().len(), 5_000);
}

/// Who follows the log hears of it.
pub async fn the_head_moves_with_what_is_restored(store: Store) {
    let mut head = store.subscribe_head(&LOG);
    head.mark_unchanged();

    store.restore(&LOG, batch(&[recorded(1, "note-1", 1)])).await.unwrap();

    let changed = tokio::time::timeout(std::time::Duration::from_secs(5), head.changed()).await;
    changed.unwrap().unwrap();
    assert_eq!(head.borrow().0, 1);
}
