use std::io::Cursor;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use freehold_domain::SubjectId;
use freehold_memory::{MemoryEventStore, MemoryKeyVault};
use freehold_ports::{
    AppendRequest, CommandId, Commit, EventCodec, EventFilter, EventId, ExpectedVersion,
    Fingerprint, NewEvent, PayloadCodec, Provenance, RecordedEvent, SystemClock,
};
use freehold_projections::{Projections, models};
use freehold_sqlite::{SqliteKeyVault, SqliteReadModels};
use uuid::Uuid;

use super::*;
use crate::import::Silent;
use crate::stores::LOGS;

fn stores(master: u8) -> Ports {
    let log = Arc::new(MemoryEventStore::default());
    let vault = Arc::new(MemoryKeyVault::new([master; 32]));
    Ports {
        events: log.clone(),
        restore: log.clone(),
        snapshots: log,
        models: Arc::new(SqliteReadModels::in_memory().unwrap()),
        vault,
        keys: None,
    }
}

fn request(log: LogName, stream: &str, payloads: &[&'static [u8]]) -> AppendRequest {
    let event = |payload: &&'static [u8]| NewEvent {
        event_id: EventId::new(),
        event_type: "Noted".into(),
        schema_version: 3,
        occurred_at: Utc::now(),
        subjects: vec![SubjectId(Uuid::new_v4()); payload.len() % 3],
        tags: (0..payload.len() % 4).map(|n| format!("tag \"{n}\" ö").parse().unwrap()).collect(),
        codec: PayloadCodec::Json,
        payload: Bytes::from_static(payload),
    };
    AppendRequest {
        log,
        stream: stream.parse().unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint(*Uuid::new_v4().as_bytes()),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "north \u{7f}\u{2028}".into(),
            actor: format!("actor of {stream}").into(),
            correlation_id: (payloads.len() > 1).then(Uuid::new_v4),
            causation_id: (payloads.len() == 1).then(Uuid::new_v4),
        },
        events: payloads.iter().map(event).collect(),
    }
}

/// Some of everything that a log may hold.
async fn filled() -> (Ports, Vec<AppendRequest>) {
    let stores = stores(7);
    let mut requests = Vec::new();
    let odd: &[&[u8]] = &[
        b"{\"a\":1.0,\"b\":[1e3, 0.10]}",
        b"{\"a\":\n1}",
        b" {} ",
        b"null",
        b"",
        b"no json",
        b"{\"\xff\":1}",
        b"\"text\\u0000\"",
        b"123456789012345678901234567890.123456789",
    ];
    for n in 0..40 {
        let log = if n % 5 == 0 { LogName::INTERACTIONS } else { LogName::DOMAIN };
        requests.push(request(log, &format!("note-{}", n % 7), &odd[..n % (odd.len() + 1)]));
    }
    for request in &requests {
        stores.events.append(request.clone()).await.unwrap();
    }
    (stores, requests)
}

async fn exported(stores: &Ports) -> Vec<u8> {
    export_logs(stores, &LOGS, Vec::new(), &Silent).await.unwrap().1
}

async fn import(stores: &Ports, file: &[u8]) -> Result<Vec<LogMoved>, TransferError> {
    let file = LogFile::open(Cursor::new(file.to_vec()))?;
    import_logs(stores, file, &Silent).await
}

async fn events(stores: &Ports) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    for log in &LOGS {
        let limit = NonZeroU32::new(10_000).unwrap();
        let start = GlobalPosition(0);
        events.extend(
            stores.events.read_all(log, &EventFilter::all(), start, limit).await.unwrap().events,
        );
    }
    events
}

fn lines_of(file: &[u8]) -> Vec<&[u8]> {
    file.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A file of these lines with checks that agree.
fn checked<'l>(records: impl IntoIterator<Item = &'l [u8]>) -> Vec<u8> {
    let mut lines = super::lines::LineWriter::new(Vec::new());
    for line in records {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match line {
            _ if line.starts_with(b"{\"check\"") => lines.check().unwrap(),
            _ if line.starts_with(b"{\"end\"") => return lines.end().unwrap(),
            line => lines.line(line).unwrap(),
        }
    }
    lines.end().unwrap()
}

