//! What operators do with the program and its stores, from outside: imports, events, metrics.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use freehold::stores::LOGS;
use freehold_ports::{
    AppendRequest, CommandId, EventId, EventStore as _, ExpectedVersion, Fingerprint, LogName,
    NewEvent, PayloadCodec, Provenance,
};
use freehold_sqlite::{LogOptions, SqliteEventStore};
use freehold_test_stores::Place;
use serde_json::{Value, json};

fn freehold(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).args(["--store", store]);
    command.env_clear().env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn run(store: &str, arguments: &[&str]) -> Output {
    freehold(store, arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Imports a table of a feed into a store.
fn imported(store: &str, table: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.csv");
    std::fs::write(&file, table).unwrap();
    let arguments = [&["import", file.to_str().unwrap(), "--source", "crm"], more].concat();
    run(store, &arguments)
}

/// A server that ends with the test.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(store: &str) -> Self {
        Self::start_with(store, &[])
    }

    fn start_with(store: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = freehold(store, &["serve", "--listen", "127.0.0.1:0"]);
        command.envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    /// The whole answer, head and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn config_check_says_everything_for_which_serve_refuses_the_configuration() {
    let place = Place::on_disk();
    let store = &*place.address();
    let output = freehold(store, &["config", "check"])
        .env("FREEHOLD__HTTP__LISTEN", "0.0.0.0:8001")
        .env("FREEHOLD__LOG__LEVEL", "freehold=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("freehold token create"), "{}", err(&output));
    assert!(err(&output).contains("log.level is \"freehold=loud\""), "{}", err(&output));

    let token = format!("{{ name = 'ci', hash = '{}', role = 'reader' }}", "ab".repeat(32));
    let output = freehold(store, &["config", "check"])
        .env("FREEHOLD__AUTH__TOKENS", format!("[{token}, {token}]"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("the name ci twice"), "{}", err(&output));
}

#[test]
fn every_metric_says_what_it_is() {
    let place = Place::on_disk();
    let store = &*place.address();
    let server = Serving::start(store);
    let item = r#"{"property_id":"a","data":{"price":2000}}"#;
    assert!(server.ask("POST", "/api/events/property", item).contains("202 Accepted"));
    let item = r#"{"event_type":"property_viewed","data":{"property_id":"a"}}"#;
    assert!(server.ask("POST", "/api/events/user", item).contains("202 Accepted"));
    let query = r#"{"query":"{ listings(first: 1) { nodes { id } } }"}"#;
    assert!(server.ask("POST", "/graphql", query).contains("200 OK"));

    let seen = [
        "freehold_append_batch_requests",
        "freehold_append_commit_seconds",
        "freehold_build_info",
        "freehold_commands_total",
        "freehold_graphql_operations_total",
        "freehold_http_request_duration_seconds",
        "freehold_ingest_items_total",
        "freehold_subscription_events_total",
        "freehold_subscription_lag_seconds",
        "validation_violations",
    ];
    let deadline = Instant::now() + Duration::from_secs(20);
    let metrics = loop {
        let metrics = server.ask("GET", "/metrics", "");
        if seen.iter().all(|name| metrics.contains(name)) || Instant::now() > deadline {
            break metrics.split_once("\r\n\r\n").unwrap().1.to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let told = |what: &str| -> BTreeMap<&str, &str> {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.trim().split_once(' ')).collect()
    };
    let (helps, types) = (told("# HELP"), told("# TYPE"));
    let samples = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    // Lines that are no samples are the lengths of the chunks in which the answer came.
    let samples = samples.filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name));
    let names: BTreeSet<&str> = samples
        .map(|sample| sample.split('{').next().unwrap())
        .map(|name| {
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .filter(|base| types.get(base) == Some(&"histogram"));
            of_histogram.unwrap_or(name)
        })
        .collect();
    for name in seen {
        assert!(names.contains(name), "{name} is missing:\n{metrics}");
    }
    for name in names {
        assert!(helps.get(name).is_some_and(|help| help.len() > 5), "{name} has no HELP");
        let kind = types.get(name).unwrap_or_else(|| panic!("{name} has no TYPE"));
        assert_ne!(*kind, "summary", "{name} cannot be added up over processes");
        if *kind == "counter" && name.starts_with("freehold_") {
            assert!(name.ends_with("_total"), "{name}");
        }
    }
}

/// A store that is there already is brought up at once: its meters must not come too early.
#[test]
fn every_projection_has_its_lag_among_the_metrics_after_every_start() {
    let place = Place::on_disk();
    let store = &*place.address();
    let output = imported(store, "reference,beds\np-1,2\n", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for _ in 0..3 {
        let server = Serving::start(store);
        let deadline = Instant::now() + Duration::from_secs(20);
        let lags = ["accounts", "engagement", "listings", "market", "properties"]
            .map(|name| format!("freehold_subscription_lag_seconds{{subscription=\"{name}\"}} 0"));
        loop {
            let metrics = server.ask("GET", "/metrics", "");
            if lags.iter().all(|lag| metrics.contains(lag)) {
                break;
            }
            assert!(Instant::now() < deadline, "{metrics}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn checks_of_a_store_print_what_they_compared() {
    let place = Place::on_disk();
    let store = &*place.address();
    let output = imported(store, "reference,beds\np-1,2\np-2,3\n", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let only = |arguments: &[&str]| {
        let output = run(store, &[arguments, &["--format", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        row.clone()
    };
    assert_eq!(only(&["projection", "rebuild", "accounts"])["generation"], 1);
    let rebuilt = only(&["projection", "rebuild", "accounts"]);
    let head = &rebuilt["head"];
    assert!(head.as_u64().unwrap() > 0);
    let expected = json!({
        "name": "accounts", "version": rebuilt["version"], "generation": 2, "state": "active",
        "position": head, "head": head, "lag": 0,
    });
    assert_eq!(rebuilt, expected);
    assert_eq!(only(&["projection", "rollback", "accounts"])["generation"], 1);

    only(&["projection", "rebuild", "properties"]);
    let verified = only(&["projection", "verify", "properties"]);
    assert!(verified["rows"].as_u64().unwrap() >= 2, "{verified}");
    assert_eq!(
        (&verified["position"], &verified["differences"], &verified["shown"]),
        (head, &json!(0), &json!([]))
    );
    let checked = only(&["doctor"]);
    let positions = json!({"domain": head, "interactions": 0});
    assert_eq!(checked, json!({"sound": true, "positions": positions, "findings": []}));
}

#[test]
fn reading_events_says_when_there_are_more() {
    let place = Place::on_disk();
    let store = &*place.address();
    let rows: String = (0..150).map(|n| format!("p-{n},{}\n", n % 5)).collect();
    let output = imported(store, &format!("reference,beds\n{rows}"), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));

    let first = run(store, &["events", "read"]);
    assert_eq!(lines(&first).len(), 100);
    assert!(err(&first).contains("stopped after 100 events"), "{}", err(&first));
    assert!(err(&first).contains("--after 100"), "{}", err(&first));
    let rest = run(store, &["events", "read", "--after", "100"]);
    assert_eq!((lines(&rest).len(), err(&rest)), (50, ""));
    let all = run(store, &["events", "read", "--limit", "150"]);
    assert_eq!((lines(&all).len(), err(&all)), (150, ""));

    let event = &lines(&first)[0];
    let stream = event["stream"].as_str().unwrap();
    let of_stream = run(store, &["events", "read", "--stream", stream, "--limit", "1"]);
    assert_eq!((lines(&of_stream).len(), err(&of_stream)), (1, ""));
    for command in ["read", "export"] {
        let none = run(store, &["events", command, "--stream", "nope-1"]);
        assert_eq!(none.status.code(), Some(3), "{command}");
        assert!(err(&none).contains("no stream nope-1 in the log domain"), "{}", err(&none));
    }
    let malformed = run(store, &["events", "read", "--stream", "nope"]);
    assert_eq!(malformed.status.code(), Some(2));
    assert!(err(&malformed).contains("<category>-<id>"), "{}", err(&malformed));
}

#[test]
fn making_the_stores_says_whether_there_was_anything_to_do() {
    let place = Place::on_disk();
    let store = &*place.address();
    for says in ["were made or migrated", "nothing was migrated"] {
        let output = run(store, &["db", "migrate"]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(err(&output).contains(says), "{}", err(&output));
    }
    let none = run(store, &["projection", "list"]);
    assert_eq!((none.status.code(), lines(&none)), (Some(0), Vec::new()));
    assert!(err(&none).contains("`freehold serve` makes them"), "{}", err(&none));
}

#[test]
fn nobody_is_asked_about_an_append_that_conflicts() {
    let place = Place::on_disk();
    let store = &*place.address();
    imported(store, "reference,beds\na,1\n", &[]);
    let event = &lines(&run(store, &["events", "read"]))[0];
    let (stream, payload) = (event["stream"].as_str().unwrap(), event["payload"].to_string());
    let append = |expected: &str, more: &[&str]| {
        let event_type = event["type"].as_str().unwrap();
        let what = ["events", "append", "--stream", stream, "--type", event_type];
        let how = ["--payload", &payload, "--reason", "test", "--expected", expected];
        run(store, &[&what[..], &how[..], more].concat())
    };
    for more in [&[][..], &["--dry-run"], &["--yes"]] {
        let conflict = append("7", more);
        assert_eq!(conflict.status.code(), Some(4), "{more:?}: {}", err(&conflict));
        assert!(err(&conflict).contains("is at version 1, not 7"), "{}", err(&conflict));
    }
    let asked = append("1", &[]);
    assert_eq!(asked.status.code(), Some(5));
    assert!(err(&asked).contains("nobody is here to ask"), "{}", err(&asked));
}

#[test]
fn an_import_shows_what_was_bent_and_where() {
    let place = Place::on_disk();
    let store = &*place.address();
    let table = "reference,rent,beds\na,900,1\nb,x,2\nc,,\nd,\n";
    let output = imported(store, table, &["--format", "ndjson"]);
    assert_eq!(output.status.code(), Some(5));
    let said: Vec<Value> = lines(&output)
        .iter()
        .map(|row| json!([row["line"], row["kind"], row["code"], row["field"]]))
        .collect();
    assert!(said.contains(&json!([3, "error", "WRONG_TYPE", "rent"])), "{said:?}");
    assert!(said.contains(&json!([2, "warning", "CURRENCY_ASSUMED", "rent"])), "{said:?}");
    assert!(said.contains(&json!([5, "warning", "CELLS_MISSING", null])), "{said:?}");
    let told = err(&output);
    assert!(told.contains("3 created, 0 updated, 0 unchanged, 1 refused, "), "{told}");
    assert!(told.contains("errors: WRONG_TYPE 1"), "{told}");
    assert!(told.contains("CELLS_MISSING 1, CURRENCY_ASSUMED 1"), "{told}");
    assert!(told.ends_with("error: 1 row was refused; the others are stored\n"), "{told}");

    let rows: String = (0..30).map(|n| format!("q-{n},{}\n", 900 + n)).collect();
    let table = format!("reference,rent\n{rows}");
    let output = imported(store, &table, &["--format", "table"]);
    let shown = std::str::from_utf8(&output.stdout).unwrap().lines().count();
    assert_eq!(shown, 1 + 2 * 2, "a header and two warnings of each code");
    assert!(err(&output).contains("--format ndjson shows all"), "{}", err(&output));
}

#[test]
fn an_import_of_a_file_without_rows_or_references_says_so() {
    let place = Place::on_disk();
    let store = &*place.address();
    let empty = imported(store, "", &[]);
    assert_eq!(empty.status.code(), Some(0));
    assert!(err(&empty).contains("feed.csv has no rows"), "{}", err(&empty));
    let other = imported(store, "name,beds\na,1\n", &[]);
    assert_eq!(other.status.code(), Some(5));
    assert!(err(&other).contains("name one property_id or reference"), "{}", err(&other));
    let swallowed = imported(store, "reference,summary\na,x\nb,\"y\nc,z\n", &[]);
    assert_eq!(swallowed.status.code(), Some(5));
    assert_eq!(lines(&swallowed)[0]["code"], "UNCLOSED_QUOTE");
    assert!(err(&swallowed).contains("1 created"), "{}", err(&swallowed));
}

/// What is about a folder, which one process at a time writes to.
mod embedded {
    use super::*;

    #[test]
    fn an_import_into_a_folder_that_is_served_says_how_to_send_it_instead() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().to_str().unwrap();
        let serving = Serving::start(store);
        let used = imported(store, "reference\na\n", &[]);
        assert_eq!(used.status.code(), Some(6));
        assert!(err(&used).contains("POST /api/events/property"), "{}", err(&used));
        drop(serving);
    }

    /// A log that was restored without its read models: they know events that it does not have.
    #[test]
    fn doctor_finds_read_models_that_are_ahead_of_their_log() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().to_str().unwrap();
        let output = imported(store, "reference,beds\np-1,2\n", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert_eq!(run(store, &["projection", "rebuild", "listings"]).status.code(), Some(0));
        assert_eq!(run(store, &["doctor"]).status.code(), Some(0));
        for file in std::fs::read_dir(store).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("log.sqlite") {
                std::fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(run(store, &["db", "migrate"]).status.code(), Some(0));

        let output = run(store, &["doctor"]);
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        let finding = lines(&output)[0]["findings"][0].as_str().unwrap().to_owned();
        assert!(finding.contains("beyond the end of the log domain at 0"), "{finding}");
        assert!(finding.contains("remove the read models"), "{finding}");
        let verify = run(store, &["projection", "verify", "listings"]);
        assert_eq!(verify.status.code(), Some(5), "it would wait without end");
        assert!(err(&verify).contains("restored to an earlier state"), "{}", err(&verify));
        let rebuild = run(store, &["projection", "rebuild", "listings"]);
        assert_eq!(rebuild.status.code(), Some(5), "trying later does not help either");
        assert!(err(&rebuild).contains("remove the read models"), "{}", err(&rebuild));
        for file in std::fs::read_dir(store).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("read_models.sqlite") {
                std::fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(run(store, &["projection", "rebuild", "listings"]).status.code(), Some(0));
        assert_eq!(run(store, &["doctor"]).status.code(), Some(0));
    }

    /// Appends an event that no projection can read, while no server runs.
    async fn append_unreadable(store: &str, stream: &str) {
        let log = SqliteEventStore::open(Path::new(store), LogOptions::default()).unwrap();
        let event = NewEvent {
            event_id: EventId::new(),
            event_type: "PropertyRegistered".into(),
            schema_version: 1,
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: r#"{"property":"hunter2"}"#.into(),
        };
        let request = AppendRequest {
            log: LogName::DOMAIN,
            stream: stream.parse().unwrap(),
            expected: ExpectedVersion::Any,
            command_id: CommandId::new(),
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "test".into(),
                correlation_id: None,
                causation_id: None,
            },
            events: vec![event],
        };
        log.append(request).await.unwrap();
        log.close().await;
    }

    /// A projection whose events cannot be read goes on with all others; an operator sees what is
    /// parked, without a word of it, and has it tried again.
    #[tokio::test]
    async fn an_event_that_cannot_be_read_is_parked_listed_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().to_str().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let until = |server: &Serving, what: &str| loop {
            let ready = server.ask("GET", "/ready", "");
            assert!(!ready.contains("hunter2"), "{ready}");
            if ready.starts_with("HTTP/1.1 200") && ready.contains(what) {
                break;
            }
            assert!(Instant::now() < deadline, "{ready}");
            std::thread::sleep(Duration::from_millis(50));
        };
        let server = Serving::start(store);
        until(&server, "");
        drop(server);
        let none = run(store, &["deadletter", "list"]);
        assert!(none.status.success() && err(&none).contains("no stream is parked"));
        append_unreadable(store, "property-1").await;
        let server = Serving::start(store);
        until(&server, "listings: 1 stream is parked");
        let item = r#"{"property_id":"a","data":{"price":2000}}"#;
        assert!(server.ask("POST", "/api/events/property", item).contains("202 Accepted"));
        let listed = ["deadletter", "list", "--subscription", "listings"];
        let letters = lines(&run(store, &listed));
        let [letter] = &*letters else { panic!("{letters:?}") };
        assert_eq!((&letter["stream"], &letter["position"]), (&json!("property-1"), &json!(1)));
        assert_eq!(letter["fault"], "permanent");
        assert!(letter["error"].as_str().unwrap().starts_with("malformed payload"), "{letter}");
        assert!(!letter.to_string().contains("hunter2"), "{letter}");
        let metrics = server.ask("GET", "/metrics", "");
        let gauge = "freehold_dead_letters{subscription=\"listings\",\
                     event_type=\"PropertyRegistered\",fault=\"permanent\"} 1";
        assert!(metrics.contains(gauge), "{metrics}");
        assert!(metrics.contains("# HELP freehold_dead_letter_oldest_seconds"), "{metrics}");
        let groups =
            lines(&run(store, &["deadletter", "list", "--groups", "--type", "PropertyRegistered"]));
        assert_eq!(groups.len(), 3, "listings, properties and market: {groups:?}");
        let shown = lines(&run(store, &["deadletter", "show", "listings", "property-1"]));
        let payload = shown.iter().find(|field| field["field"] == "payload").unwrap();
        assert_eq!(payload["value"], json!({ "property": "hunter2" }));

        let retry = ["deadletter", "retry", "listings", "property-1"];
        let tried = lines(&run(store, &[&retry[..], &["--dry-run"]].concat()));
        assert_eq!((tried.len(), &tried[0]["would"]), (1, &json!("fail")));
        let ordered = run(store, &retry);
        assert!(ordered.status.success(), "{}", err(&ordered));
        assert_eq!(lines(&ordered)[0]["letters"], 1);
        loop {
            let letter = lines(&run(store, &listed)).remove(0);
            if letter["attempts"] == 2 {
                assert!(letter["retry_by"].as_str().unwrap().starts_with("cli:"), "{letter}");
                assert_eq!(letter["retry_at"], Value::Null);
                break;
            }
            assert!(Instant::now() < deadline, "{letter}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let refused = run(store, &["deadletter", "retry", "--all"]);
        assert_eq!(refused.status.code(), Some(5), "nobody is asked: {}", err(&refused));
        let all = run(store, &["deadletter", "retry", "--all", "--rate", "50", "--yes"]);
        assert_eq!(lines(&all)[0]["letters"], 3, "{}", err(&all));
        for (wrong, code) in [
            (&["deadletter", "retry", "listings", "property-2"][..], 3),
            (&["deadletter", "show", "engagement", "property-1"], 3),
            (&["deadletter", "retry"], 2),
            (&["deadletter", "retry", "listings"], 2),
            (&["deadletter", "retry", "listings", "property-1", "--all"], 2),
        ] {
            let output = run(store, wrong);
            assert_eq!(output.status.code(), Some(code), "{wrong:?}: {}", err(&output));
        }
        until(&server, "listings: 1 stream is parked");
        let verified = run(store, &["projection", "verify", "listings"]);
        assert!(verified.status.success(), "{}", err(&verified));
    }

    /// What is parked, as soon as it is as wanted.
    fn letters_of(store: &str, projection: &str, wanted: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let listed = run(store, &["deadletter", "list", "--subscription", projection]);
            let letters = lines(&listed);
            if wanted(&letters) {
                return;
            }
            assert!(Instant::now() < deadline, "{letters:?} {}", err(&listed));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Beside a server on a folder decisions go through GraphQL, without one through the terminal;
    /// both are in the history, and the read model is what they say.
    #[tokio::test]
    async fn a_parked_event_is_edited_or_discarded_and_the_history_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().to_str().unwrap();
        let [one, two] =
            [1, 2].map(|number| format!("property-00000000-0000-7000-8000-00000000000{number}"));
        drop(Serving::start(store));
        append_unreadable(store, &one).await;
        append_unreadable(store, &two).await;
        let payload = folder.path().join("payload.json");
        let registered =
            include_str!("../../domain/tests/golden/property/PropertyRegistered.v1.json");
        std::fs::write(&payload, registered).unwrap();
        let payload = payload.to_str().unwrap();
        let why = ["--reason", "a broken import"];
        let edit = ["deadletter", "edit", "listings", &one, "--payload", payload];
        let edit = [&edit[..], &why].concat();
        let discard = [&["deadletter", "discard", "listings", &two][..], &why].concat();

        let server = Serving::start(store);
        letters_of(store, "listings", |letters| letters.len() == 2);
        for command in [&edit, &discard] {
            let refused = run(store, command);
            assert_eq!(refused.status.code(), Some(6), "{}", err(&refused));
            assert!(err(&refused).contains("STORE_IN_USE"), "{}", err(&refused));
            assert!(err(&refused).contains("deadLetterEdit"), "{}", err(&refused));
        }
        let tried = run(store, &[&edit[..], &["--dry-run"]].concat());
        assert_eq!(lines(&tried)[0]["would"], "succeed", "{}", err(&tried));
        let mutation = json!({ "query": format!(
            "mutation {{ deadLetterDiscard(input: {{ filter: {{ subscription: \"listings\",
                stream: \"{two}\" }}, reason: \"not ours\" }}) {{ count userErrors {{ code }} }} }}"
        ) });
        let answer = server.ask("POST", "/graphql", &mutation.to_string());
        assert!(
            answer.contains(r#"{"deadLetterDiscard":{"count":1,"userErrors":[]}}"#),
            "{answer}"
        );
        letters_of(store, "listings", |letters| letters.len() == 1);
        drop(server);

        for (payload, code) in [("{}", 5), (r#"{"property":"hunter2"}"#, 5)] {
            let wrong = folder.path().join("wrong.json");
            std::fs::write(&wrong, payload).unwrap();
            let wrong = wrong.to_str().unwrap();
            let wrong = ["deadletter", "edit", "listings", &one, "--payload", wrong];
            let refused = run(store, &[&wrong[..], &why].concat());
            assert_eq!(refused.status.code(), Some(code), "{}", err(&refused));
            let error = err(&refused);
            assert!(error.contains("this is no PropertyRegistered of schema version 1"), "{error}");
        }
        let edited = run(store, &edit);
        assert!(edited.status.success(), "{}", err(&edited));
        let again = run(store, &edit);
        assert_eq!(again.status.code(), Some(4), "it was not tried yet: {}", err(&again));

        let server = Serving::start(store);
        letters_of(store, "listings", <[Value]>::is_empty);
        let history = lines(&run(store, &["deadletter", "history", "listings"]));
        let [discarded, edited] = &*history else { panic!("{history:?}") };
        assert_eq!(
            (&discarded["decision"], &discarded["stream"]),
            (&json!("discarded"), &json!(two))
        );
        assert_eq!((&edited["decision"], &edited["reason"]), (&json!("edited"), &json!(why[1])));
        assert!(edited["actor"].as_str().unwrap().starts_with("cli:"), "{edited}");
        let of_one = lines(&run(store, &["deadletter", "history", "listings", "--stream", &one]));
        assert_eq!(of_one, std::slice::from_ref(edited));
        letters_of(store, "properties", |letters| letters.len() == 2);
        for of in ["nothing", "two words"] {
            let unknown = run(store, &["deadletter", "history", of]);
            assert_eq!(unknown.status.code(), Some(3), "{}", err(&unknown));
        }
        let verified = run(store, &["projection", "verify", "listings"]);
        assert!(verified.status.success(), "{}", err(&verified));
        drop(server);
        let doctor = run(store, &["doctor"]);
        assert!(doctor.status.success(), "{}", err(&doctor));
    }

    /// Whoever asks whether it is ready need not be one who may read events.
    #[tokio::test]
    async fn a_projection_that_fails_is_named_without_what_stands_in_its_event() {
        for built_before in [true, false] {
            fails_visibly(built_before).await;
        }
    }

    async fn fails_visibly(built_before: bool) {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().to_str().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        if built_before {
            let server = Serving::start(store);
            while !server.ask("GET", "/ready", "").starts_with("HTTP/1.1 200") {
                assert!(Instant::now() < deadline);
            }
        }
        append_unreadable(store, "property-1").await;

        let stops = ("FREEHOLD__SUBSCRIPTIONS", "[{ name = 'listings', on_failure = 'stop' }]");
        let server = Serving::start_with(store, &[stops]);
        loop {
            let ready = server.ask("GET", "/ready", "");
            assert!(!ready.contains("hunter2"), "{ready}");
            if ready.contains("listings failed at position 1, tried ") {
                assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
                break;
            }
            assert!(Instant::now() < deadline, "{ready}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("feed.csv");
        std::fs::write(&file, "reference\na\n").unwrap();
        let store = folder.path().join("store");
        let store = store.to_str().unwrap();
        let output = run(store, &["import", file.to_str().unwrap(), "--source", "no/slash"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("1 to 64 letters"), "{}", err(&output));
        let output = run("memory:", &["demo", "--import-only"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("would leave nothing behind"), "{}", err(&output));
        assert!(!Path::new(store).exists());
    }

    /// Waits until the domain log of another process has come so far; says how far it is.
    async fn reaches(store: &str, position: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut log = None;
        loop {
            assert!(Instant::now() < deadline, "the log does not reach {position}");
            // At first there is no file to open.
            log = log
                .or_else(|| SqliteEventStore::open_read_only(Path::new(store), LOGS.to_vec()).ok());
            if let Some(log) = &log {
                let head = log.head(&LogName::DOMAIN).await.unwrap().0;
                if head >= position {
                    return head;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What a log says, without what differs from run to run: ids, order, moments of storing.
    fn content(store: &str, log: &str) -> BTreeMap<String, u32> {
        let mut content = BTreeMap::new();
        for mut event in lines(&run(store, &["events", "export", "--log", log])) {
            event["payload"].as_object_mut().unwrap().remove("published_at");
            // Interactions of one session are stored side by side.
            let version = if log == "domain" { event["version"].clone() } else { Value::Null };
            let line = format!(
                "{} {version} {} {} {} {} {} {}",
                event["stream"],
                event["type"],
                event["schema_version"],
                event["occurred_at"],
                event["actor"],
                event["tags"],
                event["payload"]
            );
            *content.entry(line).or_default() += 1;
        }
        content
    }

    #[tokio::test]
    #[ignore = "imports all of the demo twice, which takes a minute"]
    async fn a_demo_import_that_is_killed_twice_ends_like_one_that_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let [calm, killed] = ["calm", "killed"].map(|name| folder.path().join(name));
        let (calm, killed) = (calm.to_str().unwrap(), killed.to_str().unwrap());
        let import = ["demo", "--import-only", "--quiet"];
        let output = run(calm, &import);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let end = reaches(calm, 1).await;

        for share in [1, 2] {
            let mut child = freehold(killed, &import).stderr(Stdio::null()).spawn().unwrap();
            reaches(killed, end * share / 3).await;
            // SIGKILL: nothing of the process runs after it.
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().code(), None, "it ended before it could be killed");
            assert!(reaches(killed, 1).await < end);
        }
        let output = run(killed, &import);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));

        for log in ["domain", "interactions"] {
            let (calm, killed) = (content(calm, log), content(killed, log));
            assert!(calm.len() > 1_000, "{log}");
            // Not `assert_eq`, which would print both.
            assert!(calm == killed, "the log {log} differs");
        }
        for projection in lines(&run(killed, &["projection", "list"])) {
            let name = projection["name"].as_str().unwrap();
            let output = run(killed, &["projection", "verify", name]);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", err(&output));
        }
    }
}
