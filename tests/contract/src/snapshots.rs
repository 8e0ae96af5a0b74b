//! What every [`SnapshotStore`] does.

use std::sync::Arc;

use freehold_ports::{LogName, ReadError, Snapshot, SnapshotStore, StreamId, StreamVersion};
use uuid::Uuid;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn SnapshotStore>`](crate::Fresh).
#[macro_export]
macro_rules! snapshot_store_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            snapshots,
            [$($attribute),*],
            $fresh,
            [
                a_snapshot_is_loaded_as_it_was_saved,
                an_older_snapshot_does_not_replace_a_newer_one,
                a_snapshot_of_another_shape_replaces_one_of_the_same_version,
                snapshots_are_kept_by_stream_and_log,
                clearing_deletes_every_snapshot,
                a_snapshot_in_an_unknown_log_is_an_error,
            ]
        );
    };
}

type Store = Arc<dyn SnapshotStore>;

/// What was saved is what is loaded, of any size.
pub async fn a_snapshot_is_loaded_as_it_was_saved(store: Store) {
    for bytes in [0, 1, 5_000, 2_000_000] {
        let stream = a_new_stream();
        assert_eq!(store.load(&LogName::DOMAIN, &stream).await.unwrap(), None);
        let saved = Snapshot { state: vec![7; bytes].into(), ..snapshot(u64::MAX >> 1, u32::MAX) };

        store.save(&LogName::DOMAIN, &stream, saved.clone()).await.unwrap();

        assert_eq!(store.load(&LogName::DOMAIN, &stream).await.unwrap(), Some(saved));
    }
}

/// A slow writer does not undo a fast one.
pub async fn an_older_snapshot_does_not_replace_a_newer_one(store: Store) {
    let stream = a_new_stream();
    for version in [5, 9, 7] {
        store.save(&LogName::DOMAIN, &stream, snapshot(version, 1)).await.unwrap();
    }
    let kept = store.load(&LogName::DOMAIN, &stream).await.unwrap();
    assert_eq!(kept, Some(snapshot(9, 1)));
}

/// A new release that folds to the same version in another shape gets its snapshot kept.
pub async fn a_snapshot_of_another_shape_replaces_one_of_the_same_version(store: Store) {
    let stream = a_new_stream();
    for shape in [1, 2] {
        store.save(&LogName::DOMAIN, &stream, snapshot(5, shape)).await.unwrap();
    }
    let kept = store.load(&LogName::DOMAIN, &stream).await.unwrap();
    assert_eq!(kept, Some(snapshot(5, 2)));
}

/// One stream's snapshot is no other's.
pub async fn snapshots_are_kept_by_stream_and_log(store: Store) {
    let (one, other) = (a_new_stream(), a_new_stream());
    store.save(&LogName::DOMAIN, &one, snapshot(1, 1)).await.unwrap();
    store.save(&LogName::DOMAIN, &other, snapshot(2, 1)).await.unwrap();
    store.save(&LogName::INTERACTIONS, &one, snapshot(3, 1)).await.unwrap();

    for (log, stream, version) in
        [(LogName::DOMAIN, &one, 1), (LogName::DOMAIN, &other, 2), (LogName::INTERACTIONS, &one, 3)]
    {
        assert_eq!(store.load(&log, stream).await.unwrap(), Some(snapshot(version, 1)));
    }
    assert_eq!(store.load(&LogName::INTERACTIONS, &other).await.unwrap(), None);
}

/// After clearing, states are folded from the first event.
pub async fn clearing_deletes_every_snapshot(store: Store) {
    let stream = a_new_stream();
    for log in [LogName::DOMAIN, LogName::INTERACTIONS] {
        store.save(&log, &stream, snapshot(9, 1)).await.unwrap();
    }

    store.clear().await.unwrap();

    for log in [LogName::DOMAIN, LogName::INTERACTIONS] {
        assert_eq!(store.load(&log, &stream).await.unwrap(), None);
    }
    store.save(&LogName::DOMAIN, &stream, snapshot(1, 1)).await.unwrap();
    assert_eq!(store.load(&LogName::DOMAIN, &stream).await.unwrap(), Some(snapshot(1, 1)));
}

/// As for events.
pub async fn a_snapshot_in_an_unknown_log_is_an_error(store: Store) {
    let log: LogName = "domian".parse().unwrap();
    let stream = a_new_stream();
    let loaded = store.load(&log, &stream).await;
    assert!(matches!(loaded, Err(ReadError::UnknownLog(name)) if name == log));
    let saved = store.save(&log, &stream, snapshot(1, 1)).await;
    assert!(matches!(saved, Err(ReadError::UnknownLog(name)) if name == log));
}

fn a_new_stream() -> StreamId {
    StreamId::new("property", Uuid::now_v7()).unwrap()
}

fn snapshot(version: u64, shape: u32) -> Snapshot {
    Snapshot { version: StreamVersion(version), shape, state: "{\"rent\":1}".into() }
}