#[tokio::test]
async fn what_comes_out_goes_in_and_comes_out_the_same() {
    let (from, requests) = filled().await;
    let to = stores(7);
    let file = exported(&from).await;

    let moved = import(&to, &file).await.unwrap();

    assert_eq!(events(&to).await, events(&from).await);
    assert!(exported(&to).await == file, "byte for byte");
    let count = requests.iter().filter(|request| request.log == LogName::DOMAIN).count();
    assert_eq!(moved[0].answers, count as u64, "of those without events too");
    for request in requests {
        let again = to.events.append(request.clone()).await.unwrap();
        let first = from.events.append(request.clone()).await.unwrap();
        assert!(again.repeated && again == first);
        let other = AppendRequest { fingerprint: Fingerprint([0; 16]), ..request };
        assert!(to.events.append(other).await.is_err());
    }
    assert!(exported(&to).await == file, "and nothing was stored again");
}

#[tokio::test]
async fn importing_again_changes_nothing() {
    let (from, _) = filled().await;
    let to = stores(7);
    let file = exported(&from).await;
    let first = import(&to, &file).await.unwrap();
    assert_eq!(import(&to, &file).await.unwrap(), first);
    assert!(exported(&to).await == file);
}

#[tokio::test]
async fn a_file_cut_off_anywhere_leaves_a_beginning_and_the_whole_goes_on() {
    let (from, _) = filled().await;
    let file = exported(&from).await;
    let whole = events(&from).await;
    let ends: Vec<usize> = lines_of(&file)
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    for cut in ends.iter().flat_map(|end| [end - 1, *end]).filter(|cut| *cut < file.len()) {
        let to = stores(7);
        match import(&to, &file[..cut]).await {
            Err(TransferError::CutOff { .. }) => {}
            other => panic!("cut at {cut} of {}: {other:?}", file.len()),
        }
        for event in events(&to).await {
            assert!(whole.contains(&event));
        }
        import(&to, &file).await.unwrap();
        assert!(exported(&to).await == file);
    }
}

