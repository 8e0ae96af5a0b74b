//! What every [`EventStore`] does.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use freehold_domain::SubjectId;
use freehold_ports::{
    AppendError, AppendRequest, Appended, Boundary, CommandId, EventFilter, EventId, EventStore,
    ExpectedVersion, Fingerprint, GlobalPosition, InvalidRequest, LogName, NewEvent, PayloadCodec,
    Provenance, ReadError, RecordedEvent, StreamId, StreamVersion, Tag,
};
use futures_util::future::join_all;
use uuid::Uuid;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn EventStore>`](crate::Fresh).
#[macro_export]
macro_rules! event_store_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            event_store,
            [$($attribute),*],
            $fresh,
            [
                an_event_is_read_back_as_it_was_sent,
                an_event_of_the_barest_kind_is_read_back_as_it_was_sent,
                an_answer_names_the_last_version_and_position,
                the_events_of_a_request_stay_together_in_their_order,
                a_stale_writer_is_refused,
                each_expectation_admits_what_it_says,
                a_refusal_leaves_no_gap,
                twenty_racing_appends_have_one_winner,
                racing_appends_without_expectation_are_all_stored,
                a_repeated_command_id_gets_the_first_answer,
                a_command_id_repeated_at_the_same_moment_stores_once,
                a_command_id_cannot_be_used_for_something_else,
                a_refused_command_id_can_be_used_again,
                command_ids_are_scoped_by_log,
                a_command_can_be_found_by_its_id,
                a_request_without_events_only_remembers_its_id,
                a_request_without_events_can_be_refused,
                a_boundary_refuses_what_appeared_after_it,
                a_boundary_is_scoped_by_tenant_and_log,
                all_boundaries_must_hold,
                a_boundary_does_not_see_the_events_of_its_own_request,
                racing_claims_of_a_tag_have_one_winner,
                pages_of_any_size_give_the_same_events,
                a_filter_gives_only_what_it_names,
                a_filter_that_matches_nothing_still_moves_on,
                a_full_page_looks_no_further_than_its_last_event,
                reading_after_the_head_gives_nothing_and_stays,
                a_stream_is_read_in_pages,
                a_stream_that_does_not_exist_is_empty,
                streams_of_any_legal_name_are_kept_apart,
                the_newest_event_with_a_tag_is_found_by_tenant,
                the_head_moves_with_every_append,
                a_subscriber_to_the_head_wakes,
                a_payload_at_the_limit_is_stored_and_one_beyond_is_refused,
                so_many_events_are_stored_and_one_more_is_refused,
                logs_do_not_see_each_other,
                an_unknown_log_is_an_error,
                recorded_times_never_decrease,
                one_bad_request_among_many_harms_no_other,
                a_caller_who_goes_away_harms_no_other,
                a_reader_at_the_tail_sees_everything_once_in_order,
            ]
        );
    };
}

type Store = Arc<dyn EventStore>;

/// An event comes back with every field as it was sent, times to the microsecond.
pub async fn an_event_is_read_back_as_it_was_sent(store: Store) {
    let request = AppendRequest {
        provenance: Provenance {
            tenant: "north".into(),
            actor: "feed:lucas".into(),
            correlation_id: Some(Uuid::now_v7()),
            causation_id: Some(Uuid::new_v4()),
        },
        events: vec![NewEvent {
            schema_version: u16::MAX,
            occurred_at: Utc.timestamp_nanos(1_234_567_890_123_456_789),
            subjects: vec![SubjectId(Uuid::now_v7()), SubjectId(Uuid::new_v4())],
            tags: vec![tag("source:lucas/ö 1"), tag("b"), tag("a")],
            payload: Bytes::from_static("{\"straße\":\"Œ\"}".as_bytes()),
            ..note("noted")
        }],
        ..to(&a_new_stream(), ExpectedVersion::NoStream, "")
    };
    let before = Utc::now();

    store.append(request.clone()).await.unwrap();

    let page = all(&store, GlobalPosition(0), 10).await;
    let [stored] = &page[..] else { panic!("one event was stored, not {page:?}") };
    let [sent] = &request.events[..] else { unreachable!() };
    assert_eq!(
        *stored,
        RecordedEvent {
            position: GlobalPosition(1),
            stream: request.stream.clone(),
            version: StreamVersion(1),
            event_id: sent.event_id,
            event_type: sent.event_type.clone(),
            schema_version: sent.schema_version,
            command_id: request.command_id,
            provenance: request.provenance,
            occurred_at: Utc.timestamp_nanos(1_234_567_890_123_456_000),
            recorded_at: stored.recorded_at,
            subjects: sent.subjects.clone(),
            tags: sent.tags.clone(),
            codec: sent.codec,
            payload: sent.payload.clone(),
        }
    );
    assert!((stored.recorded_at - before).abs() < chrono::TimeDelta::seconds(10));
    assert_eq!(stream(&store, &request.stream).await, page);
}

/// No optional field is needed, and a time before 1970 is as good as any.
pub async fn an_event_of_the_barest_kind_is_read_back_as_it_was_sent(store: Store) {
    let long_ago = DateTime::from_timestamp_micros(-1_234_567_890_123_457).unwrap();
    let mut request = to(&a_new_stream(), ExpectedVersion::Any, "");
    request.provenance = Provenance { correlation_id: None, causation_id: None, ..provenance() };
    request.events[0].occurred_at = long_ago;

    store.append(request.clone()).await.unwrap();

    let stored = &all(&store, GlobalPosition(0), 10).await[0];
    assert_eq!(stored.provenance, request.provenance);
    assert_eq!(stored.occurred_at, long_ago);
    assert_eq!((stored.payload.len(), stored.tags.len(), stored.subjects.len()), (0, 0, 0));
}

/// The answer is the place of the request's last event.
pub async fn an_answer_names_the_last_version_and_position(store: Store) {
    let stream = a_new_stream();
    store.append(to(&a_new_stream(), ExpectedVersion::NoStream, "another")).await.unwrap();

    let first = store.append(several(&stream, ExpectedVersion::NoStream, &["a", "b"])).await;
    let second = store.append(several(&stream, exactly(2), &["c", "d", "e"])).await.unwrap();

    assert_eq!(first.unwrap(), answer(2, 3, 2));
    assert_eq!(second, answer(5, 6, 3));
    assert_eq!(second.version_before(), StreamVersion(2));
}

/// The events of one request are neighbours in the log, in the order given.
pub async fn the_events_of_a_request_stay_together_in_their_order(store: Store) {
    let requests = (0..40).map(|n| {
        let texts = [format!("{n}a"), format!("{n}b"), format!("{n}c")];
        several(&a_new_stream(), ExpectedVersion::NoStream, &texts.each_ref().map(|t| &**t))
    });
    let answers = append_at_once(&store, requests).await;
    assert!(answers.iter().all(Result::is_ok));

    let events = all(&store, GlobalPosition(0), 1_000).await;

    assert_eq!(events.len(), 120);
    for three in events.chunks(3) {
        let names: Vec<_> = three.iter().map(text).collect();
        let request = names[0].trim_end_matches('a');
        assert_eq!(names, ["a", "b", "c"].map(|letter| format!("{request}{letter}")));
        assert!(three.iter().all(|event| event.stream == three[0].stream));
        assert_eq!(three.iter().map(|event| event.version.0).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

/// A writer that decided on stale state is refused, and nothing of it is stored.
pub async fn a_stale_writer_is_refused(store: Store) {
    let stream = a_new_stream();
    let first = store.append(to(&stream, ExpectedVersion::NoStream, "first")).await;
    assert_eq!(first.unwrap().version, StreamVersion(1));

    let stale = store.append(to(&stream, ExpectedVersion::NoStream, "stale")).await;

    assert_conflict(&stale, 1);
    assert_eq!(texts(&store, &stream).await, ["first"]);
}

/// Any, no stream, some stream, exactly this version.
pub async fn each_expectation_admits_what_it_says(store: Store) {
    use ExpectedVersion::{Any, NoStream, StreamExists};
    let stream = a_new_stream();
    assert_conflict(&store.append(to(&stream, StreamExists, "")).await, 0);
    assert_conflict(&store.append(to(&stream, exactly(1), "")).await, 0);
    assert_eq!(store.append(to(&stream, exactly(0), "1")).await.unwrap(), answer(1, 1, 1));
    assert_conflict(&store.append(to(&stream, exactly(0), "")).await, 1);
    assert_conflict(&store.append(to(&stream, exactly(2), "")).await, 1);
    assert_conflict(&store.append(to(&stream, NoStream, "")).await, 1);
    assert_eq!(store.append(to(&stream, StreamExists, "2")).await.unwrap(), answer(2, 2, 1));
    assert_eq!(store.append(to(&stream, exactly(2), "3")).await.unwrap(), answer(3, 3, 1));
    assert_eq!(store.append(to(&stream, Any, "4")).await.unwrap(), answer(4, 4, 1));
    assert_eq!(store.append(to(&a_new_stream(), Any, "5")).await.unwrap(), answer(1, 5, 1));
    assert_eq!(texts(&store, &stream).await, ["1", "2", "3", "4"]);
}

/// Positions count what is stored, not what was asked.
pub async fn a_refusal_leaves_no_gap(store: Store) {
    let stream = a_new_stream();
    for n in 0..20 {
        store.append(to(&stream, exactly(n), "kept")).await.unwrap();
        assert_conflict(&store.append(to(&stream, exactly(n), "refused")).await, n + 1);
        let mut claim = to(&a_new_stream(), ExpectedVersion::NoStream, "refused");
        claim.events[0].tags = vec![tag("one")];
        claim.boundaries = vec![untouched("one")];
        assert_eq!(store.append(claim).await.is_ok(), n == 0);
    }

    let events = all(&store, GlobalPosition(0), 100).await;

    let positions: Vec<_> = events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=21).collect::<Vec<_>>());
}

/// Of writers that decided on the same version, one stores and all others are told.
pub async fn twenty_racing_appends_have_one_winner(store: Store) {
    let stream = a_new_stream();
    for round in 0..10 {
        let racers = (0..20).map(|n| to(&stream, exactly(round), &format!("{round}/{n}")));

        let answers = append_at_once(&store, racers).await;

        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        answers.iter().filter(|lost| lost.is_err()).for_each(|a| assert_conflict(a, round + 1));
        assert_eq!(texts(&store, &stream).await.len() as u64, round + 1);
    }
}

/// Nobody who was told yes is missing, and versions have neither gaps nor doubles.
pub async fn racing_appends_without_expectation_are_all_stored(store: Store) {
    let stream = a_new_stream();
    let racers = (0..100).map(|n| to(&stream, ExpectedVersion::Any, &n.to_string()));

    let answers = append_at_once(&store, racers).await;

    let mut versions: Vec<_> = answers.into_iter().map(|a| a.unwrap().version.0).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=100).collect::<Vec<_>>());
    let stored: HashSet<_> = texts(&store, &stream).await.into_iter().collect();
    assert_eq!(stored.len(), 100);
}

/// Asking twice is asking once, also when the stream has moved on since.
pub async fn a_repeated_command_id_gets_the_first_answer(store: Store) {
    let stream = a_new_stream();
    let request = several(&stream, ExpectedVersion::NoStream, &["a", "b"]);
    let first = store.append(request.clone()).await.unwrap();
    let repeated = Appended { repeated: true, ..first };

    assert_eq!(store.append(request.clone()).await.unwrap(), repeated);
    store.append(to(&stream, exactly(2), "c")).await.unwrap();
    assert_eq!(store.append(request).await.unwrap(), repeated);

    assert_eq!(texts(&store, &stream).await, ["a", "b", "c"]);
    assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(3));
}

/// Asking twice at once is asking once, whatever the expectation.
pub async fn a_command_id_repeated_at_the_same_moment_stores_once(store: Store) {
    for (n, expected) in [ExpectedVersion::Any, ExpectedVersion::NoStream].into_iter().enumerate() {
        let request = to(&a_new_stream(), expected, "once");

        let answers = append_at_once(&store, (0..50).map(|_| request.clone())).await;

        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.position.0 == n as u64 + 1));
        assert_eq!(texts(&store, &request.stream).await, ["once"]);
    }
}

/// The same id with other content is a mistake, and it is said so.
pub async fn a_command_id_cannot_be_used_for_something_else(store: Store) {
    let first = to(&a_new_stream(), ExpectedVersion::Any, "first");
    store.append(first.clone()).await.unwrap();
    let other = AppendRequest {
        command_id: first.command_id,
        fingerprint: Fingerprint([9; 16]),
        ..to(&a_new_stream(), ExpectedVersion::Any, "other")
    };

    let answer = store.append(other.clone()).await;

    assert!(matches!(answer, Err(AppendError::CommandIdReused { command_id })
        if command_id == first.command_id));
    assert_eq!(texts(&store, &other.stream).await, [""; 0]);
}

/// A refused request is not remembered: its caller decides again under the same id.
pub async fn a_refused_command_id_can_be_used_again(store: Store) {
    let stream = a_new_stream();
    let request = to(&stream, exactly(1), "second");
    assert_conflict(&store.append(request.clone()).await, 0);
    assert_eq!(store.find_command(&request.log, request.command_id).await.unwrap(), None);
    store.append(to(&stream, ExpectedVersion::NoStream, "first")).await.unwrap();

    assert_eq!(store.append(request).await.unwrap(), answer(2, 2, 1));
}

/// An id used in one log says nothing about another.
pub async fn command_ids_are_scoped_by_log(store: Store) {
    let request = to(&a_new_stream(), ExpectedVersion::Any, "");
    let elsewhere = AppendRequest {
        log: LogName::INTERACTIONS,
        fingerprint: Fingerprint([9; 16]),
        ..request.clone()
    };

    assert_eq!(store.append(request).await.unwrap(), answer(1, 1, 1));
    assert_eq!(store.append(elsewhere).await.unwrap(), answer(1, 1, 1));
}

/// The answer to a command can be asked for without sending it again.
pub async fn a_command_can_be_found_by_its_id(store: Store) {
    let request = several(&a_new_stream(), ExpectedVersion::NoStream, &["a", "b"]);
    assert_eq!(store.find_command(&request.log, request.command_id).await.unwrap(), None);
    let first = store.append(request.clone()).await.unwrap();

    let found = store.find_command(&request.log, request.command_id).await.unwrap();

    let (answer, fingerprint) = found.unwrap();
    assert_eq!(Appended { repeated: false, ..answer }, first);
    assert_eq!(fingerprint, request.fingerprint);
    let elsewhere = store.find_command(&LogName::INTERACTIONS, request.command_id).await;
    assert_eq!(elsewhere.unwrap(), None);
}

/// A decision that nothing happens is remembered like any other.
pub async fn a_request_without_events_only_remembers_its_id(store: Store) {
    let stream = a_new_stream();
    store.append(to(&stream, ExpectedVersion::NoStream, "first")).await.unwrap();
    let nothing = several(&stream, exactly(1), &[]);
    let on_nothing = several(&a_new_stream(), ExpectedVersion::NoStream, &[]);

    assert_eq!(store.append(nothing.clone()).await.unwrap(), answer(1, 1, 0));
    assert_eq!(store.append(on_nothing.clone()).await.unwrap(), answer(0, 1, 0));
    store.append(to(&stream, exactly(1), "second")).await.unwrap();

    let repeated = Appended { repeated: true, ..answer(1, 1, 0) };
    assert_eq!(store.append(nothing).await.unwrap(), repeated);
    let other = AppendRequest { fingerprint: Fingerprint([9; 16]), ..on_nothing };
    assert!(matches!(store.append(other).await, Err(AppendError::CommandIdReused { .. })));
    assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(2));
}

/// Having nothing to store does not excuse a stale decision.
pub async fn a_request_without_events_can_be_refused(store: Store) {
    let stream = a_new_stream();
    let mut first = to(&stream, ExpectedVersion::NoStream, "first");
    first.events[0].tags = vec![tag("taken")];
    store.append(first).await.unwrap();

    assert_conflict(&store.append(several(&stream, exactly(0), &[])).await, 1);
    let mut claim = several(&stream, exactly(1), &[]);
    claim.boundaries = vec![untouched("taken")];
    assert!(matches!(store.append(claim).await, Err(AppendError::BoundaryConflict { .. })));
}

/// "No event with this tag since I looked" holds or refuses, and names where the tag was seen.
pub async fn a_boundary_refuses_what_appeared_after_it(store: Store) {
    let claim = |after: u64| {
        let mut request = to(&a_new_stream(), ExpectedVersion::NoStream, "claim");
        request.events[0].tags = vec![tag("source:lucas/1")];
        request.boundaries =
            vec![Boundary { tag: tag("source:lucas/1"), after: GlobalPosition(after) }];
        request
    };
    store.append(to(&a_new_stream(), ExpectedVersion::Any, "no tag")).await.unwrap();
    assert_eq!(store.append(claim(0)).await.unwrap().position, GlobalPosition(2));

    for stale in [0, 1] {
        let refused = store.append(claim(stale)).await;
        assert!(matches!(refused, Err(AppendError::BoundaryConflict { tag: seen, position })
            if seen == tag("source:lucas/1") && position == GlobalPosition(2)));
    }
    assert_eq!(store.append(claim(2)).await.unwrap().position, GlobalPosition(3));
    let refused = store.append(claim(2)).await;
    assert!(matches!(refused, Err(AppendError::BoundaryConflict { position, .. })
        if position == GlobalPosition(3)));
}

/// What one tenant tags is no condition for another, nor for another log.
pub async fn a_boundary_is_scoped_by_tenant_and_log(store: Store) {
    let claim = |tenant: &str, log: LogName| {
        let mut request = to(&a_new_stream(), ExpectedVersion::NoStream, "claim");
        request.log = log;
        request.provenance.tenant = tenant.into();
        request.events[0].tags = vec![tag("one")];
        request.boundaries = vec![untouched("one")];
        request
    };
    store.append(claim("north", LogName::DOMAIN)).await.unwrap();
    store.append(claim("south", LogName::DOMAIN)).await.unwrap();
    store.append(claim("north", LogName::INTERACTIONS)).await.unwrap();

    let refused = store.append(claim("north", LogName::DOMAIN)).await;

    assert!(matches!(refused, Err(AppendError::BoundaryConflict { position, .. })
        if position == GlobalPosition(1)));
}

/// One condition that fails among several is enough, and it is the one named.
pub async fn all_boundaries_must_hold(store: Store) {
    let mut taken = to(&a_new_stream(), ExpectedVersion::NoStream, "taken");
    taken.events[0].tags = vec![tag("b")];
    store.append(taken).await.unwrap();
    let mut claim = to(&a_new_stream(), ExpectedVersion::NoStream, "claim");
    claim.boundaries = ["a", "b", "c"].map(untouched).to_vec();

    let refused = store.append(claim.clone()).await;

    assert!(matches!(refused, Err(AppendError::BoundaryConflict { tag: seen, .. })
        if seen == tag("b")));
    assert_eq!(texts(&store, &claim.stream).await, [""; 0]);
}

/// A condition speaks of what was there before the request.
pub async fn a_boundary_does_not_see_the_events_of_its_own_request(store: Store) {
    let mut request = several(&a_new_stream(), ExpectedVersion::NoStream, &["a", "b"]);
    // The same tag twice on one event is kept, and means no more than once.
    request.events.iter_mut().for_each(|event| event.tags = vec![tag("one"), tag("one")]);
    request.boundaries = vec![untouched("one")];

    assert_eq!(store.append(request).await.unwrap(), answer(2, 2, 2));

    let events = all(&store, GlobalPosition(0), 10).await;
    assert!(events.iter().all(|event| event.tags == [tag("one"), tag("one")]));
}

/// Of streams that claim the same key at once, one gets it.
pub async fn racing_claims_of_a_tag_have_one_winner(store: Store) {
    for round in 0..5 {
        let key = format!("source:race/{round}");
        let racers = (0..20).map(|n| {
            let mut claim = to(&a_new_stream(), ExpectedVersion::NoStream, &n.to_string());
            claim.events[0].tags = vec![tag(&key)];
            claim.boundaries = vec![untouched(&key)];
            claim
        });

        let answers = append_at_once(&store, racers).await;

        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(answers.iter().all(|answer| matches!(answer,
            Ok(Appended { position, .. }) | Err(AppendError::BoundaryConflict { position, .. })
                if position.0 == round + 1)));
    }
}

/// How a reader pages changes nothing about what it reads.
pub async fn pages_of_any_size_give_the_same_events(store: Store) {
    for n in 0..23 {
        store.append(several(&a_new_stream(), ExpectedVersion::Any, &["x", "y"])).await.unwrap();
        store.append(to(&a_new_stream(), ExpectedVersion::Any, &n.to_string())).await.unwrap();
    }
    let whole = all(&store, GlobalPosition(0), 1_000).await;
    assert_eq!(whole.len(), 69);
    for size in [1, 2, 7, 68, 69, 70] {
        let mut paged = Vec::new();
        let mut after = GlobalPosition(0);
        loop {
            let page = page(&store, &EventFilter::all(), after, size).await;
            assert!(page.events.len() <= size as usize);
            if page.events.is_empty() {
                assert_eq!(page.through, GlobalPosition(69));
                break;
            }
            after = page.through;
            paged.extend(page.events);
        }
        assert_eq!(paged, whole, "in pages of {size}");
    }
}

/// Filters by category and by type, alone and together.
pub async fn a_filter_gives_only_what_it_names(store: Store) {
    for n in 0..60 {
        let category = ["property", "user", "prop"][n % 3];
        let mut request = to(
            &StreamId::new(category, Uuid::now_v7()).unwrap(),
            ExpectedVersion::NoStream,
            &n.to_string(),
        );
        request.events[0].event_type = ["Listed", "Viewed", "Sold", "List"][n % 4].into();
        store.append(request).await.unwrap();
    }
    let whole = all(&store, GlobalPosition(0), 100).await;
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
    for (categories, event_types, expected) in [
        (names(&["property"]), names(&[]), 20),
        (names(&["property", "user"]), names(&[]), 40),
        (names(&[]), names(&["Listed"]), 15),
        (names(&[]), names(&["Listed", "Sold", "NeverSeen"]), 30),
        (names(&["user"]), names(&["Viewed"]), 5),
        (names(&["user", "unheard"]), names(&["Viewed", "List"]), 10),
    ] {
        let filter = EventFilter { categories, event_types };
        let mut found = Vec::new();
        let mut after = GlobalPosition(0);
        while after < GlobalPosition(60) {
            let page = page(&store, &filter, after, 3).await;
            assert!(page.through > after, "a reader must get on");
            after = page.through;
            found.extend(page.events);
        }
        let wanted = whole.iter().filter(|event| filter.admits(&event.stream, &event.event_type));
        assert_eq!(found, wanted.cloned().collect::<Vec<_>>());
        assert_eq!(found.len(), expected, "{filter:?}");
    }
}

/// A reader of types that do not occur gets to the head, without reading the rest.
pub async fn a_filter_that_matches_nothing_still_moves_on(store: Store) {
    for _ in 0..30 {
        store.append(to(&a_new_stream(), ExpectedVersion::Any, "")).await.unwrap();
    }
    for filter in [
        EventFilter { event_types: vec!["NeverSeen".into()], ..EventFilter::all() },
        EventFilter { categories: vec!["unheard".into()], ..EventFilter::all() },
    ] {
        let page = page(&store, &filter, GlobalPosition(3), 10).await;
        assert_eq!((page.events.len(), page.through), (0, GlobalPosition(30)));
    }
}

/// There may be more matches right behind a full page.
pub async fn a_full_page_looks_no_further_than_its_last_event(store: Store) {
    for n in 0..10 {
        let mut request = to(&a_new_stream(), ExpectedVersion::Any, "");
        request.events[0].event_type = ["Odd", "Even"][n % 2].into();
        store.append(request).await.unwrap();
    }
    let even = EventFilter { event_types: vec!["Even".into()], ..EventFilter::all() };

    assert_eq!(page(&store, &even, GlobalPosition(0), 2).await.through, GlobalPosition(4));
    assert_eq!(page(&store, &even, GlobalPosition(4), 3).await.through, GlobalPosition(10));
    let rest = page(&store, &EventFilter::all(), GlobalPosition(2), 5).await;
    assert_eq!((rest.events.len(), rest.through), (5, GlobalPosition(7)));
    let last = page(&store, &EventFilter::all(), GlobalPosition(7), 5).await;
    assert_eq!((last.events.len(), last.through), (3, GlobalPosition(10)));
}

/// A reader that is ahead of the log is neither moved back nor sent on.
pub async fn reading_after_the_head_gives_nothing_and_stays(store: Store) {
    let unheard = EventFilter { event_types: vec!["NeverSeen".into()], ..EventFilter::all() };
    for filter in [EventFilter::all(), unheard] {
        let empty = page(&store, &filter, GlobalPosition(0), 5).await;
        assert_eq!((empty.events.len(), empty.through), (0, GlobalPosition(0)));
        let beyond = page(&store, &filter, GlobalPosition(7), 5).await;
        assert_eq!((beyond.events.len(), beyond.through), (0, GlobalPosition(7)));
    }
}

/// A stream is read after a version, so many events at a time, without its neighbours.
pub async fn a_stream_is_read_in_pages(store: Store) {
    let stream = a_new_stream();
    for n in 0..10 {
        store.append(to(&stream, exactly(n), &n.to_string())).await.unwrap();
        store.append(to(&a_new_stream(), ExpectedVersion::Any, "neighbour")).await.unwrap();
    }
    let read = async |after: u64, limit: u32| {
        let limit = NonZeroU32::new(limit).unwrap();
        let page = store.read_stream(&LogName::DOMAIN, &stream, StreamVersion(after), limit).await;
        page.unwrap().iter().map(text).collect::<Vec<_>>()
    };

    assert_eq!(read(0, 4).await, ["0", "1", "2", "3"]);
    assert_eq!(read(4, 4).await, ["4", "5", "6", "7"]);
    assert_eq!(read(8, 4).await, ["8", "9"]);
    assert_eq!(read(10, 4).await, [""; 0]);
    assert_eq!(read(99, 4).await, [""; 0]);
    let whole = store
        .read_stream(&LogName::DOMAIN, &stream, StreamVersion(0), NonZeroU32::MAX)
        .await
        .unwrap();
    assert!((1..).zip(&whole).all(|(version, event)| event.version == StreamVersion(version)));
    assert!((0..).zip(&whole).all(|(n, event)| event.position == GlobalPosition(2 * n + 1)));
}

/// Nothing there is an answer, not an error.
pub async fn a_stream_that_does_not_exist_is_empty(store: Store) {
    assert_eq!(stream(&store, &a_new_stream()).await, []);
}

/// A name is text: what is special elsewhere is not special here.
pub async fn streams_of_any_legal_name_are_kept_apart(store: Store) {
    let long = format!("c-{}", "x".repeat(198));
    let names = [
        "user-1", "user-%", "user-_", "user-'--", "user-\"", "User-1", "user-1-1", "u-ser-1",
        "user-1/0", "user-\\", &long,
    ];
    for name in names {
        store.append(to(&name.parse().unwrap(), ExpectedVersion::NoStream, name)).await.unwrap();
    }
    for name in names {
        assert_eq!(texts(&store, &name.parse().unwrap()).await, [name]);
    }
}

/// Look-ups by tag find the newest event, within the tenant and the log.
pub async fn the_newest_event_with_a_tag_is_found_by_tenant(store: Store) {
    let key = tag("source:lucas/1");
    let last = async |tenant: &str| {
        let found = store.last_tagged(&LogName::DOMAIN, tenant, &key).await.unwrap();
        found.map(|found| (found.stream, found.position.0))
    };
    assert_eq!(last("north").await, None);
    let mut streams = Vec::new();
    for tenant in ["north", "north", "south"] {
        let mut request = to(&a_new_stream(), ExpectedVersion::Any, "");
        request.provenance.tenant = tenant.into();
        request.events[0].tags = vec![tag("other"), key.clone()];
        streams.push(request.stream.clone());
        store.append(request).await.unwrap();
    }

    assert_eq!(last("north").await, Some((streams[1].clone(), 2)));
    assert_eq!(last("south").await, Some((streams[2].clone(), 3)));
    assert_eq!(last("east").await, None);
    let elsewhere = store.last_tagged(&LogName::INTERACTIONS, "north", &key).await;
    assert_eq!(elsewhere.unwrap(), None);
}

/// Whoever got an answer finds it covered by the head.
pub async fn the_head_moves_with_every_append(store: Store) {
    assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(0));
    for _ in 0..10 {
        let request = several(&a_new_stream(), ExpectedVersion::Any, &["a", "b"]);
        let appended = store.append(request).await.unwrap();
        assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), appended.position);
    }
}

/// A commit wakes those who wait for it.
pub async fn a_subscriber_to_the_head_wakes(store: Store) {
    let mut head = store.subscribe_head(&LogName::DOMAIN);
    assert_eq!(*head.borrow_and_update(), GlobalPosition(0));
    let waiting = tokio::spawn(async move {
        head.wait_for(|position| *position >= GlobalPosition(3)).await.map(|position| *position)
    });
    for _ in 0..3 {
        store.append(to(&a_new_stream(), ExpectedVersion::Any, "")).await.unwrap();
    }

    let woken = tokio::time::timeout(Duration::from_secs(10), waiting).await;

    assert_eq!(woken.unwrap().unwrap().unwrap(), GlobalPosition(3));
    let late = store.subscribe_head(&LogName::DOMAIN);
    assert_eq!(*late.borrow(), GlobalPosition(3));
}

/// The limit on a payload is exact.
pub async fn a_payload_at_the_limit_is_stored_and_one_beyond_is_refused(store: Store) {
    let limit = AppendRequest::MAX_PAYLOAD_BYTES;
    let mut request = to(&a_new_stream(), ExpectedVersion::NoStream, "");
    request.events[0].payload = Bytes::from(vec![b'7'; limit + 1]);

    let refused = store.append(request.clone()).await;

    assert!(matches!(refused, Err(AppendError::Invalid(InvalidRequest::PayloadTooLarge {
        bytes, limit: said, ..
    })) if bytes == limit + 1 && said == limit));
    request.events[0].payload.truncate(limit);
    store.append(request.clone()).await.unwrap();
    assert_eq!(stream(&store, &request.stream).await[0].payload, request.events[0].payload);
}

/// The limit on the events of a request is exact.
pub async fn so_many_events_are_stored_and_one_more_is_refused(store: Store) {
    let limit = AppendRequest::MAX_EVENTS;
    let mut request = several(&a_new_stream(), ExpectedVersion::NoStream, &vec!["x"; limit + 1]);

    let refused = store.append(request.clone()).await;

    assert!(matches!(refused, Err(AppendError::Invalid(InvalidRequest::TooManyEvents {
        events, limit: said,
    })) if events == limit + 1 && said == limit));
    request.events.pop();
    let appended = store.append(request.clone()).await.unwrap();
    assert_eq!(appended, answer(limit as u64, limit as u64, limit as u32));
    assert_eq!(stream(&store, &request.stream).await.len(), limit);
}

/// A log has its own positions, streams and heads.
pub async fn logs_do_not_see_each_other(store: Store) {
    let stream = a_new_stream();
    let in_log = |log: LogName, text: &str| AppendRequest {
        log,
        ..to(&stream, ExpectedVersion::NoStream, text)
    };
    let head = store.subscribe_head(&LogName::DOMAIN);

    let viewed = store.append(in_log(LogName::INTERACTIONS, "viewed")).await.unwrap();
    let listed = store.append(in_log(LogName::DOMAIN, "listed")).await.unwrap();

    assert_eq!((viewed, listed), (answer(1, 1, 1), answer(1, 1, 1)));
    assert_eq!(texts(&store, &stream).await, ["listed"]);
    let all = all(&store, GlobalPosition(0), 10).await;
    assert_eq!(all.iter().map(text).collect::<Vec<_>>(), ["listed"]);
    let (limit, start) = (NonZeroU32::MAX, StreamVersion(0));
    let views = store.read_stream(&LogName::INTERACTIONS, &stream, start, limit).await.unwrap();
    assert_eq!(views.iter().map(text).collect::<Vec<_>>(), ["viewed"]);
    store
        .append(AppendRequest {
            log: LogName::INTERACTIONS,
            ..to(&a_new_stream(), ExpectedVersion::Any, "")
        })
        .await
        .unwrap();
    assert_eq!(store.head(&LogName::INTERACTIONS).await.unwrap(), GlobalPosition(2));
    assert_eq!(*head.borrow(), GlobalPosition(1));
}

/// A misspelt name makes no new log.
pub async fn an_unknown_log_is_an_error(store: Store) {
    let log: LogName = "domian".parse().unwrap();
    let stream = a_new_stream();
    for _ in 0..2 {
        let request =
            AppendRequest { log: log.clone(), ..to(&stream, ExpectedVersion::Any, "lost") };
        let refused = store.append(request).await;
        assert!(matches!(refused, Err(AppendError::Invalid(InvalidRequest::UnknownLog(name)))
            if name == log));
    }
    let unknown = |error: ReadError| matches!(error, ReadError::UnknownLog(name) if name == log);
    let one = NonZeroU32::MIN;
    assert!(unknown(store.head(&log).await.unwrap_err()));
    assert!(unknown(store.find_command(&log, CommandId::new()).await.unwrap_err()));
    assert!(unknown(store.last_tagged(&log, "north", &tag("a")).await.unwrap_err()));
    let events = store.read_stream(&log, &stream, StreamVersion(0), one).await;
    assert!(unknown(events.unwrap_err()));
    let all = store.read_all(&log, &EventFilter::all(), GlobalPosition(0), one).await;
    assert!(unknown(all.unwrap_err()));
    assert_eq!(*store.subscribe_head(&log).borrow(), GlobalPosition(0));
}

/// Later positions are never recorded earlier.
pub async fn recorded_times_never_decrease(store: Store) {
    for _ in 0..5 {
        let requests = (0..20).map(|_| to(&a_new_stream(), ExpectedVersion::Any, ""));
        append_at_once(&store, requests).await;
    }
    let events = all(&store, GlobalPosition(0), 1_000).await;
    assert_eq!(events.len(), 100);
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
}

/// Requests that happen to be stored together do not share each other's fate.
pub async fn one_bad_request_among_many_harms_no_other(store: Store) {
    let taken = to(&a_new_stream(), ExpectedVersion::NoStream, "taken");
    store.append(taken.clone()).await.unwrap();
    let requests = (0..300).map(|n| {
        let mut request = to(&a_new_stream(), ExpectedVersion::NoStream, &n.to_string());
        match n % 100 {
            17 => request.expected = ExpectedVersion::StreamExists,
            37 => {
                request.command_id = taken.command_id;
                request.fingerprint = Fingerprint([9; 16]);
            }
            57 => request.events[0].payload = vec![0; AppendRequest::MAX_PAYLOAD_BYTES + 1].into(),
            77 => request.log = "elsewhere".parse().unwrap(),
            _ => {}
        }
        request
    });

    let answers = append_at_once(&store, requests).await;

    for (n, answer) in answers.iter().enumerate() {
        assert!(
            match n % 100 {
                17 => matches!(answer, Err(AppendError::VersionConflict { .. })),
                37 => matches!(answer, Err(AppendError::CommandIdReused { .. })),
                57 | 77 => matches!(answer, Err(AppendError::Invalid(_))),
                _ => answer.is_ok(),
            },
            "request {n} got {answer:?}"
        );
    }
    let events = all(&store, GlobalPosition(0), 1_000).await;
    let positions: Vec<_> = events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=289).collect::<Vec<_>>());
}

/// A caller that stops waiting may or may not have stored; nobody else notices.
pub async fn a_caller_who_goes_away_harms_no_other(store: Store) {
    let mut left = Vec::new();
    for n in 0..50 {
        let request = to(&a_new_stream(), ExpectedVersion::NoStream, &format!("left {n}"));
        left.push(request.clone());
        // Polled once, so that the request is on its way, then dropped.
        let mut append = store.append(request);
        let _ = futures_util::poll!(&mut append);
        drop(append);
        store.append(to(&a_new_stream(), ExpectedVersion::NoStream, "stayed")).await.unwrap();
    }
    for request in &left {
        let asked_again = store.append(request.clone()).await.unwrap();
        assert_eq!(asked_again.version, StreamVersion(1));
        assert_eq!(texts(&store, &request.stream).await.len(), 1);
    }
    let events = all(&store, GlobalPosition(0), 1_000).await;
    let positions: Vec<_> = events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, (1..=100).collect::<Vec<_>>());
}

/// Nothing ever appears at or below a position already read.
pub async fn a_reader_at_the_tail_sees_everything_once_in_order(store: Store) {
    let tail = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut seen, mut after) = (Vec::new(), GlobalPosition(0));
            while seen.len() < 800 {
                let page = page(&store, &EventFilter::all(), after, 50).await;
                seen.extend(page.events.iter().map(|event| event.position.0));
                after = page.through;
                tokio::task::yield_now().await;
            }
            seen
        })
    };
    let writers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let stream = a_new_stream();
            for version in 0..50 {
                store.append(to(&stream, exactly(version), "")).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }

    let seen = tokio::time::timeout(Duration::from_secs(30), tail).await.unwrap().unwrap();

    assert_eq!(seen, (1..=800).collect::<Vec<_>>());
}

fn a_new_stream() -> StreamId {
    StreamId::new("property", Uuid::now_v7()).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn untouched(text: &str) -> Boundary {
    Boundary { tag: tag(text), after: GlobalPosition(0) }
}

fn exactly(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exactly(StreamVersion(version))
}

fn provenance() -> Provenance {
    Provenance {
        tenant: "north".into(),
        actor: "contract".into(),
        correlation_id: Some(Uuid::now_v7()),
        causation_id: None,
    }
}

fn note(text: &str) -> NewEvent {
    NewEvent {
        event_id: EventId::new(),
        event_type: "Noted".into(),
        schema_version: 1,
        occurred_at: Utc::now(),
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn to(stream: &StreamId, expected: ExpectedVersion, text: &str) -> AppendRequest {
    several(stream, expected, &[text])
}

fn several(stream: &StreamId, expected: ExpectedVersion, texts: &[&str]) -> AppendRequest {
    AppendRequest {
        log: LogName::DOMAIN,
        stream: stream.clone(),
        expected,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([texts.len() as u8; 16]),
        boundaries: Vec::new(),
        provenance: provenance(),
        events: texts.iter().map(|text| note(text)).collect(),
    }
}

fn answer(version: u64, position: u64, events: u32) -> Appended {
    Appended {
        version: StreamVersion(version),
        position: GlobalPosition(position),
        events,
        repeated: false,
    }
}

fn assert_conflict(answer: &Result<Appended, AppendError>, version: u64) {
    assert!(
        matches!(answer, Err(AppendError::VersionConflict { actual, .. }) if actual.0 == version),
        "a conflict with version {version} was due, not {answer:?}"
    );
}

/// Sends requests from a task each, so that a store meets them at the same moment.
async fn append_at_once(
    store: &Store,
    requests: impl IntoIterator<Item = AppendRequest>,
) -> Vec<Result<Appended, AppendError>> {
    let tasks = requests.into_iter().map(|request| {
        let store = store.clone();
        tokio::spawn(async move { store.append(request).await })
    });
    let tasks: Vec<_> = tasks.collect();
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

async fn page(
    store: &Store,
    filter: &EventFilter,
    after: GlobalPosition,
    limit: u32,
) -> freehold_ports::EventPage {
    let limit = NonZeroU32::new(limit).unwrap();
    store.read_all(&LogName::DOMAIN, filter, after, limit).await.unwrap()
}

async fn all(store: &Store, after: GlobalPosition, limit: u32) -> Vec<RecordedEvent> {
    page(store, &EventFilter::all(), after, limit).await.events
}

async fn stream(store: &Store, stream: &StreamId) -> Vec<RecordedEvent> {
    let limit = NonZeroU32::MAX;
    store.read_stream(&LogName::DOMAIN, stream, StreamVersion(0), limit).await.unwrap()
}

async fn texts(store: &Store, id: &StreamId) -> Vec<String> {
    stream(store, id).await.iter().map(text).collect()
}

fn text(event: &RecordedEvent) -> String {
    String::from_utf8(event.payload.to_vec()).unwrap()
}
