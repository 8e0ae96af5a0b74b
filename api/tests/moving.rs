//! Logs moved between stores by the program, and between kinds of stores.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use freehold::stores::LOGS;
use freehold_domain::SubjectId;
use freehold_ports::{
    AppendRequest, CommandId, EventId, EventStore as _, ExpectedVersion, Fingerprint,
    KeyVault as _, LogName, NewEvent, PayloadCodec, Provenance, Tag,
};
use freehold_sqlite::{LogOptions, SqliteEventStore, SqliteKeyVault};
use freehold_test_stores::Schema;
use serde_json::Value;
use uuid::Uuid;

const MASTER: [u8; 32] = [0x5a; 32];

fn freehold(store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).arg("--store").arg(store);
    command.env_clear().env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn run(store: &Path, arguments: &[&str]) -> Output {
    freehold(store, arguments).output().unwrap()
}

fn done(store: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = run(store, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Interactions, as no projection minds how many of one kind there are.
fn interactions(number: u64) -> AppendRequest {
    let events = (0..500).map(|n| NewEvent {
        event_id: EventId::new(),
        event_type: "Interaction".into(),
        schema_version: 1,
        occurred_at: Utc::now(),
        subjects: Vec::new(),
        tags: vec![format!("seen:{number}/{n}").parse::<Tag>().unwrap()],
        codec: PayloadCodec::Json,
        payload: format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(200)).into(),
    });
    AppendRequest {
        log: LogName::INTERACTIONS,
        stream: format!("made-up-{}", number % 17).parse().unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint(*Uuid::new_v4().as_bytes()),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "default".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: events.collect(),
    }
}

/// A store with so many thousand events.
async fn filled(folder: &Path, thousands: u64) {
    std::fs::create_dir_all(folder).unwrap();
    let store = SqliteEventStore::open(folder, LogOptions::default()).unwrap();
    for number in 0..2 * thousands {
        store.append(interactions(number)).await.unwrap();
    }
    store.close().await;
    let vault = SqliteKeyVault::open(folder, &MASTER).unwrap();
    vault.keys_for_writing(&[SubjectId(Uuid::new_v4())]).await.unwrap();
    vault.close().await.unwrap();
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_and_ends_like_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    filled(&path("from"), 60).await;
    let exported = done(&path("from"), &["events", "export", &text("log.ndjson.gz")]);
    assert_eq!(exported[1]["events"], 60_000);
    done(&path("from"), &["keys", "export", &text("keys.ndjson")]);

    let import = ["events", "import", &text("log.ndjson.gz")];
    for share in [1, 2] {
        let mut child = freehold(&path("to"), &import).stderr(Stdio::null()).spawn().unwrap();
        let reached = reaches(&path("to"), share * 12_000).await;
        // SIGKILL: nothing of the process runs after it.
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended before it could be killed");
        assert!(reached < 60_000, "{reached}");
    }
    assert_eq!(done(&path("to"), &import), exported);
    assert_eq!(done(&path("to"), &import), exported, "again is nothing");
    done(&path("to"), &["keys", "import", &text("keys.ndjson")]);

    done(&path("to"), &["events", "export", &text("again.ndjson.gz")]);
    done(&path("to"), &["keys", "export", &text("keys-again.ndjson")]);
    for (one, two) in [("log.ndjson.gz", "again.ndjson.gz"), ("keys.ndjson", "keys-again.ndjson")] {
        assert!(std::fs::read(path(one)).unwrap() == std::fs::read(path(two)).unwrap(), "{two}");
    }
    assert_eq!(done(&path("to"), &["doctor"])[0]["sound"], true);
}

/// Waits until the log of another process has come so far; says how far it is.
async fn reaches(store: &Path, position: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut log = None;
    loop {
        assert!(Instant::now() < deadline, "the log does not reach {position}");
        // At first there is no file to open.
        log = log.or_else(|| SqliteEventStore::open_read_only(store, LOGS.to_vec()).ok());
        if let Some(log) = &log {
            let head = log.head(&LogName::INTERACTIONS).await.unwrap().0;
            if head >= position {
                return head;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_cannot_be_moved_is_said_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    filled(&path("from"), 2).await;
    filled(&path("other"), 1).await;
    done(&path("from"), &["events", "export", &text("log.ndjson")]);
    let refused = |store: &str, arguments: &[&str], code: i32, says: &str| {
        let output = run(&path(store), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(says), "{}", err(&output));
    };

    refused("from", &["events", "export", &text("log.ndjson")], 5, "exists");
    refused("from", &["events", "export", &text("x"), "--stream", "a-1"], 2, "--stream");
    refused("from", &["events", "export", &text("x"), "--log", "nowhere"], 3, "no log nowhere");
    refused("to", &["events", "import", &text("x")], 3, "cannot be read");
    let nowhere = run(Path::new("memory:"), &["events", "import", &text("log.ndjson")]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", err(&nowhere));
    refused("other", &["events", "import", &text("log.ndjson")], 4, "another event at position 1");
    let whole = std::fs::read(path("log.ndjson")).unwrap();
    std::fs::write(path("cut"), &whole[..whole.len() / 2]).unwrap();
    refused("to", &["events", "import", &text("cut")], 5, "cut off after line");
    let mut changed = whole.clone();
    let at = whole.len() / 2;
    changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
    std::fs::write(path("changed"), &changed).unwrap();
    refused("new", &["events", "import", &text("changed")], 5, "line");
    std::fs::write(path("feed"), "reference,rent\na,1\n").unwrap();
    refused("none", &["events", "import", &text("feed")], 5, "no file of `freehold events export`");
    assert!(!path("none").exists(), "nothing was made");
    let mut elsewhere = freehold(&path("elsewhere"), &["events", "import", &text("log.ndjson")]);
    let output = elsewhere.env("FREEHOLD__VAULT__MASTER_KEY", "77".repeat(32)).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(err(&output).contains("another master key"), "{}", err(&output));

    for says in ["2,000 of 2,000 events of", "nothing was stored"] {
        let imported = run(&path("to"), &["events", "import", &text("log.ndjson")]);
        assert_eq!(imported.status.code(), Some(0), "{}", err(&imported));
        assert!(err(&imported).contains(says), "{}", err(&imported));
    }
    assert_eq!(done(&path("to"), &["doctor"])[0]["sound"], true);
}

#[test]
#[ignore = "imports all of the demo, which takes a minute"]
fn the_demo_moves_and_its_read_models_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let output = run(&path("from"), &["demo", "--import-only", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let again = run(&path("from"), &["demo", "--import-only"]);
    assert!(err(&again).contains("there already, nothing was imported"), "{}", err(&again));
    let names: Vec<String> = done(&path("from"), &["projection", "list"])
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    done(&path("from"), &["events", "export", &text("log.ndjson.gz")]);
    done(&path("from"), &["keys", "export", &text("keys.ndjson")]);

    done(&path("to"), &["events", "import", &text("log.ndjson.gz")]);
    done(&path("to"), &["keys", "import", &text("keys.ndjson")]);

    assert_eq!(done(&path("to"), &["doctor"]), done(&path("from"), &["doctor"]));
    for name in names {
        let rows = |store: &str| {
            let verified = &done(&path(store), &["projection", "verify", &name])[0];
            assert_eq!(verified["differences"], 0, "{store}: {verified}");
            verified["rows"].clone()
        };
        done(&path("to"), &["projection", "rebuild", &name]);
        assert_eq!(rows("to"), rows("from"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_log_goes_to_postgres_and_back_and_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    filled(&path("from"), 20).await;
    done(&path("from"), &["events", "export", &text("log.ndjson")]);
    done(&path("from"), &["keys", "export", &text("keys.ndjson")]);
    let schema = Schema::new();
    let database = PathBuf::from(schema.url());

    done(&database, &["events", "import", &text("log.ndjson")]);
    done(&database, &["keys", "import", &text("keys.ndjson")]);
    done(&database, &["events", "import", &text("log.ndjson")]);
    done(&database, &["events", "export", &text("of-postgres.ndjson")]);
    done(&database, &["keys", "export", &text("keys-of-postgres.ndjson")]);
    assert_eq!(done(&database, &["doctor"])[0]["sound"], true);
    drop(schema);

    done(&path("to"), &["events", "import", &text("of-postgres.ndjson")]);
    done(&path("to"), &["events", "export", &text("again.ndjson")]);
    let same = |one: &str, two: &str| {
        assert!(std::fs::read(path(one)).unwrap() == std::fs::read(path(two)).unwrap(), "{two}");
    };
    same("log.ndjson", "of-postgres.ndjson");
    same("log.ndjson", "again.ndjson");
    done(&path("to"), &["keys", "import", &text("keys-of-postgres.ndjson")]);
    done(&path("to"), &["keys", "export", &text("keys-again.ndjson")]);
    same("keys.ndjson", "keys-of-postgres.ndjson");
    same("keys.ndjson", "keys-again.ndjson");
    assert_eq!(done(&path("to"), &["doctor"])[0]["sound"], true);
}