#[tokio::test]
async fn no_changed_byte_reaches_a_log() {
    let (from, _) = filled().await;
    let file = exported(&from).await;
    let whole = events(&from).await;
    for at in (0..file.len()).step_by(61) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let to = stores(7);

        let refused = import(&to, &changed).await;

        assert!(refused.is_err(), "byte {at}");
        for event in events(&to).await {
            assert!(whole.contains(&event), "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_bad_line_is_named_with_its_field() {
    let (from, _) = filled().await;
    let file = exported(&from).await;
    let lines = lines_of(&file);
    let first = lines.iter().position(|line| line.starts_with(b"{\"position\"")).unwrap();
    let line = std::str::from_utf8(lines[first]).unwrap();
    for (from, to, field) in [
        ("\"position\":1,", "\"position\":2,", Some("position")),
        ("\"position\":1,", "\"position\":-1,", Some("position")),
        ("\"stream\":\"note-1\"", "\"stream\":\"note\"", Some("stream")),
        ("\"stream\":\"note-1\",", "", Some("stream")),
        ("\"schema_version\":3", "\"schema_version\":\"three\"", Some("schema_version")),
        ("\"codec\":\"json\"", "\"codec\":\"xml\"", Some("codec")),
        ("\"event_id\":\"", "\"event_id\":\"x", Some("event_id")),
        ("\"payload\":", "\"payload_base64\":\"e30=\",\"payload\":", Some("payload")),
        ("\"version\":1,", "\"version\":1,\"verzion\":1,", None),
        ("{", "{{", None),
    ] {
        let edited = line.replacen(from, to, 1);
        assert_ne!(edited, line, "{from}");
        let mut lines = lines.clone();
        lines[first] = edited.as_bytes();
        let store = stores(7);
        match import(&store, &checked(lines)).await {
            Err(TransferError::Line { line, field: found, .. }) => {
                assert_eq!((line, found.as_deref()), (first as u64 + 1, field), "{to}");
            }
            other => panic!("{to}: {other:?}"),
        }
        assert_eq!(events(&store).await, []);
    }
}

#[tokio::test]
async fn a_line_left_out_or_doubled_or_moved_is_noticed() {
    let (from, _) = filled().await;
    let file = exported(&from).await;
    let lines = lines_of(&file);
    // The last line is made anew.
    for at in 0..lines.len() - 1 {
        let is_check = lines[at].starts_with(b"{\"check\"");
        let mut without = lines.clone();
        without.remove(at);
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        let mut turned = lines.clone();
        turned.swap(at, at + 1);
        for edited in [without, twice, turned].into_iter().filter(|edited| *edited != lines) {
            // Checks may stand anywhere where the rest is right, and an answer without events
            // before what comes before it.
            let is = |at: usize, begin: &[u8]| {
                lines.get(at).is_some_and(|line: &&[u8]| line.starts_with(begin))
            };
            let turned = edited.len() == lines.len();
            let (check, answer) = (b"{\"check\"".as_slice(), b"{\"command_id\"".as_slice());
            if is_check || turned && (is(at + 1, check) || is(at + 1, answer)) {
                continue;
            }
            let to = stores(7);
            assert!(import(&to, &checked(edited)).await.is_err(), "line {}", at + 1);
        }
    }
    let after: Vec<u8> = [&file[..], b"{}\n"].concat();
    let refused = import(&stores(7), &after).await;
    assert!(matches!(refused, Err(TransferError::AfterTheEnd { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_log_that_holds_something_else_is_left_alone() {
    let (from, _) = filled().await;
    let file = exported(&from).await;
    let longer = stores(7);
    import(&longer, &file).await.unwrap();
    longer.events.append(request(LogName::DOMAIN, "note-1", &[b"{}"])).await.unwrap();
    let (other, _) = filled().await;
    for store in [longer, other] {
        let before = events(&store).await;
        let refused = import(&store, &file).await;
        assert!(matches!(refused, Err(TransferError::NotAPrefix { .. })), "{refused:?}");
        assert_eq!(events(&store).await, before);
    }
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_stored() {
    let (from, _) = filled().await;
    let to = stores(8);
    let refused = import(&to, &exported(&from).await).await;
    assert!(matches!(refused, Err(TransferError::OtherMasterKey)), "{refused:?}");
    assert_eq!(events(&to).await, []);

    // The key of a store that is in use is not what is wrong.
    to.events.append(request(LogName::DOMAIN, "note-1", &[b"{}"])).await.unwrap();
    let refused = import(&to, &exported(&from).await).await;
    assert!(matches!(refused, Err(TransferError::NotAPrefix { .. })), "{refused:?}");
}

#[tokio::test]
async fn read_models_of_another_log_are_refused() {
    let (from, _) = filled().await;
    let to = stores(7);
    let codec = EventCodec::new(to.vault.clone());
    let clock = Arc::new(SystemClock);
    let all = models::all(Projections::new(to.events.clone(), to.models.clone(), codec, clock));
    let status = all.statuses().into_iter().find(|one| one.log == LogName::DOMAIN).unwrap();
    let generation = to.models.create_generation(status.name, status.version, &[]).await.unwrap();
    let (start, seen) = (GlobalPosition(0), GlobalPosition(3));
    to.models.commit(Commit::moving(generation, start, seen, Vec::new())).await.unwrap();

    let refused = import(&to, &exported(&from).await).await;

    match &refused {
        Err(TransferError::OtherReadModel { checkpoint, .. }) => assert_eq!(*checkpoint, seen),
        other => panic!("{other:?}"),
    }
    assert_eq!(events(&to).await, []);
}

#[tokio::test]
async fn an_export_holds_what_was_there_when_it_began() {
    let (from, _) = filled().await;
    let before = exported(&from).await;
    let appended = from.events.append(request(LogName::DOMAIN, "note-1", &[b"{}"])).await.unwrap();
    let after = exported(&from).await;
    assert!(after != before);
    let to = stores(7);
    import(&to, &before).await.unwrap();
    import(&to, &after).await.unwrap();
    assert_eq!(to.events.head(&LogName::DOMAIN).await.unwrap(), appended.position);
}

/// Stores whose vault is in a folder.
fn with_keys(stores: Ports, folder: &tempfile::TempDir, master: u8) -> Ports {
    let vault = Arc::new(SqliteKeyVault::open(folder.path(), &[master; 32]).unwrap());
    Ports { vault: vault.clone(), keys: Some(vault), ..stores }
}

#[tokio::test]
async fn keys_move_and_what_was_destroyed_stays_destroyed() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let from = with_keys(stores(7), &folders[0], 7);
    let to = with_keys(stores(7), &folders[1], 7);
    let subjects: Vec<SubjectId> = (0..2_500).map(|_| SubjectId(Uuid::new_v4())).collect();
    let made = from.vault.keys_for_writing(&subjects).await.unwrap();
    from.vault.destroy(subjects[0]).await.unwrap();

    let (moved, file) = export_keys(&from, Vec::new()).await.unwrap();
    let stored = import_keys(&to, Cursor::new(&file)).await.unwrap();
    to.vault.destroy(subjects[1]).await.unwrap();
    let again = import_keys(&to, Cursor::new(&file)).await.unwrap();

    assert_eq!((moved.keys, moved.destroyed, stored.changed, again.changed), (2_500, 1, 2_500, 0));
    let here = to.vault.keys_for_reading(&subjects).await.unwrap();
    assert_eq!(here.len(), 2_498);
    assert!(here.iter().all(|(subject, key)| made[subject] == *key));

    let other = with_keys(stores(8), &folders[2], 8);
    let refused = import_keys(&other, Cursor::new(&file)).await;
    assert!(matches!(refused, Err(TransferError::OtherMasterKey)), "{refused:?}");
    let cut = import_keys(&to, Cursor::new(&file[..file.len() / 2])).await;
    assert!(matches!(cut, Err(TransferError::CutOff { .. })), "{cut:?}");
}

#[tokio::test]
async fn an_erasure_that_the_log_tells_of_destroys_an_older_key() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let from = with_keys(stores(7), &folders[0], 7);
    let to = with_keys(stores(7), &folders[1], 7);
    let (gone, stays) = (SubjectId(Uuid::new_v4()), SubjectId(Uuid::new_v4()));
    from.vault.keys_for_writing(&[gone, stays]).await.unwrap();
    let keys = export_keys(&from, Vec::new()).await.unwrap().1;
    let mut shredded = request(LogName::DOMAIN, &format!("user-{gone}"), &[b"{}"]);
    shredded.events[0].event_type = "SubjectKeyShredded".into();
    shredded.events[0].schema_version = 1;
    shredded.events[0].subjects.clear();
    shredded.events[0].payload = format!("{{\"subject\":\"{gone}\"}}").into();
    from.events.append(shredded).await.unwrap();
    from.vault.destroy(gone).await.unwrap();
    let log = exported(&from).await;

    import_keys(&to, Cursor::new(&keys)).await.unwrap();
    assert_eq!(to.vault.keys_for_reading(&[gone, stays]).await.unwrap().len(), 2);
    import(&to, &log).await.unwrap();

    let left = to.vault.keys_for_reading(&[gone, stays]).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&stays]);
    import_keys(&to, Cursor::new(&keys)).await.unwrap();
    assert_eq!(to.vault.keys_for_reading(&[gone, stays]).await.unwrap().len(), 1);
}
